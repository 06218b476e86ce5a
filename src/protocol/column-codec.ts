/**
 * One column of a change group, packed. Each way is exact: what comes out is what went in, by class and by bit.
 *
 * | code | what | layout |
 * |---|---|---|
 * | 0 | any values | `[0, values]` |
 * | 1 | the same value in every row | `[1, value]` |
 * | 2 | texts that are canonical lowercase UUIDs | `[2, 16 bytes each]` |
 * | 3 | whole numbers, as distances from the least | `[3, least, varints]` |
 * | 4 | whole numbers, as differences | `[4, first, zigzag varints]` |
 * | 5 | numbers | `[5, 8 bytes each, big-endian]` |
 * | 6 | texts | `[6, all of them joined, varints of their lengths in UTF-16 units]` |
 * | 7 | some nulls | `[7, bits of the rows that have a value, lowest first, the column of those values]` |
 * | 8 | few different texts | `[8, the column of the different ones, varints of their places]` |
 *
 * Packed columns are smaller, and much faster to decode than an array of values: a joined text is decoded once and cut.
 *
 * @module
 */

import { isWellFormed } from "./cbor.ts";
import { SyncError } from "./errors.ts";
import type { Value } from "./ids.ts";
import { isValues } from "./message-parts.ts";
import { packUuids, unpackUuids } from "./uuid-codec.ts";
import { identical } from "./value.ts";
import { packVarints, unpackVarints, varintSize, writeVarint } from "./varint.ts";

const plain = 0;
const constant = 1;
const uuids = 2;
const distances = 3;
const differences = 4;
const doubles = 5;
const texts = 6;
const nullable = 7;
const dictionary = 8;

/** A packed column as it travels. */
export type PackedColumn = readonly [code: number, ...rest: readonly unknown[]];

/** Packs a column in the way that suits its values. */
export function packColumn(values: readonly Value[]): PackedColumn {
  const count = values.length;
  // Nothing is gained on a handful of values.
  if (count < fewValues) return [plain, values];
  const first = values[0] as Value;
  if (isConstant(values, first)) return [constant, first];
  const nulls = countNulls(values);
  if (nulls > 0) return packNullable(values, nulls);
  return (
    (typeof first === "string" ? packTexts(values) : typeof first === "number" ? packNumbers(values) : undefined) ?? [
      plain,
      values,
    ]
  );
}

/** Unpacks a column of exactly `count` values from outside; throws `INVALID_MESSAGE`. */
export function unpackColumn(packed: unknown, count: number): readonly Value[] {
  const [code, a, b] = partsOf(packed);
  switch (code) {
    case plain:
      if (!isValues(a, count) || a.length !== count) throw broken();
      return a;
    case constant:
      if (!isValues([a], 1)) throw broken();
      return new Array<Value>(count).fill(a as Value);
    case uuids:
      return unpackUuids(bytesOf(a), count);
    case distances:
      return unpackDistances(a, bytesOf(b), count);
    case differences:
      return unpackDifferences(a, bytesOf(b), count);
    case doubles:
      return unpackDoubles(bytesOf(a), count);
    case texts:
      return unpackTexts(a, bytesOf(b), count);
    case nullable:
      return unpackNullable(bytesOf(a), b, count);
    case dictionary:
      return unpackDictionary(a, bytesOf(b), count);
    default:
      throw broken();
  }
}

/**
 * How much of a message a packed column is, in about bytes, found without unpacking it. Most ways pay for each value; a
 * constant does not, and the page codec refuses groups that unpack to many times what they pay.
 */
export function weightOf(packed: unknown, depth = 0): number {
  if (depth > 2) throw broken();
  const [code, a, b] = partsOf(packed);
  switch (code) {
    case plain:
      return Array.isArray(a) ? a.length : 0;
    case uuids:
    case doubles:
      return bytesOf(a).length;
    case distances:
    case differences:
      return bytesOf(b).length;
    case texts:
      return (typeof a === "string" ? a.length : 0) + bytesOf(b).length;
    case nullable:
      return bytesOf(a).length + weightOf(b, depth + 1);
    case dictionary:
      return bytesOf(b).length + weightOf(a, depth + 1);
    default:
      return 0;
  }
}

