// What a JSON schema asks for, in words that a form has. Schemas are a server's: bounded in depth and breadth.

import { isPlainObject } from "./json.js";

const MOST_PARTS = 30;
const MOST_STEPS = 8;

/** Follow local references, and put `allOf` together. */
export function resolve(schema, root, depth = 0) {
  if (!isPlainObject(schema) || depth > MOST_STEPS) return {};
  if (typeof schema.$ref === "string") {
    const found = pointer(root, schema.$ref);
    const { $ref, ...rest } = schema;
    return found ? { ...resolve(found, root, depth + 1), ...rest } : rest;
  }
  if (Array.isArray(schema.allOf) && schema.allOf.length <= MOST_PARTS) {
    const { allOf, ...rest } = schema;
    return allOf.map((part) => resolve(part, root, depth + 1)).reduce(merge, rest);
  }
  return schema;
}

const names = (list) => (Array.isArray(list) ? list.filter((name) => typeof name === "string") : []);

/** The names of an object's members that have to be there. */
export const requiredOf = (schema) => new Set(names(schema.required));

function merge(one, other) {
  const properties = isPlainObject(one.properties) || isPlainObject(other.properties) ? { properties: { ...other.properties, ...one.properties } } : {};
  const required = [...names(one.required), ...names(other.required)];
  return { ...other, ...one, ...properties, ...(required.length ? { required } : {}) };
}

/** What a local reference points to; null where that is nothing, or elsewhere: nothing is fetched. */
export function pointer(root, reference) {
  if (!reference.startsWith("#")) return null;
  let found = root;
  for (const part of reference.slice(1).split("/").slice(1)) {
    const key = plain(part).replaceAll("~1", "/").replaceAll("~0", "~");
    found = (isPlainObject(found) || Array.isArray(found)) && Object.hasOwn(found, key) ? found[key] : null;
  }
  return isPlainObject(found) ? found : null;
}

function plain(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** What a schema asks for: {kind, schema, nullable, options?, variants?}. */
export function read(schema, root) {
  let whole = resolve(schema, root);
  let nullable = whole.nullable === true;
  const several = whole.anyOf ?? whole.oneOf;
  if (Array.isArray(several)) {
    const { anyOf, oneOf, ...rest } = whole;
    const parts = several.slice(0, MOST_PARTS).map((part) => resolve(part, root));
    const real = parts.filter((part) => part.type !== "null");
    nullable ||= real.length < parts.length;
    if (real.length > 0 && real.every((part) => "const" in part)) {
      return { kind: "choice", schema: rest, nullable, options: real.map((part) => [part.const, part.title]) };
    }
    if (real.length > 1) {
      const { title, description, default: _, ...shared } = rest;
      return { kind: "variants", schema: rest, nullable, variants: real.map((part) => merge(part, shared)) };
    }
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
