/**
 * What all generated triggers are made of: the gate, comparisons of keys and columns, entries of the log.
 *
 * @module
 */

import { LOG, MUTE, PREFIX, kindNumbers } from "../names.ts";
import type { Role } from "../sync-database.ts";
import type { SyncTable } from "../table.ts";
import type { LiveColumn, LiveTable } from "./live-table.ts";
import { identifier } from "./quote.ts";
import type { Safeguards } from "./safeguards.ts";
import { scopeSql } from "./scope-sql.ts";

/** A trigger as it should stand in `sqlite_master`. */
export interface Trigger {
  readonly name: string;
  readonly sql: string;
}

/** What the generator needs to know beyond the table itself. */
export interface TriggerContext {
  readonly role: Role;
  /** Layout numbers of the tables that are there. */
  readonly numberOf: (table: SyncTable) => number | undefined;
  readonly liveOf: (table: SyncTable) => LiveTable | undefined;
  readonly without?: Safeguards | undefined;
}

/** A table while its triggers are written. */
export interface TriggerTable {
  readonly live: LiveTable;
  readonly number: number;
  readonly role: Role;
  readonly context: TriggerContext;
  readonly without: Safeguards;
  /** The columns of the log that hold the key. */
  readonly keyFields: readonly string[];
  /** Columns besides the key that are captured, in mask order. */
  readonly rest: readonly LiveColumn[];
}

/**
 * An `INSERT INTO` the log of one entry. It has no stamp: `random()` is a function call, which costs a statement journal (see
 * `scope-sql.ts`), and few entries are ever stood on (see `readHead`).
 */
export function entry(
  table: TriggerTable,
  kind: keyof typeof kindNumbers,
  image: readonly (readonly [field: string, value: string])[],
): string {
  const all: readonly (readonly [string, string])[] = [
    ["t", String(table.number)],
    ["kind", String(kindNumbers[kind])],
    ...image,
  ];
  return `INSERT INTO ${LOG}(${all.map(([field]) => field).join(", ")}) VALUES (${all.map(([, value]) => value).join(", ")})`;
}

/** One trigger of a table. */
export function trigger(
  table: TriggerTable,
  suffix: string,
  event: string,
  when: string,
  body: readonly string[],
): Trigger {
  const name = `${PREFIX}${suffix}_${table.live.table.name}`;
  const condition = when === "" ? "" : ` WHEN ${when}`;
  return {
    name,
    sql: `CREATE TRIGGER ${identifier(name)} ${event} ON ${identifier(table.live.table.name)}${condition} BEGIN ${body.join("; ")}; END`,
  };
}

/** The condition under which anything is captured; empty on a server, which never applies pages (C6), and when left out. */
export function muteGate(table: TriggerTable): string {
  return table.role === "server" || table.without.has("mute") ? "" : `NOT EXISTS (SELECT 1 FROM ${MUTE})`;
}

/** Joins conditions, leaving out empty ones. */
export function and(...conditions: readonly string[]): string {
  return conditions.filter((condition) => condition !== "").join(" AND ");
}

/** The key's columns. */
export function keyColumns(table: TriggerTable): readonly LiveColumn[] {
  return table.live.columns.slice(0, table.live.keyLength);
}

/** Whether two rows have the same key, byte by byte. */
export function sameKey(table: TriggerTable, left: string, right: string): string {
  return `(${keyColumns(table)
    .map((column) => `${left}.${identifier(column.name)} IS ${right}.${identifier(column.name)} COLLATE BINARY`)
    .join(" AND ")})`;
}

/** Whether a column's value differs between `OLD` and `NEW`. */
export function differs(table: TriggerTable, column: LiveColumn): string {
  const name = identifier(column.name);
  return `OLD.${name} IS NOT NEW.${name}${table.without.has("binary") ? "" : " COLLATE BINARY"}`;
}

/** The event of an update that may change the key, for a trigger before or after it. */
export function keyChange(table: TriggerTable): string {
  return updateOf(
    table,
    keyColumns(table).map((column) => column.name),
  );
}

/**
 * The event of an update that names one of these columns. `UPDATE OF` goes by the names that stand in a statement, and the row
 * id has names of its own; a generated column cannot be named.
 */
export function updateOf({ live, without }: TriggerTable, columns: readonly string[]): string {
  if (!columns.every((name) => live.stored.has(name))) return "UPDATE";
  const aliases = live.isRowidKey && !without.has("rowid-move") ? ["rowid", "oid", "_rowid_"] : [];
  return `UPDATE OF ${[...columns.map(identifier), ...aliases].join(", ")}`;
}

/** The key of `row` as fields of the log. */
export function keyValues(table: TriggerTable, row: string): readonly (readonly [string, string])[] {
  return keyColumns(table).map((column, i) => [`k${i}`, `${row}.${identifier(column.name)}`] as const);
}

/** The scopes of `NEW`. */
export function scopesAfter(table: TriggerTable, row = "NEW"): string {
  return scopesSql(table, row, false);
}

/** The scopes of `OLD`, also while its parent is being evicted. */
export function scopesBefore(table: TriggerTable, row = "OLD"): string {
  return scopesSql(table, row, true);
}

function scopesSql(table: TriggerTable, row: string, isBefore: boolean): string {
  const { numberOf, liveOf } = table.context;
  return scopeSql(table.live.table, row, {
    numberOf,
    isBefore,
    isLogged: true,
    isText: (source, column) => liveOf(source)?.textColumns.has(column.name) === true,
    without: table.without,
  });
}
