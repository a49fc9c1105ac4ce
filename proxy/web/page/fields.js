// The fields of a form that have one control: texts, numbers, choices, and JSON for all that a form has no words for.
//
// A field is {element, read(), write(value)}. `read` returns the value, or NOTHING where none is given, and throws
// Invalid, which shows where to look, Missing where nothing was entered yet. `write` throws Unfit where the field has no room for a value; undefined is what it
// begins with, NOTHING that there is no value.

import { freshId, h } from "./dom.js";
import { asNumber, decodeAsWritten, isPlainObject, isRaw, same } from "./json.js";

export const NOTHING = Symbol("nothing");
const MOST_OPTIONS = 1000;

/** What was entered can't be taken; `fail` says so at its field. */
export class Invalid extends Error {
  constructor(message, fail) {
    super(message);
    this.fail = fail;
  }
}

export class Missing extends Invalid {}

/** A value that can't be shown in a field; `path` leads to it. */
export class Unfit extends Error {
  constructor(message) {
    super(message);
    this.path = "";
  }
}

/** Do this for a part of a value: what does not fit then tells where it is. */
export function within(name, act) {
  try {
    return act();
  } catch (problem) {
    if (problem instanceof Unfit) problem.path = `/${name}${problem.path}`;
    throw problem;
  }
}

export const isAbsent = (value) => value === undefined || value === NOTHING;
export const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
export const need = ({ required, bare }) => required && !bare && h("span", { class: "need", text: "required" });

/** A box that stands for null; `on` is told whether it was ticked. */
export function nullBox({ label }, on) {
  const box = h("input", { type: "checkbox", "aria-label": `null for ${label}`, on: { change: () => on(box.checked) } });
  return { box, element: h("label", { class: "check kind" }, box, "null") };
}

/** One control with its label, description and error. `bare`: its label is said by what stands around it. */
export function frame(what, control, { inline = false, hint = "", extra = null } = {}) {
  const { schema, label, required, kind, bare } = what;
  const id = (control.id = freshId("field"));
  const description = typeof schema.description === "string" ? schema.description : "";
  const title = typeof schema.title === "string" && schema.title !== label ? schema.title : "";
  const told = [];
  const help = description && h("p", { class: "help text", id: `${id}-help`, text: description });
  if (help) told.push(help.id);
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  told.push(error.id);
  control.setAttribute("aria-describedby", told.join(" "));
  if (required) control.setAttribute("aria-required", "true");
  if (bare) control.setAttribute("aria-label", label);
  const words = [kind === "choice" || kind === "json" || bare ? "" : kind, hint].filter(Boolean).join(" · ");
  const name = !bare && h("label", { class: "name", for: id }, h("bdi", { class: "mono", text: label }), title && h("bdi", { class: "soft", text: title }));
  const top = h("div", { class: "top" }, inline && control, name, need(what), words && h("span", { class: "kind text", text: words }), extra);
  const element = h("div", { class: "field" }, top.childElementCount > 0 && top, help, !inline && control, error);
  const say = (message) => {
    error.textContent = message;
    error.hidden = message === "";
    control.setAttribute("aria-invalid", String(message !== ""));
  };
  control.addEventListener("input", () => say(""));
  const refuse = (message, Kind = Invalid) => new Kind(message, () => {
    say(message);
    control.focus();
  });
  const miss = (message) => refuse(message, Missing);
  return { element, say, refuse, miss };
}

/** What an empty control stands for: NOTHING, null, or the empty text. Its placeholder tells which. */
class Blank {
  constructor(what, control) {
    this.usual = what.schema.default === "" ? "" : NOTHING;
    this.control = control;
    this.example = control.placeholder;
    this.nulls = what.nullable ? nullBox(what, (ticked) => {
      if (ticked) control.value = "";
      this.set(ticked ? null : this.usual);
      control.dispatchEvent(new Event("input", { bubbles: true }));
    }) : null;
    control.addEventListener("input", () => {
      if (control.value !== "" && this.value === null) this.set(this.usual);
    });
  }

  set(value) {
    this.value = value;
    if (this.nulls) this.nulls.box.checked = value === null;
    this.control.placeholder = value === null ? "null" : value === "" ? "empty text" : this.example;
  }
}

export function limits({ minimum, maximum, minLength, maxLength, minItems, maxItems }, unit = "") {
  const low = [minimum, minLength, minItems].find((value) => asNumber(value) !== undefined);
  const high = [maximum, maxLength, maxItems].find((value) => asNumber(value) !== undefined);
  if (low === undefined && high === undefined) return "";
  const words = low === undefined ? `at most ${shown(high)}` : high === undefined ? `at least ${shown(low)}` : `${shown(low)} to ${shown(high)}`;
  return unit ? `${words} ${asNumber(high ?? low) === 1 ? unit.slice(0, -1) : unit}` : words;
}

const INPUTS = { date: "date", time: "time", "date-time": "text", email: "email", uri: "url", url: "url", password: "password" };

function textControl({ schema }) {
  const type = INPUTS[schema.format];
  const short = type !== undefined || schema.pattern !== undefined || schema.maxLength <= 100;
  const control = short
    ? h("input", { class: "input", type: type ?? "text", autocomplete: "off", spellcheck: "false" })
    : h("textarea", { class: "input", rows: "1", autocomplete: "off", spellcheck: "false" });
  const example = Array.isArray(schema.examples) && typeof schema.examples[0] === "string" ? schema.examples[0] : "";
  if (example) control.placeholder = `for example ${example}`;
  else if (schema.format === "date-time") control.placeholder = "2026-01-31T12:00:00Z";
  return control;
}

