/**
 * Runs of whole numbers as bytes: seven bits in each, the lowest first, the high bit saying that more follow.
 *
 * @module
 */

import { SyncError } from "./errors.ts";

/** Bytes that a whole number takes. */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  if (value < 0x10000000) return 4;
  let size = 4;
  for (let rest = Math.floor(value / 0x10000000); rest > 0; rest = Math.floor(rest / 0x80)) size++;
  return size;
}

/** Writes a whole number, not negative and safe, at a place; answers the place after it. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  let end = at;
  while (rest >= 0x80000000) {
    bytes[end++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest >= 0x80) {
    bytes[end++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[end++] = rest;
  return end;
}

/** Packs a list of whole numbers that are not negative and safe. */
export function packVarints(values: readonly number[]): Uint8Array {
  let size = 0;
  for (let i = 0; i < values.length; i++) size += varintSize(values[i] as number);
  const bytes = new Uint8Array(size);
  let at = 0;
  for (let i = 0; i < values.length; i++) at = writeVarint(bytes, at, values[i] as number);
  return bytes;
}

/** Reads exactly `count` whole numbers from bytes that hold nothing else; throws `INVALID_MESSAGE`. */
export function unpackVarints(bytes: Uint8Array, count: number): number[] {
  const length = bytes.length;
  if (count > length) throw broken();
  const values = new Array<number>(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    let byte = bytes[at++] as number;
    let value = byte & 0x7f;
    for (let factor = 0x80; byte >= 0x80; factor *= 0x80) {
      // Eight bytes hold 53 bits; whatever is longer or larger was not written by us.
      if (at >= length || factor > maxFactor) throw broken();
      byte = bytes[at++] as number;
      value += (byte & 0x7f) * factor;
    }
    if (value > Number.MAX_SAFE_INTEGER) throw broken();
    values[i] = value;
  }
  if (at !== length) throw broken();
  return values;
}

const maxFactor = 2 ** 49;

function broken(): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message: "A packed run of numbers is broken." });
}
