/**
 * Values as canonical CBOR, for hashing alone: the same value gives the same bytes on every platform. Whole numbers and
 * bigints are integers of the shortest form, other numbers doubles, NaN one NaN, text UTF-8 (a lone surrogate as its
 * three bytes, so that two broken texts still differ). The wire uses `cbor.ts`, which need not be canonical.
 *
 * @module
 */

import type { Value } from "./ids.ts";

/** Bytes that grow. One is reused for every hash; nothing here is re-entrant. */
export interface ByteWriter {
  bytes: Uint8Array;
  view: DataView;
  length: number;
}

/** Makes an empty writer. */
export function createByteWriter(size: number): ByteWriter {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer), length: 0 };
}

/** Appends one value. */
export function writeCanonical(writer: ByteWriter, value: Value): void {
  if (value === null) {
    reserve(writer, 1);
    writer.bytes[writer.length++] = 0xf6;
  } else if (typeof value === "string") writeText(writer, value);
  else if (typeof value === "number") writeNumber(writer, value);
  else if (typeof value === "bigint") writeBigint(writer, value);
  else {
    writeHead(writer, 2, value.length);
    reserve(writer, value.length);
    writer.bytes.set(value, writer.length);
    writer.length += value.length;
  }
}

/** Appends the head of an array; its items follow. */
export function writeArrayHead(writer: ByteWriter, length: number): void {
  writeHead(writer, 4, length);
}

/** Whether a value's canonical form is longer than `limit` bytes, found without writing long ones. */
export function isLongerThan(writer: ByteWriter, value: Value, limit: number): boolean {
  if (typeof value === "string" && value.length > limit) return true;
  if (value instanceof Uint8Array && value.length > limit) return true;
  writer.length = 0;
  writeCanonical(writer, value);
  return writer.length > limit;
}

function writeHead(writer: ByteWriter, major: number, value: number): void {
  reserve(writer, 9);
  const { bytes, view } = writer;
  const type = major << 5;
  if (value < 24) bytes[writer.length++] = type | value;
  else if (value < 0x100) {
    bytes[writer.length++] = type | 24;
    bytes[writer.length++] = value;
  } else if (value < 0x10000) {
    bytes[writer.length++] = type | 25;
    view.setUint16(writer.length, value);
    writer.length += 2;
  } else if (value < 0x100000000) {
    bytes[writer.length++] = type | 26;
    view.setUint32(writer.length, value);
    writer.length += 4;
  } else {
    bytes[writer.length++] = type | 27;
    view.setUint32(writer.length, Math.floor(value / 0x100000000));
    view.setUint32(writer.length + 4, value % 0x100000000);
    writer.length += 8;
  }
}

function writeNumber(writer: ByteWriter, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
    if (value >= 0) writeHead(writer, 0, value);
    else writeHead(writer, 1, -1 - value);
    return;
  }
  reserve(writer, 9);
  writer.bytes[writer.length++] = 0xfb;
  // One bit pattern for NaN, whatever the engine has.
  if (Number.isNaN(value)) writer.view.setBigUint64(writer.length, 0x7ff8000000000000n);
  else writer.view.setFloat64(writer.length, value);
  writer.length += 8;
}

const minInt64 = -(2n ** 63n);
const maxInt64 = 2n ** 63n - 1n;

function writeBigint(writer: ByteWriter, value: bigint): void {
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) return writeNumber(writer, Number(value));
  if (value < minInt64 || value > maxInt64) return writeText(writer, `${value}n`); // No SQLite integer; still told apart.
  reserve(writer, 9);
  writer.bytes[writer.length++] = value >= 0n ? 0x1b : 0x3b;
  writer.view.setBigUint64(writer.length, value >= 0n ? value : -1n - value);
  writer.length += 8;
}

function writeText(writer: ByteWriter, text: string): void {
  // The head's size depends on the number of bytes, so they are written first, where the longest head would end.
  reserve(writer, text.length * 3 + 9);
  const { bytes } = writer;
  const start = writer.length + 9;
  let at = start;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bytes[at++] = unit;
    else if (unit < 0x800) {
      bytes[at++] = 0xc0 | (unit >> 6);
      bytes[at++] = 0x80 | (unit & 0x3f);
    } else {
      const next = (unit & 0xfc00) === 0xd800 ? text.charCodeAt(i + 1) : 0;
      if ((next & 0xfc00) === 0xdc00) {
        const point = 0x10000 + ((unit & 0x3ff) << 10) + (next & 0x3ff);
        i++;
        bytes[at++] = 0xf0 | (point >> 18);
        bytes[at++] = 0x80 | ((point >> 12) & 0x3f);
        bytes[at++] = 0x80 | ((point >> 6) & 0x3f);
        bytes[at++] = 0x80 | (point & 0x3f);
      } else {
        bytes[at++] = 0xe0 | (unit >> 12);
        bytes[at++] = 0x80 | ((unit >> 6) & 0x3f);
        bytes[at++] = 0x80 | (unit & 0x3f);
      }
    }
  }
  writeHead(writer, 3, at - start);
  bytes.copyWithin(writer.length, start, at);
  writer.length += at - start;
}

function reserve(writer: ByteWriter, count: number): void {
  const needed = writer.length + count;
  if (needed <= writer.bytes.length) return;
  const grown = new Uint8Array(Math.max(needed, writer.bytes.length * 2));
  grown.set(writer.bytes.subarray(0, writer.length));
  writer.bytes = grown;
  writer.view = new DataView(grown.buffer);
}
