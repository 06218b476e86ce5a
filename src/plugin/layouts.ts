/**
 * Layouts: a log entry names a number, and the number names a table with the list of columns it had when the entry was
 * written. So an old entry stays readable after a migration; columns that are gone are left out.
 *
 * @module
 */

import { LAST_MASK_BIT } from "./names.ts";
import type { Value } from "../protocol/ids.ts";
import type { SyncColumn, SyncTable } from "./table.ts";

/** A table with the columns that its entries speak of. */
export interface Layout {
  readonly number: number;
  /** The table's name in SQL. */
  readonly name: string;
  /** Undefined when the table is not synced any more, or its key has changed. */
  readonly table: SyncTable | undefined;
  readonly keyLength: number;
  /** Columns besides the key in mask order; undefined where a column is gone. */
  readonly rest: readonly (SyncColumn | undefined)[];
  /** The names in SQL of {@link rest}, also of what is gone. */
  readonly restNames: readonly string[];
  /** A declared column is not among {@link rest}: it was added later, so an entry does not say whether it changed. */
  readonly isPartial: boolean;
  /** All of {@link rest} that are still there; always the same array. */
  readonly all: readonly SyncColumn[];
  /** The columns of a mask; the same array for the same mask. */
  changed(mask: Value): readonly SyncColumn[];
}

/** A row of the layout table. */
export interface LayoutRow {
  readonly number: number;
  readonly name: string;
  readonly keyLength: number;
  /** Names in SQL, the key's first. */
  readonly columns: readonly string[];
}

/** Makes a layout readable with the tables of today. */
export function readLayout(row: LayoutRow, tables: readonly SyncTable[]): Layout {
  const named = tables.find((table) => table.name === row.name);
  const keyNames = named?.keyColumns.map((column) => column.name);
  const sameKey =
    keyNames !== undefined && keyNames.length === row.keyLength && keyNames.every((name, i) => name === row.columns[i]);
  const table = sameKey ? named : undefined;
  const rest = row.columns.slice(row.keyLength).map((name) => table?.columns.find((column) => column.name === name));
  const all = rest.filter((column) => column !== undefined);
  const byMask = new Map<Value, readonly SyncColumn[]>();
  return {
    number: row.number,
    name: row.name,
    table,
    keyLength: row.keyLength,
    rest,
    restNames: row.columns.slice(row.keyLength),
    isPartial: table?.columns.some((column) => !row.columns.includes(column.name)) ?? false,
    all,
    changed(mask) {
      const known = byMask.get(mask);
      if (known !== undefined) return known;
      const columns = rest.filter((column, i) => column !== undefined && isChanged(mask, i)) as readonly SyncColumn[];
      // Forgotten as a whole when somebody writes ever new sets of columns.
      if (byMask.size >= 1000) byMask.clear();
      byMask.set(mask, columns);
      return columns;
    },
  };
}

/** Whether a mask names the i-th column besides the key. */
export function isChanged(mask: Value, i: number): boolean {
  if (typeof mask !== "number" && typeof mask !== "bigint") return false;
  return ((BigInt(mask) >> BigInt(Math.min(i, LAST_MASK_BIT))) & 1n) === 1n;
}
