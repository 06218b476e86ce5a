/**
 * Transactions of a device on their way to the server, and the server's answer (rules P1–P12).
 *
 * Operations are tuples over shapes: the request names each (table, kind, columns) once, and an operation then
 * carries values only. That is half the bytes of maps and leaves no keys for an attacker to choose.
 *
 * @module
 */

import type { Cursor, DeviceId, Epoch, Key, TxRef, Value } from "./ids.ts";

export type OperationKind = "insert" | "update" | "delete";

/** The table, kind and columns that operations of one request share. */
export interface OperationShape {
  readonly table: string;
  readonly kind: OperationKind;
  /** Column keys that `values` (and, for updates, `before`) follow. Inserts: all known non-key columns. Deletes: none. */
  readonly columns: readonly string[];
}

/** A value that the user saw: itself, or `[hash]` when its canonical CBOR is longer than 32 bytes (rule P1). */
export type SeenValue = Value | readonly [hash: string];

/**
 * One operation: index into the request's shapes, key, new values, what was seen.
 *
 * `before` is, for an update, one {@link SeenValue} per changed column; for a delete, one `[hash]` of the row over the
 * non-key columns of the transaction's schema, in the order of that schema; for an insert, empty. `row` is the whole row
 * as the user saw it (same columns and order as that hash), sent only after the server answered `need` (rule P6).
 */
export type Operation = readonly [
  shape: number,
  key: Key,
  values: readonly Value[],
  before: readonly SeenValue[],
  row?: readonly Value[],
];

/** One transaction of a device: applied whole or not at all. */
export interface PushTransaction {
  /** Rises by one; never used twice by a device. */
  readonly number: number;
  /** The first number of an empty range that ends at `number` (discarded transactions). `ops` is then empty. */
  readonly from?: number;
  readonly stamp: number;
  /** The device's hybrid logical clock at commit; used by last-write-wins alone. */
  readonly hlc: number;
  /** Hash of the schema that the device had when the transaction was written. */
  readonly schema: string;
  readonly ops: readonly Operation[];
}

export interface PushRequest {
  readonly deviceId: DeviceId;
  /** The epoch of the handshake. */
  readonly epoch: Epoch;
  /**
   * The device's cursor, where the first of `txs` is an empty range over numbers that it knows to be handled. A server whose log
   * does not have it may have lost what was handled, and answers `gap` (rule I3).
   */
  readonly cursor?: Cursor;
  /** The transaction before the first one sent; number 0 and stamp 0 before the very first. */
  readonly previous: TxRef;
  readonly shapes: readonly OperationShape[];
  readonly txs: readonly PushTransaction[];
  /** How special values travel: see `json-values.ts`. Absent over CBOR. */
  readonly format?: "json";
}

/**
 * `ok`: handled up to `lastTx`. `gap`: the first transaction sent does not follow `lastTx` (rule P3). `need`: the
 * transaction `number` is wanted again with whole rows (rule P6); everything before it was handled. `forked`: somebody
 * else pushed under this device id (rule I4). `reset`: foreign epoch; pull. `need-schema`: handshake again.
 * None of them drops a pending transaction: only a page does.
 */
export type PushAnswer =
  | (Handled & { readonly kind: "ok" })
  | (Handled & { readonly kind: "gap" })
  | (Handled & { readonly kind: "need"; readonly number: number })
  | { readonly kind: "forked"; readonly epoch: Epoch }
  | { readonly kind: "reset"; readonly epoch: Epoch; readonly reason: "EPOCH_CHANGED" }
  | { readonly kind: "need-schema"; readonly epoch: Epoch };

interface Handled {
  readonly epoch: Epoch;
  readonly lastTx: TxRef;
  readonly ackedTx: number;
  /** The server's clock, milliseconds since 1970: a device whose clock was moved since the handshake finds out (rule P11). */
  readonly time?: number;
}
