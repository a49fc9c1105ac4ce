// The stream of calls: those under way on top, then those that ended, the newest first.

import { Timeline } from "./charts.js";
import { announce, button, freshId, h, icon, setChildren, setText } from "./dom.js";
import { age, bytes, clock, duration, moment, number, plural } from "./format.js";
import { publicName } from "./names.js";
import { FAILED, keepBadge, outcomeBadge } from "./words.js";
import { serverPath } from "./servers.js";
import { store } from "./store.js";
import { toolPath } from "./tools.js";

const AT_ONCE = 100;
const COLUMNS = 7;
const OUTCOMES = [["", "All outcomes"], ["running", "Under way"], ["ok", "OK"], ["failed", "Failed"], ["cancelled", "Cancelled"]];

const matchesOutcome = (outcome, wanted) => wanted === "" || outcome === wanted || (wanted === "failed" && FAILED.has(outcome));
const keyOf = (call) => `${call.session} ${call.id} ${call.started}`;

export function callsView(_, query) {
  const words = h("input", { class: "input", type: "search", placeholder: "Filter: tool, client, session, reason", "aria-label": "Filter calls", data: { search: "" } });
  const server = h("select", { class: "input", "aria-label": "Server" });
  const outcome = h("select", { class: "input", "aria-label": "Outcome" }, OUTCOMES.map(([value, text]) => h("option", { value, text })));
  const pause = button("Pause", { iconName: "pause", "aria-pressed": "false", on: () => hold() });
  const timeline = new Timeline(store, (picked) => open(picked));
  const active = h("tbody", { class: "active" });
  const ended = h("tbody");
  const table = h("table", { class: "table calls" },
    h("caption", { class: "unseen", text: "Calls under way, then calls that ended, the newest first" }),
    h("thead", {}, h("tr", {}, ["Time", "Outcome", "Server", "Tool", "Client", "Took", "Size"].map((text) => h("th", { scope: "col", class: `${["Server", "Client", "Size", "Time"].includes(text) ? "wide" : ""} ${["Took", "Size"].includes(text) ? "num" : ""}`, text })))),
    active, ended);
  const empty = h("div", { class: "empty" }, icon("calls"), h("strong"), h("p"));
  const more = button("", { kind: "small", on: () => { limit += AT_ONCE; update(); } });
  const missed = h("p", { class: "soft" });
  const element = h("div", { class: "view" },
    h("div", { class: "head" }, h("h1", { tabindex: "-1", text: "Calls" }), h("span", { class: "grow" }), missed),
    h("section", { class: "panel last-minute", "aria-labelledby": "minute" }, h("header", {}, h("h2", { id: "minute", text: "Last minute" }), h("span", { class: "grow" }), legend()), timeline.element),
    h("div", { class: "filters", role: "search" }, h("label", { class: "search" }, icon("search"), words), server, outcome, pause),
    h("section", { class: "panel scrolls", "aria-label": "Calls" }, table, empty, h("div", { class: "more" }, more)));
  let limit = AT_ONCE;
  let held = null;
  let rows = new Map();
  let runners = new Map();
  let servers = "";

  function fits(call) {
    if (server.value !== "" && call.server !== server.value) return false;
    const wanted = words.value.trim().toLowerCase();
    return wanted === "" || [call.tool, call.server, call.client, call.session, call.reason ?? "", call.method].join(" ").toLowerCase().includes(wanted);
  }

  function hold() {
    held = held === null ? store.calls : null;
    pause.setAttribute("aria-pressed", String(held !== null));
    update();
  }

  function update() {
    offerServers();
    const all = held ?? store.calls;
    const fitting = outcome.value === "running" ? [] : all.filter((call) => fits(call) && matchesOutcome(call.outcome, outcome.value));
    const seen = fitting.slice(0, limit);
    const kept = new Map();
    setChildren(ended, seen.flatMap((call) => {
      const row = rows.get(call.number) ?? endedRow(call);
      kept.set(call.number, row);
      return row.elements();
    }));
    rows = kept;
    const running = ["", "running"].includes(outcome.value) ? store.underWay.filter(fits) : [];
    const stay = new Map();
    setChildren(active, running.slice(0, AT_ONCE).map((call) => {
      const row = runners.get(keyOf(call)) ?? runningRow(call);
      stay.set(keyOf(call), row);
      row.update(call);
      return row.element;
    }));
    runners = stay;
    say(all.length, fitting.length, running.length);
  }

  function say(all, fitting, running) {
    const none = fitting + running === 0;
    table.hidden = none;
    empty.hidden = !none;
    if (none) {
      setText(empty.querySelector("strong"), all + store.underWay.length === 0 ? "No calls yet" : "No call fits this filter");
      setText(empty.querySelector("p"), all + store.underWay.length === 0 ? "Calls of all clients show up here the moment they begin. Try a tool, or connect a client to /mcp." : "Another text, server or outcome may have some.");
    }
    more.hidden = fitting <= limit;
    setText(more.lastChild, `Show ${AT_ONCE} more of ${number(fitting)}`);
    const fresh = held === null ? 0 : (store.calls[0]?.number ?? 0) - (held[0]?.number ?? 0);
    setText(pause.lastChild, held === null ? "Pause" : `Resume, ${number(fresh)} new`);
    setText(missed, store.missed ? `${plural(store.missed, "call")} came too fast to be shown` : "");
  }

  function offerServers() {
    const now = store.order.join("\n");
    if (now === servers && server.options.length) return;
    servers = now;
    const chosen = server.options.length ? server.value : (query.get("server") ?? "");
    const names = chosen === "" || store.order.includes(chosen) ? store.order : [...store.order, chosen];
    server.replaceChildren(h("option", { value: "", text: "All servers" }), ...names.map((name) => h("option", { value: name, text: name })));
    server.value = chosen;
  }

  function open(picked) {
    const row = rows.get(picked);
    if (!row) return;
    row.toggle(true);
    row.elements()[0].scrollIntoView({ block: "center" });
    row.focus();
  }

  function tick() {
    for (const row of runners.values()) row.tick();
    if (held === null && store.underWay.length === 0) return;
    update();
  }

  for (const control of [words, server, outcome]) {
    control.addEventListener("input", () => {
      limit = AT_ONCE;
      update();
      announce(`${ended.querySelectorAll("tr.call").length} calls fit`);
    });
  }
  timeline.filter = fits;
  return { element, title: "Calls", update: { calls: update, servers: offerServers, tick }, close: () => timeline.stop() };
}

