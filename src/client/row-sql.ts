/**
 * The text of the statements on a synced table. Texts are stable, so that a driver prepares each once and recognizes those
 * that can be executed in bulk. Never REPLACE: it would delete a row that holds a unique value, with everything that
 * hangs on it (rule A4).
 *
 * @module
 */

import { all, type Core, run } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { DeviceTable } from "./device-schema.ts";

/**
 * What a statement that writes rows leaves of itself when a constraint refuses it: nothing, or whatever it had done. The latter
 * is for one that is undone from outside: under a savepoint, SQLite keeps a copy of each page that a statement with triggers
 * changes, to be able to undo it alone, which costs more than the statement.
 */
export type OnRefusal = "undo" | "keep";

/**
 * Inserts a row or overwrites the given columns of it; a row that is like that already is left alone. Parameters: the
 * columns, the key's first.
 */
export function upsertSql(table: DeviceTable, columns: readonly SyncColumn[], onRefusal: OnRefusal = "undo"): string {
  return cached(table, `upsert ${onRefusal} ${names(columns)}`, () => {
    const rest = columns.filter((column) => !column.isKey);
    const update = rest.map(({ name }) => `${identifier(name)} = excluded.${identifier(name)}`).join(", ");
    const differs = canTell(rest) ? ` WHERE ${differ(rest, (name) => `excluded.${name}`)}` : "";
    return `${insertSql(table, columns, onRefusal)} ON CONFLICT (${list(table.keyColumns)}) DO ${rest.length === 0 ? "NOTHING" : `UPDATE SET ${update}${differs}`}`;
  });
}

/**
 * Does what {@link upsertSql} does in two steps. SQLite has the triggers of an upsert's update abort at a conflict, whatever they
 * say themselves: an app's trigger with an `INSERT OR IGNORE` fails there, and does not here.
 */
export function* putRow(table: DeviceTable, columns: readonly SyncColumn[], values: readonly Value[]): Core<void> {
  const insert = cached(
    table,
    `put ${names(columns)}`,
    () => `${insertSql(table, columns)} ON CONFLICT (${list(table.keyColumns)}) DO NOTHING`,
  );
  if ((yield* run(insert, values)) > 0) return;
  const rest = columns.filter((column) => !column.isKey);
  if (rest.length === 0) return;
  const update = cached(table, `put over ${names(columns)}`, () => {
    const differs = canTell(rest) ? ` AND (${differ(rest, () => "?")})` : "";
    return `${updateSql(table, rest)}${differs}`;
  });
  const written = values.filter((_, i) => columns[i]?.isKey === false);
  const key = values.filter((_, i) => columns[i]?.isKey === true);
  yield* run(update, [...written, ...key, ...(canTell(rest) ? written : [])]);
}

/** Whether SQL can tell a row that is like that already. Numbers that compare as equal may be different ones: 0.0 and -0.0, or 1 and 1.0 where a column has no type. */
function canTell(columns: readonly SyncColumn[]): boolean {
  return columns.every(({ form }) => form !== "real" && form !== "any");
}

function differ(columns: readonly SyncColumn[], value: (name: string) => string): string {
  return columns.map(({ name }) => `${identifier(name)} IS NOT ${value(identifier(name))} COLLATE BINARY`).join(" OR ");
}

/** Inserts a row. Parameters: the columns. */
export function insertSql(table: DeviceTable, columns: readonly SyncColumn[], onRefusal: OnRefusal = "undo"): string {
  return cached(
    table,
    `insert ${onRefusal} ${names(columns)}`,
    () =>
      `INSERT${orFail(onRefusal)} INTO ${identifier(table.table.name)} (${list(columns)}) VALUES (${columns.map(() => "?").join(", ")})`,
  );
}

/** Updates columns of a row. Parameters: the columns, then the key. */
export function updateSql(table: DeviceTable, columns: readonly SyncColumn[], onRefusal: OnRefusal = "undo"): string {
  return cached(
    table,
    `update ${onRefusal} ${names(columns)}`,
    () =>
      `UPDATE${orFail(onRefusal)} ${identifier(table.table.name)} SET ${equal(columns, ", ")} WHERE ${equal(table.keyColumns, " AND ")}`,
  );
}

/** Deletes a row. Parameters: the key. */
export function deleteSql(table: DeviceTable): string {
  return cached(
    table,
    "delete",
    () => `DELETE FROM ${identifier(table.table.name)} WHERE ${equal(table.keyColumns, " AND ")}`,
  );
}

/** Reads the given columns of rows in which other columns have given values. Parameters: those values. */
export function selectWhereSql(
  table: DeviceTable,
  columns: readonly SyncColumn[],
  where: readonly SyncColumn[],
): string {
  return cached(
    table,
    `select ${names(columns)} where ${names(where)}`,
    () => `SELECT ${list(columns)} FROM ${identifier(table.table.name)} WHERE ${equal(where, " AND ")}`,
  );
}

/** Rows read per statement by {@link readRows}. */
const READ_CHUNK = 64;

/** Reads rows by key: all columns that sync, by the key's text. Rows that are not there are missing. */
export function* readRows(table: DeviceTable, keys: readonly Key[]): Core<Map<string, readonly Value[]>> {
  const rows = new Map<string, readonly Value[]>();
  const size = table.keyColumns.length;
  const chunk = keys.length === 1 ? 1 : READ_CHUNK;
  const sql = cached(table, `read ${chunk}`, () => {
    const from = `SELECT ${list(table.columns)} FROM ${identifier(table.table.name)} WHERE`;
    const one = `(${table.keyColumns.map(() => "?").join(", ")})`;
    return size === 1
      ? `${from} ${list(table.keyColumns)} IN (${Array(chunk).fill("?").join(", ")})`
      : `${from} (${list(table.keyColumns)}) IN (VALUES ${Array(chunk).fill(one).join(", ")})`;
  });
  for (let start = 0; start < keys.length; start += chunk) {
    const params: Value[] = [];
    // The last chunk repeats its last key, so that the text stays the same.
    for (let i = start; i < start + chunk; i++) params.push(...(keys[Math.min(i, keys.length - 1)] ?? []));
    for (const row of yield* all(sql, params)) rows.set(keyText(row.slice(0, size)), row);
  }
  return rows;
}

/** Reads one row by key. */
export function* readRow(table: DeviceTable, key: Key): Core<readonly Value[] | undefined> {
  return (yield* all(selectWhereSql(table, table.columns, table.keyColumns), key))[0];
}

const texts = new WeakMap<DeviceTable, Map<string, string>>();

function cached(table: DeviceTable, name: string, make: () => string): string {
  let ofTable = texts.get(table);
  if (!ofTable) texts.set(table, (ofTable = new Map()));
  let text = ofTable.get(name);
  if (text === undefined) ofTable.set(name, (text = make()));
  return text;
}

const orFail = (onRefusal: OnRefusal): string => (onRefusal === "keep" ? " OR FAIL" : "");

const names = (columns: readonly SyncColumn[]): string => columns.map((column) => column.index).join(",");

const list = (columns: readonly SyncColumn[]): string => columns.map((column) => identifier(column.name)).join(", ");

const equal = (columns: readonly SyncColumn[], separator: string): string =>
  columns.map((column) => `${identifier(column.name)} = ?`).join(separator);
