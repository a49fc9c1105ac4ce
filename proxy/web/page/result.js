// What a server answered, as a person can look at it. All of it is the server's: it becomes text, or an image's data.

import { button, copy, h, icon, plain } from "./dom.js";
import { bytes, plural } from "./format.js";
import { decodeAsWritten, isRaw } from "./json.js";

const IMAGES = /^image\/(png|jpeg|gif|webp|avif|bmp|svg\+xml)$/;
const SOUNDS = /^audio\/[a-z0-9.+-]{1,40}$/;
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;
const LONG = 20_000;
const MOST_BLOCKS = 200;
const MOST_CHILDREN = 200;

/** All of a tool's result. */
export function showResult(result) {
  const content = Array.isArray(result?.content) ? result.content : [];
  const parts = content.slice(0, MOST_BLOCKS).map((block) => (isSame(block, result.structuredContent) ? null : showBlock(block))).filter(Boolean);
  if (content.length > MOST_BLOCKS) parts.push(h("p", { class: "soft", text: `${content.length - MOST_BLOCKS} more are in the raw answer.` }));
  if (result?.structuredContent !== undefined) {
    parts.push(h("section", { class: "block" }, h("h3", { text: "Structured content" }), showTree(result.structuredContent, { open: 2 })));
  }
  if (parts.length === 0) parts.push(h("p", { class: "soft", text: "The answer has no content." }));
  parts.push(showRaw(result));
  return h("div", { class: "result" }, parts);
}

/** What a prompt became: its messages. */
export function showPrompt(result) {
  const messages = listed(result?.messages).map((message) => h("section", { class: "block" }, h("h3", { class: "text", text: plain(message?.role ?? "") }), showBlock(message?.content)));
  return answer(result, messages, result?.description && h("p", { class: "soft text", text: plain(result.description) }));
}

/** What a resource holds. */
export function showContents(result) {
  return answer(result, listed(result?.contents).map((one) => h("section", { class: "block" }, showResource(one ?? {}))));
}

const listed = (parts) => (Array.isArray(parts) ? parts.slice(0, MOST_BLOCKS) : []);

function answer(result, parts, head = null) {
  return h("div", { class: "result" }, head, parts.length ? parts : h("p", { class: "soft", text: "The answer has no content." }), showRaw(result));
}

/** Whether a text only repeats the structured content, as the protocol has servers do for older clients. */
function isSame(block, structured) {
  if (structured === undefined || block?.type !== "text") return false;
  const data = asTree(plain(block.text ?? ""));
  return data !== null && JSON.stringify(data) === JSON.stringify(structured);
}

function showRaw(value) {
  const pre = h("pre", { class: "text-block" });
  const details = h("details", { class: "raw" }, h("summary", { text: "Raw answer" }));
  details.addEventListener("toggle", () => {
    if (!details.open || pre.isConnected) return;
    const text = JSON.stringify(value, null, 2);
    fillText(pre, text);
    details.append(button("Copy", { iconName: "copy", kind: "small", on: (event) => copy(text, event.currentTarget) }), pre);
  });
  return details;
}

function showBlock(block) {
  if (typeof block !== "object" || block === null) return showTree(block);
  switch (block.type) {
    case "text":
      return h("section", { class: "block" }, showText(plain(block.text ?? "")));
    case "image":
      return h("section", { class: "block" }, showImage(block));
    case "audio":
      return h("section", { class: "block" }, showSound(block));
    case "resource_link":
      return h("section", { class: "block" }, showLink(block));
    case "resource":
      return h("section", { class: "block" }, showResource(block.resource ?? {}));
    default:
      return h("section", { class: "block" }, h("h3", { text: `Content of type ${plain(block.type)}` }), showTree(block, { open: 1 }));
  }
}

function showText(text) {
  const pre = h("pre", { class: "text-block", tabindex: "0", "aria-label": "Text" });
  const data = asTree(text);
  if (data === null) {
    fillText(pre, text);
    return pre;
  }
  // Many servers answer JSON as text: it can be read either way.
  fillText(pre, text);
  return h("div", { class: "two-ways" }, showTree(data, { open: 2 }), h("details", {}, h("summary", { text: "As text" }), pre));
}

function asTree(text) {
  const first = text.trimStart()[0];
  if ((first !== "{" && first !== "[") || text.length > 500_000) return null;
  try {
    return decodeAsWritten(text);
  } catch {
    return null;
  }
}

function fillText(pre, text) {
  pre.textContent = text.length > LONG ? text.slice(0, LONG) : text;
  if (text.length <= LONG) return;
  const more = button(`Show all ${bytes(text.length)}`, { kind: "small", on: () => {
    pre.textContent = text;
    more.remove();
    pre.focus();
  } });
  queueMicrotask(() => pre.after(more));
}

