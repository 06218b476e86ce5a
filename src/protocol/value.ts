/**
 * Column values in one form, so that both sides compare and hash the same thing (rule P1). Two databases, or two drivers
 * of one, may give the same value differently: 1 and 1.0, a bigint where a number would do, JSON with its keys in
 * another order. Bringing a value into its form never changes what the column's codec reads from it.
 *
 * @module
 */

import type { Value } from "./ids.ts";

/** How values of a column are brought into one form before they are compared or hashed. */
export type CanonicalForm = "text" | "integer" | "real" | "boolean" | "time" | "json" | "blob" | "any";

/**
 * Brings a value into its form.
 *
 * - `integer`, `boolean`, `time`: a whole number is a number up to 2^53 and a bigint beyond; -0 is 0.
 * - `real`: always a number; -0 is 0.
 * - `json`: the parsed structure with sorted keys and no space, as text or, where the column stores bytes, as bytes. What
 *   does not parse, or would not survive parsing (numbers of too many digits, extreme depth), stays as it is.
 * - `text`, `blob`: as they are.
 * - `any`: as it is, but for small bigints, which are numbers everywhere.
 */
export function canonicalize(value: Value, form: CanonicalForm): Value {
  if (value === null) return null;
  switch (form) {
    case "integer":
    case "boolean":
    case "time":
      return typeof value === "number"
        ? wholeFromNumber(value)
        : typeof value === "bigint"
          ? wholeFromBigint(value)
          : value;
    case "real":
      return typeof value === "number" ? value + 0 : typeof value === "bigint" ? Number(value) : value;
    case "json":
      return typeof value === "string"
        ? canonicalJson(value)
        : value instanceof Uint8Array
          ? canonicalJsonBytes(value)
          : value;
    case "text":
    case "blob":
    case "any":
      return typeof value === "bigint" ? wholeFromBigint(value) : value;
  }
}

/** Whether two values are the same, in the given form. */
export function equalValues(a: Value, b: Value, form: CanonicalForm): boolean {
  return identical(a, b) || identical(canonicalize(a, form), canonicalize(b, form));
}

/** Whether a value from outside is a {@link Value}. */
export function isValue(value: unknown): value is Value {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
      return true;
    case "object":
      return value === null || value instanceof Uint8Array;
    default:
      return false;
  }
}

/** Same class and same content; 0 and -0 differ, NaN equals itself. */
export function identical(a: Value, b: Value): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return Object.is(a, b);
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

// SQLite's integers have 64 bits; a float in that range that is whole equals the integer.
const int64Bound = 2 ** 63;

function wholeFromNumber(value: number): Value {
  if (Number.isSafeInteger(value)) return value + 0;
  return Number.isInteger(value) && value >= -int64Bound && value < int64Bound ? BigInt(value) : value;
}

function wholeFromBigint(value: bigint): Value {
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function canonicalJsonBytes(bytes: Uint8Array): Uint8Array {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bytes; // Not text, so not JSON: compared byte by byte.
  }
  const canonical = canonicalJson(text);
  return canonical === text ? bytes : new TextEncoder().encode(canonical);
}

function canonicalJson(text: string): string {
  if (!numbersSurvive(text)) return text;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return text; // Not JSON: compared as text.
  }
  return write(parsed, 0) ?? text;
}

const maxJsonDepth = 256;
const longNumber = /-?\d[\d.eE+-]{15,}/g;

// Two numbers that differ beyond the sixteenth digit parse to the same; compared as text they only conflict too often.
function numbersSurvive(text: string): boolean {
  const tokens = text.match(longNumber);
  return tokens === null || tokens.every((token) => String(Number(token)) === token);
}

function write(value: unknown, depth: number): string | undefined {
  // A number too large for a double parses as infinity, which JSON has no word for.
  if (typeof value === "number" && !Number.isFinite(value)) return undefined;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (depth >= maxJsonDepth) return undefined;
  const parts: string[] = [];
  if (Array.isArray(value)) {
    for (const item of value) {
      const part = write(item, depth + 1);
      if (part === undefined) return undefined;
      parts.push(part);
    }
    return `[${parts.join(",")}]`;
  }
  const record = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(record).sort()) {
    const part = write(record[key], depth + 1);
    if (part === undefined) return undefined;
    parts.push(`${JSON.stringify(key)}:${part}`);
  }
  return `{${parts.join(",")}}`;
}
