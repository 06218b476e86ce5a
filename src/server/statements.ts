/**
 * The statements that write synced rows. Their text depends on table and columns alone, so that each is prepared once.
 *
 * @module
 */

import { type Core, run } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";

/** A statement with its parameters. */
export interface Statement {
  readonly sql: string;
  readonly params: readonly Value[];
}

/** Inserts a row. */
export function* insertRow(
  table: SyncTable,
  key: Key,
  columns: readonly SyncColumn[],
  values: readonly Value[],
): Core<void> {
  yield* execute(insertStatement(table, key, columns, values));
}

/** Updates columns of a row, if it is there. */
export function* updateRow(
  table: SyncTable,
  key: Key,
  columns: readonly SyncColumn[],
  values: readonly Value[],
): Core<void> {
  if (columns.length > 0) yield* execute(updateStatement(table, key, columns, values));
}

/** Deletes a row, if it is there. */
export function* deleteRow(table: SyncTable, key: Key): Core<void> {
  yield* execute(deleteStatement(table, key));
}

function* execute({ sql, params }: Statement): Core<void> {
  yield* run(sql, params);
}

/** What inserts a row. */
export function insertStatement(
  table: SyncTable,
  key: Key,
  columns: readonly SyncColumn[],
  values: readonly Value[],
): Statement {
  return { sql: insertSql(table, columns), params: [...key, ...values] };
}

/** What updates columns of a row. */
export function updateStatement(
  table: SyncTable,
  key: Key,
  columns: readonly SyncColumn[],
  values: readonly Value[],
): Statement {
  return { sql: updateSql(table, columns), params: [...values, ...key, ...key] };
}

/** What deletes a row. */
export function deleteStatement(table: SyncTable, key: Key): Statement {
  return { sql: deleteSql(table), params: [...key, ...key] };
}

/** Finds the key of another row that holds these values in some columns. */
export function clashSql(table: SyncTable, columns: readonly SyncColumn[]): string {
  const keys = table.keyColumns.map(name).join(", ");
  const others = table.keyColumns.map((column) => `${name(column)} = ? COLLATE BINARY`).join(" AND ");
  return `SELECT ${keys} FROM ${identifier(table.name)} WHERE ${columns.map((column) => `${name(column)} = ?`).join(" AND ")} AND NOT (${others}) LIMIT 1`;
}

// The lists of columns of one request live as long as it does; the texts are few.
const inserts = new WeakMap<readonly SyncColumn[], string>();
const updates = new WeakMap<readonly SyncColumn[], string>();
const deletes = new WeakMap<SyncTable, string>();

function insertSql(table: SyncTable, columns: readonly SyncColumn[]): string {
  let sql = inserts.get(columns);
  if (sql === undefined) {
    const all = [...table.keyColumns, ...columns];
    sql = `INSERT INTO ${identifier(table.name)} (${all.map(name).join(", ")}) VALUES (${all.map(() => "?").join(", ")})`;
    inserts.set(columns, sql);
  }
  return sql;
}

function updateSql(table: SyncTable, columns: readonly SyncColumn[]): string {
  let sql = updates.get(columns);
  if (sql === undefined) {
    sql = `UPDATE ${identifier(table.name)} SET ${columns.map((column) => `${name(column)} = ?`).join(", ")} WHERE ${keyCondition(table)}`;
    updates.set(columns, sql);
  }
  return sql;
}

function deleteSql(table: SyncTable): string {
  let sql = deletes.get(table);
  if (sql === undefined) {
    sql = `DELETE FROM ${identifier(table.name)} WHERE ${keyCondition(table)}`;
    deletes.set(table, sql);
  }
  return sql;
}

/** Takes the key twice: the first comparison serves the index; the second is exact where the column ignores case. */
function keyCondition(table: SyncTable): string {
  const found = table.keyColumns.map((column) => `${name(column)} = ?`);
  const exact = table.keyColumns.map((column) => `${name(column)} = ? COLLATE BINARY`);
  return [...found, ...exact].join(" AND ");
}

function name(column: SyncColumn): string {
  return identifier(column.name);
}
