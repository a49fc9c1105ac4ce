// States and outcomes: a word, a shape and a colour each, so that none of the three has to be seen.

import { h, icon } from "./dom.js";

const STATES = {
  ready: ["Ready", "ready", "ok"],
  starting: ["Starting", "busy", "busy"],
  backoff: ["Retrying", "warning", "warn"],
  failed: ["Failed", "failed", "bad"],
  idle: ["Asleep", "asleep", ""],
  stopped: ["Stopped", "stopped", ""],
};

const OUTCOMES = {
  ok: ["OK", "ready", "ok"],
  tool_error: ["Tool error", "warning", "bad"],
  error: ["Error", "failed", "bad"],
  timeout: ["Timed out", "failed", "bad"],
  cancelled: ["Cancelled", "stopped", ""],
  running: ["Running", "busy", "busy"],
  waiting: ["Waiting", "pause", "warn"],
};

export const FAILED = new Set(["tool_error", "error", "timeout"]);

const look = (table, name) => table[name] ?? [name, "stopped", ""];

export const stateWord = (name) => look(STATES, name)[0];
export const outcomeWord = (name) => look(OUTCOMES, name)[0];

function badge([word, picture, tone]) {
  return h("span", { class: `badge ${tone}` }, icon(picture, picture === "busy" ? "turning" : ""), word);
}

export const stateBadge = (name) => badge(look(STATES, name));
export const outcomeBadge = (name) => badge(look(OUTCOMES, name));

/** Where a state shows a badge that may change: replaced only when it does. */
export function keepBadge(place, name, make) {
  if (place.dataset.shows === name) return;
  place.dataset.shows = name;
  place.replaceChildren(make(name));
}
