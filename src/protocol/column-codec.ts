/**
 * One column of a change group, packed. Each way is exact: what comes out is what went in, by class and by bit.
 *
 * | code | what | layout |
 * |---|---|---|
 * | 0 | any values | `[0, values]` |
 * | 1 | the same value in every row | `[1, value]` |
 * | 2 | texts that are canonical lowercase UUIDs | `[2, 16 planes]`, see `uuid-codec.ts` |
 * | 3 | whole numbers, as distances from the least | `[3, least, bits of each, numbers]` |
 * | 4 | whole numbers, as differences | `[4, first, bits of each, zigzag numbers]` |
 * | 5 | numbers | `[5, 8 planes of big-endian doubles]` |
 * | 6 | texts | `[6, a character that is in none, all of them joined by it]` |
 * | 7 | some nulls | `[7, bits of the rows that have a value, lowest first, the column of those values]` |
 * | 8 | few different texts | `[8, the column of the different ones, bits of each, their places]` |
 * | 9 | texts of one length, in ASCII | `[9, a plane for each character]` |
 * | 10 | numbers with so many digits after the point | `[10, digits, the column of whole numbers]` |
 *
 * Numbers of so many bits each are laid out as `fixed-width.ts` says; a plane is one byte of each row. Bytes of one kind side
 * by side are what compression likes best.
 *
 * Packed columns are smaller, and much faster to decode than an array of values: a joined text is decoded once and cut.
 *
 * @module
 */

import type { Value } from "./ids.ts";
import { isValues } from "./message-parts.ts";
import { packNumbers, unpackDecimals, unpackDifferences, unpackDistances, unpackDoubles } from "./number-codec.ts";
import { broken, bytesOf, codes, fewValues, partsOf, type PackedColumn } from "./packed-column.ts";
import { packTexts, packUuidColumn, unpackDictionary, unpackDifferent } from "./text-codec.ts";
import { identical } from "./value.ts";

/** Packs a column in the way that suits its values. */
export function packColumn(values: readonly Value[]): PackedColumn {
  const count = values.length;
  if (count < fewValues) return packUuidColumn(values) ?? plainColumn(values);
  const first = values[0] as Value;
  if (isConstant(values, first)) return [codes.constant, first];
  const nulls = countNulls(values);
  if (nulls > 0) return packNullable(values, nulls);
  const packed =
    typeof first === "string" ? packTexts(values) : typeof first === "number" ? packNumbers(values) : undefined;
  return packed ?? plainColumn(values);
}

/** Unpacks a column of exactly `count` values from outside; throws `INVALID_MESSAGE`. */
export function unpackColumn(column: unknown, count: number): readonly Value[] {
  const packed = partsOf(column);
  const [code, a, b] = packed;
  switch (code) {
    case codes.plain:
      if (!isValues(a, count) || a.length !== count) throw broken();
      return a;
    case codes.constant:
      if (!isValues([a], 1)) throw broken();
      return new Array<Value>(count).fill(a as Value);
    case codes.distances:
      return unpackDistances(packed, count);
    case codes.differences:
      return unpackDifferences(packed, count);
    case codes.doubles:
      return unpackDoubles(packed, count);
    case codes.decimals:
      return unpackDecimals(packed, count);
    case codes.nullable:
      return unpackNullable(bytesOf(a), b, count);
    case codes.dictionary:
      return unpackDictionary(packed, count);
    default: {
      const texts = unpackDifferent(packed, count);
      if (texts === undefined) throw broken();
      return texts;
    }
  }
}

/**
 * How much of a message a packed column is, in about bytes, found without unpacking it. Most ways pay for each value; a
 * constant does not, and the page codec refuses groups that unpack to many times what they pay.
 */
export function weightOf(packed: unknown, depth = 0): number {
  if (depth > 2) throw broken();
  const [code, a, b, c] = partsOf(packed);
  switch (code) {
    case codes.plain:
      return Array.isArray(a) ? a.length : 0;
    case codes.uuids:
    case codes.doubles:
    case codes.aligned:
      return bytesOf(a).length;
    case codes.distances:
    case codes.differences:
      return bytesOf(c).length;
    case codes.texts:
      return typeof b === "string" ? b.length : 0;
    case codes.nullable:
      return bytesOf(a).length + weightOf(b, depth + 1);
    case codes.dictionary:
      return bytesOf(c).length + weightOf(a, depth + 1);
    case codes.decimals:
      return weightOf(b, depth + 1);
    default:
      return 0;
  }
}

/** Leaves a column as it is. */
export function plainColumn(values: readonly Value[]): PackedColumn {
  return [codes.plain, values];
}

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
  return [codes.nullable, bits, packColumn(present)];
}

function unpackNullable(bits: Uint8Array, inner: unknown, count: number): readonly Value[] {
  if (bits.length !== Math.ceil(count / 8)) throw broken();
  let present = 0;
  for (const byte of bits) present += bitCounts[byte] as number;
  const packed = partsOf(inner);
  if (present > count || packed[0] === codes.nullable) throw broken();
  const found = unpackColumn(packed, present);
  const values = new Array<Value>(count);
  let at = 0;
  for (let i = 0; i < count; i++) values[i] = ((bits[i >> 3] as number) >> (i & 7)) & 1 ? (found[at++] as Value) : null;
  if (at !== present) throw broken(); // A bit beyond the last row.
  return values;
}

const bitCounts = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);
