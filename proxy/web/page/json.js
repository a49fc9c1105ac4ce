// JSON whose numbers stay as they were written: a database's key has more digits than JavaScript has room for.
//
// A number that is kept so is what `JSON.rawJSON` makes. A browser that has no such thing gets the nearest number.

/** JSON, with numbers that JavaScript can't hold kept as written. */
export function decode(text) {
  if (!/\d{16}|[eE][+-]?\d{3}/.test(text)) return JSON.parse(text);
  return keeping(text, (value) => Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value)));
}

/** JSON to look at: each number that JavaScript would write otherwise is kept as written, 1.0 and 1e3 too. */
export function decodeAsWritten(text) {
  if (!/\d{16}|\d[.eE]|-0/.test(text)) return JSON.parse(text);
  return keeping(text, (value, source) => String(value) === source);
}

function keeping(text, isPlain) {
  if (!JSON.rawJSON) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) => {
    if (typeof value !== "number" || context?.source === undefined || isPlain(value, context.source)) return value;
    return JSON.rawJSON(context.source);
  });
}

export const isPlainObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !isRaw(value);
export const isRaw = (value) => JSON.isRawJSON?.(value) === true;

/** The nearest number where this is one, however it is kept; else undefined. */
export function asNumber(value) {
  if (typeof value === "number") return value;
  return isRaw(value) && /^[-\d]/.test(value.rawJSON) ? Number(value.rawJSON) : undefined;
}

/** Whether two values mean the same: the order of members does not count. */
export function same(one, other) {
  if (one === other) return true;
  const [a, b] = [asNumber(one), asNumber(other)];
  if (a !== undefined || b !== undefined) return a === b && (Number.isSafeInteger(a) || JSON.stringify(one) === JSON.stringify(other));
  if (Array.isArray(one)) return Array.isArray(other) && one.length === other.length && one.every((part, index) => same(part, other[index]));
  if (!isPlainObject(one) || !isPlainObject(other)) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => Object.hasOwn(other, name) && same(one[name], other[name]));
}
