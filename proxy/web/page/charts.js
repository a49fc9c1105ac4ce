// Two small charts: the curve of a server's calls, and all calls of the last minute on a line of time.

import { h, s } from "./dom.js";
import { duration, number, plural } from "./format.js";

const STEP = 5; // seconds of one bar, as the hub counts

/** Bars of what `counts` counted; those that failed stand at the foot of each, in another colour. */
export class Spark {
  constructor({ width = 96, height = 20, label = "" } = {}) {
    this.label = label;
    this.size = [width, height];
    this.bars = s("path", { class: "bars" });
    this.bad = s("path", { class: "bad" });
    this.element = s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img" },
      s("path", { class: "base", d: `M0 ${height - 0.5}H${width}` }), this.bars, this.bad);
    this.last = "";
  }

  update(counts, failed) {
    const key = `${counts} ${failed}`;
    if (key === this.last) return;
    this.last = key;
    const [width, height] = this.size;
    const most = Math.max(4, ...counts);
    const wide = width / counts.length;
    const draw = (values) => values.map((value, index) => {
      if (value === 0) return "";
      const tall = Math.max(2, (value / most) * (height - 1));
      return `M${(index * wide + 0.3).toFixed(2)} ${height}v${(-tall).toFixed(2)}h${(wide - 0.6).toFixed(2)}v${tall.toFixed(2)}z`;
    }).join("");
    this.bars.setAttribute("d", draw(counts));
    this.bad.setAttribute("d", draw(failed));
    const sum = (values) => values.reduce((one, other) => one + other, 0);
    this.element.setAttribute("aria-label", `${this.label}${plural(sum(counts), "call")} in the last ${(counts.length * STEP) / 60} minutes, ${number(sum(failed))} failed`);
  }
}

const WINDOW = 60;
const GUTTER = 112;
const LANE = 22;
const BAR = 6;
const MOST_LANES = 12;
const AXIS = 20;

/** The last minute: a lane for each server, a bar for each call, those under way open at their end. */
export class Timeline {
  constructor(store, pick) {
    this.store = store;
    this.canvas = h("canvas", { class: "timeline", role: "img", "aria-label": "Calls of the last minute" });
    this.readout = h("p", { class: "readout soft", "aria-hidden": "true" });
    this.element = h("figure", { class: "lanes" }, this.canvas, this.readout);
    this.boxes = [];
    this.filter = () => true;
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
    this.canvas.addEventListener("click", (event) => {
      const hit = this.#hit(event);
      if (hit && hit.number !== undefined) pick(hit.number);
    });
    const slow = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.timer = setInterval(() => this.draw(), slow ? 1000 : 100);
    this.idle = false;
  }

  stop() {
    clearInterval(this.timer);
  }

