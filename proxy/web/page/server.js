// One server: figures, what it prints, how its state changed, its tools, its last calls.

import { api, Refused } from "./session.js";
import { button, h, icon, setChildren, setText } from "./dom.js";
import { ago, clock, duration, moment, number, rate } from "./format.js";
import { Spark } from "./charts.js";
import { keepBadge, outcomeBadge, stateBadge, stateWord } from "./words.js";
import { restart, sinceText } from "./servers.js";
import { toolPath } from "./tools.js";
import { store } from "./store.js";

const MOST_CALLS = 8;
const MOST_CHIPS = 40;
const TRANSPORTS = { stdio: "child process (stdio)", "streamable-http": "Streamable HTTP", sse: "HTTP with SSE" };

export function serverView(key) {
  const state = h("span");
  const since = h("span", { class: "soft" });
  const again = button("Restart", { iconName: "restart", "aria-label": `Restart ${key}`, on: () => restart(key, again) });
  const spark = new Spark({ width: 480, height: 56, label: `${key}: ` });
  const facts = new Facts(["Version", "Protocol", "Transport", "Tools", "Prompts", "Resources", "Restarts", "Last start took"]);
  const figures = new Facts(["Calls a second", "p50", "p99", "In flight", "Calls", "Failed"]);
  const problem = h("div", { class: "note bad", hidden: true }, icon("failed"), h("div", {}, h("p", { class: "text" }), h("p", { class: "soft" })));
  const output = outputPanel(key);
  const steps = h("ol", { class: "steps" });
  const tools = h("ul", { class: "chips" });
  const leftOut = h("div", { class: "pad stack-small" });
  const calls = callsPanel(key);
  const gone = h("div", { class: "empty panel", hidden: true }, icon("servers"), h("strong", { text: `No server “${key}” is configured` }), h("a", { href: "#/servers", text: "All servers" }));
  const content = h("div", { class: "view" },
    problem,
    h("section", { class: "panel figures", "aria-label": "Figures" }, figures.element, h("div", { class: "curve" }, spark.element, h("p", { class: "soft", text: "Calls in the last 4 minutes; percentiles are of the last 500" }))),
    h("div", { class: "columns" },
      h("div", { class: "stack" }, output.element, calls.element),
      h("div", { class: "stack" },
        h("section", { class: "panel", "aria-labelledby": "about" }, h("header", {}, h("h2", { id: "about", text: "About" })), facts.element),
        h("section", { class: "panel", "aria-labelledby": "tools-of" }, h("header", {}, h("h2", { id: "tools-of", text: "Tools" })), tools, leftOut),
        h("section", { class: "panel", "aria-labelledby": "states" }, h("header", {}, h("h2", { id: "states", text: "States" })), steps))));
  const element = h("div", { class: "view" },
    h("div", { class: "head" },
      h("nav", { class: "crumbs", "aria-label": "Where you are" }, h("a", { href: "#/servers", text: "Servers" }), h("span", { class: "sep", "aria-hidden": "true", text: "/" }), h("h1", { tabindex: "-1" }, h("bdi", { text: key }))),
      state, since, h("span", { class: "grow" }), again),
    gone, content);
  let asked = "";

  function update() {
    const server = store.servers.get(key);
    const known = server !== undefined;
    if (!known && store.connection === "connecting") return;
    gone.hidden = known;
    content.hidden = again.hidden = !known;
    if (!known) return;
    keepBadge(state, server.state, stateBadge);
    setText(since, sinceText(server));
    spark.update(server.spark, server.failed);
    figures.set([rate(server.rate), duration(server.p50), duration(server.p99), server.queued ? `${server.in_flight} + ${server.queued} waiting` : number(server.in_flight), number(server.calls), number(server.failures)]);
    facts.set([[server.name, server.version].filter(Boolean).join(" ") || "not known yet", server.protocol || "–", TRANSPORTS[server.transport] ?? server.transport, number(server.tools), number(server.prompts), number(server.resources), number(server.restarts), duration(server.start_seconds)]);
    showProblem(problem, server);
    // What is too long to be sent with each change is asked for when the state changes.
    const now = `${server.state} ${server.since} ${server.tools}`;
    if (now !== asked) {
      asked = now;
      details();
    }
  }

  async function details() {
    try {
      const found = await api(`/servers/${encodeURIComponent(key)}`);
      showTools(tools, Object.entries(found.tool_names));
      showLeftOut(leftOut, found);
      setChildren(steps, found.steps.map(({ at, new: name, reason }) => h("li", {}, h("time", { class: "soft", title: moment(at), text: clock(at) }), h("div", {}, h("strong", { text: stateWord(name) }), reason && h("p", { class: "soft text", text: reason })))));
      if (steps.children.length === 0) steps.append(h("li", { class: "soft", text: "It has not changed yet." }));
    } catch (problem) {
      if (!(problem instanceof Refused)) asked = ""; // the hub is gone: asked again when it is back
    }
  }

  store.watch(key);
  return {
    element,
    title: key,
    update: { servers: () => { update(); calls.update(); }, tick: update, output: output.update, calls: calls.update },
    close: () => store.watch(null),
  };
}

