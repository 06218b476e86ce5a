/**
 * Writes a transaction again, perhaps edited: what an app does with a rejected one. It is an ordinary local transaction,
 * captured and queued like any other.
 *
 * @module
 */

import { run, type Core } from "../plugin/core.ts";
import { closeDeviceTransaction } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { deviceSchema, type DeviceTable } from "./device-schema.ts";
import type { LocalOperation } from "./outcomes.ts";
import { deleteSql, putRow, updateSql } from "./row-sql.ts";
import { isConstraintError } from "./storage-error.ts";

/** Executes operations as one local transaction; the caller has closed what was open before. */
export function* writeAgain(sync: SyncDatabase, operations: readonly LocalOperation[]): Core<void> {
  const schema = deviceSchema(sync);
  for (const operation of operations) {
    const table = schema.byKey.get(operation.table);
    if (!table) throw unknownColumn(operation.table);
    try {
      yield* writeOne(table, operation);
    } catch (error) {
      if (!isConstraintError(error)) throw error;
      throw new SyncError({
        code: "STORAGE_FAILED",
        message: `The retried operations break a constraint of table \`${table.key}\` on this device. Nothing was written, and the outcome is kept; edit them.`,
        cause: error,
        details: { table: table.key },
      });
    }
  }
  yield* closeDeviceTransaction(sync);
}

function* writeOne(table: DeviceTable, { kind, key, values, row }: LocalOperation): Core<void> {
  switch (kind) {
    case "insert":
      return yield* insert(table, key, values);
    case "update": {
      const written = columnsOf(table, values);
      if (written.columns.length === 0) return;
      if ((yield* run(updateSql(table, written.columns), [...written.values, ...key])) > 0) return;
      if (row === undefined) throw rowGone(table.key);
      return yield* insert(table, key, { ...row, ...values });
    }
    case "delete":
      yield* run(deleteSql(table), key);
  }
}

function* insert(table: DeviceTable, key: Key, row: Readonly<Record<string, Value>>): Core<void> {
  const { columns, values } = columnsOf(table, row);
  yield* putRow(table, [...table.keyColumns, ...columns], [...key, ...values]);
}

function rowGone(table: string): SyncError {
  return new SyncError({
    code: "ROW_GONE",
    message: `A retried update names a row of table \`${table}\` that is gone, and was never whole on this device. Nothing was written, and the outcome is kept; retry with an insert of the whole row, or discard.`,
    details: { table },
  });
}

function columnsOf(
  table: DeviceTable,
  row: Readonly<Record<string, Value>>,
): { readonly columns: readonly SyncColumn[]; readonly values: readonly Value[] } {
  const columns = Object.keys(row).map((key) => {
    const column = table.table.columnByKey.get(key);
    if (!column || column.isKey || column.excluded) throw unknownColumn(table.key, key);
    return column;
  });
  return { columns, values: Object.values(row) };
}

function unknownColumn(table: string, column?: string): SyncError {
  const what = column === undefined ? `table \`${table}\`` : `column \`${column}\` of table \`${table}\``;
  return new SyncError({
    code: "INVALID_CONFIG",
    message: `A retried operation names ${what}, which does not take part in sync.`,
  });
}
