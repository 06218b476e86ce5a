/**
 * Collects the changes of a page as columns: one group per table, kind and list of columns, one array per column. No
 * object is made for a row.
 *
 * @module
 */

import type { SyncColumn } from "../plugin/table.ts";
import type { ChangeGroup, ChangeKind } from "../protocol/change.ts";
import type { Key, Value } from "../protocol/ids.ts";
import type { KnownTable } from "./known-schema.ts";

/** The rows of one group, growing. */
export interface GrowingGroup {
  /** Adds a row: its key, then the values of the group's other columns. */
  add(key: Key, others: readonly Value[]): void;
  /** Adds rows whose values begin with their keys. */
  addRows(rows: readonly (readonly Value[])[]): void;
}

/** The groups of one page. */
export interface ChangeCollector {
  /** The group of whole rows. */
  rows(known: KnownTable): GrowingGroup;
  /** The group of updates of these columns; lists with the same columns give the same group. */
  updates(known: KnownTable, columns: readonly SyncColumn[]): GrowingGroup;
  removals(known: KnownTable): GrowingGroup;
  /** How many rows were added in all. */
  readonly count: number;
  finish(): readonly ChangeGroup[];
}

/** Roughly the bytes of some values on the wire: enough to keep a page of large values small. */
export function sizeOf(values: readonly Value[] = []): number {
  let size = 0;
  for (const value of values) size += typeof value === "string" || value instanceof Uint8Array ? value.length + 3 : 5;
  return size;
}

/** Creates an empty collection. */
export function createChangeCollector(): ChangeCollector {
  const groups = new Map<string, { readonly group: ChangeGroup; readonly grow: GrowingGroup }>();
  let count = 0;

  const open = (known: KnownTable, kind: ChangeKind, columns: readonly string[]): GrowingGroup => {
    const name = JSON.stringify([known.table.key, kind, kind === "update" ? columns : 0]);
    const found = groups.get(name);
    if (found !== undefined) return found.grow;
    const values: Value[][] = columns.map(() => []);
    const keyLength = known.table.keyColumns.length;
    const grow: GrowingGroup = {
      add(key, others) {
        count++;
        for (let i = 0; i < keyLength; i++) (values[i] as Value[]).push(key[i] as Value);
        for (let i = keyLength; i < values.length; i++) (values[i] as Value[]).push(others[i - keyLength] as Value);
      },
      addRows(rows) {
        count += rows.length;
        for (let i = 0; i < values.length; i++) {
          const column = values[i] as Value[];
          for (let row = 0; row < rows.length; row++) column.push((rows[row] as readonly Value[])[i] as Value);
        }
      },
    };
    groups.set(name, { group: { table: known.table.key, kind, columns, values }, grow });
    return grow;
  };

  return {
    rows: (known) => open(known, "row", known.columnKeys),
    updates: (known, columns) =>
      open(known, "update", [...known.keyColumnKeys, ...columns.map((column) => column.key)]),
    removals: (known) => open(known, "removal", known.keyColumnKeys),
    get count() {
      return count;
    },
    finish() {
      const filled = [...groups.values()]
        .map(({ group }) => group)
        .filter((group) => (group.values[0] as readonly Value[]).length > 0);
      // Removals come first: what takes a row's place finds it empty.
      return [
        ...filled.filter((group) => group.kind === "removal"),
        ...filled.filter((group) => group.kind !== "removal"),
      ];
    },
  };
}
