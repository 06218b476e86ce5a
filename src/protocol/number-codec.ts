/**
 * Columns of numbers, packed (see `column-codec.ts`). Whole numbers are told by their distances from the least, or by
 * their differences where those are smaller, as with times that rise; fractions of ten, such as prices, by how many tenths,
 * hundredths and so on they are. What is none of this, -0 and NaN included, travels as doubles in planes.
 *
 * @module
 */

import { packFixed, unpackFixed, unzigzag, widthOf, zigzag } from "./fixed-width.ts";
import type { Value } from "./ids.ts";
import { broken, bytesOf, codes, partsOf, type PackedColumn } from "./packed-column.ts";

/** Packs a column of numbers; undefined when one of the values is none, or they lie too far apart. */
export function packNumbers(values: readonly Value[]): PackedColumn | undefined {
  let isWhole = true;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "number") return undefined;
    isWhole = isWhole && isExact(value);
  }
  const numbers = values as readonly number[];
  return isWhole ? packWhole(numbers) : (packDecimals(numbers) ?? packDoubles(numbers));
}

/** Unpacks whole numbers that travel as distances from the least. */
export function unpackDistances([, least, bits, bytes]: readonly unknown[], count: number): readonly number[] {
  const values = unpackFixed(bits, bytes, count);
  if (!isExact(least)) throw broken();
  if (least !== 0) for (let i = 0; i < count; i++) values[i] = checked((values[i] as number) + least);
  return values;
}

/** Unpacks whole numbers that travel as differences. */
export function unpackDifferences([, first, bits, bytes]: readonly unknown[], count: number): readonly number[] {
  if (!isExact(first) || count === 0) throw broken();
  const coded = unpackFixed(bits, bytes, count - 1);
  const values = new Array<number>(count);
  let last = (values[0] = first);
  for (let i = 1; i < count; i++) values[i] = last = checked(last + unzigzag(coded[i - 1] as number));
  return values;
}

/** Unpacks fractions of ten. */
export function unpackDecimals([, digits, inner]: readonly unknown[], count: number): readonly number[] {
  if (typeof digits !== "number" || !Number.isInteger(digits) || digits < 1 || digits > maxDigits) throw broken();
  const packed = partsOf(inner);
  const [code] = packed;
  if (code !== codes.distances && code !== codes.differences) throw broken();
  const scale = 10 ** digits;
  return (code === codes.distances ? unpackDistances : unpackDifferences)(packed, count).map((value) => value / scale);
}

/** Unpacks doubles. */
export function unpackDoubles([, packed]: readonly unknown[], count: number): readonly number[] {
  const bytes = bytesOf(packed);
  if (bytes.length !== count * 8) throw broken();
  const view = new DataView(new ArrayBuffer(8));
  const values = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < 8; j++) view.setUint8(j, bytes[j * count + i] as number);
    values[i] = view.getFloat64(0);
  }
  return values;
}

const maxDigits = 9;
/** Ranges below it take less than a byte as distances, whatever their differences are. */
const smallRange = 16;

function packWhole(values: readonly number[]): PackedColumn | undefined {
  const count = values.length;
  const first = values[0] as number;
  let least = first;
  let most = first;
  for (let i = 1; i < count; i++) {
    const value = values[i] as number;
    if (value < least) least = value;
    else if (value > most) most = value;
  }
  const range = most - least;
  if (range > Number.MAX_SAFE_INTEGER) return undefined;
  const distances = new Array<number>(count);
  const differences = new Array<number>(count - 1);
  let distance = (distances[0] = first - least);
  let difference = 0;
  let mostDifferent = 0;
  for (let i = 1; i < count; i++) {
    const value = values[i] as number;
    const coded = (differences[i - 1] = zigzag(value - (values[i - 1] as number)));
    if (coded > mostDifferent) mostDifferent = coded;
    difference += coded;
    distance += distances[i] = value - least;
  }
  if (range >= smallRange && difference < distance && mostDifferent <= Number.MAX_SAFE_INTEGER) {
    const bits = widthOf(mostDifferent);
    return [codes.differences, first, bits, packFixed(differences, bits)];
  }
  const bits = widthOf(range);
  return [codes.distances, least, bits, packFixed(distances, bits)];
}

function packDecimals(values: readonly number[]): PackedColumn | undefined {
  const scaled = new Array<number>(values.length);
  let scale = 1;
  for (let digits = 1; digits <= maxDigits; digits++) {
    scale *= 10;
    let i = 0;
    for (; i < values.length; i++) {
      const value = values[i] as number;
      const whole = Math.round(value * scale);
      if (!isExact(whole) || whole / scale !== value || Object.is(value, -0)) break;
      scaled[i] = whole;
    }
    if (i < values.length) continue;
    const packed = packWhole(scaled);
    return packed && [codes.decimals, digits, packed];
  }
  return undefined;
}

function packDoubles(values: readonly number[]): PackedColumn {
  const count = values.length;
  const bytes = new Uint8Array(count * 8);
  const view = new DataView(new ArrayBuffer(8));
  for (let i = 0; i < count; i++) {
    view.setFloat64(0, values[i] as number);
    for (let j = 0; j < 8; j++) bytes[j * count + i] = view.getUint8(j);
  }
  return [codes.doubles, bytes];
}

function isExact(value: unknown): value is number {
  return Number.isSafeInteger(value) && !Object.is(value, -0);
}

function checked(value: number): number {
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER) throw broken();
  return value;
}
