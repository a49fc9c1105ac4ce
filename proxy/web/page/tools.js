// Every tool, and one of them to try.

import { announce, button, copy, h, icon, plain, setChildren, setText } from "./dom.js";
import { age, duration, number, plural } from "./format.js";
import { outcomeBadge, outcomeWord } from "./words.js";
import { mismatches } from "./check.js";
import { decodeAsWritten, isPlainObject } from "./json.js";
import { mcp } from "./mcp.js";
import { learnNames, ownerOf } from "./names.js";
import { runs } from "./runs.js";
import { Unfit } from "./fields.js";
import { schemaForm } from "./form.js";
import { showResult, showTree } from "./result.js";

export const toolPath = (name) => `#/tools/${encodeURIComponent(name)}`;

const MOST_LISTED = 500;
const drafts = new Map(); // arguments as they were last sent, by tool: a form that is left and come back to has them

export function toolsView(chosen) {
  const words = h("input", { class: "input", type: "search", placeholder: "Filter tools", "aria-label": "Filter tools", data: { search: "" } });
  const list = h("div", { class: "tool-list" });
  const count = h("p", { class: "soft", role: "status" });
  const side = h("nav", { class: "panel tool-side", "aria-label": "Tools" }, h("div", { class: "tool-search" }, h("label", { class: "search" }, icon("search"), words)), list, count);
  const place = h("div", { class: "tool-place" });
  const element = h("div", { class: `view tools-view ${chosen === undefined ? "" : "one"}` },
    h("div", { class: "head" }, h("h1", { tabindex: "-1", text: "Tools" })),
    h("div", { class: "tool-columns" }, side, place));
  let shown = null;
  let panel = null;
  let isPlaced = false; // the list is in its order, and was scrolled to the chosen one

  function update() {
    const tools = mcp.tools;
    if (tools === null) {
      setChildren(list, [waiting(mcp.problem)]);
      if (chosen !== undefined && panel === null) setChildren(place, [waiting(mcp.problem)]);
      return;
    }
    filter();
    if (!isPlaced) bring();
    const tool = tools.find((one) => one.name === chosen);
    const text = JSON.stringify([tool, ownerOf(chosen)]);
    if (text === shown) return;
    shown = text;
    panel?.close();
    panel = tool ? toolPanel(tool) : null;
    place.replaceChildren(panel ? panel.element : nothing(chosen, tools.length));
  }

  function filter() {
    const wanted = words.value.trim().toLowerCase();
    const fitting = mcp.tools.filter((tool) => `${tool.name} ${titleOf(tool)} ${tool.description ?? ""}`.toLowerCase().includes(wanted));
    const groups = new Map();
    for (const tool of fitting.slice(0, MOST_LISTED)) {
      const server = ownerOf(tool.name)?.[0] ?? "";
      if (!groups.has(server)) groups.set(server, []);
      groups.get(server).push(tool);
    }
    const focused = document.activeElement?.getAttribute?.("href");
    list.replaceChildren(...[...groups].map(([server, tools]) => h("section", {}, h("h2", { class: "group-name" }, h("bdi", { text: server || "others" }), h("span", { class: "soft", text: number(tools.length) })), h("ul", {}, tools.map((tool) => h("li", {}, entry(tool, tool.name === chosen)))))));
    if (focused) list.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
    setText(count, fitting.length > MOST_LISTED ? `${number(MOST_LISTED)} of ${plural(fitting.length, "tool")}; filter for more` : fitting.length === 0 ? (mcp.tools.length === 0 ? "No tools yet" : "No tool fits") : plural(fitting.length, "tool"));
  }

  const bring = () => list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  words.addEventListener("input", () => mcp.tools && filter());
  side.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [words, ...list.querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + step];
    if (next) {
      event.preventDefault();
      next.focus();
    }
  });
  const learn = () => learnNames().then(() => {
    update();
    isPlaced = mcp.tools !== null;
  }, () => {});
  mcp.open();
  mcp.retry();
  learn();
  return {
    element,
    title: chosen ?? "Tools",
    update: { tools: () => { update(); learn(); }, run: (event) => panel?.run(event.detail), tick: () => panel?.tick(), shown: bring },
    close: () => panel?.close(),
    start: update,
  };
}

function waiting(problem) {
  if (problem) return h("div", { class: "empty" }, icon("failed"), h("strong", { text: "The tools could not be read" }), h("p", { class: "text", text: problem }), button("Try again", { on: () => mcp.refresh() }));
  return h("div", { class: "empty" }, icon("busy", "turning"), h("p", { text: "Reading the tools…" }));
}

function nothing(chosen, count) {
  if (chosen !== undefined) return h("div", { class: "panel empty" }, icon("tools"), h("strong", { class: "text", text: `There is no tool “${chosen}”` }), h("p", { text: "Its server may be gone, or lists it no more." }), h("a", { href: "#/tools", text: "All tools" }));
  if (count === 0) return h("div", { class: "panel empty" }, icon("tools"), h("strong", { text: "No server lists a tool" }), h("p", {}, "See ", h("a", { href: "#/servers", text: "the servers" }), ": one may have failed, or is still starting."));
  return h("div", { class: "panel empty blank" }, icon("tools"), h("strong", { text: "Choose a tool to try it" }), h("p", {}, "Type ", h("kbd", { text: "/" }), " to filter, ", h("kbd", { text: "↓" }), " to walk through the list."));
}

