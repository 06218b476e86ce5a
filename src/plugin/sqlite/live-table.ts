/**
 * What the live database says about a table. The declaration says what should be synced; triggers run against what is
 * there: columns that a migration has not added yet are left out, collations and unique indexes are the real ones.
 *
 * A server's log speaks of every stored column, declared or not: two versions of the app that serve one file then write
 * the same triggers, and neither takes away what the other needs.
 *
 * @module
 */

import type { SyncError } from "../../protocol/errors.ts";
import { all, type Core } from "../core.ts";
import { invalid } from "../invalid-config.ts";
import type { Role } from "../sync-database.ts";
import type { SyncTable } from "../table.ts";
import { readIndexTerms, type RowSql } from "./index-terms.ts";
import { identifier } from "./quote.ts";

/** A unique index, or the primary key: what a REPLACE may evict a row through. */
export interface LiveUnique {
  readonly terms: readonly LiveTerm[];
  /** The rows that a partial index holds. */
  readonly where: RowSql | undefined;
}

/** One of the values that a unique index compares. */
export interface LiveTerm extends RowSql {
  readonly collation: string;
  /** The column that it is; undefined for an expression. */
  readonly column: string | undefined;
}

/** A column as triggers name it. */
export interface LiveColumn {
  /** The name in SQL. */
  readonly name: string;
}

/** A synced table as it is in the database. */
export interface LiveTable {
  readonly table: SyncTable;
  /** The columns that entries speak of, the key's first: on a device the declared ones, on a server all stored ones. */
  readonly columns: readonly LiveColumn[];
  readonly keyLength: number;
  /** The primary key first, then the other unique indexes, partial ones and those over expressions too. */
  readonly uniques: readonly LiveUnique[];
  /** The key is SQLite's row id: `UPDATE … SET rowid` moves it without naming it. */
  readonly isRowidKey: boolean;
  /** Names of all columns that are stored, which an `UPDATE OF` may name. */
  readonly stored: ReadonlySet<string>;
  /** Names of the columns that turn every number into a text. */
  readonly textColumns: ReadonlySet<string>;
  /** Names of columns that begin an index. */
  readonly indexedColumns: ReadonlySet<string>;
}

/** Reads a table; undefined when it is not there, or lacks a column of its key (not migrated yet). */
export function* readLiveTable(table: SyncTable, role: Role): Core<LiveTable | undefined> {
  const info = yield* all(`SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)`, [table.name]);
  if (info.length === 0) return undefined;
  // 2 and 3 are generated columns; a declaration that does not know it leaves them out here.
  const present = new Map(
    info
      .filter(([, , , , hidden]) => hidden === 0)
      .map(([name, type, notNull, pk]) => [
        String(name),
        { type: String(type), notNull: notNull === 1, pk: Number(pk) },
      ]),
  );
  const declared = table.columns.filter((column) => present.has(column.name));
  if (!table.keyColumns.every((column) => present.has(column.name))) return undefined;
  const keyNames = table.keyColumns.map((column) => column.name);
  const columns =
    role === "device"
      ? // A device has no value for excluded columns, so it captures none.
        declared.filter((column) => !column.excluded)
      : [...keyNames, ...[...present.keys()].filter((name) => !keyNames.includes(name))].map((name) => ({ name }));

  const [firstKey] = keyNames;
  const key = firstKey === undefined ? undefined : present.get(firstKey);
  const isRowidKey = keyNames.length === 1 && key !== undefined && key.pk === 1 && /^integer$/i.test(key.type);
  for (const column of table.keyColumns)
    if (!isRowidKey && present.get(column.name)?.notNull === false) throw nullableKey(table, column.key);

  const indexes = yield* readIndexes(
    table.name,
    info.map(([name]) => String(name)),
  );
  const isKeyIndex = ({ terms, where }: LiveUnique): boolean =>
    where === undefined &&
    terms.length === keyNames.length &&
    terms.every(({ column }) => column !== undefined && keyNames.includes(column));
  const uniques = indexes.filter((index) => index.isUnique);
  // A row id has no index of its own; other keys have one, with the collation that counts.
  const keyUnique = uniques.find(isKeyIndex) ?? {
    terms: keyNames.map((name) => columnTerm(name, "BINARY")),
    where: undefined,
  };
  return {
    table,
    columns,
    keyLength: keyNames.length,
    uniques: [keyUnique, ...uniques.filter((index) => !isKeyIndex(index))],
    isRowidKey,
    stored: new Set(present.keys()),
    textColumns: new Set([...present].flatMap(([name, { type }]) => (hasTextAffinity(type) ? [name] : []))),
    indexedColumns: new Set([...indexes.map((index) => index.begins), ...(isRowidKey ? keyNames : [])]),
  };
}

interface LiveIndex extends LiveUnique {
  readonly isUnique: boolean;
  /** The column it begins with; empty for an expression. */
  readonly begins: string;
}

function* readIndexes(table: string, columns: readonly string[]): Core<readonly LiveIndex[]> {
  const parts = yield* all(
    `SELECT l.name, l."unique", l.partial, x.cid, x.name, x.coll, m.sql
       FROM pragma_index_list(?) AS l JOIN pragma_index_xinfo(l.name) AS x LEFT JOIN sqlite_master AS m ON m.type = 'index' AND m.name = l.name
      WHERE x.key ORDER BY l.seq, x.seqno`,
    [table],
  );
  const byName = new Map<string, (typeof parts)[number][]>();
  for (const part of parts) {
    const list = byName.get(String(part[0]));
    if (list === undefined) byName.set(String(part[0]), [part]);
    else list.push(part);
  }
  return [...byName.values()].map((list): LiveIndex => {
    const [, unique, partial, , begins, , sql] = list[0] ?? [];
    // The pragmas tell neither expressions nor conditions; an index that has them was made by a statement.
    const read =
      partial === 1 || list.some(([, , , cid]) => cid === -2) ? readIndexTerms(String(sql), columns) : undefined;
    return {
      isUnique: unique === 1,
      begins: begins === null || begins === undefined ? "" : String(begins),
      terms: list.map(([, , , cid, name, collation], i) => {
        const expression = cid === -2 ? read?.terms[i] : undefined;
        return expression === undefined
          ? columnTerm(String(name), String(collation))
          : { ...expression, collation: String(collation), column: undefined };
      }),
      where: partial === 1 ? read?.where : undefined,
    };
  });
}

// The words that SQLite goes by, in its order.
function hasTextAffinity(type: string): boolean {
  return !/int/i.test(type) && /char|clob|text/i.test(type);
}

function columnTerm(name: string, collation: string): LiveTerm {
  return { of: (row) => `${row}.${identifier(name)}`, columns: [name], collation, column: name };
}

// NULLs are not equal: rows without a key could not be told apart, nor named.
function nullableKey(table: SyncTable, column: string): SyncError<"INVALID_CONFIG"> {
  return invalid(
    `Table \`${table.key}\`: \`${column}\` is part of the primary key and may be NULL in this database, so rows without a key could be written. ` +
      `Rebuild the table with \`${column}\` NOT NULL: Drizzle's \`.primaryKey()\` says so by itself; with \`primaryKey({ columns })\`, or in SQL of your own, say \`.notNull()\`.`,
    table.key,
    column,
  );
}
