// A form made from a JSON schema. Whatever the schema does not say in words that a form has is asked for as JSON.
//
// A field is {element, read(), write(value), first}: `read` returns the value, or NOTHING where none was given, and
// throws Invalid, whose `field` is where to look. Schemas are a server's: bounded in depth and breadth.

import { button, freshId, h } from "./dom.js";

const DEEPEST = 5;
const MOST_FIELDS = 150;
const NOTHING = Symbol("nothing");

class Invalid extends Error {
  constructor(message, fail) {
    super(message);
    this.fail = fail;
  }
}

/** The form of an object's properties. `value()` is the object, or null where something is missing: it is shown. */
export function schemaForm(schema) {
  const context = { root: schema, left: MOST_FIELDS };
  const whole = resolve(schema, context);
  const field = isPlainObject(whole.properties) ? objectFields(whole, context, 0) : jsonField({ schema: whole, context, label: "Arguments", required: true, fallback: {} });
  return {
    element: field.element,
    isEmpty: field.count === 0,
    value() {
      try {
        const value = field.read();
        return value === NOTHING ? {} : value;
      } catch (problem) {
        if (!(problem instanceof Invalid)) throw problem;
        problem.fail();
        return null;
      }
    },
    write: (value) => field.write(value),
    focus: () => field.element.querySelector("input, textarea, select, button")?.focus(),
  };
}

const isPlainObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Follow local references, and put `allOf` together. */
function resolve(schema, context, depth = 0) {
  if (!isPlainObject(schema)) return {};
  if (depth > 8) return {};
  if (typeof schema.$ref === "string") {
    const found = pointer(context.root, schema.$ref);
    const { $ref, ...rest } = schema;
    return found ? { ...resolve(found, context, depth + 1), ...rest } : rest;
  }
  if (Array.isArray(schema.allOf) && schema.allOf.length <= 20) {
    const { allOf, ...rest } = schema;
    return allOf.map((part) => resolve(part, context, depth + 1)).reduce(merge, rest);
  }
  return schema;
}

function merge(one, other) {
  return {
    ...other,
    ...one,
    properties: one.properties || other.properties ? { ...other.properties, ...one.properties } : undefined,
    required: [...(one.required ?? []), ...(other.required ?? [])],
  };
}

function pointer(root, reference) {
  if (!reference.startsWith("#")) return null; // elsewhere: never fetched
  let found = root;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    found = isPlainObject(found) && Object.hasOwn(found, key) ? found[key] : null;
  }
  return isPlainObject(found) ? found : null;
}

/** What a schema asks for: {kind, schema, nullable, options?, variants?}. */
function read(schema, context) {
  let whole = resolve(schema, context);
  let nullable = whole.nullable === true;
  const several = whole.anyOf ?? whole.oneOf;
  if (Array.isArray(several)) {
    const { anyOf, oneOf, ...rest } = whole;
    const parts = several.slice(0, 30).map((part) => resolve(part, context));
    const real = parts.filter((part) => part.type !== "null");
    nullable ||= real.length < parts.length;
    if (real.length > 0 && real.every((part) => "const" in part)) {
      return { kind: "choice", schema: rest, nullable, options: real.map((part) => [part.const, part.title]) };
    }
    if (real.length > 1) return { kind: "variants", schema: rest, nullable, variants: real };
    whole = real.length === 1 ? { ...real[0], ...rest } : rest;
  }
  let type = whole.type;
  if (Array.isArray(type)) {
    nullable ||= type.includes("null");
    const real = type.filter((name) => name !== "null");
    type = real.length === 1 ? real[0] : undefined;
  }
  if ("const" in whole) return { kind: "choice", schema: whole, nullable, options: [[whole.const]] };
  if (Array.isArray(whole.enum)) {
    const options = whole.enum.filter((value) => value !== null).map((value, index) => [value, whole.enumNames?.[index]]);
    return { kind: "choice", schema: whole, nullable: nullable || options.length < whole.enum.length, options };
  }
  if (type === undefined && isPlainObject(whole.properties)) type = "object";
  if (type === "object" && !isPlainObject(whole.properties)) type = "json";
  if (type === "array" && !isPlainObject(whole.items)) type = "json";
  const known = ["string", "integer", "number", "boolean", "array", "object"];
  return { kind: known.includes(type) ? type : "json", schema: whole, nullable };
}

