// What is tried, and what came of it: progress, what the server logged meanwhile, the answer.

import { announce, button, h, icon, plain, setText } from "./dom.js";
import { age, duration } from "./format.js";
import { showTree } from "./result.js";
import { runs } from "./runs.js";
import { outcomeBadge, outcomeWord } from "./words.js";

/** The buttons and the result of one request that is tried; `verb` is on the button, `showAnswer` makes an element. */
export function trial(method, name, verb, showAnswer) {
  const last = () => runs.of(method, name);
  const run = button(verb, { iconName: "play", kind: "main-one", type: "submit" });
  const cancel = button("Cancel", { iconName: "cross", hidden: true, on: () => last()?.cancel() });
  const outcome = outcomePanel(showAnswer);
  return {
    run,
    cancel,
    element: outcome.element,
    tick: () => outcome.tick(),
    isRunning: () => last()?.state === "running",
    start(params) {
      announce("Running");
      runs.start(method, name, params);
    },
    /** Show how a run is doing, if it is one of this request. */
    show(one = last()) {
      if (one === null || one.method !== method || one.name !== name) return;
      const busy = one.state === "running";
      run.disabled = busy;
      if (!busy && document.activeElement === cancel) run.focus();
      cancel.hidden = !busy;
      outcome.show(one);
    },
  };
}

function outcomePanel(showAnswer) {
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
    place.replaceChildren(said(run, showAnswer));
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

function said(run, showAnswer) {
  if (run.state === "cancelled") return h("p", { class: "soft", text: "You cancelled it. Whether the server had done it by then is not known." });
  if (run.problem) {
    return h("div", { class: "stack" }, h("p", { class: "note bad" }, icon("failed"), h("span", { class: "text", text: run.problem.message })),
      run.problem.code !== undefined && h("p", { class: "soft", text: `JSON-RPC error ${run.problem.code}` }),
      run.problem.data !== undefined && showTree(run.problem.data, { open: 2 }));
  }
  return showAnswer(run.result);
}

