/**
 * What the live database says about a table. The declaration says what should be synced; triggers run against what is
 * there: columns that a migration has not added yet are left out, collations and unique indexes are the real ones.
 *
 * @module
 */

import { all, type Core } from "../core.ts";
import type { SyncColumn, SyncTable } from "../table.ts";

/** A unique index, or the primary key: what a REPLACE may evict a row through. */
export interface LiveUnique {
  readonly columns: readonly { readonly name: string; readonly collation: string }[];
}

/** A synced table as it is in the database. */
export interface LiveTable {
  readonly table: SyncTable;
  /** The columns that are there, the key's first. */
  readonly columns: readonly SyncColumn[];
  readonly keyLength: number;
  /** The primary key first, then whole unique indexes. Partial and expression indexes are not known to capture. */
  readonly uniques: readonly LiveUnique[];
  /** The key is SQLite's row id: `UPDATE … SET rowid` moves it without naming it. */
  readonly isRowidKey: boolean;
  /** Names of columns that begin an index. */
  readonly indexedColumns: ReadonlySet<string>;
}

/** Reads a table; undefined when it is not there, or lacks a column of its key (not migrated yet). */
export function* readLiveTable(table: SyncTable): Core<LiveTable | undefined> {
  const info = yield* all("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?)", [table.name]);
  if (info.length === 0) return undefined;
  // 2 and 3 are generated columns; a declaration that does not know it leaves them out here.
  const present = new Map(
    info
      .filter(([, , , hidden]) => hidden === 0)
      .map(([name, type, pk]) => [String(name), { type: String(type), pk: Number(pk) }]),
  );
  const columns = table.columns.filter((column) => present.has(column.name));
  if (!table.keyColumns.every((column) => present.has(column.name))) return undefined;

  const parts = yield* all(
    `SELECT l.name, l."unique", l.origin, l.partial, x.cid, x.name, x.coll
       FROM pragma_index_list(?) AS l JOIN pragma_index_xinfo(l.name) AS x
      WHERE x.key ORDER BY l.seq, x.seqno`,
    [table.name],
  );
  const indexes = new Map<
    string,
    { unique: boolean; whole: boolean; columns: { name: string; collation: string }[] }
  >();
  for (const [name, unique, , partial, cid, column, collation] of parts) {
    const index = indexes.get(String(name)) ?? { unique: unique === 1, whole: partial === 0, columns: [] };
    if (cid === -2) index.whole = false;
    index.columns.push({ name: String(column), collation: String(collation) });
    indexes.set(String(name), index);
  }
  const [firstKey] = table.keyColumns;
  const key = firstKey === undefined ? undefined : present.get(firstKey.name);
  const isRowidKey = table.keyColumns.length === 1 && key !== undefined && key.pk === 1 && /^integer$/i.test(key.type);
  const whole = [...indexes.values()].filter((index) => index.unique && index.whole);
  const keyNames = table.keyColumns.map((column) => column.name);
  const isKeyIndex = (index: LiveUnique): boolean =>
    index.columns.length === keyNames.length && index.columns.every((column) => keyNames.includes(column.name));
  // A row id has no index of its own; other keys have one, with the collation that counts.
  const keyUnique = whole.find(isKeyIndex) ?? { columns: keyNames.map((name) => ({ name, collation: "BINARY" })) };
  return {
    table,
    columns,
    keyLength: keyNames.length,
    uniques: [keyUnique, ...whole.filter((index) => !isKeyIndex(index))],
    isRowidKey,
    indexedColumns: new Set([
      ...[...indexes.values()].map((index) => index.columns[0]?.name ?? ""),
      ...(isRowidKey ? keyNames : []),
    ]),
  };
}
