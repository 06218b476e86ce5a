/**
 * Walks CBOR bytes once, without building values, and refuses everything but the subset that this package writes:
 * definite lengths, keys that are texts or numbers of fields, no duplicate ones, no `__proto__`, one tag, no simple
 * values but false, true and null.
 * The decoder behind it cannot be made safe by its options (shared references, records and typed-array tags let a
 * few bytes allocate a gigabyte or block for seconds), so nothing reaches it that was not walked here.
 *
 * Costs about a tenth of decoding.
 *
 * @module
 */

import { SyncError } from "./errors.ts";
import { fieldNames } from "./field-names.ts";

/** How large a document may be, whole and in its parts. */
export interface CborLimits {
  /** Bytes of the whole document. */
  readonly maxBytes: number;
  /** Data items of all kinds; each may cost the decoder some fifty bytes. */
  readonly maxItems: number;
  /** Containers within containers. */
  readonly maxDepth: number;
  /** Entries of one map. */
  readonly maxMapEntries: number;
  /** Bytes of one map key. */
  readonly maxKeyBytes: number;
}

/** The limits where none are given. */
export const defaultCborLimits: CborLimits = {
  maxBytes: 32 << 20,
  maxItems: 4_000_000,
  maxDepth: 24,
  maxMapEntries: 4096,
  maxKeyBytes: 1024,
};

/**
 * The one tag: on the integer 0 it is -0; on a byte string it is a text that is not valid UTF-16, as big-endian units.
 */
export const specialTag = 40_400;

/**
 * Checks a document; throws `TOO_LARGE` or `INVALID_MESSAGE`. Answers whether the decoded value needs a second look: it
 * holds tagged values, or integers of eight bytes that fit a number.
 */
export function guardCbor(bytes: Uint8Array, limits: CborLimits = defaultCborLimits): boolean {
  const end = bytes.length;
  if (end > limits.maxBytes) {
    throw new SyncError({
      code: "TOO_LARGE",
      message: `A message has more than ${limits.maxBytes} bytes.`,
      details: { limit: limits.maxBytes },
    });
  }
  // Items that each open container still waits for; twice the entries for a map.
  const remaining = new Float64Array(limits.maxDepth + 2);
  const isMap = new Uint8Array(limits.maxDepth + 2);
  const keys: (SeenKeys | undefined)[] = [];
  let depth = 0;
  let at = 0;
  let items = 0;
  let emptyMaps = 0;
  let isSpecial = false;
  remaining[0] = 1;
  for (;;) {
    while (remaining[depth] === 0) {
      if (depth === 0) {
        if (at !== end) throw refuse("bytes after the end", at);
        return isSpecial;
      }
      depth--;
    }
    if (at >= end) throw refuse("it ends too early", at);
    const start = at;
    const head = bytes[at++] as number;
    const major = head >> 5;
    const info = head & 31;
    const left = remaining[depth] as number;
    const isKey = isMap[depth] === 1 && left % 2 === 0;
    remaining[depth] = left - 1;
    if (++items > limits.maxItems) throw refuse("too many items", start);
    if (isKey && major !== 3 && major !== 0) throw refuse("a key is neither a text nor a number", start);

    let value = info;
    if (info >= 24) {
      const size = info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : info === 27 ? 8 : 0;
      if (size === 0) throw refuse(info === 31 ? "a length is indefinite" : "a length is reserved", start);
      if (at + size > end) throw refuse("it ends too early", start);
      value = 0;
      for (let i = 0; i < size; i++) value = value * 256 + (bytes[at + i] as number);
      if (info === 27 && major < 2) {
        if ((bytes[at] as number) >= 0x80) throw refuse("an integer is beyond 64 bits", start);
        // Our encoder writes such a number as a double; another one may not.
        if (value <= Number.MAX_SAFE_INTEGER - major) isSpecial = true;
      }
      at += size;
    }
    switch (major) {
      case 0:
        if (isKey) {
          const name = nameBytes[value];
          if (name === undefined) throw refuse("a key is the number of no field", start);
          (keys[depth] as SeenKeys).add(name, 0, name.length, limits.maxKeyBytes, start);
        }
        break;
      case 1:
        break;
      case 2:
      case 3:
        if (value > end - at) throw refuse("it ends too early", start);
        if (isKey) (keys[depth] as SeenKeys).add(bytes, at, value, limits.maxKeyBytes, start);
        at += value;
        break;
      case 4:
      case 5: {
        const count = major === 5 ? value * 2 : value;
        // Each item has at least one byte, so a length that the rest cannot hold is a lie.
        if (count > end - at) throw refuse("it ends too early", start);
        if (major === 5 && value > limits.maxMapEntries) throw refuse("a map has too many entries", start);
        if (depth >= limits.maxDepth) throw refuse("it is nested too deeply", start);
        // One byte that becomes an object of sixty; messages have next to none.
        if (major === 5 && value === 0 && ++emptyMaps > fewEmptyMaps + end / 8)
          throw refuse("too many empty maps", start);
        depth++;
        remaining[depth] = count;
        isMap[depth] = major === 5 ? 1 : 0;
        if (major === 5) (keys[depth] ??= createSeenKeys()).reset(value);
        break;
      }
      case 6:
        if (value !== specialTag) throw refuse("a tag is not allowed", start);
        if (!isSpecialContent(bytes, at)) throw refuse("a tag has the wrong content", start);
        isSpecial = true;
        remaining[depth] = left; // The tagged item takes the tag's place.
        break;
      default:
        if (info < 20 || info === 23 || info === 24 || info > 27) throw refuse("a simple value is not allowed", start);
    }
  }
}