const titleOf = (tool) => (typeof tool.title === "string" && tool.title) || (typeof tool.annotations?.title === "string" && tool.annotations.title) || "";
const ownName = (tool) => ownerOf(tool.name)?.[1] ?? tool.name;

function entry(tool, current) {
  return h("a", { href: toolPath(tool.name), "aria-current": current ? "page" : false, title: tool.name }, h("bdi", { class: "mono cut", text: ownName(tool) }), h("span", { class: "soft cut", text: String(tool.description ?? "").trim().split("\n")[0] || titleOf(tool) }));
}

function hints({ annotations = {} }) {
  const found = [];
  if (annotations.readOnlyHint === true) found.push(["read-only", ""]);
  if (annotations.destructiveHint === true && annotations.readOnlyHint !== true) found.push(["may destroy", "warn"]);
  if (annotations.idempotentHint === true) found.push(["idempotent", ""]);
  if (annotations.openWorldHint === true) found.push(["open world", ""]);
  return found.map(([text, tone]) => h("span", { class: `tag ${tone}`, text, title: "as the server says" }));
}

function toolPanel(tool) {
  const schema = tool.inputSchema ?? { type: "object" };
  const form = schemaForm(schema);
  const json = h("textarea", { class: "input mono", rows: "6", spellcheck: "false", "aria-label": "Arguments as JSON" });
  const jsonError = h("p", { class: "error", hidden: true });
  const asJson = h("div", { hidden: true }, json, jsonError);
  const asForm = h("div", {}, form.isEmpty ? h("p", { class: "soft", text: "It takes no arguments." }) : form.element);
  const swap = button("As JSON", { kind: "small quiet", on: () => flip() });
  const run = button("Run", { iconName: "play", kind: "main-one", type: "submit" });
  const cancel = button("Cancel", { iconName: "cross", hidden: true, on: () => runs.of(tool.name)?.cancel() });
  const outcome = outcomePanel();
  const doubts = doubtsNote(() => start(true));
  const [server] = ownerOf(tool.name) ?? [];
  const editor = h("form", { class: "panel", "aria-label": `Try ${tool.name}` },
    h("header", {}, h("h2", { text: "Arguments" }), h("span", { class: "grow" }), swap),
    h("div", { class: "pad stack" }, asForm, asJson, doubts.element),
    h("footer", {}, run, cancel, h("span", { class: "soft wide" }, h("kbd", { text: "Ctrl" }), " ", h("kbd", { text: "Enter" })), h("span", { class: "grow" }), requestHelp(tool, () => value())));
  const element = h("article", { class: "stack" },
    h("a", { class: "back", href: "#/tools" }, "All tools"),
    h("div", { class: "tool-head" },
      h("div", { class: "head" }, h("h2", { class: "tool-title" }, h("bdi", { class: "text", text: titleOf(tool) || ownName(tool) })), hints(tool)),
      h("p", { class: "soft" }, h("bdi", { class: "mono text", text: tool.name }), server && " of ", server && h("a", { href: `#/servers/${encodeURIComponent(server)}` }, h("bdi", { text: server }))),
      tool.description && h("p", { class: "text description", text: String(tool.description) })),
    editor, outcome.element,
    h("details", { class: "panel schema" }, h("summary", { text: "Definition" }), h("div", { class: "pad" }, showTree(tool, { open: 2 }))));

  function value(how) {
    if (asJson.hidden) return form.value(how);
    try {
      const parsed = decodeAsWritten(json.value.trim() || "{}");
      if (!isPlainObject(parsed)) throw new Error("it is not an object");
      jsonError.hidden = true;
      return parsed;
    } catch (problem) {
      complain(`These are no arguments: ${problem.message}`);
      return null;
    }
  }

  function complain(text) {
    jsonError.textContent = text;
    jsonError.hidden = false;
    json.setAttribute("aria-invalid", "true");
    json.focus();
  }

  function calm() {
    doubts.show([]);
    jsonError.hidden = true;
    json.removeAttribute("aria-invalid");
  }

  function flip() {
    const now = value({ lenient: true });
    if (now === null) return;
    if (asJson.hidden) showJson(now);
    else showForm(now);
  }

  function showJson(now) {
    json.value = JSON.stringify(now, null, 2);
    display(true);
  }

  /** Where the form has no place for something, JSON stays: nothing that was written gets lost. */
  function showForm(now) {
    calm();
    try {
      form.write(now);
      display(false);
    } catch (problem) {
      if (!(problem instanceof Unfit)) throw problem;
      if (asJson.hidden) showJson(now);
      complain(`The form can't show this: ${problem.path || "it"} ${problem.message}.`);
    }
  }

  function display(isJson) {
    calm();
    asForm.hidden = isJson;
    asJson.hidden = !isJson;
    setText(swap, isJson ? "As form" : "As JSON");
  }

  function start(anyway = false) {
    if (runs.of(tool.name)?.state === "running") return;
    const args = value();
    if (args === null) return;
    calm();
    const found = anyway ? [] : mismatches(schema, args);
    doubts.show(found);
    if (found.length) return;
    drafts.set(tool.name, args);
    announce("Running");
    runs.start(tool.name, args);
  }

  function show(one) {
    if (one === null || one.tool !== tool.name) return;
    const busy = one.state === "running";
    run.disabled = busy;
    if (!busy && document.activeElement === cancel) run.focus();
    cancel.hidden = !busy;
    outcome.show(one);
  }

  editor.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  editor.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    start();
  });
  editor.addEventListener("input", calm);
  if (drafts.has(tool.name)) showForm(drafts.get(tool.name));
  show(runs.of(tool.name));
  return { element, run: show, tick: () => outcome.tick(), close() {} };
}