/** Leaves a column as it is. */
export function plainColumn(values: readonly Value[]): PackedColumn {
  return [plain, values];
}

const fewValues = 4;

function isConstant(values: readonly Value[], first: Value): boolean {
  for (let i = 1; i < values.length; i++) if (!identical(values[i] as Value, first)) return false;
  return true;
}

function countNulls(values: readonly Value[]): number {
  let nulls = 0;
  for (let i = 0; i < values.length; i++) if (values[i] === null) nulls++;
  return nulls;
}

function packNullable(values: readonly Value[], nulls: number): PackedColumn {
  const bits = new Uint8Array(Math.ceil(values.length / 8));
  const present = new Array<Value>(values.length - nulls);
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as Value;
    if (value === null) continue;
    (bits[i >> 3] as number) |= 1 << (i & 7);
    present[at++] = value;
  }
  return [nullable, bits, packColumn(present)];
}

function unpackNullable(bits: Uint8Array, inner: unknown, count: number): readonly Value[] {
  if (bits.length !== Math.ceil(count / 8)) throw broken();
  let present = 0;
  for (const byte of bits) present += bitCounts[byte] as number;
  const packed = partsOf(inner);
  if (present > count || packed[0] === nullable) throw broken();
  const found = unpackColumn(packed, present);
  const values = new Array<Value>(count);
  let at = 0;
  for (let i = 0; i < count; i++) values[i] = ((bits[i >> 3] as number) >> (i & 7)) & 1 ? (found[at++] as Value) : null;
  if (at !== present) throw broken(); // A bit beyond the last row.
  return values;
}

const bitCounts = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

function packNumbers(values: readonly Value[]): PackedColumn | undefined {
  let least = Number.POSITIVE_INFINITY;
  let isWhole = true;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "number") return undefined;
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) isWhole = false;
    else if (value < least) least = value;
  }
  const numbers = values as readonly number[];
  return isWhole ? packWhole(numbers, least) : packDoubles(numbers);
}

function packWhole(values: readonly number[], least: number): PackedColumn | undefined {
  let distanceBytes = 0;
  let differenceBytes = 0;
  let mostCoded = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    const distance = value - least;
    if (distance > Number.MAX_SAFE_INTEGER) return undefined;
    distanceBytes += varintSize(distance);
    if (i === 0) continue;
    const coded = zigzag(value - (values[i - 1] as number));
    differenceBytes += varintSize(coded);
    if (coded > mostCoded) mostCoded = coded;
  }
  // Distances compress better where both take about the same room.
  return differenceBytes + maxVarintSize < distanceBytes && mostCoded <= Number.MAX_SAFE_INTEGER
    ? [differences, values[0], packDifferences(values, differenceBytes)]
    : [distances, least, packDistances(values, least, distanceBytes)];
}

function packDistances(values: readonly number[], least: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < values.length; i++) at = writeVarint(bytes, at, (values[i] as number) - least);
  return bytes;
}

function packDifferences(values: readonly number[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 1; i < values.length; i++)
    at = writeVarint(bytes, at, zigzag((values[i] as number) - (values[i - 1] as number)));
  return bytes;
}

const maxVarintSize = 8;

function zigzag(difference: number): number {
  return difference >= 0 ? difference * 2 : -difference * 2 - 1;
}

function unpackDistances(least: unknown, bytes: Uint8Array, count: number): readonly Value[] {
  const values = unpackVarints(bytes, count);
  if (!isWhole(least)) throw broken();
  if (least !== 0) for (let i = 0; i < count; i++) values[i] = checked((values[i] as number) + least);
  return values;
}

