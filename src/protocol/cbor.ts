/**
 * The wire codec: CBOR by `cbor-x`, held to a plain subset on both ways. Numbers, bigints of 64 bits, texts, byte
 * strings, booleans, null, arrays and plain objects come back exactly as they were, -0, NaN and texts that are not valid
 * UTF-16 included. Keys that are names of fields travel as their numbers (`field-names.ts`). Bytes from outside pass
 * {@link guardCbor} first.
 *
 * A bigint within the safe integers is a number on the wire: values are bigints only beyond them.
 *
 * @module
 */

import { Decoder, Encoder, Tag } from "cbor-x";
import { guardCbor, specialTag, type CborLimits } from "./cbor-guard.ts";
import { SyncError } from "./errors.ts";
import { fieldNumbers } from "./field-names.ts";

export { defaultCborLimits, type CborLimits } from "./cbor-guard.ts";

/** Encodes a message. Fields that are undefined are left out. The bytes are the caller's own. */
export function encodeCbor(value: unknown): Uint8Array<ArrayBuffer> {
  // cbor-x answers with a view of a pool that it goes on using.
  return new Uint8Array(encoder().encode(prepare(value, 0)));
}

/** Decodes bytes from outside; throws `INVALID_MESSAGE` or `TOO_LARGE`. */
export function decodeCbor(bytes: Uint8Array, limits?: CborLimits): unknown {
  const isSpecial = guardCbor(bytes, limits);
  let value: unknown;
  try {
    // A plain view makes byte strings come back as plain ones too, and keeps cbor-x from marking the caller's.
    value = decoder().decode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  } catch (cause) {
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A message cannot be decoded.", cause });
  }
  return isSpecial ? restore(value) : value;
}

/** Whether a text can be written as UTF-8: no surrogate stands alone. */
export function isWellFormed(text: string): boolean {
  return nativeIsWellFormed === undefined ? !loneSurrogate.test(text) : nativeIsWellFormed.call(text);
}

const maxDepth = 22;
const loneSurrogate = /\p{Surrogate}/u;
const nativeIsWellFormed = (String.prototype as { readonly isWellFormed?: (this: string) => boolean }).isWellFormed;
const minInt64 = -(2n ** 63n);
const maxInt64 = 2n ** 63n - 1n;

let sharedEncoder: Encoder | undefined;
let sharedDecoder: Decoder | undefined;

function encoder(): Encoder {
  return (sharedEncoder ??= new Encoder({
    useRecords: false,
    mapsAsObjects: true,
    keyMap: fieldNumbers,
    variableMapSize: true,
    tagUint8Array: false,
    structuredClone: false,
  }));
}

// A plain Decoder: an Encoder that decodes would keep a sender's record definitions.
function decoder(): Decoder {
  return (sharedDecoder ??= new Decoder({
    useRecords: false,
    mapsAsObjects: true,
    keyMap: fieldNumbers,
    copyBuffers: true,
    structuredClone: false,
  }));
}

/** What cbor-x encodes as we mean it: the same value where nothing special is in it, else a copy. */
function prepare(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case "string":
      return isWellFormed(value) ? value : new Tag(utf16Bytes(value), specialTag);
    case "number":
      return value === 0 && Object.is(value, -0) ? new Tag(0, specialTag) : value;
    case "bigint":
      return prepareBigint(value);
    case "boolean":
      return value;
    case "object":
      break;
    default:
      throw new TypeError(`A message cannot hold a value of type ${typeof value}.`);
  }
  if (value === null) return null;
  if (value instanceof Uint8Array) return value;
  if (depth > maxDepth) throw new TypeError("A message is nested too deeply.");
  if (Array.isArray(value)) return prepareItems(value, depth);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw new TypeError("A message holds plain objects only.");
  return prepareFields(value as Readonly<Record<string, unknown>>, prototype === null, depth);
}

function prepareBigint(value: bigint): number | bigint {
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return Number(value);
  if (value < minInt64 || value > maxInt64) throw new TypeError("A message cannot hold an integer beyond 64 bits.");
  return value;
}

function prepareItems(items: readonly unknown[], depth: number): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let i = 0; i < items.length; i++) {
    const item = items[i];
    const prepared = prepare(item, depth + 1);
    if (copy === undefined && !Object.is(prepared, item)) copy = items.slice();
    if (copy !== undefined) copy[i] = prepared;
  }
  return copy ?? items;
}

function prepareFields(record: Readonly<Record<string, unknown>>, isCopied: boolean, depth: number): object {
  let needsCopy = isCopied;
  const entries: [string, unknown][] = [];
  for (const key of Object.keys(record)) {
    const field = record[key];
    if (field === undefined) {
      needsCopy = true;
      continue;
    }
    if (key === "__proto__" || !isWellFormed(key)) throw new TypeError("A message cannot hold such a key.");
    const prepared = prepare(field, depth + 1);
    needsCopy ||= !Object.is(prepared, field);
    entries.push([key, prepared]);
  }
  return needsCopy ? Object.fromEntries(entries) : record;
}

/** Puts back what travelled under the tag, and small integers of eight bytes, in place. */
function restore(value: unknown): unknown {
  if (typeof value === "bigint")
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return value;
  if (value instanceof Tag) return restoreTag(value);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = restore(value[i]);
    return value;
  }
  const record = value as Record<string, unknown>;
  for (const key of Object.keys(record)) record[key] = restore(record[key]);
  return record;
}

function restoreTag(tag: { readonly value: unknown }): unknown {
  const { value } = tag;
  if (!(value instanceof Uint8Array)) return -0;
  if (value.length % 2 !== 0)
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A text of a message has half a unit." });
  let text = "";
  for (let i = 0; i < value.length; i += 2)
    text += String.fromCharCode(((value[i] as number) << 8) | (value[i + 1] as number));
  return text;
}

function utf16Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length * 2);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    bytes[i * 2] = unit >> 8;
    bytes[i * 2 + 1] = unit & 0xff;
  }
  return bytes;
}