/** What does not fit the schema. The server has the last word: it may be asked all the same. */
function doubtsNote(anyway) {
  const list = h("ul", { class: "stack-small" });
  const element = h("div", { class: "note warn", role: "alert", hidden: true }, icon("warning"),
    h("div", { class: "stack-small" }, h("p", { text: "These arguments do not fit the tool's schema:" }), list, h("div", {}, button("Run anyway", { kind: "small", on: anyway }))));
  return {
    element,
    show(found) {
      if (found.length) list.replaceChildren(...found.map(({ path, message }) => h("li", {}, path && h("bdi", { class: "mono text", text: path }), path && " ", h("span", { class: "text", text: message }))));
      element.hidden = found.length === 0;
    },
  };
}

/** The same call from outside, for scripts. */
function requestHelp(tool, value) {
  return button("Copy as curl", { iconName: "copy", kind: "small quiet", on: (event) => {
    const args = value();
    if (args === null) return;
    const body = JSON.stringify({ tool_name: tool.name, arguments: args }).replaceAll("'", "'\\''");
    copy(`curl -s ${location.origin}/tools/call -H "Authorization: Bearer $(mcp-manifold token)" -H 'Content-Type: application/json' -d '${body}'`, event.currentTarget);
  } });
}

function outcomePanel() {
  const state = h("span");
  const took = h("span", { class: "soft" });
  const bar = h("progress", { "aria-label": "Progress" });
  const words = h("p", { class: "soft text" });
  const progress = h("div", { class: "progress pad", hidden: true }, bar, words);
  const logs = h("div", { class: "console mono", tabindex: "0", "aria-label": "What the server logged", hidden: true });
  const place = h("div", { class: "pad" });
  const element = h("section", { class: "panel outcome", "aria-label": "Result", hidden: true }, h("header", {}, h("h2", { text: "Result" }), state, took), progress, logs, place);
  let current = null;
  let seen = "";
  let shown = 0;

  function tick() {
    if (current?.state === "running") setText(took, age((performance.now() - current.began) / 1000));
  }

  function show(run) {
    const fresh = current !== run;
    current = run;
    element.hidden = false;
    if (fresh) {
      seen = "";
      place.replaceChildren();
      logs.replaceChildren();
      shown = 0;
    }
    showProgress(run);
    const unseen = Math.min(run.logged - shown, run.logs.length);
    for (const { level, data } of run.logs.slice(run.logs.length - unseen)) logs.append(h("div", {}, h("span", { class: "soft", text: plain(level) }), h("span", { class: "text", text: plain(data) })));
    shown = run.logged;
    while (logs.children.length > run.logs.length) logs.firstChild.remove();
    logs.hidden = run.logs.length === 0;
    if (run.state === seen) return;
    seen = run.state;
    state.replaceChildren(outcomeBadge(run.state));
    setText(took, run.state === "running" ? "" : duration(run.seconds));
    if (run.state === "running") return;
    announce(`${outcomeWord(run.state)}, ${duration(run.seconds)}`);
    place.replaceChildren(said(run));
  }

  function showProgress({ state: now, progress: at }) {
    progress.hidden = now !== "running";
    if (!at) {
      bar.removeAttribute("value");
      setText(words, "");
      return;
    }
    if (typeof at.total === "number" && at.total > 0) {
      bar.max = at.total;
      bar.value = Math.min(Number.isFinite(at.progress) ? at.progress : 0, at.total);
    } else {
      bar.removeAttribute("value");
    }
    const amount = typeof at.total === "number" ? `${plain(at.progress)} of ${at.total}` : plain(at.progress);
    setText(words, at.message ? `${amount} · ${plain(at.message)}` : amount);
  }
  return { element, show, tick };
}

function said(run) {
  if (run.state === "cancelled") return h("p", { class: "soft", text: "You cancelled it. Whether the server had done it by then is not known." });
  if (run.problem) {
    return h("div", { class: "stack" }, h("p", { class: "note bad" }, icon("failed"), h("span", { class: "text", text: run.problem.message })),
      run.problem.code !== undefined && h("p", { class: "soft", text: `JSON-RPC error ${run.problem.code}` }),
      run.problem.data !== undefined && showTree(run.problem.data, { open: 2 }));
  }
  return showResult(run.result);
}

