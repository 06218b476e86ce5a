/**
 * Whole numbers that are not negative, all in the same width: of one, two or four bits, lowest first in each byte; or of
 * whole bytes, which stand in planes: the highest byte of every number, then the next one of every number. Bytes of one
 * kind side by side compress better than numbers of any form do, and there is no length to decode.
 *
 * @module
 */

import { broken, bytesOf } from "./packed-column.ts";

const maxBits = 56;

/** The bits that numbers up to `most` take each. */
export function widthOf(most: number): number {
  if (most < 16) return most < 2 ? 1 : most < 4 ? 2 : 4;
  let bits = 8;
  for (let rest = most; rest >= 256; rest = Math.floor(rest / 256)) bits += 8;
  return bits;
}

/** Packs numbers that fit the width. */
export function packFixed(values: readonly number[], bits: number): Uint8Array {
  const count = values.length;
  const bytes = new Uint8Array(Math.ceil((count * bits) / 8));
  if (bits < 8) {
    for (let i = 0; i < count; i++) (bytes[(i * bits) >> 3] as number) |= (values[i] as number) << ((i * bits) & 7);
  } else if (bits === 8) {
    bytes.set(values);
  } else {
    for (let i = 0; i < count; i++) writePlanes(bytes, i, count, values[i] as number, bits);
  }
  return bytes;
}

/** Unpacks exactly `count` safe whole numbers; throws `INVALID_MESSAGE`. */
export function unpackFixed(bits: unknown, packed: unknown, count: number): number[] {
  const bytes = bytesOf(packed);
  if (!isWidth(bits) || bytes.length !== Math.ceil((count * bits) / 8)) throw broken();
  const values = new Array<number>(count);
  if (bits < 8) {
    const mask = (1 << bits) - 1;
    for (let i = 0; i < count; i++) values[i] = ((bytes[(i * bits) >> 3] as number) >> ((i * bits) & 7)) & mask;
    return values;
  }
  for (let i = 0; i < count; i++) {
    let value = bytes[i] as number;
    for (let at = i + count; at < bytes.length; at += count) value = value * 256 + (bytes[at] as number);
    values[i] = value;
  }
  // Only the widest can go beyond what a number holds exactly.
  if (bits === maxBits && values.some((value) => value > Number.MAX_SAFE_INTEGER)) throw broken();
  return values;
}

/** A difference as a number that is not negative: small where it is small, of either sign. */
export function zigzag(difference: number): number {
  return difference >= 0 ? difference * 2 : -difference * 2 - 1;
}

/** The difference back. */
export function unzigzag(coded: number): number {
  const half = Math.floor(coded / 2);
  return half * 2 === coded ? half : -half - 1;
}

function writePlanes(bytes: Uint8Array, place: number, count: number, value: number, bits: number): void {
  let rest = value >>> 0;
  const high = (value - rest) / 2 ** 32;
  for (let at = place + (bits / 8 - 1) * count, left = 4; at >= place; at -= count, left--) {
    if (left === 0) rest = high;
    bytes[at] = rest;
    rest >>>= 8;
  }
}

function isWidth(bits: unknown): bits is number {
  return (
    bits === 1 ||
    bits === 2 ||
    bits === 4 ||
    (typeof bits === "number" && bits % 8 === 0 && bits > 0 && bits <= maxBits)
  );
}
