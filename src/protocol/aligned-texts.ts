/**
 * Texts of one length, in ASCII: times, dates, ids and the like. Their characters stand in planes, the first one of every
 * text, then the second one of every text, so that what all begin with costs nothing.
 *
 * @module
 */

import type { Value } from "./ids.ts";
import { broken } from "./packed-column.ts";

/** Longer texts that have one length by chance are no ids. */
const maxLength = 64;

/** Packs texts of one length; undefined when the values are none. */
export function packAligned(values: readonly Value[]): Uint8Array | undefined {
  const [first] = values;
  const length = typeof first === "string" ? first.length : 0;
  if (length === 0 || length > maxLength || !values.every((value) => isOfLength(value, length))) return undefined;
  const count = values.length;
  const bytes = new Uint8Array(length * count);
  let all = 0;
  for (let i = 0; i < count; i++) {
    const text = values[i] as string;
    for (let j = 0, at = i; j < length; j++, at += count) all |= bytes[at] = text.charCodeAt(j);
  }
  return all < 0x80 ? bytes : undefined;
}

/** Unpacks exactly `count` texts; throws `INVALID_MESSAGE`. */
export function unpackAligned(bytes: Uint8Array, count: number): readonly string[] {
  const length = bytes.length / count;
  if (!Number.isInteger(length) || length < 1) throw broken();
  const characters = new Uint8Array(bytes.length);
  let all = 0;
  let at = 0;
  for (let i = 0; i < count; i++)
    for (let from = i; from < bytes.length; from += count) all |= characters[at++] = bytes[from] as number;
  if (all >= 0x80) throw broken();
  return cutTexts(characters, length);
}

/** Cuts texts of one length out of ASCII: decoded at once, which is many times faster than one by one. */
export function cutTexts(characters: Uint8Array, length: number): readonly string[] {
  const joined = new TextDecoder().decode(characters);
  const texts = new Array<string>(joined.length / length);
  for (let i = 0; i < texts.length; i++) texts[i] = joined.slice(i * length, (i + 1) * length);
  return texts;
}

function isOfLength(value: Value, length: number): value is string {
  return typeof value === "string" && value.length === length;
}
