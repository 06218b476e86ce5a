/**
 * What a device knows, matched with what the server has (rule V1): the tables and columns that are sent to it, and those
 * over which its operations are judged. A schema is immutable under its hash, so the match is made once per process.
 *
 * @module
 */

import type { KnownTables } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { parentsFirst } from "./table-order.ts";

/** A table as one device knows it. */
export interface KnownTable {
  readonly table: SyncTable;
  /** What is sent: the key's columns, then the others that both sides know, in the device's order. */
  readonly columns: readonly SyncColumn[];
  /** The keys of `columns`, as a page names them. */
  readonly columnKeys: readonly string[];
  readonly keyColumnKeys: readonly string[];
  /** `columns` without the key: what the hash of a deleted row covers. */
  readonly others: readonly SyncColumn[];
  /** The device's columns without the key, in its order; undefined for those that the server lacks or keeps to itself. */
  readonly declared: readonly (SyncColumn | undefined)[];
  /** The names of the latter. */
  readonly unknownColumns: readonly string[];
}

/** A device's schema. */
export interface KnownSchema {
  readonly hash: string;
  /** Hash of what both sides know: another one than `hash` where the server lacks some of it, or keeps it to itself. */
  readonly sharedHash: string;
  /** Tables that are sent to the device, parents first. */
  readonly sent: readonly KnownTable[];
  readonly sentByTable: ReadonlyMap<SyncTable, KnownTable>;
  /** Every table that both sides know, sent or not, by key: what operations are judged with. */
  readonly tableByKey: ReadonlyMap<string, KnownTable>;
}

/** A schema of which nothing is known any more: whatever the device has now counts as gained (rule V2). */
export const forgottenSchema: KnownSchema = {
  hash: "",
  sharedHash: "",
  sent: [],
  sentByTable: new Map(),
  tableByKey: new Map(),
};

/** Matches a device's tables with the server's. */
export function matchSchema(database: SyncDatabase, hash: string, declared: KnownTables): KnownSchema {
  const tableByKey = new Map<string, KnownTable>();
  const sentByTable = new Map<SyncTable, KnownTable>();
  const sent: KnownTable[] = [];
  for (const table of parentsFirst(database.tables)) {
    const names = Object.hasOwn(declared, table.key) ? declared[table.key] : undefined;
    if (names === undefined) continue;
    const known = matchTable(table, names);
    tableByKey.set(table.key, known);
    // Parents come first, so that a table whose parent is not sent is seen here on every level.
    if (!isSendable(table, known, sentByTable)) continue;
    sentByTable.set(table, known);
    sent.push(known);
  }
  return { hash, sharedHash: hashSchema(tablesOf(tableByKey)), sent, sentByTable, tableByKey };
}

/** What the handshake's answer names: the tables and columns that both sides know. */
export function sharedTables(schema: KnownSchema): KnownTables {
  return tablesOf(schema.tableByKey);
}

/** What the server has and does not take from a device that knows no more than this; undefined for nothing. */
export function outdatedTables(schema: KnownSchema): KnownTables | undefined {
  const outdated: Record<string, readonly string[]> = {};
  for (const { table, unknownColumns } of schema.tableByKey.values()) {
    if (!schema.sentByTable.has(table)) {
      outdated[table.key] = [];
      continue;
    }
    const closed = unknownColumns.filter((name) => table.columnByKey.get(name)?.excluded === true);
    if (closed.length > 0) outdated[table.key] = closed;
  }
  return Object.keys(outdated).length === 0 ? undefined : outdated;
}

function tablesOf(known: ReadonlyMap<string, KnownTable>): KnownTables {
  return Object.fromEntries([...known].map(([key, { columnKeys }]) => [key, columnKeys]));
}

/** Whether `now` has columns of this table that `before` had not, so that its rows must be fetched whole (rule V2). */
export function gained(now: KnownTable, before: KnownSchema): boolean {
  const old = before.sentByTable.get(now.table);
  return old === undefined || now.columns.some((column) => !old.columns.includes(column));
}

function matchTable(table: SyncTable, names: readonly string[]): KnownTable {
  const others: SyncColumn[] = [];
  const declared: (SyncColumn | undefined)[] = [];
  const unknownColumns: string[] = [];
  for (const name of new Set(names)) {
    const column = table.columnByKey.get(name);
    if (column?.isKey === true) continue;
    const isShared = column !== undefined && !column.excluded;
    declared.push(isShared ? column : undefined);
    if (isShared) others.push(column);
    else unknownColumns.push(name);
  }
  const columns = [...table.keyColumns, ...others];
  return {
    table,
    columns,
    columnKeys: columns.map((column) => column.key),
    keyColumnKeys: table.keyColumns.map((column) => column.key),
    others,
    declared,
    unknownColumns,
  };
}

/** Rule V1: without its key, its scope columns and its parent a table says nothing to a device. */
function isSendable(table: SyncTable, known: KnownTable, sent: ReadonlyMap<SyncTable, KnownTable>): boolean {
  const has = (column: SyncColumn): boolean => column.isKey || known.others.includes(column);
  for (const rule of table.scopes) if (rule.kind === "columns" && !rule.columns.every(has)) return false;
  if (table.parent !== undefined) return sent.has(table.parent.table) && has(table.parent.column);
  return true;
}
