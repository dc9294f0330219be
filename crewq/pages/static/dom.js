// Elements from plain values. A text is always a text node: nothing here, or anywhere in these modules, parses HTML.

/**
 * An element.
 * @param {string} tag its name, with classes after dots: "p.hint"
 * @param {object} [given] attributes; `on` holds listeners by event, `style` properties, `data` its data-* attributes.
 *   An attribute that is false, null or undefined is left out; one that is true has no value.
 * @param {...(Node|string|number|null|Array)} children what is in it; null and false are left out.
 */
export function h(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  const { on = {}, style = {}, data = {}, ...attributes } = given;
  for (const [kind, listener] of Object.entries(on)) element.addEventListener(kind, listener);
  for (const [property, value] of Object.entries(style)) element.style.setProperty(property, value);
  for (const [key, value] of Object.entries(data)) element.dataset[key] = value;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put these children in place of those that are there, and leave the focus on the same `data-key`. */
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  element.replaceChildren(...children.flat(Infinity).filter((child) => child));
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** A text as it is, with its line breaks; long ones scroll, also by keyboard. */
export function block(text, label) {
  return h("pre.crewq-text", { tabindex: "0", "aria-label": label }, text);
}

/** A part of a page. */
export function card(title, ...children) {
  return h("section.detail-card.crewq-card", { "aria-label": title }, h("h2", {}, title), ...children);
}

/** A table whose rows are those; columns that a phone has no room for are marked by a leading "-". */
export function table(label, columns, rows, empty) {
  const heads = columns.map((name) => h(`th${wide(name)}`, { scope: "col" }, name.replace(/^-/, "")));
  const none = h("tr", {}, h("td.crewq-empty", { colspan: columns.length }, empty));
  const lines = rows.map((cells) =>
    h("tr", {}, cells.map((cell, at) => h(`td${wide(columns[at])}`, {}, cell))),
  );
  return h(
    "table.table.table-hover.align-middle.mb-0.tasks-table.crewq-table",
    { "aria-label": label },
    h("thead", {}, h("tr", {}, heads)),
    h("tbody", {}, lines.length ? lines : none),
  );
}

function wide(name) {
  return name.startsWith("-") ? ".crewq-wide" : "";
}
