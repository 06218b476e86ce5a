/**
 * Branded ids and positions. A brand is made only by the `parse…` and `make…` functions of the module that owns
 * it, so that a string from outside never passes for a position.
 *
 * @module
 */

import { maxStamp } from "./bounds.ts";
import { SyncError } from "./errors.ts";

declare const brand: unique symbol;
type Brand<T, TName extends string> = T & { readonly [brand]: TName };

/** A device's own id: 128 random bits as 32 lowercase hexadecimal digits. */
export type DeviceId = Brand<string, "DeviceId">;

/** The random id of the server's database: 32 lowercase hexadecimal digits. */
export type Epoch = Brand<string, "Epoch">;

/**
 * A position in the oplog up to which a device has everything: `seq` and `stamp` as one text, `"<seq>.<stamp>"`.
 * Opaque to the device, which only compares it for equality (rule A1) and, for `client.reached`, for order.
 */
export type Cursor = Brand<string, "Cursor">;

/** A cursor taken apart. `stamp` is the random number of the entry at `seq` (rule I2). */
export interface Position {
  readonly seq: number;
  readonly stamp: number;
}

/** A storage value as it travels: SQLite's own classes. Integers beyond 2^53 are bigints, never rounded numbers. */
export type Value = null | number | bigint | string | Uint8Array;

/** The primary-key values of a row, in the order of the table's key. */
export type Key = readonly Value[];

/** A transaction's number on its device, and the random stamp that tells it from another one with that number. */
export interface TxRef {
  readonly number: number;
  readonly stamp: number;
}

/** A source of random bytes. */
export type RandomBytes = (length: number) => Uint8Array;

/** The platform's cryptographic random source, the default wherever one is asked for. */
export const cryptoRandom: RandomBytes = (length) => crypto.getRandomValues(new Uint8Array(length));

/** Makes a device's own id (rule I1). */
export function makeDeviceId(random: RandomBytes = cryptoRandom): DeviceId {
  return hex(random(16)) as DeviceId;
}

/** Makes the id of a server's database. */
export function makeEpoch(random: RandomBytes = cryptoRandom): Epoch {
  return hex(random(16)) as Epoch;
}

/** Makes a stamp: 48 random bits. */
export function makeStamp(random: RandomBytes = cryptoRandom): number {
  return random(6).reduce((stamp, byte) => stamp * 256 + byte, 0);
}

/** Whether a text is the form of a {@link DeviceId}. */
export function isDeviceId(value: unknown): value is DeviceId {
  return isRandomId(value);
}

/** Whether a text is the form of an {@link Epoch}. */
export function isEpoch(value: unknown): value is Epoch {
  return isRandomId(value);
}

/** Whether a text is the form of a {@link Cursor}; whether the log vouches for it is another question (rule I2). */
export function isCursor(value: unknown): value is Cursor {
  return typeof value === "string" && readCursor(value) !== undefined;
}

/** Takes a cursor apart; throws `INVALID_MESSAGE` when it is none. */
export function parseCursor(text: string): Position {
  const position = readCursor(text);
  if (position === undefined)
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A cursor is not of the form `<seq>.<stamp>`." });
  return position;
}

/** Puts a cursor together. */
export function formatCursor(position: Position): Cursor {
  return `${position.seq}.${position.stamp}` as Cursor;
}

/** Orders two cursors of one epoch by their place in the log: negative, zero or positive. */
export function compareCursors(a: Cursor, b: Cursor): number {
  return parseCursor(a).seq - parseCursor(b).seq;
}

/** Parses a device id read from storage or the network; throws `INVALID_MESSAGE`. */
export function parseDeviceId(value: unknown): DeviceId {
  if (isDeviceId(value)) return value;
  throw new SyncError({ code: "INVALID_MESSAGE", message: "A device id is not 32 lowercase hexadecimal digits." });
}

/** Parses an epoch read from storage or the network; throws `INVALID_MESSAGE`. */
export function parseEpoch(value: unknown): Epoch {
  if (isEpoch(value)) return value;
  throw new SyncError({ code: "INVALID_MESSAGE", message: "An epoch is not 32 lowercase hexadecimal digits." });
}

const cursorPattern = /^(0|[1-9]\d{0,15})\.(0|[1-9]\d{0,14})$/;
const randomIdPattern = /^[0-9a-f]{32}$/;

function readCursor(text: string): Position | undefined {
  const match = cursorPattern.exec(text);
  if (match === null) return undefined;
  const seq = Number(match[1]);
  const stamp = Number(match[2]);
  return Number.isSafeInteger(seq) && stamp <= maxStamp ? { seq, stamp } : undefined;
}

function isRandomId(value: unknown): boolean {
  return typeof value === "string" && randomIdPattern.test(value);
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
