// Every tool, and one of them to try.

import { button, copy, h, icon, setText } from "./dom.js";
import { browse, frame, pathTo } from "./browse.js";
import { mismatches } from "./check.js";
import { decodeAsWritten, isPlainObject } from "./json.js";
import { ownerOf } from "./names.js";
import { Unfit } from "./fields.js";
import { schemaForm } from "./form.js";
import { trial } from "./outcome.js";
import { showResult } from "./result.js";

export const toolPath = (name) => pathTo("tools", name);

const drafts = new Map(); // arguments as they were last sent, by tool: a form that is left and come back to has them

const TOOLS = {
  name: "tools",
  title: "Tools",
  noun: "tool",
  use: "try",
  lists: ["tools"],
  key: (tool) => tool.name,
  label: (tool) => ownName(tool),
  about: (tool) => `${tool.description ?? ""}` || titleOf(tool),
  panel: toolPanel,
};

export const toolsView = (chosen) => browse(TOOLS, chosen);

const titleOf = (tool) => (typeof tool.title === "string" && tool.title) || (typeof tool.annotations?.title === "string" && tool.annotations.title) || "";
const ownName = (tool) => ownerOf("tools", tool.name)?.[1] ?? tool.name;

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
  const tried = trial("tools/call", tool.name, "Run", showResult);
  const doubts = doubtsNote(() => start(true));
  const editor = h("form", { class: "panel", "aria-label": `Try ${tool.name}` },
    h("header", {}, h("h2", { text: "Arguments" }), h("span", { class: "grow" }), swap),
    h("div", { class: "pad stack" }, asForm, asJson, doubts.element),
    h("footer", {}, tried.run, tried.cancel, h("span", { class: "soft wide" }, h("kbd", { text: "Ctrl" }), " ", h("kbd", { text: "Enter" })), h("span", { class: "grow" }), requestHelp(tool, () => value())));
  const element = frame(TOOLS, tool, titleOf(tool) || ownName(tool), hints(tool), editor, tried.element);

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
    if (tried.isRunning()) return;
    const args = value();
    if (args === null) return;
    calm();
    const found = anyway ? [] : mismatches(schema, args);
    doubts.show(found);
    if (found.length) return;
    drafts.set(tool.name, args);
    tried.start({ name: tool.name, arguments: args });
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
  tried.show();
  return { element, run: tried.show, tick: tried.tick };
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
