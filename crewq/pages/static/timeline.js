// A run as bars over time: one row per task, one bar per attempt, a tick for each call to a model or a tool.
// It is built from the run's events, so it shows what the record of the run does not keep: attempts that were lost.

import { fill, h } from "./dom.js";
import { counted, duration } from "./words.js";

const TICKS = 400; // per task; more would be a grey bar
const HOW = {
  task_completed: "completed",
  task_failed: "failed",
  task_skipped: "skipped",
  task_paused: "paused",
  task_requeued: "handed back",
};

export class Timeline {
  constructor(tasks) {
    this.tasks = tasks.map((task) => ({ name: task.name, attempts: [], calls: new Map(), saying: "", waits: "" }));
    this.began = 0;
    this.latest = 0;
    this.over = false;
    this.notes = [];
  }

  /** Take note of what happened. */
  take(event) {
    const at = Number(event.id.split("-")[0]);
    if (!this.began) this.began = at;
    this.latest = at;
    if (event.type.startsWith("run_")) this.run(event);
    const task = this.tasks[event.task];
    if (task) this.task(task, event, at);
  }

  run(event) {
    this.over = ["run_completed", "run_failed", "run_cancelled"].includes(event.type);
    if (event.type === "run_resumed") this.notes.push("resumed");
  }

  task(task, event, at) {
    const open = task.attempts.findLast((attempt) => !attempt.to);
    if (event.type === "task_started") {
      if (open) Object.assign(open, { to: at, how: "lost" });
      task.attempts.push({ number: event.attempt, worker: event.worker, from: at, to: 0, how: "running", why: "" });
      task.saying = "";
    } else if (HOW[event.type]) {
      const lost = event.type === "task_requeued" && /crash|died|lease/.test(event.reason);
      if (open) Object.assign(open, { to: at, how: lost ? "lost" : HOW[event.type], why: event.reason ?? "" });
      for (const call of task.calls.values()) if (!call.to) Object.assign(call, { to: at, broken: true });
      task.saying = "";
    } else if (event.type === "call_started") {
      task.calls.set(`${event.attempt}/${event.call}`, { kind: event.kind, name: event.name, from: at, to: 0, attempt: event.attempt });
    } else if (event.type === "call_finished") {
      const known = task.calls.get(`${event.attempt}/${event.call}`) ?? { kind: event.kind, name: event.name, from: at, attempt: event.attempt };
      task.calls.set(`${event.attempt}/${event.call}`, { ...known, to: at, reused: event.reused, seconds: event.seconds, usage: event.usage });
      task.saying = "";
    } else if (event.type === "token" && !event.tool) {
      task.saying = `${event.offset ? task.saying : ""}${event.text}`.slice(-400);
    } else if (event.type === "task_warned") {
      this.notes.push(`${task.name}: ${event.reason}`);
    }
  }

  /** End what was open when the run ended: a cancelled run says nothing of its tasks. */
  settle() {
    for (const task of this.tasks) {
      for (const attempt of task.attempts) if (!attempt.to) Object.assign(attempt, { to: this.latest, how: "cancelled" });
    }
  }

  draw(place) {
    if (this.over) this.settle();
    const end = this.over ? this.latest : Math.max(this.latest, Date.now());
    const span = Math.max(1, end - this.began);
    const share = (ms) => `${Math.min(100, Math.max(0, (100 * (ms - this.began)) / span)).toFixed(3)}%`;
    const rows = this.tasks.map((task, at) => this.row(task, at, share, end));
    const scale = [0, 0.25, 0.5, 0.75, 1].map((part) => h("span", { style: { left: `${part * 100}%` } }, duration((span * part) / 1000)));
    fill(
      place,
      h("ol.crewq-timeline", {}, rows),
      h("div.crewq-scale", { "aria-hidden": "true" }, h("div", {}, scale)),
      h("p.crewq-legend", {}, "● model · ◆ tool · hollow: under way · red: broken off · pale: answered from the journal · striped bar: the worker was lost"),
      this.notes.length ? h("ul.crewq-notes", {}, [...new Set(this.notes)].map((note) => h("li", {}, note))) : null,
    );
  }

  row(task, at, share, end) {
    const calls = [...task.calls.values()];
    const bars = task.attempts.map((attempt) => bar(attempt, share, end));
    const ticks = calls.slice(-TICKS).map((call) => tick(call, share));
    return h(
      "li.crewq-row",
      {},
      h("a.crewq-row-name", { href: `#task-${at}`, data: { key: `row-${at}` } }, `${at + 1} ${task.name}`),
      h("div.crewq-track", { role: "img", "aria-label": summary(task, calls) }, bars, ticks),
      task.saying ? h("p.crewq-saying", {}, task.saying) : null,
    );
  }
}

function bar(attempt, share, end) {
  const to = attempt.to || end;
  const kind = attempt.how.replace(" ", "-");
  const title = `attempt ${attempt.number} on ${attempt.worker}: ${attempt.how}, ${duration((to - attempt.from) / 1000)}${attempt.why ? ` (${attempt.why})` : ""}`;
  return h(`span.crewq-bar.crewq-bar-${kind}`, { title, style: { left: share(attempt.from), width: `calc(${share(to)} - ${share(attempt.from)})` } });
}

function tick(call, share) {
  const how = call.broken ? "broken off" : !call.to ? "under way" : call.reused ? "answered from the journal" : duration(call.seconds ?? 0);
  const classes = `.crewq-tick.crewq-${call.kind}${call.to ? "" : ".crewq-open"}${call.reused ? ".crewq-reused" : ""}${call.broken ? ".crewq-broken" : ""}`;
  return h(`span${classes}`, { title: `${call.kind} ${call.name}: ${how}`, style: { left: share(call.to || call.from) } });
}

function summary(task, calls) {
  const made = (kind) => calls.filter((call) => call.kind === kind && call.to && !call.reused).length;
  const lost = task.attempts.filter((attempt) => attempt.how === "lost").length;
  const last = task.attempts.at(-1)?.how ?? "not begun";
  return `${task.name}: ${last}, ${counted(task.attempts.length, "attempt")}${lost ? `, ${lost} lost` : ""}, ${counted(made("model"), "model call")}, ${counted(made("tool"), "tool call")}`;
}

/** The calls of a task, for a table. */
export function callsOf(timeline, at) {
  return [...timeline.tasks[at].calls.values()];
}
