// A form made from a JSON schema. Whatever the schema does not say in words that a form has is asked for as JSON.
//
// What may be left out is not there until it is added, so that a schema which holds itself has no end, but no harm.

import { button, freshId, h } from "./dom.js";
import { NOTHING, Invalid, Missing, Unfit, booleanField, choiceField, frame, isAbsent, jsonField, limits, need, nullBox, numberField, shown, stringField, within } from "./fields.js";
import { isPlainObject } from "./json.js";
import { mismatches } from "./check.js";
import { read, requiredOf } from "./schema.js";

const DEEPEST = 5;
const MOST_FIELDS = 150;
const MOST_BOXES = 30;

/** The form of an object's members. */
export function schemaForm(schema) {
  const context = { root: schema, left: MOST_FIELDS };
  const field = wholeField(schema, context);
  return {
    element: field.element,
    isEmpty: field.count === 0,
    /** The object, or null where something can't be taken, which is shown. `lenient`: what is missing is left out. */
    value({ lenient = false } = {}) {
      try {
        const value = field.read(lenient);
        return value === NOTHING ? {} : value;
      } catch (problem) {
        if (!(problem instanceof Invalid)) throw problem;
        if (lenient && problem instanceof Missing) return {};
        problem.fail();
        return null;
      }
    },
    /** Show this object. Throws Unfit where there is something in it that the form has no place for. */
    write: (value) => field.write(value),
    focus: () => field.element.querySelector("input, textarea, select, button")?.focus(),
  };
}

