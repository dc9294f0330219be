// One task of a run: what it was asked, what it said, what it cost, and what went wrong.

import { block, h, table } from "./dom.js";
import { badge, counted, duration, money, secondsBetween, tokens } from "./words.js";

const OPEN = ["failed", "paused", "running"];
const CALLS = ["Call", "Name", "Attempt", "Took", "-Tokens", "-Cost"];

/** A card that opens and closes; `isOpen` says whether a person has opened or closed it before. */
export function taskCard(task, calls, buttons, isOpen) {
  const details = h(
    "details.detail-card.crewq-task",
    { id: `task-${task.index}`, open: isOpen ?? OPEN.includes(task.state) },
    h("summary", { data: { key: `task-${task.index}` } }, h("strong", {}, `${task.index + 1} ${task.name}`), badge(task.state), h("span.text-body-secondary", {}, how(task))),
    h("div.crewq-body", {}, [...parts(task, calls)], h("div.crewq-buttons", {}, buttons)),
  );
  return details;
}

function how(task) {
  if (task.edited) return "output given by hand";
  if (task.kept) return "output kept from the parent run";
  const said = [task.agent];
  const seconds = secondsBetween(task.started, task.ended);
  if (seconds !== null && task.state !== "cancelled") said.push(duration(seconds));
  if (task.attempts > 1) said.push(counted(task.attempts, "attempt"));
  if (task.repeated_calls) said.push(counted(task.repeated_calls, "repeated call"));
  if (task.usage.successful_requests) said.push(`${tokens(task.usage)} tokens`, money(task.usage));
  return said.join(" · ");
}

function* parts(task, calls) {
  if (task.error) {
    yield part("Error", h("p.crewq-danger", {}, h("strong", {}, `${task.error.error}: `), task.error.message));
    if (task.traceback) yield folded("The worker's traceback", block(task.traceback, "Traceback"));
  }
  if (task.paused_for) yield part("Waits", h("p", {}, task.paused_for));
  if (task.draft && !task.asks) yield part("Its answer so far", block(task.draft, "The answer so far"));
  if (task.output !== null) yield part("Output", block(task.output, "Output"));
  yield part("Description", block(task.description, "Description"));
  if (task.expected_output) yield part("Expected output", block(task.expected_output, "Expected output"));
  yield facts(task);
  if (calls.length) yield folded(`Calls (${calls.length})`, table("Calls", CALLS, calls.map(callRow), ""));
  if (task.messages.length) yield folded(`Messages (${task.messages.length})`, task.messages.map(message));
}

function facts(task) {
  const rows = [
    ["Task id", h("code", {}, task.id)],
    ["Agent", task.agent],
    ["Given the outputs of", task.context.join(", ")],
    ["Worker", task.worker],
  ].filter(([, value]) => value);
  return h("dl.crewq-facts", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function part(title, ...children) {
  return h("section", {}, h("h3", {}, title), children);
}

function folded(title, ...children) {
  return h("details.crewq-folded", { data: { fold: title.replace(/ \(.*/, "") } }, h("summary", {}, title), children);
}

function callRow(call) {
  const state = call.broken ? "broken off" : !call.to ? "under way" : call.reused ? "from the journal" : duration(call.seconds ?? 0);
  return [call.kind, call.name, call.attempt, state, call.usage ? tokens(call.usage) : "", call.usage ? money(call.usage) : ""];
}

function message(one) {
  const content = typeof one.content === "string" ? one.content : one.content ? JSON.stringify(one.content, null, 2) : "";
  const calls = (one.tool_calls ?? []).map((call) => `→ ${call.function?.name ?? ""}(${call.function?.arguments ?? JSON.stringify(call)})`);
  const text = [content, ...calls].filter(Boolean).join("\n");
  return h("section.crewq-message", {}, h("h4", {}, one.role ?? "", one.name ? ` ${one.name}` : ""), block(text, `Message of ${one.role}`));
}