  #calls() {
    const now = this.store.now();
    const found = [];
    for (const call of this.store.calls) {
      if (call.at < now - WINDOW) break;
      if (this.filter(call)) found.push({ ...call, from: call.at - call.seconds, to: call.at });
    }
    for (const call of this.store.underWay) if (this.filter(call)) found.push({ ...call, from: call.started, to: now, outcome: call.waits ? "waiting" : "running" });
    return found;
  }

  draw() {
    const wide = this.element.clientWidth;
    if (wide === 0 || document.hidden) return;
    const calls = this.#calls();
    const key = `${wide} ${devicePixelRatio} ${this.store.order} ${getComputedStyle(this.element).color}`;
    if (calls.length === 0 && this.idle === key) return; // nothing moves
    this.idle = calls.length === 0 ? key : false;
    const busy = new Set(calls.map((call) => call.server));
    let lanes = this.store.order;
    if (lanes.length > MOST_LANES) lanes = lanes.filter((server) => busy.has(server)).slice(0, MOST_LANES);
    const tall = Math.max(1, lanes.length) * LANE + AXIS;
    const ratio = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(wide * ratio) || this.canvas.height !== Math.round(tall * ratio)) {
      this.canvas.width = Math.round(wide * ratio);
      this.canvas.height = Math.round(tall * ratio);
      this.canvas.style.height = `${tall}px`;
    }
    this.#paint(calls, lanes, wide, tall, ratio);
    const failed = calls.filter((call) => ["error", "timeout", "tool_error"].includes(call.outcome)).length;
    const running = calls.filter((call) => call.number === undefined).length;
    const label = `Calls of the last minute: ${calls.length}, of which ${failed} failed and ${running} are under way. The table below has each of them.`;
    if (this.canvas.getAttribute("aria-label") !== label) this.canvas.setAttribute("aria-label", label);
  }

  #paint(calls, lanes, wide, tall, ratio) {
    const colours = this.#colours();
    const paper = this.canvas.getContext("2d");
    const now = this.store.now();
    const gutter = wide < 560 ? 72 : GUTTER;
    const scale = (wide - gutter - 8) / WINDOW;
    const x = (at) => gutter + (at - (now - WINDOW)) * scale;
    paper.setTransform(ratio, 0, 0, ratio, 0, 0);
    paper.clearRect(0, 0, wide, tall);
    paper.font = `12px ${colours.font}`;
    paper.textBaseline = "middle";
    const foot = lanes.length * LANE;
    paper.lineWidth = 1;
    for (let second = 0; second <= WINDOW; second += 10) {
      const at = Math.round(gutter + second * scale) + 0.5;
      paper.strokeStyle = colours.line;
      paper.beginPath();
      paper.moveTo(at, 0);
      paper.lineTo(at, foot);
      paper.stroke();
      paper.fillStyle = colours.soft;
      paper.textAlign = second === WINDOW ? "right" : "center";
      const far = WINDOW - second;
      if (wide >= 560 || second % 20 === 0) paper.fillText(far === 0 ? "now" : `−${far} s`, second === WINDOW ? at + 6 : at, foot + AXIS / 2 + 2);
    }
    this.boxes = [];
    paper.textAlign = "left";
    lanes.forEach((server, lane) => {
      const top = lane * LANE;
      paper.fillStyle = colours.text;
      paper.save();
      paper.beginPath();
      paper.rect(0, top, gutter - 8, LANE);
      paper.clip();
      paper.fillText(server, 0, top + LANE / 2);
      paper.restore();
      paper.fillStyle = colours.line;
      paper.fillRect(gutter, top + LANE - 1, wide - gutter - 8, 1);
      this.#lane(paper, calls.filter((call) => call.server === server), top, x, gutter, colours);
    });
  }

  #lane(paper, calls, top, x, gutter, colours) {
    const ends = [-Infinity, -Infinity];
    for (const call of calls.sort((one, other) => one.from - other.from)) {
      const from = Math.max(gutter, x(call.from));
      const size = Math.max(3, x(call.to) - from);
      const row = ends[0] <= from ? 0 : ends[1] <= from ? 1 : ends[0] <= ends[1] ? 0 : 1;
      ends[row] = Math.max(ends[row], from + size + 1);
      const y = top + 3 + row * (BAR + 2);
      const failed = ["error", "timeout", "tool_error"].includes(call.outcome);
      paper.fillStyle = colours[call.outcome] ?? colours.ok;
      if (call.number === undefined) {
        paper.globalAlpha = 0.35;
        paper.fillRect(from, y, size, BAR);
        paper.globalAlpha = 1;
        paper.fillRect(from, y, 2, BAR);
        paper.fillRect(from + size - 2, y - 1, 2, BAR + 2);
      } else if (failed) {
        paper.fillRect(from, y, size, BAR);
        paper.fillRect(from + size - 2, top + 1, 2, LANE - 4); // it ends at a wall
      } else {
        paper.fillRect(from, y, size, BAR);
      }
      this.boxes.push({ call, from, to: from + size, top: y - 2, foot: y + BAR + 2 });
    }
  }

  #colours() {
    // Computed once for each scheme: the names stand in base.css.
    const style = getComputedStyle(this.element);
    const scheme = style.color;
    if (this.colours?.scheme === scheme) return this.colours;
    const probe = h("span", {});
    this.element.append(probe);
    const find = (name) => {
      probe.style.color = `var(--${name})`;
      return getComputedStyle(probe).color;
    };
    const bad = find("bad");
    this.colours = { scheme, font: style.fontFamily, text: find("text"), soft: find("soft"), line: find("line"), ok: find("ok-bar"), tool_error: bad, error: bad, timeout: bad, cancelled: find("soft"), running: find("busy"), waiting: find("warn") };
    probe.remove();
    return this.colours;
  }

  #hit(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    const x = event.clientX - left;
    const y = event.clientY - top;
    return this.boxes.findLast((box) => x >= box.from - 2 && x <= box.to + 2 && y >= box.top && y <= box.foot)?.call;
  }

  #point(event) {
    const call = this.#hit(event);
    this.canvas.classList.toggle("hit", Boolean(call));
    this.readout.textContent = call ? `${call.server} · ${call.tool} · ${duration(call.to - call.from)} · ${call.outcome.replace("_", " ")}` : "";
  }
}
