/**
 * Writes a page's rows into the tables. A page is written column by column straight into prepared statements. It carries net
 * states as they were when each page was read, so on the way two rows may hold one unique value: the row in the way is
 * then *displaced*, that is, one of its values makes room for what is written, and the change that moves it for good comes
 * later in the same round and puts the value back. Whoever applies the round checks that no row is left displaced.
 *
 * @module
 */

import { all, each, run, type Core } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { fromJsonValues, toJsonValues } from "../protocol/json-values.ts";
import { rowText } from "../protocol/key.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import { deleteSql, insertSql, type OnRefusal, putRow, readRow, updateSql, upsertSql } from "./row-sql.ts";
import { isConstraintError } from "./storage-error.ts";

/** A value that was taken from a row, until a change to one of its unique index's columns comes. */
export interface DisplacedValue {
  readonly column: string;
  readonly value: Value;
  /** The columns of the index. */
  readonly unique: readonly string[];
}

/** Rows from which values were taken, by the row's text. */
export type Displaced = Map<string, readonly DisplacedValue[]>;

/** A group of a page, looked up in the device's schema. */
export interface BoundGroup {
  readonly table: DeviceTable;
  readonly kind: ChangeGroup["kind"];
  readonly columns: readonly SyncColumn[];
  readonly values: readonly (readonly Value[])[];
  readonly count: number;
}

/** Looks up the tables and columns of a page's groups; throws `INVALID_MESSAGE` for one that the device does not know. */
export function bindGroups(schema: DeviceSchema, groups: readonly ChangeGroup[]): readonly BoundGroup[] {
  return groups.map((group) => {
    const table = schema.byKey.get(group.table);
    const columns = group.columns.map((key) => table?.table.columnByKey.get(key));
    if (!table || columns.some((column) => column === undefined || column.excluded)) {
      throw new SyncError({
        code: "INVALID_MESSAGE",
        message: `A page names a table or column of \`${group.table}\` that the device does not have.`,
      });
    }
    return {
      table,
      kind: group.kind,
      columns: columns as readonly SyncColumn[],
      values: group.values,
      count: group.values[0]?.length ?? 0,
    };
  });
}

/** How groups are written. */
export interface WriteOptions {
  /** Without it, a row that a unique index refuses is an error of the driver: something else than the base stands in its way. */
  readonly displaced?: Displaced;
  /** Whether the rows are mostly new: they are inserted then, and what is there already only found out. @default false */
  readonly areNew?: boolean;
  /** `keep`: the caller undoes all of it when a constraint refuses something, which is thrown at once. @default "undo" */
  readonly onRefusal?: OnRefusal;
}

/** Writes groups into the tables, removals first. */
export function* writeGroups(groups: readonly BoundGroup[], options: WriteOptions = {}): Core<void> {
  for (const group of groups) if (group.kind === "removal") yield* writeGroup(group, options);
  for (const group of groups) if (group.kind !== "removal") yield* writeGroup(group, options);
}

function* writeGroup(group: BoundGroup, { displaced, areNew = false, onRefusal = "undo" }: WriteOptions): Core<void> {
  const { table, kind, columns } = group;
  // A patch without columns says nothing.
  if (kind === "update" && columns.length === table.keyColumns.length) return;
  const { sql, rows } = statementOf(group, onRefusal);
  if (kind === "removal") {
    yield* each(sql, rows);
    if (displaced?.size) for (const key of rows) displaced.delete(rowText(table.key, key));
    return;
  }
  // While rows are displaced, every row may be one that puts things right.
  if (displaced?.size) return yield* writeDisplacing(group, displaced);
  if (areNew && onRefusal === "undo" && kind === "row" && (yield* areInserted(insertSql(table, columns), rows))) return;
  try {
    yield* each(sql, rows);
  } catch (error) {
    if (!displaced || onRefusal === "keep" || !isConstraintError(error)) throw error;
    // Repeating what was already written is harmless: every statement sets what it sets.
    yield* writeDisplacing(group, displaced);
  }
}

/** Inserts rows; false when one of them is there already, or another one is in its way. */
function* areInserted(sql: string, rows: readonly (readonly Value[])[]): Core<boolean> {
  try {
    yield* each(sql, rows);
    return true;
  } catch (error) {
    if (!isConstraintError(error)) throw error;
    return false;
  }
}

