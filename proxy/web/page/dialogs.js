// Questions to the person at the page: ours, and those that servers ask (elicitation).

import { announce, button, freshId, h } from "./dom.js";
import { schemaForm } from "./form.js";
import { address } from "./result.js";

function show(title, parts, actions) {
  const id = freshId("dialog");
  const form = h("form", { method: "dialog" }, h("h2", { id, text: title }), parts, h("div", { class: "actions" }, actions));
  const dialog = h("dialog", { "aria-labelledby": id }, form);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return { dialog, form };
}

/** Whether the person agrees. */
export function ask(title, text, yes) {
  return new Promise((resolve) => {
    const { dialog } = show(title, h("p", { class: "text", text }), [
      button("Cancel", { on: () => dialog.close() }),
      button(yes, { kind: "main-one", on: () => dialog.close("yes") }),
    ]);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"));
  });
}

export function tell(title, text) {
  return new Promise((resolve) => {
    const { dialog } = show(title, h("p", { class: "text", text }), [button("Close", { kind: "main-one", on: () => dialog.close() })]);
    dialog.addEventListener("close", resolve);
  });
}

const open = new Map();

/** The server takes its question back, or the connection is gone. */
export function withdraw(id) {
  const found = id === undefined ? [...open.values()] : [open.get(id)].filter(Boolean);
  for (const dialog of found) dialog.close("withdrawn");
}

/** Ask what a server wants to know; MCP's result of `elicitation/create`, or null where it was taken back. */
export function elicit(params, id, who) {
  return new Promise((resolve) => {
    const isLink = params.mode === "url";
    const form = isLink ? null : schemaForm(params.requestedSchema ?? { type: "object", properties: {} });
    const accept = button(isLink ? "I have done so" : "Send", { kind: "main-one", type: "submit" });
    const parts = [
      h("p", { class: "soft" }, who ? "Asked while this runs: " : "Asked by a server.", who && h("bdi", { class: "mono", text: who })),
      h("p", { class: "text", text: String(params.message ?? "") }),
      isLink ? h("div", { class: "note" }, h("div", {}, h("p", { text: "It wants you to open this address. Do so only if you trust it:" }), address(String(params.url ?? "")))) : form.element,
    ];
    const { dialog, form: outer } = show("A server asks you", parts, [
      button("Decline", { on: () => dialog.close("decline") }),
      accept,
    ]);
    open.set(id, dialog);
    announce("A server asks you something");
    form?.focus();
    let content;
    outer.addEventListener("submit", (event) => {
      event.preventDefault();
      content = form?.value();
      if (content !== null) dialog.close("accept");
    });
    dialog.addEventListener("close", () => {
      open.delete(id);
      if (dialog.returnValue === "withdrawn") resolve(null);
      else if (dialog.returnValue === "accept") resolve(isLink ? { action: "accept" } : { action: "accept", content });
      else resolve({ action: dialog.returnValue === "decline" ? "decline" : "cancel" });
    });
  });
}
