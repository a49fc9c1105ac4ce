// All entries of a kind, by server, and one of them to try: what the views of tools, prompts and resources share.

import { button, h, icon, setChildren, setText } from "./dom.js";
import { number, plural } from "./format.js";
import { mcp } from "./mcp.js";
import { learnNames, ownerOf } from "./names.js";
import { showTree } from "./result.js";

const MOST_LISTED = 500;

export const pathTo = (kind, name) => `#/${kind}/${encodeURIComponent(name)}`;

/**
 * A view. Of a `kind`: `name` stands in the address, `title` above, `noun` for one; `lists` are those of the protocol
 * that it consists of; `key`, `label` and `about` make of an entry its name, and what the list says of it; `panel`
 * shows one.
 */
export function browse(kind, chosen) {
  const words = h("input", { class: "input", type: "search", placeholder: `Filter ${kind.name}`, "aria-label": `Filter ${kind.name}`, data: { search: "" } });
  const list = h("div", { class: "tool-list" });
  const count = h("p", { class: "soft", role: "status" });
  const side = h("nav", { class: "panel tool-side", "aria-label": kind.title }, h("div", { class: "tool-search" }, h("label", { class: "search" }, icon("search"), words)), list, count);
  const place = h("div", { class: "tool-place" });
  const element = h("div", { class: `view tools-view ${chosen === undefined ? "" : "one"}` },
    h("div", { class: "head" }, h("h1", { tabindex: "-1", text: kind.title })),
    h("div", { class: "tool-columns" }, side, place));
  let shown = null;
  let panel = null;
  let isPlaced = false; // the list is in its order, and was scrolled to the chosen one

  function update() {
    const entries = all();
    if (entries === null) {
      setChildren(list, [waiting(kind)]);
      if (chosen !== undefined && panel === null) setChildren(place, [waiting(kind)]);
      return;
    }
    filter();
    if (!isPlaced) bring();
    const entry = entries.find((one) => kind.key(one) === chosen);
    const text = JSON.stringify([entry, ownerOf(kind.name, chosen)]);
    if (text === shown) return;
    shown = text;
    panel = entry ? kind.panel(entry) : null;
    place.replaceChildren(panel ? panel.element : nothing(kind, chosen, entries.length));
  }

  /** All entries, or null where they are not all known yet. */
  function all() {
    const lists = kind.lists.map((name) => mcp.list(name).entries);
    return lists.includes(null) ? null : lists.flat();
  }

  function filter() {
    const entries = all();
    const wanted = words.value.trim().toLowerCase();
    const fitting = entries.filter((one) => `${kind.key(one)} ${kind.label(one)} ${kind.about(one)}`.toLowerCase().includes(wanted));
    const groups = new Map();
    for (const one of fitting.slice(0, MOST_LISTED)) {
      const server = ownerOf(kind.name, kind.key(one))?.[0] ?? "";
      if (!groups.has(server)) groups.set(server, []);
      groups.get(server).push(one);
    }
    const focused = document.activeElement?.getAttribute?.("href");
    list.replaceChildren(...[...groups].map(([server, some]) => h("section", {}, h("h2", { class: "group-name" }, h("bdi", { text: server || "others" }), h("span", { class: "soft", text: number(some.length) })), h("ul", {}, some.map((one) => h("li", {}, link(kind, one, kind.key(one) === chosen)))))));
    if (focused) list.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
    setText(count, fitting.length > MOST_LISTED ? `${number(MOST_LISTED)} of ${plural(fitting.length, kind.noun)}; filter for more` : fitting.length === 0 ? (entries.length === 0 ? `No ${kind.name} yet` : `No ${kind.noun} fits`) : plural(fitting.length, kind.noun));
  }

  const bring = () => list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  words.addEventListener("input", () => all() && filter());
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
    isPlaced = all() !== null;
  }, () => {});
  mcp.open(kind.lists);
  mcp.retry();
  learn();
  return {
    element,
    title: chosen ?? kind.title,
    update: { list: (event) => { if (kind.lists.includes(event.detail)) { update(); learn(); } }, run: (event) => panel?.run(event.detail), tick: () => panel?.tick(), shown: bring },
    start: update,
  };
}

function waiting(kind) {
  const problem = kind.lists.map((name) => mcp.list(name).problem).find((text) => text !== "");
  if (problem) return h("div", { class: "empty" }, icon("failed"), h("strong", { text: `The ${kind.name} could not be read` }), h("p", { class: "text", text: problem }), button("Try again", { on: () => kind.lists.forEach((name) => mcp.refresh(name)) }));
  return h("div", { class: "empty" }, icon("busy", "turning"), h("p", { text: `Reading the ${kind.name}…` }));
}

function nothing({ name, noun, use }, chosen, count) {
  if (chosen !== undefined) return h("div", { class: "panel empty" }, icon(name), h("strong", { class: "text", text: `There is no ${noun} “${chosen}”` }), h("p", { text: "Its server may be gone, or lists it no more." }), h("a", { href: `#/${name}`, text: `All ${name}` }));
  if (count === 0) return h("div", { class: "panel empty" }, icon(name), h("strong", { text: `No server lists a ${noun}` }), h("p", {}, "See ", h("a", { href: "#/servers", text: "the servers" }), ": one may have failed, or is still starting."));
  return h("div", { class: "panel empty blank" }, icon(name), h("strong", { text: `Choose a ${noun} to ${use} it` }), h("p", {}, "Type ", h("kbd", { text: "/" }), " to filter, ", h("kbd", { text: "↓" }), " to walk through the list."));
}

function link(kind, entry, current) {
  const name = kind.key(entry);
  return h("a", { href: pathTo(kind.name, name), "aria-current": current ? "page" : false, title: name }, h("bdi", { class: "mono cut", text: kind.label(entry) }), h("span", { class: "soft cut", text: kind.about(entry).trim().split("\n")[0] }));
}

/** What stands above and below the form in an entry's panel; `tags` are elements. */
export function frame(kind, entry, title, tags, ...middle) {
  const name = kind.key(entry);
  const [server] = ownerOf(kind.name, name) ?? [];
  return h("article", { class: "stack" },
    h("a", { class: "back", href: `#/${kind.name}` }, `All ${kind.name}`),
    h("div", { class: "tool-head" },
      h("div", { class: "head" }, h("h2", { class: "tool-title" }, h("bdi", { class: "text", text: title })), tags),
      h("p", { class: "soft" }, h("bdi", { class: "mono text", text: name }), server && " of ", server && h("a", { href: `#/servers/${encodeURIComponent(server)}` }, h("bdi", { text: server }))),
      entry.description && h("p", { class: "text description", text: String(entry.description) })),
    ...middle,
    h("details", { class: "panel schema" }, h("summary", { text: "Definition" }), h("div", { class: "pad" }, showTree(entry, { open: 2 }))));
}
