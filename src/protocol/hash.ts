/**
 * Hashes of values, scopes and schemas: 64 bits, synchronous and fast, over canonical CBOR. They are not cryptographic.
 * What the user saw, as a hash, guards a writer against not having seen something (rule P1); a subject who forges one
 * overwrites what it may overwrite anyway.
 *
 * Two lanes of 32 bits take in four bytes at a time, with the constants of MurmurHash3 and of xxHash.
 *
 * @module
 */

import { createByteWriter, isLongerThan, writeArrayHead, writeCanonical, type ByteWriter } from "./canonical-cbor.ts";
import type { KnownTables } from "./handshake.ts";
import type { Value } from "./ids.ts";
import type { SeenValue } from "./push.ts";
import { canonicalize, equalValues, type CanonicalForm } from "./value.ts";

/** A seen value whose canonical CBOR has more bytes than this travels as its hash. */
export const maxSeenBytes = 32;

/** Hashes a list of values as they are: 16 hexadecimal digits. */
export function hashValues(values: readonly Value[]): string {
  const writer = start();
  writeArrayHead(writer, values.length);
  for (const value of values) writeCanonical(writer, value);
  return finish(writer);
}

/** Hashes a row, each value in its column's form. `forms` follows `values`. */
export function rowHash(values: readonly Value[], forms: readonly CanonicalForm[]): string {
  const writer = start();
  writeArrayHead(writer, values.length);
  for (let i = 0; i < values.length; i++) writeCanonical(writer, canonicalize(values[i] ?? null, forms[i] ?? "any"));
  return finish(writer);
}

/** Sums row hashes, in any order, into a checksum of the rows (of a scope, for instance). */
export function sumHashes(hashes: Iterable<string>): string {
  let high = 0;
  let low = 0;
  for (const hash of hashes) {
    low += parseInt(hash.slice(8), 16);
    high = (high + parseInt(hash.slice(0, 8), 16) + (low > 0xffffffff ? 1 : 0)) >>> 0;
    low >>>= 0;
  }
  return digits(high) + digits(low);
}

/** A running sum of row hashes: the same as {@link sumHashes}, without a text for each row. */
export interface RowSum {
  high: number;
  low: number;
}

/** The sum of no rows. */
export function emptyRowSum(): RowSum {
  return { high: 0, low: 0 };
}

/** Hashes the first values of a row, as many as there are forms, and adds the hash to each of the sums. */
export function addRow(sums: readonly RowSum[], values: readonly Value[], forms: readonly CanonicalForm[]): void {
  const writer = start();
  writeArrayHead(writer, forms.length);
  for (let i = 0; i < forms.length; i++) writeCanonical(writer, canonicalize(values[i] ?? null, forms[i] ?? "any"));
  digest(writer);
  for (const sum of sums) {
    const low = sum.low + lowLane;
    sum.high = (sum.high + highLane + (low > 0xffffffff ? 1 : 0)) >>> 0;
    sum.low = low >>> 0;
  }
}

/** The sum as it travels: 16 hexadecimal digits. */
export function rowSumText({ high, low }: RowSum): string {
  return digits(high) + digits(low);
}

/** Hashes a set of scopes; their order does not count. */
export function hashScopes(scopes: Iterable<string>): string {
  return hashValues([...new Set(scopes)].sort());
}

/** Hashes what a device knows. The order of columns counts (rows follow it), that of tables does not. */
export function hashSchema(tables: KnownTables): string {
  const values: Value[] = [];
  for (const table of Object.keys(tables).sort()) {
    const columns = tables[table] ?? [];
    values.push(table, columns.length, ...columns);
  }
  return hashValues(values);
}

/** What a device sends as seen: the value in its form, or `[hash]` when that is long (rule P1). */
export function seenValue(value: Value, form: CanonicalForm): SeenValue {
  const canonical = canonicalize(value, form);
  return isLongerThan(scratch, canonical, maxSeenBytes) ? [hashValues([canonical])] : canonical;
}

/** Whether a live value is what was seen. */
export function matchesSeen(live: Value, seen: SeenValue, form: CanonicalForm): boolean {
  return isHashed(seen) ? hashValues([canonicalize(live, form)]) === seen[0] : equalValues(live, seen, form);
}

/** Whether a seen value came as its hash only. */
export function isHashed(seen: SeenValue): seen is readonly [hash: string] {
  return Array.isArray(seen);
}

const initialSize = 4096;
const keptSize = 1 << 20;
let scratch = createByteWriter(initialSize);

function start(): ByteWriter {
  // One huge value must not keep its memory for ever.
  if (scratch.bytes.length > keptSize) scratch = createByteWriter(initialSize);
  scratch.length = 0;
  return scratch;
}

function finish(writer: ByteWriter): string {
  digest(writer);
  return digits(highLane) + digits(lowLane);
}

// What `digest` made last: a pair for each of a million rows would be garbage.
let highLane = 0;
let lowLane = 0;

function digest(writer: ByteWriter): void {
  const { view, bytes, length } = writer;
  let a = 0x9747b28c ^ length;
  let b = 0x165667b1 ^ length;
  const words = length & ~3;
  for (let i = 0; i < words; i += 4) {
    const word = view.getUint32(i, true);
    a = mixA(a, word);
    b = mixB(b, word);
  }
  if (words < length) {
    let word = 0;
    for (let i = length - 1; i >= words; i--) word = (word << 8) | (bytes[i] ?? 0);
    a = mixA(a, word);
    b = mixB(b, word);
  }
  // Each lane also takes in the other, so that a collision in one alone changes nothing.
  highLane = avalanche(a ^ Math.imul(b, 0x9e3779b1));
  lowLane = avalanche(b ^ Math.imul(highLane, 0x85ebca77));
}

function mixA(lane: number, word: number): number {
  const k = Math.imul(word, 0xcc9e2d51);
  const mixed = lane ^ Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function mixB(lane: number, word: number): number {
  const mixed = (lane + Math.imul(word, 0xc2b2ae3d)) | 0;
  return Math.imul((mixed << 17) | (mixed >>> 15), 0x27d4eb2f);
}

function avalanche(lane: number): number {
  let mixed = lane ^ (lane >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function digits(lane: number): string {
  return lane.toString(16).padStart(8, "0");
}