/** The first of them; all where that is asked for. */
function showTools(list, names, most = MOST_CHIPS) {
  setChildren(list, names.slice(0, most).map(([name, own]) => h("li", {}, h("a", { class: "chip mono", href: toolPath(name), title: name }, h("bdi", { text: own })))));
  if (names.length === 0) list.append(h("li", { class: "soft", text: "None are known." }));
  if (names.length <= most) return;
  list.append(h("li", {}, button(`All ${number(names.length)}`, { kind: "small", on: () => {
    showTools(list, names, names.length);
    list.children[most].querySelector("a").focus();
  } })));
}

/** What of its lists clients do not see, or not as it came, and why. */
function showLeftOut(place, { listed, tool_names, odd }) {
  const hidden = (listed.tools ?? 0) - Object.keys(tool_names).length;
  const lines = [...odd];
  if (hidden > 0) lines.unshift(`Clients see ${number(Object.keys(tool_names).length)} of its ${number(listed.tools)} tools, by the rules of its entry or for what is said here.`);
  setChildren(place, lines.map((text) => h("p", { class: "soft text", text })));
  place.hidden = lines.length === 0;
}

function showProblem(place, server) {
  const [text, when] = place.querySelectorAll("p");
  const down = ["failed", "backoff"].includes(server.state);
  place.hidden = !down && !server.last_error;
  if (place.hidden) return;
  place.className = down ? "note bad" : "note";
  setText(text, down ? server.reason : server.last_error.text);
  setText(when, down ? "" : `the last error, ${ago(store.now() - server.last_error.at)}`);
}

/** Names and values, as a list. */
class Facts {
  constructor(names) {
    this.values = names.map(() => h("dd", { class: "text" }));
    this.element = h("dl", { class: "facts" }, names.map((name, index) => h("div", {}, h("dt", { text: name }), this.values[index])));
  }
  set(texts) {
    texts.forEach((text, index) => setText(this.values[index], text));
  }
}

function outputPanel(key) {
  const lines = h("div", { class: "console mono", tabindex: "0", role: "log", "aria-live": "off", "aria-label": `What ${key} printed` });
  const empty = h("div", { class: "empty" }, h("p", { text: "It has printed nothing on stderr." }));
  const element = h("section", { class: "panel", "aria-labelledby": "output" }, h("header", {}, h("h2", { id: "output", text: "Output" }), h("span", { class: "soft", text: "stderr, the last 500 lines" })), lines, empty);
  let last = null;

  function update() {
    const kept = store.output.lines;
    const follows = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 24;
    const start = last === null ? 0 : kept.findLastIndex((line) => line.number === last) + 1;
    if (start === 0) lines.replaceChildren();
    for (const line of kept.slice(start)) {
      lines.append(h("div", { class: line.stream }, h("time", { class: "soft", text: clock(line.at) }), h("span", { class: "text", text: line.stream === "stdout" ? `stdout: ${line.text}` : line.text || " " })));
    }
    while (lines.children.length > kept.length) lines.firstChild.remove();
    last = kept.at(-1)?.number ?? null;
    lines.hidden = kept.length === 0;
    empty.hidden = kept.length > 0;
    if (follows) lines.scrollTop = lines.scrollHeight;
  }
  return { element, update };
}

function callsPanel(key) {
  const list = h("ul", { class: "brief-calls" });
  const all = h("a", { href: `#/calls?server=${encodeURIComponent(key)}`, text: "All its calls" });
  const empty = h("div", { class: "empty" }, h("p", { text: "No calls yet. Try one of its tools." }));
  const element = h("section", { class: "panel", "aria-labelledby": "last-calls" }, h("header", {}, h("h2", { id: "last-calls", text: "Last calls" }), h("span", { class: "grow" }), all), list, empty);
  const rows = new Map();

  function update() {
    const calls = store.calls.filter((call) => call.server === key).slice(0, MOST_CALLS);
    for (const number of [...rows.keys()]) if (!calls.some((call) => call.number === number)) rows.delete(number);
    setChildren(list, calls.map((call) => {
      if (!rows.has(call.number)) rows.set(call.number, h("li", {}, h("time", { class: "soft", text: clock(call.at) }), outcomeBadge(call.outcome), h("bdi", { class: "mono cut", text: call.tool }), h("span", { class: "num", text: duration(call.seconds) })));
      return rows.get(call.number);
    }));
    list.hidden = calls.length === 0;
    empty.hidden = calls.length > 0;
    const { calls: all = 0, tools = 0 } = store.servers.get(key) ?? {};
    setText(empty.firstChild, all ? "None of the last 1,000 calls went to it." : tools ? "No calls yet. Try one of its tools." : "No calls yet.");
  }
  return { element, update };
}
