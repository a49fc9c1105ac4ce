// Every prompt, and one of them to get.

import { h } from "./dom.js";
import { browse, frame } from "./browse.js";
import { schemaForm } from "./form.js";
import { isPlainObject } from "./json.js";
import { ownerOf } from "./names.js";
import { trial } from "./outcome.js";
import { showPrompt } from "./result.js";

const PROMPTS = {
  name: "prompts",
  title: "Prompts",
  noun: "prompt",
  use: "get",
  lists: ["prompts"],
  key: (prompt) => prompt.name,
  label: (prompt) => ownName(prompt),
  about: (prompt) => String(prompt.description ?? prompt.title ?? ""),
  panel: promptPanel,
};

export const promptsView = (chosen) => browse(PROMPTS, chosen);

const ownName = (prompt) => ownerOf("prompts", prompt.name)?.[1] ?? prompt.name;

/** A prompt's arguments are texts, which a form has words for. */
function schemaOf({ arguments: given }) {
  const known = (Array.isArray(given) ? given : []).filter((one) => isPlainObject(one) && typeof one.name === "string");
  return {
    type: "object",
    properties: Object.fromEntries(known.map(({ name, title, description }) => [name, { type: "string", title, description }])),
    required: known.filter((one) => one.required === true).map((one) => one.name),
  };
}

function promptPanel(prompt) {
  const form = schemaForm(schemaOf(prompt));
  const tried = trial("prompts/get", prompt.name, "Get", showPrompt);
  const editor = h("form", { class: "panel", "aria-label": `Try ${prompt.name}` },
    h("header", {}, h("h2", { text: "Arguments" })),
    h("div", { class: "pad stack" }, form.isEmpty ? h("p", { class: "soft", text: "It takes no arguments." }) : form.element),
    h("footer", {}, tried.run, tried.cancel));
  editor.addEventListener("submit", (event) => {
    event.preventDefault();
    const args = tried.isRunning() ? null : form.value();
    if (args !== null) tried.start({ name: prompt.name, arguments: args });
  });
  tried.show();
  const title = (typeof prompt.title === "string" && prompt.title) || ownName(prompt);
  return { element: frame(PROMPTS, prompt, title, [], editor, tried.element), run: tried.show, tick: tried.tick };
}
