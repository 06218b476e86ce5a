/**
 * Links the tables of a definition: foreign keys between them, and the parent from which a table inherits its scopes.
 *
 * @module
 */

import { getTableName, type Column, type Table } from "drizzle-orm";
import { getTableConfig, type SQLiteTable } from "drizzle-orm/sqlite-core";
import { invalid, requireColumn } from "./invalid-config.ts";
import type { SyncTable } from "./table.ts";

/** A type while it is being built. */
export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The foreign keys of a table to other synced ones. */
export function readForeignKeys(table: SyncTable, built: ReadonlyMap<Table, SyncTable>): SyncTable["foreignKeys"] {
  return foreignKeysOf(table).flatMap(({ columns, foreignTable, foreignColumns, onDelete, onUpdate }) => {
    const target = built.get(foreignTable);
    if (target === undefined) return [];
    const own = columns.map((column) => table.columns.find((other) => other.column === column));
    const theirs = foreignColumns.map((column) => target.columns.find((other) => other.column === column));
    if (!own.every((column) => column !== undefined) || !theirs.every((column) => column !== undefined)) return [];
    return [{ columns: own, target, targetColumns: theirs, onDelete, onUpdate }];
  });
}

function foreignKeysOf(table: SyncTable): readonly {
  readonly columns: readonly Column[];
  readonly foreignTable: Table;
  readonly foreignColumns: readonly Column[];
  readonly onDelete: SyncTable["foreignKeys"][number]["onDelete"];
  readonly onUpdate: SyncTable["foreignKeys"][number]["onUpdate"];
}[] {
  return getTableConfig(table.table as SQLiteTable).foreignKeys.map((foreignKey) => {
    const { columns, foreignTable, foreignColumns } = foreignKey.reference();
    return {
      columns,
      foreignTable,
      foreignColumns,
      onDelete: foreignKey.onDelete ?? "no action",
      onUpdate: foreignKey.onUpdate ?? "no action",
    };
  });
}

/** Links a table to the parent that `scopeFrom` names. */
export function linkParent(
  table: Mutable<SyncTable>,
  columnKey: string,
  built: ReadonlyMap<Table, Mutable<SyncTable>>,
  schema: Readonly<Record<string, unknown>>,
): void {
  const known = new Map(table.columns.map((column) => [column.key, column.column]));
  requireColumn(table.key, "scopeFrom", columnKey, known);
  const column = table.columnByKey.get(columnKey);
  const foreignKey = foreignKeysOf(table).find(({ columns }) => columns.length === 1 && columns[0] === column?.column);
  if (column === undefined || foreignKey === undefined) {
    throw invalid(
      `Table \`${table.key}\`: \`scopeFrom: "${columnKey}"\` needs a foreign key on that column. Add \`.references(() => parent.id)\` to it.`,
      table.key,
      columnKey,
    );
  }
  if (column.excluded)
    throw invalid(
      `Table \`${table.key}\`: \`${columnKey}\` names the parent, so a device must know it. Do not exclude it.`,
      table.key,
      columnKey,
    );
  const parent = built.get(foreignKey.foreignTable);
  if (parent === undefined) {
    const name =
      Object.keys(schema).find((key) => schema[key] === foreignKey.foreignTable) ??
      getTableName(foreignKey.foreignTable);
    throw invalid(
      `Table \`${table.key}\` takes its scopes from \`${name}\`, which is not synced. Add rules for \`${name}\` to \`defineSync\`.`,
      table.key,
      columnKey,
    );
  }
  const [target] = parent.keyColumns;
  if (parent.keyColumns.length !== 1 || target === undefined || foreignKey.foreignColumns[0] !== target.column) {
    throw invalid(
      `Table \`${table.key}\`: \`scopeFrom: "${columnKey}"\` must reference the primary key of \`${parent.key}\`, which must be a single column.`,
      table.key,
      columnKey,
    );
  }
  table.parent = { table: parent, column };
  parent.children = [...parent.children, table];
}

/** Refuses tables that inherit from each other in a circle. */
export function refuseCycle(table: SyncTable): void {
  const seen = new Set<SyncTable>();
  for (let at: SyncTable | undefined = table; at !== undefined; at = at.parent?.table) {
    if (seen.has(at)) {
      throw invalid(
        `Table \`${table.key}\` inherits its scopes from itself by way of \`scopeFrom\`, so none of its rows would be in any. Give one table of the circle a \`scope\`.`,
        table.key,
      );
    }
    seen.add(at);
  }
}
