/**
 * What all generated triggers are made of: the gate, comparisons of keys and columns, entries of the log.
 *
 * @module
 */

import { LOG, MUTE, PREFIX, STAMP_SQL, kindNumbers } from "../names.ts";
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

/** An `INSERT INTO` the log of one entry. */
export function entry(
  table: TriggerTable,
  kind: keyof typeof kindNumbers,
  image: readonly (readonly [field: string, value: string])[],
): string {
  const all: readonly (readonly [string, string])[] = [
    ["stamp", STAMP_SQL],
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

/** The condition under which anything is captured; empty when left out. */
export function muteGate(table: TriggerTable): string {
  return table.without.has("mute") ? "" : `NOT EXISTS (SELECT 1 FROM ${MUTE})`;
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

/** The key of `row` as fields of the log. */
export function keyValues(table: TriggerTable, row: string): readonly (readonly [string, string])[] {
  return keyColumns(table).map((column, i) => [`k${i}`, `${row}.${identifier(column.name)}`] as const);
}

/** The scopes of `NEW`. */
export function scopesAfter(table: TriggerTable, row = "NEW"): string {
  return scopeSql(table.live.table, row, { numberOf: table.context.numberOf, without: table.without });
}

/** The scopes of `OLD`, also while its parent is being evicted. */
export function scopesBefore(table: TriggerTable, row = "OLD"): string {
  return scopeSql(table.live.table, row, { numberOf: table.context.numberOf, isBefore: true, without: table.without });
}
