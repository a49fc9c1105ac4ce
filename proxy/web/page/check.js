// What of some arguments plainly does not fit a tool's schema, before a server sees them. The server has the last word.
//
// Never a false alarm: a keyword that is not known here, a pattern (it could take for ever) and a reference to elsewhere
// are taken to be met.

import { asNumber, isPlainObject, same } from "./json.js";
import { pointer, requiredOf } from "./schema.js";

const DEEPEST = 40;
const MOST_STEPS = 20_000;
const MOST_SAID = 20;

/** [{path, message}]: empty where nothing is wrong that can be seen here. `path` is a JSON pointer. */
export function mismatches(schema, value, root = schema) {
  const look = { root, found: [], left: MOST_STEPS };
  check(look, schema, value, "", 0);
  return look.found.slice(0, MOST_SAID);
}

function check(look, schema, value, path, depth) {
  if (look.left-- <= 0 || depth > DEEPEST) return;
  const say = (message, at = path) => look.found.push({ path: at, message });
  if (schema === false) say("must not be there");
  if (!isPlainObject(schema)) return;
  if (typeof schema.$ref === "string") {
    const found = pointer(look.root, schema.$ref);
    if (found) check(look, found, value, path, depth + 1);
  }
  if (value === null && schema.nullable === true) return;
  checkKind(schema, value, say);
  checkParts(look, schema, value, say, path, depth);
  const number = asNumber(value);
  if (number !== undefined) checkNumber(schema, number, say);
  else if (typeof value === "string") checkText(schema, value, say);
  else if (Array.isArray(value)) checkList(look, schema, value, say, path, depth);
  else if (isPlainObject(value)) checkObject(look, schema, value, say, path, depth);
}

const KINDS = {
  string: ["a text", (value) => typeof value === "string"],
  integer: ["a whole number", (value) => asNumber(value) !== undefined && (Number.isInteger(asNumber(value)) || !Number.isFinite(asNumber(value)))],
  number: ["a number", (value) => asNumber(value) !== undefined],
  boolean: ["true or false", (value) => typeof value === "boolean"],
  null: ["null", (value) => value === null],
  array: ["a list", Array.isArray],
  object: ["an object", isPlainObject],
};

const brief = (value) => {
  const text = JSON.stringify(value) ?? "";
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
};

function checkKind(schema, value, say) {
  const kinds = [schema.type].flat();
  if (kinds.length && kinds.every((kind) => Object.hasOwn(KINDS, String(kind))) && !kinds.some((kind) => KINDS[kind][1](value))) {
    say(`has to be ${kinds.map((kind) => KINDS[kind][0]).join(" or ")}`);
  }
  if (Array.isArray(schema.enum) && !schema.enum.some((one) => same(one, value))) say(`has to be one of ${schema.enum.slice(0, 8).map(brief).join(", ")}`);
  if ("const" in schema && !same(schema.const, value)) say(`has to be ${brief(schema.const)}`);
}

function checkParts(look, schema, value, say, path, depth) {
  if (Array.isArray(schema.allOf)) for (const part of schema.allOf) check(look, part, value, path, depth + 1);
  for (const several of [schema.anyOf, schema.oneOf]) {
    if (!Array.isArray(several) || several.length === 0) continue;
    const each = several.map((part) => {
      const inner = { ...look, found: [] };
      check(inner, part, value, path, depth + 1);
      look.left = inner.left;
      return inner.found;
    });
    if (each.every((found) => found.length > 0)) say(`fits none of the ${several.length} kinds: ${each.slice(0, 4).map((found) => worded(found[0], path)).join("; or ")}`);
  }
}

const worded = ({ path, message }, from) => (path === from ? message : `${path.slice(from.length)} ${message}`);

function checkNumber(schema, value, say) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  if (value < asNumber(minimum)) say(`has to be at least ${asNumber(minimum)}`);
  if (value > asNumber(maximum)) say(`has to be at most ${asNumber(maximum)}`);
  if (value <= asNumber(exclusiveMinimum)) say(`has to be more than ${asNumber(exclusiveMinimum)}`);
  if (value >= asNumber(exclusiveMaximum)) say(`has to be less than ${asNumber(exclusiveMaximum)}`);
}

function checkText({ minLength, maxLength }, value, say) {
  if (minLength === undefined && maxLength === undefined) return;
  const long = [...value].length;
  if (long < minLength) say(`has to have at least ${minLength} characters`);
  if (long > maxLength) say(`has to have at most ${maxLength} characters`);
}

function checkList(look, schema, value, say, path, depth) {
  const { minItems, maxItems, uniqueItems, prefixItems, items } = schema;
  if (value.length < minItems) say(`has to have at least ${minItems} items`);
  if (value.length > maxItems) say(`has to have at most ${maxItems} items`);
  if (uniqueItems === true && value.length <= 200 && value.some((one, index) => value.slice(index + 1).some((other) => same(one, other)))) say("has an item twice");
  const first = Array.isArray(prefixItems) ? prefixItems : [];
  value.forEach((one, index) => check(look, index < first.length ? first[index] : items, one, `${path}/${index}`, depth + 1));
}

const escaped = (name) => name.replaceAll("~", "~0").replaceAll("/", "~1");

function checkObject(look, schema, value, say, path, depth) {
  for (const name of requiredOf(schema)) if (!Object.hasOwn(value, name)) say("is needed", `${path}/${escaped(name)}`);
  const known = isPlainObject(schema.properties) ? schema.properties : {};
  const others = isPlainObject(schema.patternProperties) ? undefined : schema.additionalProperties;
  for (const [name, one] of Object.entries(value)) {
    check(look, Object.hasOwn(known, name) ? known[name] : others, one, `${path}/${escaped(name)}`, depth + 1);
  }
}