export function stringField(what) {
  const { schema, required } = what;
  const control = textControl(what);
  const blank = new Blank(what, control);
  const hints = [schema.format, limits(schema, "characters"), typeof schema.pattern === "string" && `pattern ${schema.pattern}`];
  const hint = hints.filter((one) => typeof one === "string" && one !== "").join(", ");
  const { element, say, refuse, miss } = frame(what, control, { hint, extra: blank.nulls?.element });
  return {
    element,
    read() {
      const { value } = control;
      if (value === "" && control.validity.badInput) throw refuse("This is no such value.");
      if (value === "" && (blank.value !== NOTHING || !required)) return blank.value;
      if (value === "" && schema.minLength !== 0) throw miss("This is needed. (An empty text can be given as JSON.)");
      if (control.validity.typeMismatch) throw refuse(`This is no ${schema.format}.`);
      return value;
    },
    write(value) {
      say("");
      blank.set(isAbsent(value) ? NOTHING : value === null && what.nullable ? null : value === "" ? "" : NOTHING);
      control.value = typeof value === "string" ? value : "";
      if (isAbsent(value) || blank.value === null) return;
      if (typeof value !== "string") throw new Unfit("is no text");
      if (control.value !== value) throw new Unfit("is no text that its field takes");
    },
  };
}

export function numberField(what) {
  const { schema, kind, required } = what;
  const control = h("input", { class: "input number", type: "text", inputmode: kind === "integer" ? "numeric" : "decimal", autocomplete: "off" });
  const blank = new Blank(what, control);
  const { element, say, refuse, miss } = frame(what, control, { hint: limits(schema), extra: blank.nulls?.element });
  return {
    element,
    read() {
      const text = control.value.trim();
      if (text === "" && (blank.value !== NOTHING || !required)) return blank.value;
      if (text === "") throw miss("This is needed.");
      if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) throw refuse("This is no number.");
      const value = Number(text);
      if (kind === "integer" && !Number.isInteger(value)) throw refuse("This has to be a whole number.");
      if (value < asNumber(schema.minimum)) throw refuse(`At least ${shown(schema.minimum)}.`);
      if (value > asNumber(schema.maximum)) throw refuse(`At most ${shown(schema.maximum)}.`);
      return JSON.rawJSON && String(value) !== text ? JSON.rawJSON(text) : value;
    },
    write(value) {
      say("");
      blank.set(value === null && what.nullable ? null : NOTHING);
      control.value = isRaw(value) ? value.rawJSON : typeof value === "number" ? String(value) : "";
      if (!isAbsent(value) && blank.value !== null && asNumber(value) === undefined) throw new Unfit("is no number");
    },
  };
}

/** A box, where on and off is all there is; undecided where JSON did not give it. */
export function booleanField(what) {
  const { schema, required, nullable } = what;
  if (nullable || !(required || typeof schema.default === "boolean")) return choiceField({ ...what, kind: "boolean", options: [[true], [false]] });
  const control = h("input", { type: "checkbox" });
  const { element, say, miss } = frame(what, control, { inline: true });
  return {
    element,
    read() {
      if (!control.indeterminate) return control.checked;
      if (required) throw miss("Tick it, or tick it twice for false.");
      return NOTHING;
    },
    write(value) {
      say("");
      control.indeterminate = value === NOTHING;
      control.checked = value === true;
      if (!isAbsent(value) && typeof value !== "boolean") throw new Unfit("is neither true nor false");
    },
  };
}

export function choiceField(what) {
  const { required, nullable, options } = what;
  const values = (nullable ? [...options, [null]] : options).slice(0, MOST_OPTIONS);
  const control = h("select", { class: "input" }, h("option", { value: "", text: required ? "Choose…" : "not given" }),
    values.map(([value, title], index) => h("option", { value: String(index), text: title ? `${title} (${shown(value)})` : shown(value) })));
  const { element, say, miss } = frame(what, control);
  return {
    element,
    read() {
      if (control.value === "" && required) throw miss("Choose one.");
      return control.value === "" ? NOTHING : values[Number(control.value)][0];
    },
    write(value) {
      say("");
      const only = value === undefined && required && values.length === 1;
      const index = only ? 0 : isAbsent(value) ? -1 : values.findIndex(([one]) => same(one, value));
      control.value = index >= 0 ? String(index) : "";
      if (index < 0 && !isAbsent(value)) throw new Unfit("is none of its choices");
    },
  };
}

/** `isWhole`: it is all the arguments, an object. */
export function jsonField(what) {
  const { required, isWhole } = what;
  const control = h("textarea", { class: "input mono", rows: isWhole ? "4" : "2", spellcheck: "false", autocomplete: "off" });
  const { element, say, refuse, miss } = frame({ ...what, kind: "json" }, control, { hint: isWhole ? "a JSON object" : "JSON" });
  return {
    element,
    read() {
      if (control.value.trim() === "") {
        if (required) throw miss("This is needed, as JSON.");
        return NOTHING;
      }
      let value;
      try {
        value = decodeAsWritten(control.value);
      } catch (problem) {
        throw refuse(`This is no JSON: ${problem.message}`);
      }
      if (isWhole && !isPlainObject(value)) throw refuse("This has to be an object.");
      return value;
    },
    write(value) {
      control.value = isAbsent(value) ? "" : JSON.stringify(value, null, 2);
      say("");
    },
  };
}