const MAKERS = {
  string: stringField,
  integer: numberField,
  number: numberField,
  boolean: booleanField,
  choice: choiceField,
  variants: variantsField,
  array: arrayField,
  object: objectField,
  json: jsonField,
};

function makeField(schema, label, required, context, depth) {
  context.left -= 1;
  const what = read(schema, context);
  const kind = depth > DEEPEST || context.left < 0 ? "json" : what.kind;
  return MAKERS[kind]({ ...what, kind, label, required, context, depth });
}

function objectFields(schema, context, depth) {
  const wanted = new Set(Array.isArray(schema.required) ? schema.required : []);
  const names = Object.keys(schema.properties).slice(0, MOST_FIELDS);
  names.sort((one, other) => wanted.has(other) - wanted.has(one));
  const fields = names.map((name) => [name, makeField(schema.properties[name], name, wanted.has(name), context, depth + 1)]);
  let others = {};
  return {
    count: fields.length,
    element: h("div", { class: "fields" }, fields.map(([, field]) => field.element)),
    read() {
      const value = {};
      for (const [name, field] of fields) {
        const part = field.read();
        if (part !== NOTHING) Object.defineProperty(value, name, { value: part, enumerable: true, configurable: true, writable: true });
      }
      return { ...others, ...value };
    },
    write(value) {
      const given = isPlainObject(value) ? value : {};
      others = Object.fromEntries(Object.entries(given).filter(([name]) => !names.includes(name)));
      for (const [name, field] of fields) field.write(Object.hasOwn(given, name) ? given[name] : NOTHING);
    },
  };
}

// One field with its label, description and error. `control` gets the ids.

function frame({ schema, label, required, kind, nullable }, control, { inline = false, hint = "" } = {}) {
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
  const words = [kind === "choice" || kind === "json" ? "" : kind, hint, nullable ? "or null" : ""].filter(Boolean).join(" · ");
  const name = h("label", { class: "name", for: id }, h("bdi", { class: "mono", text: label }), title && h("bdi", { class: "soft", text: title }));
  const top = h("div", { class: "top" }, inline && control, name, required && h("span", { class: "need", text: "required" }), words && h("span", { class: "kind", text: words }));
  const element = h("div", { class: "field" }, top, help, !inline && control, error);
  const say = (message) => {
    error.textContent = message;
    error.hidden = message === "";
    control.setAttribute("aria-invalid", String(message !== ""));
  };
  control.addEventListener("input", () => say(""));
  const refuse = (message) => new Invalid(message, () => {
    say(message);
    control.focus();
  });
  return { element, say, refuse };
}

function limits({ minimum, maximum, minLength, maxLength, minItems, maxItems }, unit = "") {
  const low = [minimum, minLength, minItems].find((value) => typeof value === "number");
  const high = [maximum, maxLength, maxItems].find((value) => typeof value === "number");
  if (low === undefined && high === undefined) return "";
  const words = low === undefined ? `at most ${high}` : high === undefined ? `at least ${low}` : `${low} to ${high}`;
  return unit ? `${words} ${unit}` : words;
}

const INPUTS = { date: "date", time: "time", "date-time": "text", email: "email", uri: "url", url: "url", password: "password" };

function stringField(what) {
  const { schema, required } = what;
  const type = INPUTS[schema.format];
  const short = type !== undefined || schema.pattern !== undefined || schema.maxLength <= 100;
  const control = short
    ? h("input", { class: "input", type: type ?? "text", autocomplete: "off", spellcheck: "false" })
    : h("textarea", { class: "input", rows: "1", autocomplete: "off", spellcheck: "false" });
  const example = Array.isArray(schema.examples) && typeof schema.examples[0] === "string" ? schema.examples[0] : "";
  if (example) control.placeholder = `for example ${example}`;
  else if (schema.format === "date-time") control.placeholder = "2026-01-31T12:00:00Z";
  const hint = [typeof schema.format === "string" ? schema.format : "", limits(schema, "characters")].filter(Boolean).join(", ");
  const { element, say, refuse } = frame(what, control, { hint });
  const field = {
    element,
    read() {
      const value = control.value;
      if (value === "" && control.validity.badInput) throw refuse("This is no such value.");
      if (value === "" && !required) return NOTHING;
      if (value === "" && schema.minLength !== 0) throw refuse("This is needed. (An empty text can be given as JSON.)");
      if (control.validity.typeMismatch) throw refuse(`This is no ${schema.format}.`);
      return value;
    },
    write(value) {
      control.value = typeof value === "string" ? value : "";
      say("");
    },
  };
  field.write(schema.default);
  return field;
}

