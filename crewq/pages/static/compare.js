// Two runs side by side; what came out is shown as a difference.

import { card, fill, h, table } from "./dom.js";
import { base, get } from "./server.js";
import { asText, badge, duration, link, money, runLink, secondsBetween, tokens, when } from "./words.js";

export async function show(page) {
  const asked = new URLSearchParams(location.search);
  if (!asked.get("a") || !asked.get("b")) return fill(page, head(), form(asked));
  const both = await get(`/compare?${asked}`);
  fill(page, head(), sides(both.a, both.b), inputs(both.a.inputs, both.b.inputs), outcome("Output of the crew", both.output), both.tasks.map(task));
}

function head() {
  return h("header.crewq-head", {}, h("p.page-eyebrow", {}, link(`${base}/runs`, "Runs")), h("h1.h4", {}, "Two runs side by side"));
}

function form(asked) {
  const field = (name, label) => h("label.crewq-filter", {}, label, h("input.form-control.form-control-sm", { name, required: true, value: asked.get(name) ?? "" }));
  const go = (event) => {
    event.preventDefault();
    location.search = new URLSearchParams(new FormData(event.target)).toString();
  };
  return h("form.crewq-filters", { on: { submit: go } }, field("a", "One run's id"), field("b", "The other's"), h("button.btn.btn-sm.btn-primary", { type: "submit" }, "Compare"));
}

function sides(a, b) {
  const rows = [
    ["Run", runLink(a.id), runLink(b.id)],
    ["State", badge(a.state), badge(b.state)],
    ["Crew", a.crew, b.crew],
    ["Created", when(a.created), when(b.created)],
    ["Took", duration(secondsBetween(a.started, a.ended)), duration(secondsBetween(b.started, b.ended))],
    ["Tokens", tokens(a.usage), tokens(b.usage)],
    ["Cost", money(a.usage), money(b.usage)],
  ];
  return h("div.tasks-table-card", {}, table("The runs", ["", "One", "The other"], rows, ""));
}

function inputs(a, b) {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  if (!names.length) return null;
  const said = (side, name) => (name in side ? asText(side[name]) : "–");
  const rows = names.map((name) => {
    const alike = JSON.stringify(a[name]) === JSON.stringify(b[name]);
    return [name, said(a, name), alike ? h("span.text-body-secondary", {}, "the same") : h("ins", {}, said(b, name))];
  });
  return card("Inputs", table("Inputs", ["", "One", "The other"], rows, ""));
}

function task(pair) {
  const name = (pair.a ?? pair.b).name;
  const side = (one) => (one ? [badge(one.state), ` ${one.agent} · ${duration(secondsBetween(one.started, one.ended)) || "–"} · ${tokens(one.usage)} tokens · ${money(one.usage)}`] : "not in this run");
  return card(name, h("div.crewq-body.crewq-sides", {}, h("p", {}, side(pair.a)), h("p", {}, side(pair.b))), pieces(pair.output));
}

function outcome(title, difference) {
  return card(title, pieces(difference));
}

/** The text of each side: what only that side has is marked. */
function pieces(difference) {
  if (difference.every(([word]) => word === "same")) {
    return h("div.crewq-body", {}, h("p.text-body-secondary", {}, difference.length ? "The same in both." : "Nothing in either."), difference.length ? h("pre.crewq-text", { tabindex: "0" }, difference.map(([, text]) => text)) : null);
  }
  const half = (word, tag, label) =>
    h("pre.crewq-text", { tabindex: "0", "aria-label": label }, difference.filter(([kind]) => kind === "same" || kind === word).map(([kind, text]) => (kind === "same" ? text : h(tag, {}, text))));
  return h("div.crewq-body.crewq-sides", {}, half("gone", "del", "One"), half("new", "ins", "The other"));
}
