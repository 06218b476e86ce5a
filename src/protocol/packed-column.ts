/**
 * What the ways of packing a column share: their codes, and reading the parts of a packed one that came from outside.
 *
 * @module
 */

import { SyncError } from "./errors.ts";

/** The ways of packing, as `column-codec.ts` describes them. */
export const codes = {
  plain: 0,
  constant: 1,
  uuids: 2,
  distances: 3,
  differences: 4,
  doubles: 5,
  texts: 6,
  nullable: 7,
  dictionary: 8,
  aligned: 9,
  decimals: 10,
} as const;

/** A packed column as it travels. */
export type PackedColumn = readonly [code: number, ...rest: readonly unknown[]];

/** Rows below which nothing is gained by most ways. */
export const fewValues = 4;

/** The parts of a packed column from outside: its code, and up to three more. */
export function partsOf(packed: unknown): readonly unknown[] {
  if (!Array.isArray(packed) || packed.length < 2 || packed.length > 4) throw broken();
  return packed;
}

/** A part that must be bytes. */
export function bytesOf(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw broken();
}

/** The error of a packed column that nobody packed. */
export function broken(): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message: "A packed column of a page is broken." });
}