function numberField(what) {
  const { schema, kind, required } = what;
  const control = h("input", { class: "input number", type: "text", inputmode: kind === "integer" ? "numeric" : "decimal", autocomplete: "off" });
  const { element, say, refuse } = frame(what, control, { hint: limits(schema) });
  const field = {
    element,
    read() {
      const text = control.value.trim();
      if (text === "" && !required) return NOTHING;
      if (text === "") throw refuse("This is needed.");
      if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) throw refuse("This is no number.");
      const value = Number(text);
      if (kind === "integer" && !Number.isInteger(value)) throw refuse("This has to be a whole number.");
      if (typeof schema.minimum === "number" && value < schema.minimum) throw refuse(`At least ${schema.minimum}.`);
      if (typeof schema.maximum === "number" && value > schema.maximum) throw refuse(`At most ${schema.maximum}.`);
      return JSON.rawJSON && !Number.isSafeInteger(value) && Number.isInteger(value) ? JSON.rawJSON(text) : value;
    },
    write(value) {
      control.value = typeof value === "number" ? String(value) : (JSON.isRawJSON?.(value) ? value.rawJSON : "");
      say("");
    },
  };
  field.write(schema.default);
  return field;
}

function booleanField(what) {
  const { schema, required } = what;
  if (required || typeof schema.default === "boolean") {
    const control = h("input", { type: "checkbox" });
    const { element } = frame(what, control, { inline: true });
    const field = { element, read: () => control.checked, write: (value) => { control.checked = value === true; } };
    field.write(schema.default);
    return field;
  }
  return choiceField({ ...what, kind: "boolean", options: [[true], [false]] });
}

const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function choiceField(what) {
  const { schema, required, nullable, options } = what;
  const values = nullable ? [...options, [null]] : options;
  const control = h("select", { class: "input" });
  if (!required || values.length > 1) control.append(h("option", { value: "", text: required ? "Choose…" : "not given" }));
  values.slice(0, 1000).forEach(([value, title], index) => control.append(h("option", { value: String(index), text: title ? `${title} (${shown(value)})` : shown(value) })));
  const { element, say, refuse } = frame(what, control);
  const field = {
    element,
    read() {
      if (control.value === "" && required) throw refuse("Choose one.");
      return control.value === "" ? NOTHING : values[Number(control.value)][0];
    },
    write(value) {
      const index = value === NOTHING || value === undefined ? -1 : values.findIndex(([one]) => JSON.stringify(one) === JSON.stringify(value));
      control.value = index >= 0 ? String(index) : control.options[0].value;
      say("");
    },
  };
  field.write(schema.default);
  return field;
}

function group(what, children) {
  const { schema, label, required } = what;
  const description = typeof schema.description === "string" ? schema.description : "";
  return h("fieldset", { class: "field group" },
    h("legend", { class: "top" }, h("bdi", { class: "mono name", text: label }), required && h("span", { class: "need", text: "required" })),
    description && h("p", { class: "help text", text: description }), children);
}

function objectField(what) {
  const { schema, required, context, depth } = what;
  const inner = objectFields(schema, context, depth);
  const field = {
    element: group(what, inner.element),
    read() {
      const value = inner.read();
      return !required && Object.keys(value).length === 0 ? NOTHING : value;
    },
    write: inner.write,
  };
  if (schema.default !== undefined) field.write(schema.default);
  return field;
}

