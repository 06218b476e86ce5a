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
  /**
   * Of an update in an outcome whose row is gone: the whole row as it was written here, without its key. A retry that has it
   * brings the row back, with `values` on top.
   */
  readonly row?: AppRow;
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
  /** The transaction's id, the same as in the queue; one of its own for a loss. */
  readonly id: string;
  /** The number under which it was pushed, by which `cause` names it; the last of them for a loss. */
  readonly number: number;
  /** The transaction as it was written on this device; nothing for a loss. */
  readonly operations: readonly PendingOperation[];
  /**
   * Present where the app may have been told of the same transaction before, perhaps with another result: the server was
   * restored from a backup, and judged it again.
   */
  readonly again?: true;
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
      /** For `DEPENDS_ON_REJECTED`: the number of the transaction whose refusal is the cause. Retry that one first. */
      readonly cause?: number;
    }
  /**
   * The server was restored from a backup that lacks transactions of this device, and the device keeps them no longer (see
   * `keepSentMs`). `count`: how many they were, empty ones included.
   */
  | { readonly status: "lost"; readonly count: number }
);

type Tables = ReadonlyMap<string, SyncTable>;

/** A transaction of the queue. */
export function appTransaction(tables: Tables, transaction: QueuedTransaction): PendingTransaction {
  return { ...transaction, operations: transaction.operations.map((operation) => appOperation(tables, operation)) };
}

/** An outcome. */
export function appOutcome(tables: Tables, stored: StoredOutcome): Outcome {
  const { id, outcome, again } = stored;
  const operations = stored.operations.map((operation) => appOperation(tables, operation));
  const common = { id, number: outcome.number, operations, ...(again ? { again } : {}) };
  if (outcome.status === "lost") return { ...common, status: "lost", count: outcome.number - outcome.from + 1 };
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
    return { ...common, status: "merged", conflicts };
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
    ...common,
    status: "rejected",
    code,
    message,
    ...(refused ? { refused } : {}),
    ...(cause === undefined ? {} : { cause }),
  };
}

/** Operations of an app as the engine takes them. */
export function storedOperations(tables: Tables, operations: readonly PendingOperation[]): readonly LocalOperation[] {
  return operations.map(({ table: tableKey, kind, key, values, before, row }) => {
    const table = tables.get(tableKey);
    if (!table) throw new SyncError({ code: "INVALID_CONFIG", message: `\`${tableKey}\` is not a synced table.` });
    return {
      table: tableKey,
      kind,
      key: table.keyColumns.map((column) => toStorageValue(column, key[column.key])),
      values: storedRow(table, values),
      before: storedRow(table, before),
      ...(row === undefined ? {} : { row: storedRow(table, row) }),
    };
  });
}

function appOperation(tables: Tables, { table, kind, key, values, before, row }: LocalOperation): PendingOperation {
  return {
    table,
    kind,
    key: appKey(tables, table, key),
    values: appRow(tables, table, values),
    before: appRow(tables, table, before),
    ...(row === undefined ? {} : { row: appRow(tables, table, row) }),
  };
}

function appKey(tables: Tables, table: string, key: Key): AppRow {
  return readableRow(tables.get(table)?.keyColumns ?? [], key);
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
  return readableRow(columns, values);
}

/** A value that its column's codec cannot read (written by raw SQL, and refused for it) is shown as it is stored: the list must stay readable. */
function readableRow(columns: readonly SyncColumn[], values: readonly Value[]): AppRow {
  try {
    return toDrizzleRow(columns, values);
  } catch {
    return Object.fromEntries(
      columns.map((column, at) => {
        const value = values[at] ?? null;
        try {
          return [column.key, toDrizzleRow([column], [value])[column.key]];
        } catch {
          return [column.key, value];
        }
      }),
    );
  }
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
