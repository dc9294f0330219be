// How times, sizes, money and ids are said: as crewq's command line says them, and shorter times than it knows.

import { h } from "./dom.js";
import { base } from "./server.js";

export const short = (id) => id.slice(0, 8);

export function secondsBetween(began, ended) {
  if (!began) return null;
  return ((ended ? Date.parse(ended) : Date.now()) - Date.parse(began)) / 1000;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const time = Math.max(0, seconds);
  if (time < 0.0995) return `${(1000 * time).toFixed(0)} ms`;
  if (time < 59.5) return time < 9.95 ? `${time.toFixed(1)} s` : `${time.toFixed(0)} s`;
  const minutes = Math.floor(Math.round(time) / 60);
  const rest = Math.round(time) % 60;
  return minutes < 60 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function money(usage) {
  const known = usage.unpriced_requests === 0;
  if (!usage.cost && !known) return "$?";
  return `${dollars(usage.cost)}${known ? "" : " + ?"}`;
}

export function dollars(cost) {
  if (cost > 0 && cost < 0.00005) return "<$0.0001"; // which four digits would call nothing
  return `$${cost.toFixed(cost >= 1 || !cost ? 2 : 4)}`;
}

export const tokens = (usage) => usage.total_tokens.toLocaleString("en");

export const counted = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** A moment: how long ago, and when. */
export function when(moment) {
  if (!moment) return "";
  const at = new Date(moment);
  return h("time", { datetime: moment, title: at.toLocaleString() }, `${roughly(secondsBetween(moment))} ago`);
}

function roughly(seconds) {
  if (seconds < 90) return `${Math.max(0, seconds).toFixed(0)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 129600 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} days`;
}

export function badge(state) {
  return h(`span.badge.crewq-state.crewq-${state}`, {}, state);
}

export const link = (href, text, given = {}) => h("a", { href, ...given }, text);

export const runLink = (id, text = short(id)) => link(`${base}/runs/${id}`, text, { title: id, data: { key: id } });

export const batchLink = (id) => link(`${base}/batches/${id}`, `batch ${short(id)}`, { title: id });

/** A few numbers, large. */
export function metrics(...pairs) {
  const one = ([label, value]) =>
    h("div.metric-card", {}, h("p.metric-label", {}, label), h("p.metric-value", {}, value));
  return h("div.metric-grid.crewq-metrics", {}, pairs.map(one));
}

/** An input or a value as a person writes it: texts as they are, all else as JSON. */
export const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2));