function arrayField(what) {
  const { schema, label, required, context, depth } = what;
  const items = read(schema.items, context);
  if (items.kind === "choice" && items.options.length <= 30) return severalField(what, items.options);
  const list = h("ul", { class: "items" });
  const error = h("p", { class: "error", hidden: true });
  const add = button(`Add to ${label}`, { iconName: "plus", kind: "small", on: () => append().element.querySelector("input, textarea, select")?.focus() });
  let entries = [];
  function append(value) {
    const entry = { field: makeField(schema.items, `${label} ${entries.length + 1}`, true, context, depth + 1) };
    if (value !== undefined) entry.field.write(value);
    const remove = button("Remove", { kind: "small quiet", on: () => drop(entry), "aria-label": `Remove ${label} ${entries.length + 1}` });
    entry.element = h("li", {}, entry.field.element, remove);
    entries.push(entry);
    list.append(entry.element);
    error.hidden = true;
    return entry;
  }
  function drop(entry) {
    entries = entries.filter((one) => one !== entry);
    entry.element.remove();
    add.focus();
  }
  const field = {
    element: group(what, [list, h("div", {}, add), error]),
    read() {
      const values = entries.map(({ field }) => field.read());
      if (values.length === 0 && !required && !(schema.minItems > 0 && schema.default)) return NOTHING;
      if (typeof schema.minItems === "number" && values.length < schema.minItems) {
        throw new Invalid("", () => {
          error.textContent = `At least ${schema.minItems} of them.`;
          error.hidden = false;
          add.focus();
        });
      }
      return values;
    },
    write(value) {
      entries = [];
      list.replaceChildren();
      if (Array.isArray(value)) value.slice(0, MOST_FIELDS).forEach((one) => append(one));
    },
  };
  field.write(schema.default);
  return field;
}

function severalField(what, options) {
  const { schema, required } = what;
  const boxes = options.map(([value, title]) => {
    const box = h("input", { type: "checkbox", id: freshId("box") });
    return { value, box, element: h("label", { class: "check", for: box.id }, box, h("bdi", { text: title || shown(value) })) };
  });
  const field = {
    element: group(what, h("div", { class: "checks" }, boxes.map(({ element }) => element))),
    read() {
      const values = boxes.filter(({ box }) => box.checked).map(({ value }) => value);
      return values.length === 0 && !required ? NOTHING : values;
    },
    write(value) {
      for (const one of boxes) one.box.checked = Array.isArray(value) && value.includes(one.value);
    },
  };
  field.write(schema.default);
  return field;
}

function variantsField(what) {
  const { schema, label, required, context, depth, variants } = what;
  const names = variants.map((part, index) => (typeof part.title === "string" && part.title) || (typeof part.type === "string" && part.type) || `variant ${index + 1}`);
  const control = h("select", { class: "input" }, !required && h("option", { value: "", text: "not given" }), names.map((name, index) => h("option", { value: String(index), text: name })));
  const place = h("div", {});
  const { element } = frame({ ...what, kind: "one of several" }, control);
  element.append(place);
  let chosen = null;
  function choose() {
    chosen = control.value === "" ? null : makeField({ ...variants[Number(control.value)], description: undefined }, label, true, context, depth + 1);
    place.replaceChildren(...(chosen ? [chosen.element] : []));
  }
  control.addEventListener("change", choose);
  const field = {
    element,
    read: () => (chosen === null ? NOTHING : chosen.read()),
    write(value) {
      const types = [typeof value, Array.isArray(value) ? "array" : "", Number.isInteger(value) ? "integer" : ""];
      const index = value === NOTHING || value === undefined ? -1 : variants.findIndex((part) => types.includes(part.type));
      control.value = index >= 0 ? String(index) : control.options[0].value;
      choose();
      if (index >= 0) chosen.write(value);
    },
  };
  field.write(schema.default);
  return field;
}

function jsonField(what) {
  const { schema, required, fallback } = what;
  const control = h("textarea", { class: "input mono", rows: "2", spellcheck: "false", autocomplete: "off" });
  const { element, say, refuse } = frame({ ...what, kind: "JSON" }, control);
  const field = {
    element,
    read() {
      if (control.value.trim() === "") {
        if (fallback !== undefined) return fallback;
        if (required) throw refuse("This is needed, as JSON.");
        return NOTHING;
      }
      try {
        return JSON.parse(control.value);
      } catch (problem) {
        throw refuse(`This is no JSON: ${problem.message}`);
      }
    },
    write(value) {
      control.value = value === undefined || value === NOTHING ? "" : JSON.stringify(value, null, 2);
      say("");
    },
  };
  field.write(schema.default);
  return field;
}

