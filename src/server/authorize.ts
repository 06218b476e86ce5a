/**
 * What the app's `authorize` is shown of a device's transaction: its operations with values as Drizzle types them.
 *
 * @module
 */

import type { OperationKind, PushTransaction } from "../protocol/push.ts";
import { type AppRow, toAppRow } from "./column-values.ts";
import type { RowOperation } from "./operations.ts";

/** One operation, as an app reads it. */
export interface AuthorizeOperation {
  /** The table's key in the schema. */
  readonly table: string;
  readonly kind: OperationKind;
  /** The primary key's columns. */
  readonly key: AppRow;
  /** The columns that are written; empty for a delete. */
  readonly values: AppRow;
}

/** A transaction of a device, before it is applied. */
export interface AuthorizeTransaction {
  readonly number: number;
  readonly operations: readonly AuthorizeOperation[];
}

/** Describes a transaction to the app. */
export function describeTransaction(tx: PushTransaction, operations: readonly RowOperation[]): AuthorizeTransaction {
  return {
    number: tx.number,
    operations: operations.map(({ table, kind, key, columns, values }) => ({
      table: table.key,
      kind,
      key: toAppRow(table.keyColumns, key),
      values: toAppRow(columns, values),
    })),
  };
}