function legend() {
  const one = (name, text) => h("span", { class: `key ${name}` }, text);
  return h("div", { class: "legend", "aria-hidden": "true" }, one("ok", "OK"), one("bad", "failed"), one("busy", "under way"));
}

const method = (call) => (call.method === "tools/call" ? null : h("span", { class: "tag", text: call.method }));

function endedRow(call) {
  const id = freshId("call");
  const toggle = h("button", { type: "button", class: "fold", "aria-expanded": "false", "aria-controls": id, on: { click: () => flip() } }, icon("chevron"), h("bdi", { class: "mono", text: call.tool || "–" }));
  const bar = h("div", { class: `took ${FAILED.has(call.outcome) ? "bad" : ""}` });
  // On a scale of tens: a millisecond still shows beside a minute.
  bar.style.setProperty("--share", String(Math.min(1, Math.max(0.02, Math.log10(1 + call.seconds * 1000) / 5))));
  const element = h("tr", { class: "call" },
    h("td", { class: "mono soft wide" }, h("time", { text: clock(call.at, true), title: moment(call.at) })),
    h("td", {}, outcomeBadge(call.outcome)),
    h("td", { class: "wide" }, call.server ? h("a", { href: serverPath(call.server) }, h("bdi", { text: call.server })) : h("span", { class: "soft", text: "none" })),
    h("td", { class: "tool-cell" }, h("div", { class: "tool" }, toggle, method(call)), h("div", { class: "soft narrow cut", text: `${call.server || "no server"} · ${clock(call.at)}` })),
    h("td", { class: "wide soft cut client" }, call.client || "–"),
    h("td", { class: "num" }, duration(call.seconds), bar),
    h("td", { class: "num wide soft" }, `${bytes(call.bytes_in)} → ${bytes(call.bytes_out)}`));
  const below = h("tr", { class: "details", id, hidden: true });
  function flip(want = below.hidden) {
    if (want && below.childElementCount === 0) below.append(h("td", { colspan: String(COLUMNS) }, details(call)));
    below.hidden = !want;
    toggle.setAttribute("aria-expanded", String(want));
  }
  return { elements: () => [element, below], toggle: flip, focus: () => toggle.focus() };
}

function details(call) {
  const facts = [
    ["Came", clock(call.at - call.seconds, true)], ["Method", call.method], ["Session", call.session], ["Request id", call.id], ["Client", call.client || "unknown"],
    ["Request", bytes(call.bytes_in)], ["Answer", bytes(call.bytes_out)],
  ];
  return h("div", { class: "stack" },
    call.reason && h("p", { class: `note ${FAILED.has(call.outcome) ? "bad" : ""}` }, icon("warning"), h("span", { class: "text", text: call.reason })),
    h("dl", { class: "facts" }, facts.map(([name, text]) => h("div", {}, h("dt", { text: name }), h("dd", { class: "text", text })))),
    call.method === "tools/call" && call.server && toolLink(call));
}

/** The way to try the same tool, if its server still has it. */
function toolLink(call) {
  const place = h("p");
  publicName(call.server, call.tool).then((name) => {
    if (name !== undefined) place.append(h("a", { href: toolPath(name) }, "Try ", h("bdi", { class: "mono text", text: name })));
    else place.append(h("span", { class: "soft", text: "Its server does not list this tool now." }));
  }, () => {});
  return place;
}

function runningRow(call) {
  const state = h("td");
  const took = h("td", { class: "num" });
  const element = h("tr", { class: "call" },
    h("td", { class: "mono soft wide" }, h("time", { text: clock(call.started, true) })),
    state,
    h("td", { class: "wide" }, call.server ? h("a", { href: serverPath(call.server) }, h("bdi", { text: call.server })) : h("span", { class: "soft", text: "looking" })),
    h("td", { class: "tool-cell" }, h("div", { class: "tool" }, h("bdi", { class: "mono fold-space", text: call.tool }), method(call)), h("div", { class: "soft narrow cut", text: call.server })),
    h("td", { class: "wide soft cut client" }, call.client || "–"), took, h("td", { class: "wide" }));
  const row = {
    element,
    tick: () => setText(took, age(store.now() - call.started)),
    update(now) {
      keepBadge(state, now.waits ? "waiting" : "running", outcomeBadge);
      row.tick();
    },
  };
  return row;
}
