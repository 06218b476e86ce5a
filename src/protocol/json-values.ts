/**
 * Messages over transports that carry JSON only (tRPC). What JSON has no word for is wrapped in an object of one field:
 *
 * | value | travels as |
 * |---|---|
 * | bigint | `{ "$int": "9007199254740993" }` |
 * | bytes | `{ "$bytes": "<base64>" }` |
 * | NaN, infinities, -0 | `{ "$float": "NaN" }` |
 * | an object whose only field begins with `$` | `{ "$": <the object> }` |
 *
 * CBOR carries all of them natively; there, nothing is wrapped.
 *
 * @module
 */

import { SyncError } from "./errors.ts";

/** Wraps special values anywhere in a message. Parts without any are not copied. */
export function toJsonValues(message: unknown): unknown {
  return wrap(message, 0);
}

/** Unwraps special values anywhere in a message from outside; throws `INVALID_MESSAGE` for a broken wrapper. */
export function fromJsonValues(message: unknown): unknown {
  return unwrap(message, 0, false);
}

const maxDepth = 32;
const maxIntegerLength = 20;
const integerPattern = /^-?\d+$/;
const floats: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
  "-0": -0,
};

function wrap(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "bigint":
      return { $int: value.toString() };
    case "number":
      if (Object.is(value, -0)) return { $float: "-0" };
      return Number.isFinite(value) ? value : { $float: String(value) };
    case "object":
      break;
    default:
      return value;
  }
  if (value === null) return null;
  if (depth >= maxDepth) throw tooDeep();
  if (value instanceof Uint8Array) return { $bytes: bytesToBase64(value) };
  if (Array.isArray(value)) return mapItems(value, (item) => wrap(item, depth + 1));
  const mapped = mapFields(value, (item) => wrap(item, depth + 1));
  const keys = Object.keys(value);
  return keys.length === 1 && keys[0]?.startsWith("$") === true ? { $: mapped } : mapped;
}

function unwrap(value: unknown, depth: number, escaped: boolean): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (depth >= maxDepth) throw tooDeep();
  // A transformer (superjson) may have carried bytes by itself.
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return mapItems(value, (item) => unwrap(item, depth + 1, false));
  if (!escaped) {
    const keys = Object.keys(value);
    const key = keys.length === 1 ? keys[0] : undefined;
    if (key?.startsWith("$") === true)
      return unwrapSpecial(key, (value as Readonly<Record<string, unknown>>)[key], depth);
  }
  return mapFields(value, (item) => unwrap(item, depth + 1, false));
}

function unwrapSpecial(key: string, content: unknown, depth: number): unknown {
  if (key === "$" && typeof content === "object" && content !== null) return unwrap(content, depth + 1, true);
  if (typeof content === "string") {
    if (key === "$int" && content.length <= maxIntegerLength && integerPattern.test(content)) return BigInt(content);
    if (key === "$bytes") return base64ToBytes(content);
    if (key === "$float" && Object.hasOwn(floats, content)) return floats[content];
  }
  throw new SyncError({ code: "INVALID_MESSAGE", message: "A wrapped value in a JSON message cannot be read." });
}

function mapItems(items: readonly unknown[], map: (item: unknown) => unknown): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const mapped = map(items[i]);
    if (copy === undefined && !Object.is(mapped, items[i])) copy = items.slice();
    if (copy !== undefined) copy[i] = mapped;
  }
  return copy ?? items;
}

function mapFields(record: object, map: (item: unknown) => unknown): object {
  let copy: [string, unknown][] | undefined;
  const entries = Object.entries(record);
  for (let i = 0; i < entries.length; i++) {
    const [key, item] = entries[i] as [string, unknown];
    const mapped = map(item);
    if (copy === undefined && !Object.is(mapped, item)) copy = entries.slice();
    if (copy !== undefined) copy[i] = [key, mapped];
  }
  // fromEntries defines its fields, so that a key `__proto__` stays a key.
  return copy === undefined ? record : Object.fromEntries(copy);
}

const chunk = 8192;

function bytesToBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let i = 0; i < bytes.length; i += chunk) binary += String.fromCharCode(...bytes.subarray(i, i + chunk));
  return btoa(binary);
}

function base64ToBytes(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch (cause) {
    throw new SyncError({ code: "INVALID_MESSAGE", message: "Bytes in a JSON message are not base64.", cause });
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function tooDeep(): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message: "A JSON message is nested too deeply." });
}