function wholeField(schema, context) {
  const what = { ...read(schema, context.root), nullable: false, label: "Arguments", required: true, context, depth: 0 };
  if (what.kind === "object") return objectFields(what.schema, context, 0);
  if (what.kind === "variants" && what.variants.every((part) => isPlainObject(part.properties))) return begun(variantsField(what), what);
  return begun(jsonField({ ...what, schema: { description: what.schema.description }, required: false, isWhole: true }), what);
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

/** `more`: `bare` where the label is said around it. */
function makeField(schema, label, required, context, depth, more = {}) {
  context.left -= 1;
  const what = read(schema, context.root);
  const kind = depth > DEEPEST || context.left < 0 ? "json" : what.kind;
  const full = { ...what, kind, label, required, context, depth, ...more };
  return begun(MAKERS[kind](full), full);
}

/** A field as it is at first: with its schema's default, where it can be shown. */
function begun(field, { schema }) {
  try {
    field.write(schema.default);
  } catch (problem) {
    if (!(problem instanceof Unfit)) throw problem;
    field.write(undefined);
  }
  return field;
}

/** What a person adds has its own bounds. */
const anew = (context) => ({ root: context.root, left: MOST_FIELDS });

function readPart(field, lenient) {
  try {
    return field.read(lenient);
  } catch (problem) {
    if (lenient && problem instanceof Missing) return NOTHING;
    throw problem;
  }
}

function objectFields(schema, context, depth) {
  const wanted = requiredOf(schema);
  const names = [...new Set([...wanted, ...Object.keys(schema.properties)])].slice(0, MOST_FIELDS);
  const partOf = (name) => (Object.hasOwn(schema.properties, name) ? schema.properties[name] : {});
  const fields = names.map((name) => [name, makeField(partOf(name), name, wanted.has(name), context, depth + 1)]);
  return {
    count: fields.length,
    element: h("div", { class: "fields" }, fields.map(([, field]) => field.element)),
    read(lenient) {
      const value = {};
      for (const [name, field] of fields) {
        const part = readPart(field, lenient);
        if (part !== NOTHING) Object.defineProperty(value, name, { value: part, enumerable: true, configurable: true, writable: true });
      }
      return value;
    },
    write(value) {
      if (!isPlainObject(value)) throw new Unfit("is no object");
      for (const name of Object.keys(value)) if (!names.includes(name)) within(name, () => { throw new Unfit("has no field in the form"); });
      for (const [name, field] of fields) within(name, () => field.write(Object.hasOwn(value, name) ? value[name] : NOTHING));
    },
  };
}

function group(what, extra, children) {
  const { schema, label, bare, kind } = what;
  const description = typeof schema.description === "string" ? schema.description : "";
  const hint = [bare ? "" : kind, kind === "array" && limits(schema, "items")].filter(Boolean).join(" · ");
  return h("fieldset", { class: "field group" },
    h("legend", { class: bare ? "unseen" : "top" }, h("bdi", { class: "mono name", text: label }), need(what), !bare && h("span", { class: "kind", text: hint })),
    description && h("p", { class: "help text", text: description }), children, extra);
}

/** An object that may be left out, or be null, is either; or its members, from when it is added. */
function objectField(what) {
  const { schema, label, required, nullable, context, depth } = what;
  const place = h("div", { class: "stack" });
  const error = h("p", { class: "error", hidden: true, text: "This is needed." });
  const nulls = nullable ? nullBox(what, (ticked) => set(ticked ? null : NOTHING)) : null;
  const add = button(`Add ${label}`, { iconName: "plus", kind: "small", on: () => {
    set(objectFields(schema, anew(context), 0));
    place.querySelector("input, textarea, select, button")?.focus();
  } });
  const remove = button(`Remove ${label}`, { kind: "small quiet", on: () => {
    set(NOTHING);
    add.focus();
  } });
  const optional = !required || nullable;
  let inner = NOTHING; // or null, or the fields of its members

  function set(value) {
    inner = value;
    const given = value !== NOTHING && value !== null;
    place.replaceChildren(...(given ? [value.element] : []));
    add.hidden = given;
    remove.hidden = !given || !optional;
    error.hidden = true;
    if (nulls) nulls.box.checked = value === null;
  }
  return {
    element: group(what, h("div", { class: "checks" }, add, remove, nulls?.element, error), place),
    read(lenient) {
      if (inner === null || (inner === NOTHING && !required)) return inner;
      if (inner === NOTHING) {
        throw new Missing("", () => {
          error.hidden = false;
          add.focus();
        });
      }
      return inner.read(lenient);
    },
    write(value) {
      if (value === undefined && !optional) set(objectFields(schema, context, depth));
      else if (isAbsent(value)) set(NOTHING);
      else if (value === null && nullable) set(null);
      else {
        set(objectFields(schema, context, depth));
        inner.write(value);
      }
    },
  };
}

function arrayField(what) {
  const { schema, label, required, nullable, context, depth } = what;
  const items = read(schema.items, context.root);
  if (items.kind === "choice" && items.options.length <= MOST_BOXES && !items.nullable) return severalField(what, items.options);
  const list = h("ul", { class: "items" });
  const error = h("p", { class: "error", hidden: true });
  const add = button(`Add to ${label}`, { iconName: "plus", kind: "small", on: () => append(NOTHING, anew(context), 0).element.querySelector("input, textarea, select, button")?.focus() });
  const nulls = nullable ? nullBox(what, (ticked) => start(ticked ? null : usual)) : null;
  const usual = Array.isArray(schema.default) ? "empty" : NOTHING; // what stands for no items
  let blank = usual;
  let entries = [];

  function start(value) {
    entries = [];
    list.replaceChildren();
    error.hidden = true;
    blank = value;
    if (nulls) nulls.box.checked = value === null;
  }
  function append(value, from, deep) {
    const entry = { field: makeField(schema.items, `${label} ${entries.length + 1}`, true, from, deep + 1) };
    const remove = button("Remove", { kind: "small quiet", on: () => drop(entry), "aria-label": `Remove ${label} ${entries.length + 1}` });
    entry.element = h("li", {}, entry.field.element, remove);
    if (blank === null) start(usual);
    entries.push(entry);
    list.append(entry.element);
    error.hidden = true;
    if (value !== NOTHING) entry.field.write(value);
    return entry;
  }
  function drop(entry) {
    entries = entries.filter((one) => one !== entry);
    entry.element.remove();
    add.focus();
  }
  function refuse(message) {
    return new Invalid(message, () => {
      error.textContent = message;
      error.hidden = false;
      add.focus();
    });
  }
  return {
    element: group(what, h("div", { class: "checks" }, add, nulls?.element, error), list),
    read(lenient) {
      const values = entries.map(({ field }) => readPart(field, lenient)).filter((value) => value !== NOTHING);
      if (values.length === 0 && blank !== "empty" && (blank === null || !required)) return blank;
      if (values.length < schema.minItems && !lenient) throw refuse(`At least ${schema.minItems} of them.`);
      if (values.length > schema.maxItems) throw refuse(`At most ${schema.maxItems} of them.`);
      return values;
    },
    write(value) {
      start(value === undefined ? usual : value === null && nullable ? null : Array.isArray(value) ? "empty" : NOTHING);
      if (isAbsent(value) || blank === null) return;
      if (!Array.isArray(value)) throw new Unfit("is no list");
      if (value.length > MOST_FIELDS) throw new Unfit(`has more than ${MOST_FIELDS} items`);
      value.forEach((one, index) => within(index, () => append(one, context, depth)));
    },
  };
}

/** A list of words that may each be in it or not. */
function severalField(what, options) {
  const { required, schema, nullable } = what;
  const usual = Array.isArray(schema.default) ? [] : NOTHING;
  let blank = usual; // what no tick stands for
  const nulls = nullable ? nullBox(what, (ticked) => begin(ticked ? null : usual)) : null;
  const boxes = options.map(([value, title]) => {
    const box = h("input", { type: "checkbox", id: freshId("box"), on: { change: () => { if (blank === null) mark(usual); } } });
    return { value, box, element: h("label", { class: "check", for: box.id }, box, h("bdi", { text: title || shown(value) })) };
  });
  function mark(value) {
    blank = value;
    if (nulls) nulls.box.checked = value === null;
  }
  function begin(value) {
    mark(value);
    for (const { box } of boxes) box.checked = false;
  }
  return {
    element: group(what, nulls?.element, h("div", { class: "checks" }, boxes.map(({ element }) => element))),
    read() {
      const values = boxes.filter(({ box }) => box.checked).map(({ value }) => value);
      if (values.length > 0) return values;
      return blank === NOTHING && required ? [] : blank;
    },
    write(value) {
      begin(value === null && nullable ? null : Array.isArray(value) ? [] : value === undefined ? usual : NOTHING);
      if (isAbsent(value) || blank === null) return;
      if (!Array.isArray(value)) throw new Unfit("is no list");
      for (const one of boxes) one.box.checked = value.includes(one.value);
      const ticked = boxes.filter(({ box }) => box.checked).map((one) => one.value);
      if (JSON.stringify(ticked) !== JSON.stringify(value)) throw new Unfit("is no choice of its words, or in another order");
    },
  };
}

function nameOf(part, index) {
  if (typeof part.title === "string" && part.title) return part.title;
  const needs = [...requiredOf(part)].slice(0, 3).join(", ");
  if (needs && (part.type === "object" || part.type === undefined)) return `object with ${needs}`;
  return typeof part.type === "string" ? part.type : `variant ${index + 1}`;
}

/** One of several kinds: which one is chosen first, and its field stands below. */
function variantsField(what) {
  const { label, required, nullable, context, depth, variants } = what;
  const control = h("select", { class: "input" }, h("option", { value: "", text: required ? "Choose…" : "not given" }),
    variants.map((part, index) => h("option", { value: String(index), text: nameOf(part, index) })), nullable && h("option", { value: "null", text: "null" }));
  const place = h("div", {});
  const { element, say, miss } = frame({ ...what, kind: "one of several" }, control);
  element.append(place);
  let chosen = null;
  function choose(value, from, deep) {
    control.value = value;
    chosen = value === "" || value === "null" ? null : makeField(variants[Number(value)], label, true, from, deep + 1, { bare: true });
    place.replaceChildren(...(chosen ? [chosen.element] : []));
  }
  function fits(index, value) {
    try {
      choose(String(index), context, depth);
      chosen.write(value);
      return true;
    } catch (problem) {
      if (!(problem instanceof Unfit)) throw problem;
      return false;
    }
  }
  control.addEventListener("change", () => choose(control.value, anew(context), 0));
  return {
    element,
    read(lenient) {
      if (chosen !== null) return chosen.read(lenient);
      if (control.value === "null") return null;
      if (required) throw miss("Choose one.");
      return NOTHING;
    },
    write(value) {
      say("");
      if (value === undefined && required) choose("0", context, depth);
      else if (isAbsent(value)) choose("", context, depth);
      else if (value === null && nullable) choose("null", context, depth);
      else {
        const all = variants.map((_, index) => index);
        const likely = all.filter((index) => mismatches(variants[index], value, context.root).length === 0);
        if (![...likely, ...all].some((index) => fits(index, value))) throw new Unfit("is of none of its kinds");
      }
    },
  };
}
