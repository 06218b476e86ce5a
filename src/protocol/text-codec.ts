/**
 * Columns of texts, packed (see `column-codec.ts`).
 *
 * @module
 */

import { packAligned, unpackAligned } from "./aligned-texts.ts";
import { isWellFormed } from "./cbor.ts";
import { packFixed, unpackFixed, widthOf } from "./fixed-width.ts";
import type { Value } from "./ids.ts";
import { isValues } from "./message-parts.ts";
import { broken, bytesOf, codes, fewValues, partsOf, type PackedColumn } from "./packed-column.ts";
import { packUuids, unpackUuids } from "./uuid-codec.ts";

/** Packs a column of texts; undefined when one of the values is none, or nothing would be gained. */
export function packTexts(values: readonly Value[]): PackedColumn | undefined {
  return packDictionary(values) ?? packDifferent(values);
}

/** Packs a column of UUIDs; undefined when one of the values is none. */
export function packUuidColumn(values: readonly Value[]): PackedColumn | undefined {
  const ids = packUuids(values);
  return ids && [codes.uuids, ids];
}

/** Unpacks texts that are each told, in one of the ways but the dictionary; undefined when the code is of another way. */
export function unpackDifferent(packed: readonly unknown[], count: number): readonly Value[] | undefined {
  const [code, a, b] = packed;
  switch (code) {
    case codes.uuids:
      return unpackUuids(bytesOf(a), count);
    case codes.texts:
      return unpackJoined(a, b, count);
    case codes.aligned:
      return unpackAligned(bytesOf(a), count);
    default:
      return undefined;
  }
}

/** Unpacks texts of which few differ. */
export function unpackDictionary([, inner, bits, bytes]: readonly unknown[], count: number): readonly Value[] {
  const places = unpackFixed(bits, bytes, count);
  let size = 0;
  for (let i = 0; i < count; i++) if ((places[i] as number) >= size) size = (places[i] as number) + 1;
  // Each of the different texts is used, so there are no more of them than rows.
  if (size > count) throw broken();
  const packed = partsOf(inner);
  const different = packed[0] === codes.plain ? packed[1] : unpackDifferent(packed, size);
  if (!isValues(different, size) || different.length !== size) throw broken();
  const values = new Array<Value>(count);
  for (let i = 0; i < count; i++) values[i] = different[places[i] as number] as Value;
  return values;
}

const probe = 256;
const maxDifferent = 4096;

/** Packs texts of which few differ; undefined as soon as that seems not to be so. */
function packDictionary(values: readonly Value[]): PackedColumn | undefined {
  const count = values.length;
  if (count < 2 * fewValues) return undefined;
  const placeByText = new Map<string, number>();
  const places = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    const value = values[i];
    if (typeof value !== "string") return undefined;
    let place = placeByText.get(value);
    if (place === undefined) placeByText.set(value, (place = placeByText.size));
    places[i] = place;
    if (i === probe && placeByText.size > probe / 2) return undefined;
    if (placeByText.size > maxDifferent) return undefined;
  }
  if (placeByText.size > count / 2) return undefined;
  const different = [...placeByText.keys()];
  const bits = widthOf(different.length - 1);
  return [codes.dictionary, packDifferent(different) ?? [codes.plain, different], bits, packFixed(places, bits)];
}

function packDifferent(values: readonly Value[]): PackedColumn | undefined {
  const ids = packUuidColumn(values);
  if (ids !== undefined) return ids;
  const aligned = packAligned(values);
  return aligned === undefined ? packJoined(values) : [codes.aligned, aligned];
}

/** What may stand between texts: the first of them that is in none. */
const separators = "\0\x1e\x1f";

function packJoined(values: readonly Value[]): PackedColumn | undefined {
  for (const separator of separators) {
    if (!areTextsWithout(values, separator)) continue;
    const joined = values.join(separator);
    return isWellFormed(joined) ? [codes.texts, separator, joined] : undefined;
  }
  return undefined;
}

function areTextsWithout(values: readonly Value[], separator: string): values is readonly string[] {
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    if (typeof value !== "string" || value.includes(separator)) return false;
  }
  return true;
}

function unpackJoined(separator: unknown, joined: unknown, count: number): readonly string[] {
  if (typeof joined !== "string" || typeof separator !== "string" || separator.length !== 1) throw broken();
  // One more than there should be is enough to see that there are too many.
  const values = joined.split(separator, count + 1);
  if (values.length !== count) throw broken();
  return values;
}
