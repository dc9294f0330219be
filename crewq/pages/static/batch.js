// One batch: how far, how fast, until when; what failed; how long and how dear its runs were.

import { card, fill, h, table } from "./dom.js";
import { button, confirm } from "./dialog.js";
import { act, base, get, keepAsking, readOnly } from "./server.js";
import { badge, counted, dollars, duration, link, metrics, money, runLink, short, tokens, when } from "./words.js";

const LIVE = 2000; // ms
const LATER = 10000; // of a batch that has ended: it may be retried
const PAGE = 100;

export async function show(page, name) {
  const [head, failures, charts, runs, people] = Array.from({ length: 5 }, () => h("div"));
  const problem = h("p.crewq-danger", { role: "alert" });
  let offset = 0;
  let shown = "";
  let refresh = () => {};

  const does = async (verb) => {
    problem.textContent = "";
    try {
      await act(`/batches/${name}/${verb}`);
      refresh();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const go = (to) => () => {
    offset = to;
    refresh();
  };

  function draw(batch, list) {
    document.title = `${batch.ended ? "ended" : "at work"} · ${batch.crew} ${short(batch.id)} · Flower`;
    fill(head, header(batch, does));
    const changed = JSON.stringify([batch, list]);
    if (changed === shown) return;
    shown = changed;
    const paid = batch.cost.to > 0; // where all is free, a chart of it says nothing
    fill(charts, h("div.crewq-charts", {}, chart("Durations", batch.seconds, duration), paid ? chart("Cost", batch.cost, dollars) : null));
    fill(failures, batch.failures.length ? card(failedTitle(batch), table("Failed runs", ["Item", "Run", "Why"], batch.failures.map(failure), "")) : null);
    fill(runs, card("Runs", table("Runs of the batch", ["Item", "Run", "State", "-Tokens", "-Cost"], list.runs.map(row), "None yet."),
      h("nav.crewq-pager", { "aria-label": "Pages of runs" }, turn("Earlier", offset > 0, go(Math.max(0, offset - PAGE))), turn("Later", list.next !== null, go(list.next)))));
    const acts = batch.actions.map((one) => [when(one.at), one.who, one.action, one.detail]);
    fill(people, acts.length ? card("What people did", table("What people did", ["When", "Who", "What", "-About"], acts, "")) : null);
  }

  const first = await get(`/batches/${name}`); // if it is not there, the page says so
  fill(page, head, problem, charts, failures, runs, people);
  draw(first, await get(`/batches/${name}/runs?limit=${PAGE}&offset=0`));
  refresh = keepAsking(async () => {
    try {
      const batch = await get(`/batches/${name}`);
      draw(batch, await get(`/batches/${name}/runs?limit=${PAGE}&offset=${offset}`));
      return batch.ended ? LATER : LIVE * Math.max(1, batch.total / 2000);
    } catch (error) {
      problem.textContent = error.message;
      return LATER;
    }
  });
}

function header(batch, does) {
  const done = batch.completed + batch.failed + batch.cancelled;
  const parts = [`${batch.completed} of ${batch.total} completed`];
  for (const state of ["failed", "cancelled", "under_way"]) if (batch[state]) parts.push(`${batch[state]} ${state.replace("_", " ")}`);
  return h(
    "header.crewq-head",
    {},
    h("p.page-eyebrow", {}, link(`${base}/runs?view=batches`, "Batches")),
    h("h1.h4", {}, `${batch.crew} `, h("code", {}, short(batch.id)), " ", badge(batch.ended ? "ended" : "running")),
    h("progress.crewq-progress", { max: Math.max(1, batch.total), value: done, "aria-label": "Runs that have ended" }),
    h("p.crewq-about", {}, parts.map((part) => h("span", {}, part))),
    metrics(
      ["Runs per minute", (batch.per_second * 60).toFixed(batch.per_second * 60 < 10 ? 1 : 0)],
      [batch.ended ? "Took" : "Left", batch.ended ? took(batch) : batch.seconds_left === null ? "–" : `about ${duration(batch.seconds_left)}`],
      ["Tokens", tokens(batch.usage)],
      ["Cost", money(batch.usage)],
    ),
    readOnly ? null : h("div.crewq-buttons", {}, buttons(batch, does)),
  );
}

const took = (batch) => duration((Date.parse(batch.ended) - Date.parse(batch.created)) / 1000);

function buttons(batch, does) {
  const shown = [];
  if (batch.failed) shown.push(button(`Retry ${counted(batch.failed, "failed run")}`, "primary", () => does("retry")));
  if (!batch.ended) shown.push(button("Cancel", "outline-danger", () => confirm("Cancel all its runs that have not ended?", "Cancel the batch", () => does("cancel"))));
  return shown;
}

function failedTitle(batch) {
  const some = batch.failures.length < batch.failed ? `, the first ${batch.failures.length}` : "";
  return `Failed (${batch.failed}${some})`;
}

function failure(one) {
  return [one.item + 1, runLink(one.run), one.error];
}

function row(run) {
  return [run.item + 1, runLink(run.id), badge(run.state), tokens(run.usage), money(run.usage)];
}

function turn(text, possible, click) {
  return h("button.btn.btn-sm.btn-outline-secondary", { type: "button", disabled: !possible, data: { key: text }, on: { click } }, text);
}

/** How many of its runs lie in which part of the range. */
function chart(title, bars, say) {
  if (!bars.counts.length) return card(title, h("p.crewq-body.text-body-secondary", {}, "No run has ended yet."));
  const most = Math.max(...bars.counts);
  const width = (bars.to - bars.from) / bars.counts.length;
  const columns = bars.counts.map((count, at) => {
    const range = `${say(bars.from + at * width)} to ${say(bars.from + (at + 1) * width)}: ${counted(count, "run")}`;
    return h("li", { title: range, "aria-label": range, style: { height: `${count ? Math.max(2, (100 * count) / most) : 0}%` } });
  });
  return card(title, h("div.crewq-body", {}, h("ol.crewq-chart", {}, columns),
    h("p.crewq-ends", {}, h("span", {}, say(bars.from)), h("span", {}, `half of them below ${say(bars.median)}`), h("span", {}, say(bars.to)))));
}
