/**
 * The first exchange: who the device is, what it knows, what it may expect (rules V1, I1).
 *
 * @module
 */

import type { DeviceId, Epoch } from "./ids.ts";

/** Table keys to column keys (the primary key's first, in key order). What the device knows; hashed by `hashSchema`. */
export type KnownTables = Readonly<Record<string, readonly string[]>>;

export interface HandshakeRequest {
  readonly deviceId: DeviceId;
  /** Protocol versions the device speaks. */
  readonly protocol: readonly number[];
  readonly schema: { readonly hash: string; readonly tables: KnownTables };
  /** The device's clock, milliseconds since 1970. */
  readonly time: number;
}

/** What the server accepts; a device keeps below it. */
export interface Limits {
  /** Bytes of one request body, before compression. */
  readonly maxRequestBytes: number;
  /** Transactions in one push. */
  readonly maxPushTransactions: number;
  /** Rows and entries in one page. */
  readonly maxPageRows: number;
}

export interface HandshakeAnswer {
  readonly epoch: Epoch;
  readonly protocol: number;
  /** What of the device's tables and columns the server knows, too, and does not keep to itself. Absent for all of them. */
  readonly tables?: KnownTables;
  /**
   * What the server has and does not exchange with a device that knows no more (rules V1, V3): columns that never leave the
   * server now, and tables, with no columns, of which the device lacks a scope column or the parent. Absent for nothing.
   */
  readonly outdated?: KnownTables;
  /** Hash of the scope declaration; another one means a reset. */
  readonly declaration: string;
  readonly limits: Limits;
  /** The server's clock, milliseconds since 1970. */
  readonly time: number;
}
