/**
 * Texts that are UUIDs in their canonical lowercase form, as sixteen bytes each. Any other spelling stays text, so that
 * the decoder gives back exactly what went in.
 *
 * The bytes stand in planes: the first byte of every UUID, then the second one of every UUID. The six that hold the time
 * in a UUID of version 7 tell how far it is from the one before, as a zigzag difference modulo 2^48; the digits that
 * tell version and variant share one plane, so that all others are as random as they were. Whatever the bytes are, they
 * unpack to UUIDs.
 *
 * @module
 */

import { cutTexts } from "./aligned-texts.ts";
import { unzigzag, zigzag } from "./fixed-width.ts";
import type { Value } from "./ids.ts";
import { broken } from "./packed-column.ts";

const textSize = 36;
const byteSize = 16;
const dash = 0x2d;
const timeRange = 2 ** 48;
const lowRange = 2 ** 16;

/** Packs a column of UUIDs; undefined when one of the values is none. */
export function packUuids(values: readonly Value[]): Uint8Array | undefined {
  const first = values[0];
  if (typeof first !== "string" || first.length !== textSize) return undefined;
  const count = values.length;
  const planes = new Uint8Array(count * byteSize);
  const bytes = new Uint8Array(byteSize);
  let last = 0;
  for (let i = 0; i < count; i++) {
    const text = values[i];
    if (typeof text !== "string" || text.length !== textSize || !readUuid(text, bytes)) return undefined;
    const time = timeOf(bytes, 0, 1);
    writeTime(planes, i, count, zigzag(wrap(time - last, -timeRange / 2)));
    last = time;
    for (let j = 7, at = 7 * count + i; j < byteSize; j++, at += count) planes[at] = bytes[j] as number;
    planes[6 * count + i] = highHalves(bytes[6] as number, bytes[8] as number);
    planes[8 * count + i] = lowHalves(bytes[6] as number, bytes[8] as number);
  }
  return planes;
}

/** Unpacks exactly `count` UUIDs from bytes that hold nothing else; throws `INVALID_MESSAGE`. */
export function unpackUuids(planes: Uint8Array, count: number): readonly string[] {
  if (planes.length !== count * byteSize) throw broken();
  const text = new Uint8Array(count * textSize);
  const digits = new DataView(text.buffer);
  let time = 0;
  for (let i = 0, start = 0; i < count; i++, start += textSize) {
    time = wrap(time + unzigzag(timeOf(planes, i, count)), 0);
    const high = Math.floor(time / lowRange);
    const low = time - high * lowRange;
    writeByte(digits, start, high >>> 24);
    writeByte(digits, start + 2, (high >>> 16) & 255);
    writeByte(digits, start + 4, (high >>> 8) & 255);
    writeByte(digits, start + 6, high & 255);
    writeByte(digits, start + 9, low >>> 8);
    writeByte(digits, start + 11, low & 255);
    const marks = planes[i + 6 * count] as number;
    const rest = planes[i + 8 * count] as number;
    writeByte(digits, start + 14, highHalves(marks, rest));
    writeByte(digits, start + 19, lowHalves(marks, rest));
    text[start + 8] = text[start + 13] = text[start + 18] = text[start + 23] = dash;
  }
  for (let j = 7; j < byteSize; j++) {
    if (j === 8) continue;
    let at = places[j] as number;
    for (let i = j * count; i < (j + 1) * count; i++, at += textSize) writeByte(digits, at, planes[i] as number);
  }
  return cutTexts(text, textSize);
}

// Where in the text each byte's digits begin.
const places = Uint8Array.from([0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34]);
const hexDigits = Uint8Array.from("0123456789abcdef", (character) => character.charCodeAt(0));
const pairs = Uint16Array.from(
  { length: 256 },
  (_, byte) => ((hexDigits[byte >> 4] as number) << 8) | (hexDigits[byte & 15] as number),
);
const digitValues = /* @__PURE__ */ Uint8Array.from({ length: 256 }, (_, code) => hexDigits.indexOf(code));

/** Reads the bytes of a text of the right length; answers whether it is a UUID. */
function readUuid(text: string, bytes: Uint8Array): boolean {
  let bad = 0;
  for (let j = 0; j < byteSize; j++) {
    const place = places[j] as number;
    const high = text.charCodeAt(place);
    const low = text.charCodeAt(place + 1);
    const highDigit = digitValues[high & 0xff] as number;
    const lowDigit = digitValues[low & 0xff] as number;
    // No digit is above fifteen, and a unit beyond one byte must not pass for its low byte.
    bad |= ((highDigit | lowDigit) & 0xf0) | ((high | low) & 0xff00);
    bytes[j] = (highDigit << 4) | lowDigit;
  }
  return (
    bad === 0 &&
    text.charCodeAt(8) === dash &&
    text.charCodeAt(13) === dash &&
    text.charCodeAt(18) === dash &&
    text.charCodeAt(23) === dash
  );
}

/** Six bytes, one in each plane, as a number. */
function timeOf(bytes: Uint8Array, at: number, step: number): number {
  const high = ((bytes[at] as number) << 16) | ((bytes[at + step] as number) << 8) | (bytes[at + 2 * step] as number);
  const low =
    ((bytes[at + 3 * step] as number) << 16) |
    ((bytes[at + 4 * step] as number) << 8) |
    (bytes[at + 5 * step] as number);
  return high * 2 ** 24 + low;
}

function writeTime(bytes: Uint8Array, at: number, step: number, time: number): void {
  const high = Math.floor(time / 2 ** 24);
  const low = time - high * 2 ** 24;
  bytes[at] = high >> 16;
  bytes[at + step] = high >> 8;
  bytes[at + 2 * step] = high;
  bytes[at + 3 * step] = low >> 16;
  bytes[at + 4 * step] = low >> 8;
  bytes[at + 5 * step] = low;
}

function writeByte(digits: DataView, at: number, byte: number): void {
  digits.setUint16(at, pairs[byte] as number);
}

/** Brings a number that is off by one turn at most into the range of times that begins with `least`. */
function wrap(time: number, least: number): number {
  return time < least ? time + timeRange : time >= least + timeRange ? time - timeRange : time;
}

// Two bytes as one of their high halves and one of their low ones; done to these, it gives the two again.

function highHalves(one: number, other: number): number {
  return (one & 0xf0) | (other >> 4);
}

function lowHalves(one: number, other: number): number {
  return ((one & 0x0f) << 4) | (other & 0x0f);
}
