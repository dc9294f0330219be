// Runs and batches: filtered, counted, paged, and kept up to date.

import { fill, h, table } from "./dom.js";
import { base, get, keepAsking } from "./server.js";
import { badge, batchLink, counted, duration, metrics, money, runLink, secondsBetween, short, tokens, when } from "./words.js";

const STATES = ["", "queued", "running", "paused", "completed", "failed", "cancelled"];
const COLUMNS = ["", "Run", "State", "Crew", "-Created", "-Took", "-Tokens", "-Cost", "-Belongs to"];
const BATCH_COLUMNS = ["Batch", "Crew", "-Created", "Runs", "Completed", "-Failed", "-Cancelled", "-Ended"];
const LIVE = 2000; // ms
const TOTALS_EVERY = 5; // rounds

const wanted = Object.fromEntries(new URLSearchParams(location.search));
const chosen = new Set();
let earlier = []; // where the pages before this one began
let after = "";
let rounds = 0;

export async function show(page) {
  if (wanted.view === "batches") return showBatches(page);
  const sums = h("div", { "aria-live": "off" });
  const states = h("nav.task-state-filters", { "aria-label": "Filter runs by state" });
  const list = h("div.tasks-table-card");
  const pager = h("nav.crewq-pager", { "aria-label": "Pages of runs" });
  const problem = h("p.crewq-danger", { role: "alert" });
  const compare = h("button.btn.btn-sm.btn-outline-primary", { type: "button", disabled: true, on: { click: goCompare } }, "Compare two");
  let shown = "";
  let refresh = () => {};

  function goCompare() {
    const [a, b] = chosen;
    location.href = `${base}/compare?a=${a}&b=${b}`;
  }

  function change(name, value) {
    if (value) wanted[name] = value;
    else delete wanted[name];
    [after, earlier, rounds] = ["", [], 0];
    history.replaceState(null, "", `?${new URLSearchParams(wanted)}`);
    refresh();
  }

  function draw(answer) {
    fill(states, STATES.map((state) => stateButton(state, answer.counts, change)));
    const changed = JSON.stringify(answer.runs);
    if (changed === shown) return;
    shown = changed;
    fill(list, table("Runs", COLUMNS, answer.runs.map((run) => row(run, choose)), "No run fits."));
    fill(pager, turn("Newer", earlier.length > 0, back), turn("Older", answer.next !== "", () => on(answer.next)), h("span.text-body-secondary", {}, sought(answer)));
  }

  function choose(run, yes) {
    if (yes) chosen.add(run);
    else chosen.delete(run);
    compare.disabled = chosen.size !== 2;
  }

  const on = (next) => {
    earlier.push(after);
    after = next;
    refresh();
  };
  const back = () => {
    after = earlier.pop();
    refresh();
  };

  fill(page, head("runs"), sums, filters(change), states, problem, list, h("div.crewq-below", {}, pager, compare));
  refresh = keepAsking(async () => {
    try {
      draw(await get(`/runs?${query({ after })}`));
      if (rounds++ % TOTALS_EVERY === 0) fill(sums, totals(await get(`/totals?${query()}`)));
      problem.textContent = "";
    } catch (error) {
      problem.textContent = error.message;
    }
    return LIVE;
  });
}

function head(view) {
  const tab = (name, text, href) => h(`a.nav-link${view === name ? ".active" : ""}`, { href, "aria-current": view === name && "page" }, text);
  return h(
    "header.page-header",
    {},
    h("div", {}, h("p.page-eyebrow", {}, "Crews"), h("h1.h4", {}, view === "runs" ? "Runs" : "Batches")),
    h("nav.nav.nav-pills", { "aria-label": "Runs or batches" }, tab("runs", "Runs", "?"), tab("batches", "Batches", "?view=batches")),
  );
}

function query(more = {}) {
  const asked = { ...wanted, ...more };
  for (const name of ["since", "until"]) if (asked[name]) asked[name] = String(new Date(asked[name]).getTime());
  return new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
}

function filters(change) {
  const field = (name, label, type) => {
    const input = h("input.form-control.form-control-sm", { type, name, value: wanted[name] });
    input.addEventListener(type === "search" ? "input" : "change", later(() => change(name, input.value)));
    return h("label.crewq-filter", {}, label, input);
  };
  return h(
    "form.crewq-filters",
    { role: "search", on: { submit: (event) => event.preventDefault() } },
    field("text", "Text", "search"),
    field("crew", "Crew", "search"),
    field("since", "Since", "datetime-local"),
    field("until", "Until", "datetime-local"),
  );
}

function later(act) {
  let waiting;
  return () => {
    clearTimeout(waiting);
    waiting = setTimeout(act, 250);
  };
}

function stateButton(state, counts, change) {
  const active = (wanted.state ?? "") === state;
  const number = state ? counts[state] : Object.values(counts).reduce((sum, one) => sum + one, 0);
  return h(
    `button.task-state-filter${active ? ".active" : ""}`,
    { type: "button", "aria-pressed": String(active), data: { key: `state-${state}` }, on: { click: () => change("state", state) } },
    `${state || "all"} ${number.toLocaleString("en")}`,
  );
}

function row(run, choose) {
  const tick = h("input.form-check-input", { type: "checkbox", "aria-label": `Compare ${short(run.id)}`, data: { key: `pick-${run.id}` } });
  tick.checked = chosen.has(run.id);
  tick.addEventListener("change", () => choose(run.id, tick.checked));
  const took = duration(secondsBetween(run.started, run.ended ?? (run.state === "running" ? null : run.started)));
  const origin = run.batch ? batchLink(run.batch) : run.parent ? h("span", {}, "replay of ", runLink(run.parent)) : "";
  return [tick, runLink(run.id), badge(run.state), run.crew, when(run.created), run.started ? took : "", tokens(run.usage), money(run.usage), origin];
}

function turn(text, possible, click) {
  return h("button.btn.btn-sm.btn-outline-secondary", { type: "button", disabled: !possible, data: { key: text }, on: { click } }, text);
}

function sought(answer) {
  return answer.looked_at > answer.runs.length ? `${counted(answer.looked_at, "run")} looked at` : "";
}

function totals(sum) {
  const number = sum.runs.toLocaleString("en");
  return metrics(["Runs", sum.all ? number : `${number} newest`], ["Tokens", tokens(sum.usage)], ["Cost", money(sum.usage)]);
}

// -- batches ----------------------------------------------------------------------------------------------------------

async function showBatches(page) {
  const list = h("div.tasks-table-card");
  const problem = h("p.crewq-danger", { role: "alert" });
  const pager = h("nav.crewq-pager", { "aria-label": "Pages of batches" });
  let offset = 0;
  let refresh = () => {};
  const go = (to) => () => {
    offset = to;
    refresh();
  };
  fill(page, head("batches"), problem, list, pager);
  refresh = keepAsking(async () => {
    try {
      const answer = await get(`/batches?limit=50&offset=${offset}`);
      fill(list, table("Batches", BATCH_COLUMNS, answer.batches.map(batchRow), "There is no batch."));
      fill(pager, turn("Newer", offset > 0, go(Math.max(0, offset - 50))), turn("Older", answer.next !== null, go(answer.next)));
    } catch (error) {
      problem.textContent = error.message;
    }
    return LIVE;
  });
}

function batchRow(batch) {
  const name = h("a", { href: `${base}/batches/${batch.id}`, title: batch.id, data: { key: batch.id } }, short(batch.id));
  return [name, batch.crew, when(batch.created), batch.total, batch.completed, batch.failed, batch.cancelled, when(batch.ended)];
}
