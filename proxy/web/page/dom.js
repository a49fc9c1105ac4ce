// Elements, made without markup: whatever a server says can only ever become text.

/** An element. `props`: `class`, `text`, `on` ({event: listener}), `data`; all others are attributes (false: none). */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, props);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same for SVG. */
export function s(tag, props = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, props);
  element.append(...children);
  return element;
}

function fill(element, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

/** Set a text where it is another one: what did not change is neither drawn nor read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Make `parent` have exactly these children, in this order, and move none that is in its place. */
export function setChildren(parent, children) {
  let at = parent.firstChild;
  for (const child of children) {
    if (child === at) at = at.nextSibling;
    else parent.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** What a server said where a text was due, whatever it is: not all values can be made a text by JavaScript. */
export const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value) ?? "");

let ids = 0;
/** An id that no other element has. */
export const freshId = (name = "id") => `${name}-${++ids}`;

const PATHS = {
  servers: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  calls: "M1.5 8.5h3l2-5.5 3 10 2-4.5h3",
  tools: "M2.5 3h11v10h-11zM5 6l2 2-2 2M8.5 10.2h2.5",
  prompts: "M2.5 3h11v8h-6l-3 2.5v-2.5h-2zM5.5 6h5M5.5 8.2h3",
  resources: "M4 1.8h5l3.2 3.2v9.2H4zM9 1.8V5h3.2",
  ready: "M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0zM5.5 8.2l1.8 1.8 3.3-3.8",
  failed: "M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0zM6 6l4 4M10 6l-4 4",
  warning: "M8 2.5l6 10.5H2zM8 6.5v3M8 11.2v.01",
  busy: "M8 2a6 6 0 1 1-6 6",
  asleep: "M13 9.6A5.6 5.6 0 0 1 6.4 3a5.6 5.6 0 1 0 6.6 6.6z",
  stopped: "M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0zM6 6h4v4H6z",
  chevron: "M6 4l4 4-4 4",
  restart: "M13 8a5 5 0 1 1-1.5-3.6M13.2 2.2v2.9h-2.9",
  play: "M5 3.5v9l7-4.5z",
  cross: "M4 4l8 8M12 4l-8 8",
  plus: "M8 3v10M3 8h10",
  copy: "M5.5 5.5h7v8h-7zM3.5 10.5v-8h7",
  sun: "M8 10.8a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7",
  system: "M2 3h12v8H2zM6 13.5h4",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM10.3 10.3l3.2 3.2",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  out: "M6.5 2.5h-4v11h4M7 8h7M11 5l3 3-3 3",
  link: "M6.5 9.5l3-3M7 4.5l1.5-1.5a3 3 0 0 1 4.2 4.2L11.2 8.8M9 11.5l-1.5 1.5a3 3 0 0 1-4.2-4.2L4.8 7.2",
  file: "M4 1.8h5l3.2 3.2v9.2H4zM9 1.8V5h3.2",
  live: "M8 9.2a1.2 1.2 0 1 0 0-2.4 1.2 1.2 0 0 0 0 2.4zM4.8 11.2a4.5 4.5 0 0 1 0-6.4M11.2 4.8a4.5 4.5 0 0 1 0 6.4",
};

/** A small picture that says nothing by itself: words stand beside it. */
export function icon(name, more = "") {
  return s("svg", { class: `icon ${more}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}

export function button(label, { on, iconName, kind = "", ...more } = {}) {
  return h("button", { type: "button", class: `button ${kind}`, on: { click: on }, ...more }, iconName && icon(iconName), label);
}

/** Tell who can't see what changed. The last word wins: nobody wants to hear a queue. */
export function announce(text) {
  document.getElementById("told").textContent = text;
}

export async function copy(text, trigger) {
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied");
    const label = trigger.lastChild;
    const before = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1500);
  } catch {
    announce("The browser does not let this page copy");
  }
}
