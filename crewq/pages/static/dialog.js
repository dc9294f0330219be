// Questions to the person at the page, in the browser's own dialog: it keeps the focus, and Escape closes it.

import { h } from "./dom.js";

/**
 * Ask for a few texts.
 * @param {string} title what is going to happen
 * @param {{name: string, label: string, value?: string, hint?: string}[]} fields
 * @param {string} verb what the button says
 * @param {(values: object) => Promise<void>} done does it; if it fails, the reason is shown, and the dialog stays
 */
export function ask(title, fields, verb, done, note = "") {
  const problem = h("p.crewq-danger", { role: "alert", hidden: true });
  const inputs = fields.map(({ name, value = "" }) => [name, h("textarea.form-control", { name, rows: rowsFor(value) })]);
  inputs.forEach(([, input], at) => (input.value = fields[at].value ?? ""));
  const labelled = inputs.map(([, input], at) =>
    h("label.crewq-field", {}, fields[at].label, input, fields[at].hint ? h("small", {}, fields[at].hint) : null),
  );
  const close = () => dialog.close();
  const button = h("button.btn.btn-primary", { type: "submit" }, verb);
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", {}, title),
    note ? h("p", {}, note) : null,
    labelled,
    problem,
    h("div.crewq-buttons", {}, button, h("button.btn.btn-outline-secondary", { type: "button", on: { click: close } }, "Leave it")),
  );
  const dialog = h("dialog.crewq-dialog", { "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await done(Object.fromEntries(inputs.map(([name, input]) => [name, input.value])));
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.getElementById("crewq").append(dialog);
  dialog.showModal();
}

function rowsFor(text) {
  return Math.min(12, Math.max(2, text.split("\n").length, Math.ceil(text.length / 80)));
}

/** Ask whether it is meant. */
export function confirm(title, verb, done, note) {
  ask(title, [], verb, done, note);
}

/** A button that does something at once, and says so if it could not be done. */
export function button(text, kind, click, given = {}) {
  return h(`button.btn.btn-sm.btn-${kind}`, { type: "button", on: { click }, data: { key: text }, ...given }, text);
}
