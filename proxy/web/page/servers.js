// The list of servers.

import { api } from "./session.js";
import { announce, button, h, icon, setChildren, setText } from "./dom.js";
import { ago, duration, number, plural, rate } from "./format.js";
import { Spark } from "./charts.js";
import { keepBadge, stateBadge } from "./words.js";
import { ask, tell } from "./dialogs.js";
import { store } from "./store.js";

export const serverPath = (key) => `#/servers/${encodeURIComponent(key)}`;

/** Restart a server; who has calls in flight is asked first. */
export async function restart(key, trigger) {
  const row = store.servers.get(key);
  const busy = row?.in_flight ?? 0;
  if (busy > 0 && !(await ask(`Restart ${key}?`, `${plural(busy, "call")} in flight will fail.`, "Restart"))) return;
  trigger.disabled = true;
  try {
    await api(`/servers/${encodeURIComponent(key)}/restart`, { method: "POST" });
    announce(`${key} is being restarted`);
  } catch (problem) {
    await tell(`${key} was not restarted`, problem.message);
  } finally {
    trigger.disabled = false;
  }
}

export function serversView() {
  const tiles = Object.fromEntries(["ready", "rate", "flight", "failed", "clients"].map((name) => [name, tile()]));
  const reason = h("p", { class: "text" });
  const problem = h("div", { class: "note bad", role: "alert", hidden: true }, icon("failed"), h("div", { class: "stack-small" }, h("p", { text: "The configuration file can't be used as it is now, so that all runs by what it was before:" }), reason));
  const element = h("div", { class: "view" },
    h("div", { class: "head" }, h("h1", { tabindex: "-1", text: "Servers" })),
    problem,
    h("dl", { class: "tiles" },
      tiles.ready.as("Ready"), tiles.rate.as("Calls a second"), tiles.flight.as("In flight"), tiles.failed.as("Failed, last 4 min"), tiles.clients.as("Clients")));
  const body = h("tbody");
  const heading = (text, more = "") => h("th", { scope: "col", class: more, text });
  const table = h("table", { class: "table servers" },
    h("caption", { class: "unseen", text: "Servers, in the order of the configuration" }),
    h("thead", {}, h("tr", {}, heading("Server"), heading("State"), heading("Tools", "num wide"), heading("Calls/s", "num"), heading("Last 4 min", "wide"), heading("p50", "num wide"), heading("p99", "num wide"), heading("In flight", "num wide"), heading("Last error", "wide error-column"), h("th", { class: "wide" }, h("span", { class: "unseen", text: "Actions" })))),
    body);
  const empty = h("div", { class: "empty" }, icon("servers"), h("strong", { text: "No servers are configured" }),
    h("p", {}, "Put some into ", h("code", { text: "mcpServers" }), " of the configuration file; this page shows them as soon as it is saved."));
  const panel = h("section", { class: "panel scrolls", "aria-label": "All servers" }, table, empty);
  element.append(panel);
  const rows = new Map();

  function update() {
    const servers = store.list();
    summary(tiles, servers);
    setText(reason, store.problem);
    problem.hidden = store.problem === "";
    for (const key of [...rows.keys()]) if (!store.servers.has(key)) rows.delete(key);
    setChildren(body, servers.map((server) => {
      let row = rows.get(server.key);
      if (!row) rows.set(server.key, (row = serverRow(server.key)));
      row.update(server);
      return row.element;
    }));
    table.hidden = servers.length === 0;
    empty.hidden = servers.length > 0 || store.connection === "connecting";
  }
  return { element, title: "Servers", update: { servers: update, tick: update } };
}

function tile() {
  const value = h("span", { class: "figure" });
  const more = h("span", { class: "of" });
  const bad = h("span", { class: "of bad-ink" });
  return {
    as: (label) => h("div", {}, h("dt", { text: label }), h("dd", {}, value, more, bad)),
    set(text, rest = "", tone = "", wrong = "") {
      setText(value, text);
      setText(more, rest);
      setText(bad, wrong);
      value.className = `figure ${tone}`;
    },
  };
}

function summary(tiles, servers) {
  const sum = (pick) => servers.reduce((total, server) => total + pick(server), 0);
  const asleep = servers.filter((server) => server.state === "idle").length;
  const down = servers.filter((server) => ["failed", "backoff"].includes(server.state)).length;
  const ready = servers.filter((server) => server.state === "ready").length;
  const rest = [`of ${servers.length}`, asleep && `${asleep} asleep`].filter(Boolean).join(" · ");
  tiles.ready.set(number(ready), rest, "", down ? `· ${number(down)} down` : "");
  tiles.rate.set(rate(sum((server) => server.rate)));
  tiles.flight.set(number(store.inFlight), sum((server) => server.queued) ? `${number(sum((server) => server.queued))} waiting` : "");
  const failed = sum((server) => server.failed.reduce((one, other) => one + other, 0));
  const calls = sum((server) => server.spark.reduce((one, other) => one + other, 0));
  tiles.failed.set(number(failed), `of ${plural(calls, "call")}`, failed ? "bad-ink" : "");
  tiles.clients.set(number(store.clients));
}

function serverRow(key) {
  const cell = (more = "") => h("td", { class: more });
  const link = h("a", { class: "server-name", href: serverPath(key) }, h("bdi", { text: key }));
  const about = h("div", { class: "soft cut about" });
  const why = h("div", { class: "narrow bad-ink why" });
  const state = h("div");
  const since = h("div", { class: "soft since" });
  const [tools, calls, p50, p99, flight] = [cell("num wide"), cell("num"), cell("num wide"), cell("num wide"), cell("num wide")];
  const spark = new Spark({ label: `${key}: ` });
  const error = h("bdi");
  const errorAt = h("span", { class: "soft" });
  const again = button("", { iconName: "restart", kind: "quiet only-icon", title: "Restart", "aria-label": `Restart ${key}`, on: () => restart(key, again) });
  const element = h("tr", { class: "link", data: { key }, on: { click: (event) => {
    if (!event.target.closest("a, button") && !getSelection().toString()) location.hash = serverPath(key);
  } } },
    h("td", { class: "who" }, link, about, why), h("td", { class: "state-cell" }, state, since), tools, calls, h("td", { class: "wide" }, spark.element), p50, p99, flight, h("td", { class: "wide error-column" }, h("div", { class: "last-error" }, errorAt, error)), h("td", { class: "num wide" }, again));

  function update(server) {
    const version = [server.name, server.version].filter(Boolean).join(" ");
    setText(about, version || server.transport);
    setText(why, ["failed", "backoff"].includes(server.state) ? server.reason : "");
    keepBadge(state, server.state, stateBadge);
    setText(since, sinceText(server));
    setText(tools, number(server.tools));
    setText(calls, rate(server.rate));
    spark.update(server.spark, server.failed);
    setText(p50, duration(server.p50));
    setText(p99, duration(server.p99));
    setText(flight, server.queued ? `${number(server.in_flight)} + ${number(server.queued)} waiting` : number(server.in_flight));
    setText(error, server.last_error?.text ?? "–");
    error.classList.toggle("soft", !server.last_error);
    setText(errorAt, server.last_error ? `${ago(store.now() - server.last_error.at)} · ` : "");
  }
  return { element, update };
}

/** How long a server has been as it is, or when it is tried again. */
export function sinceText(server) {
  const now = store.now();
  if (server.state === "backoff" && server.next_start) {
    const wait = Math.ceil(server.next_start - now);
    return wait > 0 ? `again in ${wait} s` : "again now";
  }
  return ago(now - server.since).replace(" ago", "").replace("just now", "since just now");
}