function isSpecialContent(bytes: Uint8Array, at: number): boolean {
  const head = bytes[at];
  if (head === undefined) return false;
  return head === 0 || head >> 5 === 2;
}

/** The keys of one open map. */
interface SeenKeys {
  reset(count: number): void;
  add(bytes: Uint8Array, at: number, length: number, maxLength: number, start: number): void;
}

/** A number and a name of the same field are the same key. */
const nameBytes = fieldNames.map((name) => new TextEncoder().encode(name));
const fewEmptyMaps = 16;
const fewKeys = 16;

// Looked at one by one while they are few; more are looked up by a hash that nobody can prepare collisions for.
function createSeenKeys(): SeenKeys {
  const hashes: number[] = [];
  const sources: Uint8Array[] = [];
  const offsets: number[] = [];
  const lengths: number[] = [];
  let known: Set<number> | undefined;
  const isSeen = (bytes: Uint8Array, at: number, length: number, hash: number): boolean => {
    for (let i = 0; i < hashes.length; i++) {
      if (hashes[i] !== hash || lengths[i] !== length) continue;
      const source = sources[i] as Uint8Array;
      const other = offsets[i] as number;
      let same = 0;
      while (same < length && source[other + same] === bytes[at + same]) same++;
      if (same === length) return true;
    }
    return false;
  };
  return {
    reset: (count) => {
      hashes.length = sources.length = offsets.length = lengths.length = 0;
      known = count > fewKeys ? new Set() : undefined;
    },
    add: (bytes, at, length, maxLength, start) => {
      if (length > maxLength) throw refuse("a key is too long", start);
      if (isProto(bytes, at, length)) throw refuse("a key is not allowed", start);
      const hash = hashKey(bytes, at, length);
      if (known === undefined || known.has(hash)) {
        if (isSeen(bytes, at, length, hash)) throw refuse("a key comes twice", start);
      }
      known?.add(hash);
      hashes.push(hash);
      sources.push(bytes);
      offsets.push(at);
      lengths.push(length);
    },
  };
}

const proto = Array.from("__proto__", (character) => character.charCodeAt(0));

function isProto(bytes: Uint8Array, at: number, length: number): boolean {
  return length === proto.length && proto.every((code, i) => bytes[at + i] === code);
}

let secret = 0;

function hashKey(bytes: Uint8Array, at: number, length: number): number {
  // An odd multiplier with its low bits mixed, chosen once, at the first use.
  if (secret === 0) secret = ((crypto.getRandomValues(new Int32Array(1))[0] as number) & ~7) | 5;
  let hash = length ^ secret;
  for (let i = at; i < at + length; i++) hash = Math.imul(hash ^ (bytes[i] as number), secret);
  return hash;
}

function refuse(reason: string, offset: number): SyncError {
  return new SyncError({
    code: "INVALID_MESSAGE",
    message: `A message is not valid CBOR of this protocol: ${reason}, at byte ${offset}.`,
    details: { offset },
  });
}