function showImage({ data, mimeType }) {
  if (!IMAGES.test(mimeType) || !BASE64.test(data)) return h("p", { class: "note warn" }, icon("warning"), h("span", { class: "text", text: `An image of type ${plain(mimeType)}, which is not shown.` }));
  const image = h("img", { src: `data:${mimeType};base64,${data}`, alt: "Image in the tool's answer" });
  const words = h("figcaption", { class: "soft", text: mimeType });
  image.addEventListener("load", () => { words.textContent = `${mimeType}, ${image.naturalWidth} × ${image.naturalHeight}, ${bytes(Math.floor(data.length * 0.75))}`; });
  image.addEventListener("error", () => { words.textContent = `${mimeType}, which this browser can't show`; });
  return h("figure", { class: "image" }, image, words);
}

function showSound({ data, mimeType }) {
  if (!SOUNDS.test(mimeType) || !BASE64.test(data)) return h("p", { class: "note warn" }, icon("warning"), h("span", { class: "text", text: `A sound of type ${plain(mimeType)}, which is not played.` }));
  return h("figure", { class: "image" }, h("audio", { controls: true, src: `data:${mimeType};base64,${data}` }), h("figcaption", { class: "soft", text: mimeType }));
}

/** The address as a link if it is one to the web, else as text. */
export function address(uri) {
  let url = null;
  try {
    url = new URL(uri);
  } catch {
    // It is shown as it is.
  }
  if (url && (url.protocol === "https:" || url.protocol === "http:")) {
    return h("a", { class: "text", href: url.href, target: "_blank", rel: "noopener noreferrer", text: plain(uri) });
  }
  return h("span", { class: "text mono", text: plain(uri) });
}

function showLink({ uri, name, title, description, mimeType, size }) {
  return h("div", { class: "resource" }, icon("link"),
    h("div", {},
      h("strong", { class: "text", text: plain(title ?? name ?? uri) }),
      h("div", {}, address(uri)),
      description && h("p", { class: "soft text", text: plain(description) }),
      h("p", { class: "soft" }, [mimeType, typeof size === "number" && bytes(size)].filter(Boolean).join(" · "))));
}

function showResource({ uri, mimeType, text, blob }) {
  const head = h("div", { class: "resource" }, icon("file"), h("div", {}, address(uri ?? ""), mimeType && h("p", { class: "soft", text: plain(mimeType) })));
  if (typeof text === "string") return h("div", { class: "stack" }, head, showText(text));
  if (typeof blob !== "string") return head;
  if (IMAGES.test(mimeType)) return h("div", { class: "stack" }, head, showImage({ data: blob, mimeType }));
  const save = button(`Save (${bytes(Math.floor(blob.length * 0.75))})`, { kind: "small", iconName: "file", on: () => download(blob, uri) });
  return h("div", { class: "stack" }, head, h("div", {}, save));
}

function download(base64, uri) {
  const data = Uint8Array.from(atob(base64.replaceAll(/\s/g, "")), (character) => character.charCodeAt(0));
  const url = URL.createObjectURL(new Blob([data], { type: "application/octet-stream" }));
  const name = plain(uri ?? "").split(/[/\\]/).pop().replaceAll(/[^\w.-]/g, "_") || "resource";
  const anchor = h("a", { href: url, download: name });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** JSON that can be folded; `open` levels are unfolded. What is folded is not built yet. */
export function showTree(value, { open = 1 } = {}) {
  return h("div", { class: "tree mono", role: "group", "aria-label": "Structured value" }, node(null, value, open));
}

const isBranch = (value) => typeof value === "object" && value !== null && !isRaw(value);

function node(key, value, open) {
  const name = key === null ? null : h("span", { class: "key" }, h("bdi", { text: String(key) }), ": ");
  if (!isBranch(value)) return h("div", { class: "leaf" }, name, leaf(value));
  const entries = Array.isArray(value) ? value.map((one, index) => [index, one]) : Object.entries(value);
  if (entries.length === 0) return h("div", { class: "leaf" }, name, h("span", { class: "soft", text: Array.isArray(value) ? "[ ]" : "{ }" }));
  const size = Array.isArray(value) ? plural(entries.length, "item") : plural(entries.length, "member");
  const inside = h("div", { class: "inside" });
  const details = h("details", { open: open > 0 }, h("summary", {}, name, h("span", { class: "soft", text: size })), inside);
  let built = 0;
  const build = () => {
    inside.querySelector(":scope > .more")?.remove();
    for (const [name, one] of entries.slice(built, built + MOST_CHILDREN)) inside.append(node(name, one, open - 1));
    built += MOST_CHILDREN;
    if (built < entries.length) inside.append(h("div", { class: "more" }, button(`${entries.length - built} more`, { kind: "small", on: build })));
  };
  if (open > 0) build();
  else details.addEventListener("toggle", () => { if (built === 0) build(); });
  return details;
}

function leaf(value) {
  if (isRaw(value)) return h("span", { class: "value number", text: value.rawJSON });
  const kind = value === null ? "null" : typeof value;
  return h("span", { class: `value ${kind} text`, text: kind === "string" ? JSON.stringify(value) : String(value) });
}
