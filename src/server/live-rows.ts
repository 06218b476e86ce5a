/**
 * Rows as the database holds them, for judging a transaction: one read per table.
 *
 * @module
 */

import { type Core, first } from "../plugin/core.ts";
import { readRows } from "../plugin/rows.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { rowText } from "../protocol/key.ts";
import type { LiveRow } from "./judge.ts";
import { clashSql } from "./statements.ts";

/** Rows by table and key in one text; those that are not there are missing. */
export type LiveRows = ReadonlyMap<string, LiveRow>;

/** Reads rows of several tables. */
export function* readLiveRows(wanted: Iterable<{ readonly table: SyncTable; readonly key: Key }>): Core<LiveRows> {
  const keysByTable = new Map<SyncTable, Key[]>();
  for (const { table, key } of wanted) {
    const keys = keysByTable.get(table);
    if (keys === undefined) keysByTable.set(table, [key]);
    else keys.push(key);
  }
  const rows = new Map<string, LiveRow>();
  for (const [table, keys] of keysByTable) {
    for (const { key, values, scopes } of yield* readRows(table, othersOf(table), keys)) {
      // Columns are in the order key, others: so are the values, and a column's index finds its value.
      rows.set(rowText(table.key, key), { values: [...key, ...values], scopes });
    }
  }
  return rows;
}

/** The primary key that a foreign key of this row names; undefined when it is null, or names something else than a primary key. */
export function parentKeyOf(reference: SyncTable["foreignKeys"][number], values: readonly Value[]): Key | undefined {
  const { columns, target, targetColumns } = reference;
  const key: Value[] = [];
  for (const column of target.keyColumns) {
    const own = columns[targetColumns.indexOf(column)];
    const value = own === undefined ? null : (values[own.index] ?? null);
    if (value === null) return undefined;
    key.push(value);
  }
  return key;
}

/** Another row that holds one of the unique values that a row would have. */
export interface Holder {
  readonly key: Key;
  readonly columns: readonly SyncColumn[];
}

/** Finds who holds a unique value already; undefined when no unique index of the definition explains the clash. */
export function* findHolder(
  table: SyncTable,
  key: Key,
  valueOf: (column: SyncColumn) => Value,
): Core<Holder | undefined> {
  for (const columns of table.uniques) {
    const values = columns.map(valueOf);
    if (values.includes(null)) continue;
    const found = yield* first(clashSql(table, columns), [...values, ...key]);
    if (found !== undefined) return { key: found, columns };
  }
  return undefined;
}

const others = new WeakMap<SyncTable, readonly SyncColumn[]>();

function othersOf(table: SyncTable): readonly SyncColumn[] {
  let columns = others.get(table);
  if (columns === undefined) others.set(table, (columns = table.columns.slice(table.keyColumns.length)));
  return columns;
}
