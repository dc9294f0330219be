// One run: its timeline and its tasks, live; and the buttons that change it.

import { block, card, fill, h, table } from "./dom.js";
import { ask, button, confirm } from "./dialog.js";
import { act, base, follow, get, readOnly } from "./server.js";
import { taskCard } from "./task.js";
import { callsOf, Timeline } from "./timeline.js";
import { asText, badge, batchLink, counted, duration, link, money, runLink, secondsBetween, short, tokens, when } from "./words.js";

const FRAME = 500; // ms between two pictures of a run that goes on
const SOON = 150; // ms: several events at once ask for the record once

export async function show(page, name) {
  let run = await get(`/runs/${name}`);
  const [head, problem, people, time, tasks, rest] = ["div", "p.crewq-danger", "div", "div", "div", "div"].map((tag) => h(tag));
  problem.setAttribute("role", "alert");
  const timeline = new Timeline(run.tasks);
  let waiting;
  let resumeListening = () => {};

  const attempt = async (deed) => {
    problem.textContent = "";
    try {
      await deed();
      await refresh();
      resumeListening();
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  const path = `/runs/${run.id}`;
  const does = (verb, body) => attempt(() => act(`${path}/${verb}`, body));

  async function refresh() {
    run = await get(path);
    draw();
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(() => refresh().catch((error) => (problem.textContent = error.message)), SOON);
  }

  function draw() {
    document.title = `${run.state} · ${run.crew} ${short(run.id)} · Flower`;
    fill(head, header(run, does));
    fill(people, run.tasks.filter((task) => task.asks).map((task) => question(task, does)), doubt(run, does));
    const open = new Map([...tasks.querySelectorAll("details")].map((one) => [one.id || key(one), one.open]));
    const last = run.state === "completed" ? run.tasks.findLast((task) => task.output) : undefined;
    const isOpen = (task) => open.get(`task-${task.index}`) ?? (task === last || undefined);
    fill(tasks, run.tasks.map((task) => taskCard(task, callsOf(timeline, task.index), taskButtons(run, task), isOpen(task))));
    for (const one of tasks.querySelectorAll("details.crewq-folded")) one.open = open.get(key(one)) ?? false;
    fill(rest, [...record(run)]);
  }

  fill(page, head, problem, people, card("Timeline", time), tasks, rest);
  draw();
  if (location.hash) document.getElementById(location.hash.slice(1))?.setAttribute("open", "");

  let stale = false;
  resumeListening = follow(
    run.id,
    (event) => {
      timeline.take(event);
      stale = true;
      if (event.type !== "token" && event.type !== "call_started") soon();
    },
    (word) => {
      if (word === "gone") problem.textContent = "This run has been forgotten.";
      timeline.draw(time);
      soon();
    },
  );
  setInterval(() => {
    if (document.hidden || (!stale && timeline.over)) return;
    stale = false;
    timeline.draw(time);
  }, FRAME);
}

const key = (details) => `${details.closest(".crewq-task")?.id}/${details.dataset.fold}`;

function header(run, does) {
  const took = secondsBetween(run.started, run.ended);
  const about = [
    h("span", {}, "created ", when(run.created)),
    took === null ? null : h("span", {}, `${run.ended ? "took" : "at work for"} ${duration(took)}`),
    h("span", {}, `${tokens(run.usage)} tokens`),
    h("span", {}, money(run.usage)),
    run.batch ? h("span", {}, `number ${run.item + 1} of `, batchLink(run.batch)) : null,
    run.parent ? h("span", {}, "a replay of ", runLink(run.parent), " (", link(`${base}/compare?a=${run.parent}&b=${run.id}`, "compare"), ")") : null,
    run.replays.length ? h("span", {}, `${counted(run.replays.length, "replay")}: `, run.replays.map((one) => [runLink(one), " "])) : null,
  ];
  return h(
    "header.crewq-head",
    {},
    h("p.page-eyebrow", {}, link(`${base}/runs`, "Runs")),
    h("h1.h4", {}, `${run.crew} `, h("code", {}, short(run.id)), " ", badge(run.state)),
    h("p.crewq-about", {}, about),
    h("div.crewq-buttons", {}, runButtons(run, does)),
  );
}

function runButtons(run, does) {
  if (readOnly) return [];
  const buttons = [];
  if (!run.ended_for_good) {
    buttons.push(button("Cancel", "outline-danger", () => confirm("Cancel this run?", "Cancel the run", () => does("cancel"), "Calls under way are aborted; what was done so far is kept.")));
  }
  if (["failed", "cancelled"].includes(run.state)) buttons.push(button("Resume", "primary", () => does("resume")));
  return buttons;
}

function question(task, does) {
  const text = h("textarea.form-control", { rows: 3, "aria-label": "What to change", data: { key: `answer-${task.index}` } });
  const send = (said) => does("answer", { task: task.id, text: said });
  return card(
    `“${task.name}” asks you`,
    h("div.crewq-body", {},
      block(task.draft ?? "", "The answer so far"),
      readOnly ? null : [h("label.crewq-field", {}, "Will it do? If not, say what to change:", text),
        h("div.crewq-buttons", {}, button("It will do", "primary", () => send("")),
          button("Change it", "outline-primary", () => text.value.trim() && send(text.value)))],
    ),
  );
}

/** Of a call that must not simply be repeated, and was under way when its worker died. */
function doubt(run, does) {
  const task = run.tasks.find((one) => one.state === "paused" && !one.asks);
  if (!task || readOnly) return null;
  return card(
    `“${task.name}” waits for a decision`,
    h("div.crewq-body", {}, h("p", {}, task.paused_for), h("div.crewq-buttons", {},
      button("Make the call again", "outline-primary", () => does("resume", { call_in_doubt: "retry" })),
      button("Go on without it", "outline-primary", () => does("resume", { call_in_doubt: "skip" })))),
  );
}

function taskButtons(run, task) {
  return readOnly ? [] : [button("Replay from here", "outline-primary", () => replay(run, task), { data: { key: `replay-${task.index}` } })];
}

function replay(run, task) {
  const given = Object.entries(run.inputs).map(([name, value]) => ({ name: `input ${name}`, label: `Input ${name}`, value: asText(value) }));
  const earlier = run.tasks
    .filter((one) => one.index < task.index && one.output !== null)
    .map((one) => ({ name: `output ${one.id}`, label: `Output of ${one.name}`, value: one.output }));
  ask(
    `Replay from “${task.name}”`,
    [...given, ...earlier],
    "Start the replay",
    async (values) => {
      const body = { task: task.id };
      const inputs = Object.fromEntries(given.map(({ name, value }) => [name.slice(6), parsed(run.inputs[name.slice(6)], values[name], value)]));
      if (given.some(({ name, value }) => values[name] !== value)) body.inputs = inputs;
      const outputs = earlier.filter(({ name, value }) => values[name] !== value).map(({ name }) => [name.slice(7), values[name]]);
      if (outputs.length) body.outputs = Object.fromEntries(outputs);
      const answer = await act(`/runs/${run.id}/replay`, body);
      location.href = `${base}/runs/${answer.run}`;
    },
    "A new run: tasks before this one keep their outputs, unless you change them here.",
  );
}

function parsed(before, text, asItWas) {
  if (text === asItWas) return before;
  if (typeof before === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`This is no JSON: ${text}`);
  }
}

function* record(run) {
  if (run.error && !run.tasks.some((task) => task.error)) yield card("Error", h("p.crewq-body.crewq-danger", {}, run.error.message));
  const inputs = Object.entries(run.inputs);
  if (inputs.length) yield card("Inputs", h("dl.crewq-facts.crewq-body", {}, inputs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, block(asText(value), `Input ${name}`))])));
  if (run.actions.length) {
    const rows = run.actions.map((one) => [when(one.at), one.who, one.action, one.detail]);
    yield card("What people did", table("What people did", ["When", "Who", "What", "-About"], rows, ""));
  }
}