function unpackDifferences(first: unknown, bytes: Uint8Array, count: number): readonly Value[] {
  if (!isWhole(first) || count === 0) throw broken();
  const coded = unpackVarints(bytes, count - 1);
  const values = new Array<number>(count);
  let last = (values[0] = first);
  for (let i = 1; i < count; i++) {
    const difference = coded[i - 1] as number;
    last = checked(difference % 2 === 0 ? last + difference / 2 : last - (difference + 1) / 2);
    values[i] = last;
  }
  return values;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

function checked(value: number): number {
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) throw broken();
  return value;
}

function packDoubles(values: readonly number[]): PackedColumn {
  const bytes = new Uint8Array(values.length * 8);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < values.length; i++) view.setFloat64(i * 8, values[i] as number);
  return [doubles, bytes];
}

function unpackDoubles(bytes: Uint8Array, count: number): readonly Value[] {
  if (bytes.length !== count * 8) throw broken();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Array<number>(count);
  for (let i = 0; i < count; i++) values[i] = view.getFloat64(i * 8);
  return values;
}

function packTexts(values: readonly Value[]): PackedColumn | undefined {
  const few = packDictionary(values);
  if (few !== undefined) return few;
  const ids = packUuids(values);
  return ids === undefined ? packJoined(values) : [uuids, ids];
}

function packJoined(values: readonly Value[]): PackedColumn | undefined {
  const lengths = new Array<number>(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "string") return undefined;
    lengths[i] = value.length;
  }
  const joined = values.join("");
  // Halves of a pair may meet at a border; they are cut apart again.
  return isWellFormed(joined) ? [texts, joined, packVarints(lengths)] : undefined;
}

function unpackTexts(joined: unknown, lengths: Uint8Array, count: number): readonly Value[] {
  if (typeof joined !== "string") throw broken();
  const cuts = unpackVarints(lengths, count);
  const values = new Array<string>(count);
  let at = 0;
  for (let i = 0; i < count; i++) values[i] = joined.slice(at, (at += cuts[i] as number));
  if (at !== joined.length) throw broken();
  return values;
}

const probe = 256;
const maxDifferent = 4096;

/** Packs texts of which few differ; undefined as soon as that seems not to be so. */
function packDictionary(values: readonly Value[]): PackedColumn | undefined {
  const count = values.length;
  if (count < 2 * fewValues) return undefined;
  const places = new Map<string, number>();
  const indexes = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "string") return undefined;
    let place = places.get(value);
    if (place === undefined) places.set(value, (place = places.size));
    indexes[i] = place;
    if (i === probe && places.size > probe / 2) return undefined;
    if (places.size > maxDifferent) return undefined;
  }
  if (places.size > count / 2) return undefined;
  const different = [...places.keys()];
  return [
    dictionary,
    packUuidColumn(different) ?? packJoined(different) ?? plainColumn(different),
    packVarints(indexes),
  ];
}

function packUuidColumn(values: readonly Value[]): PackedColumn | undefined {
  const ids = packUuids(values);
  return ids === undefined ? undefined : [uuids, ids];
}

function unpackDictionary(inner: unknown, places: Uint8Array, count: number): readonly Value[] {
  const packed = partsOf(inner);
  const indexes = unpackVarints(places, count);
  let size = 0;
  for (let i = 0; i < count; i++) if ((indexes[i] as number) >= size) size = (indexes[i] as number) + 1;
  // Each of the different texts is used, so there are no more of them than rows; none is packed by a way that costs nothing.
  if (size > count || !(packed[0] === plain || packed[0] === uuids || packed[0] === texts)) throw broken();
  const different = unpackColumn(packed, size);
  const values = new Array<Value>(count);
  for (let i = 0; i < count; i++) values[i] = different[indexes[i] as number] as Value;
  return values;
}

function partsOf(packed: unknown): readonly unknown[] {
  if (!Array.isArray(packed) || packed.length < 2 || packed.length > 3) throw broken();
  return packed;
}

function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw broken();
}

function broken(): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message: "A packed column of a page is broken." });
}