function statementOf(
  group: BoundGroup,
  onRefusal: OnRefusal,
): { readonly sql: string; readonly rows: readonly (readonly Value[])[] } {
  const { table, kind, columns, values, count } = group;
  const keySize = table.keyColumns.length;
  switch (kind) {
    case "removal":
      return { sql: deleteSql(table), rows: transpose(values, count) };
    case "row":
      return { sql: upsertSql(table, columns, onRefusal), rows: transpose(values, count) };
    case "update":
      return {
        sql: updateSql(table, columns.slice(keySize), onRefusal),
        rows: transpose([...values.slice(keySize), ...values.slice(0, keySize)], count),
      };
  }
}

function transpose(columns: readonly (readonly Value[])[], count: number): readonly (readonly Value[])[] {
  const width = columns.length;
  const rows = new Array<readonly Value[]>(count);
  for (let i = 0; i < count; i++) {
    const row = new Array<Value>(width);
    for (let j = 0; j < width; j++) row[j] = (columns[j] as readonly Value[])[i] as Value;
    rows[i] = row;
  }
  return rows;
}

/** The rows of a group, one by one, each after the rows that are in its way have been displaced. */
function* writeDisplacing(group: BoundGroup, displaced: Displaced): Core<void> {
  const { table, kind, columns } = group;
  const keySize = table.keyColumns.length;
  for (let i = 0; i < group.count; i++) {
    const written = new Map(columns.map((column, at) => [column, group.values[at]?.[i] ?? null]));
    const key = [...written.values()].slice(0, keySize);
    putBack(table, rowText(table.key, key), written, displaced);
    const all = [...written.keys()];
    try {
      yield* displaceOthers(table, key, written, displaced);
      if (kind === "row") yield* putRow(table, all, [...written.values()]);
      else yield* run(updateSql(table, all.slice(keySize)), [...[...written.values()].slice(keySize), ...key]);
    } catch (error) {
      if (!isConstraintError(error)) throw error;
      throw refused(table, error);
    }
  }
}

/** A displaced row that is about to be written gets back what was taken, unless the write says otherwise. */
function putBack(table: DeviceTable, row: string, written: Map<SyncColumn, Value>, displaced: Displaced): void {
  const taken = displaced.get(row);
  if (!taken) return;
  const keys = new Set([...written.keys()].map((column) => column.key));
  // A write to another column than the index's is not the one that moves the row away.
  const left = taken.filter(({ unique }) => !unique.some((column) => keys.has(column)));
  for (const { column: columnKey, value, unique } of taken) {
    const column = table.table.columnByKey.get(columnKey);
    if (column && !keys.has(columnKey) && unique.some((other) => keys.has(other))) written.set(column, value);
  }
  if (left.length === 0) displaced.delete(row);
  else displaced.set(row, left);
}

/** Makes room in every unique index that the row is about to enter. */
function* displaceOthers(
  table: DeviceTable,
  key: Key,
  written: ReadonlyMap<SyncColumn, Value>,
  displaced: Displaced,
): Core<void> {
  for (const unique of table.table.uniques) {
    if (!unique.some((column) => written.has(column))) continue;
    let wanted = unique.map((column) => written.get(column));
    if (wanted.includes(undefined)) {
      // A patch names some of the index's columns only.
      const row = yield* readRow(table, key);
      if (!row) continue;
      wanted = unique.map(
        (column) => written.get(column) ?? (written.has(column) ? null : row[table.columns.indexOf(column)]),
      );
    }
    if (wanted.some((value) => value === null || value === undefined)) continue;
    const sql = othersSql(table, unique);
    for (const other of yield* all(sql, [...(wanted as readonly Value[]), ...key]))
      yield* displace(table, other, unique, displaced);
  }
}

