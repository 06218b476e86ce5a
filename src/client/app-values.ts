/**
 * Queue and outcomes in the app's own terms: the engine speaks of storage values, an app of what its Drizzle columns give.
 *
 * @module
 */

import { toDrizzleRow, toStorageValue } from "../plugin/drizzle-row.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Key, Value } from "../protocol/ids.ts";
import type { ConflictKind, RejectionCode } from "../protocol/outcome.ts";
import type { OperationKind } from "../protocol/push.ts";
import type { LocalOperation, StoredOutcome } from "./outcomes.ts";
import type { QueuedTransaction } from "./sync-engine.ts";

/** Column keys to values, as Drizzle would select them. */
export type AppRow = Readonly<Record<string, unknown>>;

/** One operation of a local transaction. */
export interface PendingOperation {
  /** The table's key in the schema. */
  readonly table: string;
  readonly kind: OperationKind;
  readonly key: AppRow;
  /** What was written: all columns of an insert, the changed ones of an update, none of a delete. */
  readonly values: AppRow;
  /** What was there before: nothing for an insert, the changed columns for an update, the row for a delete. */
  readonly before: AppRow;
}

/** One transaction of the offline queue. */
export type PendingTransaction = Omit<QueuedTransaction, "operations"> & {
  readonly operations: readonly PendingOperation[];
};

/** One row on which a resolver decided, with both versions. */
export interface OutcomeConflict {
  readonly table: string;
  readonly key: AppRow;
  readonly kind: ConflictKind;
  /** Columns in conflict; empty where the whole row is. */
  readonly columns: readonly string[];
  /** Who won. */
  readonly winner: "server" | "client" | "merged";
  /** What was written on this device; null for a delete. */
  readonly client: AppRow | null;
  /** The row that was on the server; null when there was none, absent when the subject may not read it. */
  readonly server?: AppRow | null;
}

/** What became of a transaction that was not applied as it was written. */
export type Outcome = {
  /** The transaction's id, the same as in the queue. */
  readonly id: string;
  /** The transaction as it was written on this device. */
  readonly operations: readonly PendingOperation[];
} & (
  | { readonly status: "merged"; readonly conflicts: readonly OutcomeConflict[] }
  | {
      readonly status: "rejected";
      readonly code: RejectionCode;
      /** For people. */
      readonly message: string;
      /** The operation that was refused, and the server's version of its row. */
      readonly refused?: {
        readonly index: number;
        readonly kind: OperationKind;
        readonly table: string;
        readonly key: AppRow;
        readonly server?: AppRow | null;
      };
      /** For `DEPENDS_ON_REJECTED`: the number of the transaction whose refusal is the cause. */
      readonly cause?: number;
    }
);

type Tables = ReadonlyMap<string, SyncTable>;

/** A transaction of the queue. */
export function appTransaction(tables: Tables, transaction: QueuedTransaction): PendingTransaction {
  return { ...transaction, operations: transaction.operations.map((operation) => appOperation(tables, operation)) };
}

/** An outcome. */
export function appOutcome(tables: Tables, { id, outcome, operations: written }: StoredOutcome): Outcome {
  const operations = written.map((operation) => appOperation(tables, operation));
  if (outcome.status === "merged") {
    const conflicts = outcome.conflicts.map(({ table, key, kind, columns, winner, client, server }) => ({
      table,
      key: appKey(tables, table, key),
      kind,
      columns,
      winner,
      client: client && appRow(tables, table, client),
      ...(server === undefined ? {} : { server: server && appRow(tables, table, server) }),
    }));
    return { id, operations, status: "merged", conflicts };
  }
  const { code, message, operation, cause } = outcome;
  const refused = operation && {
    index: operation.index,
    kind: operation.kind,
    table: operation.table,
    key: appKey(tables, operation.table, operation.key),
    ...(operation.server === undefined
      ? {}
      : { server: operation.server && appRow(tables, operation.table, operation.server) }),
  };
  return {
    id,
    operations,
    status: "rejected",
    code,
    message,
    ...(refused ? { refused } : {}),
    ...(cause === undefined ? {} : { cause }),
  };
}

/** Operations of an app as the engine takes them. */
export function storedOperations(tables: Tables, operations: readonly PendingOperation[]): readonly LocalOperation[] {
  return operations.map(({ table: tableKey, kind, key, values, before }) => {
    const table = tables.get(tableKey);
    if (!table) throw new SyncError({ code: "INVALID_CONFIG", message: `\`${tableKey}\` is not a synced table.` });
    return {
      table: tableKey,
      kind,
      key: table.keyColumns.map((column) => toStorageValue(column, key[column.key])),
      values: storedRow(table, values),
      before: storedRow(table, before),
    };
  });
}

function appOperation(tables: Tables, { table, kind, key, values, before }: LocalOperation): PendingOperation {
  return {
    table,
    kind,
    key: appKey(tables, table, key),
    values: appRow(tables, table, values),
    before: appRow(tables, table, before),
  };
}

function appKey(tables: Tables, table: string, key: Key): AppRow {
  return toDrizzleRow(tables.get(table)?.keyColumns ?? [], key);
}

function appRow(tables: Tables, table: string, row: Readonly<Record<string, Value>>): AppRow {
  const columns: SyncColumn[] = [];
  const values: Value[] = [];
  for (const [key, value] of Object.entries(row)) {
    const column = tables.get(table)?.columnByKey.get(key);
    // A column that a migration took away has no codec any more.
    if (!column) continue;
    columns.push(column);
    values.push(value);
  }
  return toDrizzleRow(columns, values);
}

function storedRow(table: SyncTable, row: AppRow): Readonly<Record<string, Value>> {
  return Object.fromEntries(
    Object.entries(row).map(([key, value]) => {
      const column = table.columnByKey.get(key);
      if (!column)
        throw new SyncError({ code: "INVALID_CONFIG", message: `Table \`${table.key}\` has no column \`${key}\`.` });
      return [key, toStorageValue(column, value)];
    }),
  );
}
