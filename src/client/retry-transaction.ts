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
import type { Value } from "../protocol/ids.ts";
import { deviceSchema, type DeviceTable } from "./device-schema.ts";
import type { LocalOperation } from "./outcomes.ts";
import { deleteSql, updateSql, upsertSql } from "./row-sql.ts";
import { isConstraintError } from "./storage-error.ts";

/** Executes operations as one local transaction; the caller has closed what was open before. */
export function* writeAgain(sync: SyncDatabase, operations: readonly LocalOperation[]): Core<void> {
  const schema = deviceSchema(sync);
  for (const operation of operations) {
    const table = schema.byKey.get(operation.table);
    if (!table) throw unknownColumn(operation.table);
    const columns: SyncColumn[] = [];
    const values: Value[] = [];
    for (const [key, value] of Object.entries(operation.values)) {
      columns.push(columnOf(table, key));
      values.push(value);
    }
    try {
      yield* writeOne(table, operation, columns, values);
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

function* writeOne(
  table: DeviceTable,
  { kind, key }: LocalOperation,
  columns: readonly SyncColumn[],
  values: readonly Value[],
): Core<void> {
  switch (kind) {
    case "insert":
      yield* run(upsertSql(table, [...table.keyColumns, ...columns]), [...key, ...values]);
      return;
    case "update":
      if (columns.length > 0 && (yield* run(updateSql(table, columns), [...values, ...key])) === 0)
        throw rowGone(table.key);
      return;
    case "delete":
      yield* run(deleteSql(table), key);
  }
}

function rowGone(table: string): SyncError {
  return new SyncError({
    code: "INVALID_CONFIG",
    message: `A retried update names a row of table \`${table}\` that is gone from this device. Nothing was written, and the outcome is kept; insert the whole row again, or discard.`,
    details: { table },
  });
}

function columnOf(table: DeviceTable, key: string): SyncColumn {
  const column = table.table.columnByKey.get(key);
  if (!column || column.isKey || column.excluded) throw unknownColumn(table.key, key);
  return column;
}

function unknownColumn(table: string, column?: string): SyncError {
  const what = column === undefined ? `table \`${table}\`` : `column \`${column}\` of table \`${table}\``;
  return new SyncError({
    code: "INVALID_CONFIG",
    message: `A retried operation names ${what}, which does not take part in sync.`,
  });
}