function* displace(table: DeviceTable, key: Key, unique: readonly SyncColumn[], displaced: Displaced): Core<void> {
  const column =
    unique.find((candidate) => !candidate.isKey && !candidate.notNull) ?? unique.find((candidate) => !candidate.isKey);
  const before = yield* readRow(table, key);
  if (!column || !before) throw refused(table, undefined);
  const name = identifier(column.name);
  yield* run(
    `UPDATE ${identifier(table.table.name)} SET ${name} = ${column.notNull ? roomFor(column) : "NULL"} WHERE ${equalKey(table)}`,
    key,
  );
  const row = rowText(table.key, key);
  const taken = displaced.get(row) ?? [];
  if (taken.some((value) => value.column === column.key)) return;
  displaced.set(row, [
    ...taken,
    {
      column: column.key,
      value: before[table.columns.indexOf(column)] ?? null,
      unique: unique.map(({ key: columnKey }) => columnKey),
    },
  ]);
}

/** A value that nobody has, of the column's kind. */
function roomFor(column: SyncColumn): string {
  switch (column.form) {
    case "integer":
    case "boolean":
    case "time":
    case "real":
      // Far below what an app counts with; the sign bit keeps it apart from other random values of an app.
      return "-4611686018427387904 + (random() & 1152921504606846975)";
    case "blob":
      return "randomblob(24)";
    case "text":
    case "json":
    case "any":
      return "'\"_sync_' || hex(randomblob(16)) || '\"'";
  }
}

/** What is displaced, as it is stored between the pages of a first sync; undefined for nothing. */
export function displacedText(displaced: Displaced): string | undefined {
  return displaced.size === 0 ? undefined : JSON.stringify(toJsonValues([...displaced]));
}

/** The reverse of {@link displacedText}. */
export function readDisplaced(text: string | undefined): Displaced {
  // Written by `displacedText`, in the same database.
  return new Map(text === undefined ? [] : (fromJsonValues(JSON.parse(text)) as [string, readonly DisplacedValue[]][]));
}

/** Throws when rows that were displaced were never written again: the device refuses what the server holds. */
export function requireSettled(displaced: Displaced): void {
  if (displaced.size === 0) return;
  throw new SyncError({
    code: "STORAGE_FAILED",
    message: `A unique index of the local database refuses rows that the server holds (${displaced.size} rows). Declare the same unique indexes on both sides.`,
  });
}

/**
 * Overwrites rows of one table with the given whole rows, whatever stands in the way among these rows themselves: upserts, then
 * the same one by one, and where a constraint refuses one still, all rows taken out and put back. Without foreign keys nothing hangs on a delete.
 */
export function* overwriteRows(
  table: DeviceTable,
  columns: readonly SyncColumn[],
  rows: readonly (readonly Value[])[],
): Core<void> {
  try {
    yield* each(upsertSql(table, columns), rows);
  } catch (error) {
    if (!isConstraintError(error)) throw error;
    if (yield* arePut(table, columns, rows)) return;
    const keySize = table.keyColumns.length;
    yield* each(
      deleteSql(table),
      rows.map((row) => row.slice(0, keySize)),
    );
    try {
      yield* each(insertSql(table, columns), rows);
    } catch (again) {
      if (!isConstraintError(again)) throw again;
      throw refused(table, again);
    }
  }
}

/** Writes rows one by one; false when another one is in the way of one of them. */
function* arePut(
  table: DeviceTable,
  columns: readonly SyncColumn[],
  rows: readonly (readonly Value[])[],
): Core<boolean> {
  try {
    for (const row of rows) yield* putRow(table, columns, row);
    return true;
  } catch (error) {
    if (!isConstraintError(error)) throw error;
    return false;
  }
}

function othersSql(table: DeviceTable, unique: readonly SyncColumn[]): string {
  const keys = table.keyColumns.map((column) => identifier(column.name)).join(", ");
  const where = unique.map((column) => `${identifier(column.name)} = ?`).join(" AND ");
  return `SELECT ${keys} FROM ${identifier(table.table.name)} WHERE ${where} AND NOT (${equalKey(table)})`;
}

const equalKey = (table: DeviceTable): string =>
  table.keyColumns.map((column) => `${identifier(column.name)} = ?`).join(" AND ");

function refused(table: DeviceTable, cause: unknown): SyncError {
  return new SyncError({
    code: "STORAGE_FAILED",
    message: `Table \`${table.key}\` of the local database refuses a row that the server holds. Declare the same constraints on both sides, or fewer on the device.`,
    cause,
  });
}
