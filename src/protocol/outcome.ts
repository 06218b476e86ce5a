/**
 * What became of a device's transaction. `applied` as written is neither stored nor sent: the page that covers it
 * says so. The others are kept on the server until the device acknowledges them (rules P10, I5).
 *
 * @module
 */

import type { Key, Value } from "./ids.ts";
import type { OperationKind } from "./push.ts";

/** Why a transaction was refused for good. Results, not errors. */
export const rejectionCodes = [
  "SCOPE_NOT_WRITABLE",
  "COLUMN_READ_ONLY",
  "TABLE_READ_ONLY",
  "INVALID_VALUE",
  "CONSTRAINT",
  "NOT_AUTHORIZED",
  "UNDONE",
  "DEPENDS_ON_REJECTED",
  "RESOLVER_FAILED",
] as const;
export type RejectionCode = (typeof rejectionCodes)[number];

export type ConflictKind = "update" | "delete" | "insert" | "unique";

/** One row on which a resolver ran, or on which a transaction was refused, with both versions. */
export interface ConflictReport {
  readonly table: string;
  readonly key: Key;
  readonly kind: ConflictKind;
  /** Column keys in conflict; empty where the whole row is. */
  readonly columns: readonly string[];
  /** Who won. */
  readonly winner: "server" | "client" | "merged";
  /** What the device wrote: column keys to values, without very long ones; null for a delete. */
  readonly client: Readonly<Record<string, Value>> | null;
  /**
   * The row on the server before the transaction, if the subject may read it and it is not very large; null when there was
   * none.
   */
  readonly server?: Readonly<Record<string, Value>> | null;
}

/** The outcome of one transaction, as the server stores and sends it. */
export type Outcome =
  | {
      readonly status: "merged";
      readonly number: number;
      readonly stamp: number;
      readonly conflicts: readonly ConflictReport[];
    }
  | {
      readonly status: "rejected";
      readonly number: number;
      readonly stamp: number;
      readonly code: RejectionCode;
      /** For people; names table and column, never values. */
      readonly message: string;
      /** The operation that caused it, and the server's version of its row if the subject may read that and it is not very large. */
      readonly operation?: {
        readonly index: number;
        readonly kind: OperationKind;
        readonly table: string;
        readonly key: Key;
        readonly server?: Readonly<Record<string, Value>> | null;
      };
      /** For `DEPENDS_ON_REJECTED`: the number of the transaction whose refusal is the cause. */
      readonly cause?: number;
    };
