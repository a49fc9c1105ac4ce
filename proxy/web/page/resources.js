// Every resource and template of resources, and one of them to read.

import { freshId, h, plain } from "./dom.js";
import { bytes } from "./format.js";
import { browse, frame } from "./browse.js";
import { trial } from "./outcome.js";
import { showContents } from "./result.js";

const RESOURCES = {
  name: "resources",
  title: "Resources",
  noun: "resource",
  use: "read",
  lists: ["resources", "templates"],
  key: (resource) => resource.uri ?? resource.uriTemplate,
  label: (resource) => titleOf(resource),
  about: (resource) => String(resource.description ?? RESOURCES.key(resource)),
  panel: resourcePanel,
};

export const resourcesView = (chosen) => browse(RESOURCES, chosen);

const titleOf = (resource) => plain(resource.title ?? resource.name ?? RESOURCES.key(resource));

function tags({ uri, mimeType, size }) {
  const found = [uri === undefined && "template", mimeType && plain(mimeType), typeof size === "number" && bytes(size)];
  return found.filter(Boolean).map((text) => h("span", { class: "tag text", text }));
}

function resourcePanel(resource) {
  const name = RESOURCES.key(resource);
  const isTemplate = resource.uri === undefined;
  const id = freshId("uri");
  const uri = h("input", { class: "input mono", id, value: name, spellcheck: "false", autocomplete: "off", required: true, readonly: !isTemplate, "aria-describedby": isTemplate ? `${id}-help` : false });
  const tried = trial("resources/read", name, "Read", showContents);
  const editor = h("form", { class: "panel", "aria-label": `Read ${name}` },
    h("div", { class: "pad stack" }, h("div", { class: "field" }, h("label", { for: id, text: "URI" }), uri, isTemplate && h("p", { class: "help", id: `${id}-help`, text: "Put values in the places of what stands in braces." }))),
    h("footer", {}, tried.run, tried.cancel));
  editor.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!tried.isRunning()) tried.start({ uri: uri.value });
  });
  tried.show();
  return { element: frame(RESOURCES, resource, titleOf(resource), tags(resource), editor, tried.element), run: tried.show, tick: tried.tick };
}
