/**
 * Reads live rows: by key, for a page's changes, and by scope in key order, for a snapshot. The scopes that come with a row
 * are computed by the same expression that the triggers use, inherited ones included.
 *
 * @module
 */

import type { Key, Value } from "../../protocol/ids.ts";
import { all, type Core, type Rows } from "../core.ts";
import { LIMIT_SQL } from "../names.ts";
import { partsOf, splitScopes } from "../scope-text.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { ScopeRule, SyncColumn, SyncTable } from "../table.ts";
import { identifier } from "./quote.ts";
import { scopeParts, scopeSql } from "./scope-sql.ts";

/** A row as it is now. */
export interface LiveRow {
  readonly key: Key;
  /** In the order of the columns asked for. */
  readonly values: readonly Value[];
  readonly scopes: readonly string[];
}

/** What {@link readSnapshot} is asked for. */
export interface SnapshotRange {
  readonly columns: readonly SyncColumn[];
  /** Rows that are in any of these. */
  readonly scopes: readonly string[];
  /** Only rows after this key. */
  readonly after?: Key;
  readonly limit: number;
}

/** Reads the rows with the given keys, those that exist, in the order of the keys. */
export function* readRows(
  table: SyncTable,
  columns: readonly SyncColumn[],
  keys: readonly Key[],
): Core<readonly LiveRow[]> {
  const rows: LiveRow[] = [];
  // Few sizes, so that few statements are prepared.
  for (let at = 0; at < keys.length;) {
    const left = keys.length - at;
    const size = left >= 100 ? 100 : left >= 10 ? 10 : 1;
    const chunk = keys.slice(at, at + size);
    rows.push(...readLive(table, columns, yield* all(byKeysSql(table, columns, size), chunk.flat())));
    at += size;
  }
  return rows;
}

/** The scopes of one row now; undefined when it is not there. */
export function* scopesOfRow(table: SyncTable, key: Key): Core<readonly string[] | undefined> {
  return (yield* readRows(table, [], [key]))[0]?.scopes;
}

/** Reads rows in any of the scopes, each once, in the order of the key, with their scopes. */
export function* readSnapshot(sync: SyncDatabase, table: SyncTable, range: SnapshotRange): Core<readonly LiveRow[]> {
  void sync;
  return readLive(table, range.columns, yield* walkScopes(table, range, selected(table, range.columns)));
}

/** The same without their scopes: the values of the key and then of the columns, as the database gives them. */
export function* readSnapshotRows(sync: SyncDatabase, table: SyncTable, range: SnapshotRange): Core<Rows> {
  void sync;
  return yield* walkScopes(table, range, valuesSql(table, range.columns).join(", "));
}

/** The same with the text of their scopes after the last value. */
export function* readScopedRows(sync: SyncDatabase, table: SyncTable, range: SnapshotRange): Core<Rows> {
  void sync;
  return yield* walkScopes(table, range, selected(table, range.columns));
}

/**
 * Where many rows of a stretch of keys are wanted, walking along the key and looking at each row is fastest; where few are,
 * an index on the scope finds them all, to be sorted for each page anew. Which it is shows on the way.
 */
function* walkScopes(table: SyncTable, range: SnapshotRange, fields: string): Core<Rows> {
  const { limit } = range;
  const seek = inScopes(table, "x", range.scopes, "seek");
  const probe = inScopes(table, "x", range.scopes, "probe");
  if (seek === undefined || probe === undefined) return [];
  const found: (readonly Value[])[] = [];
  let position = range.after;
  if (seek.sql !== "1") {
    for (let stretch = limit * 2; found.length < limit;) {
      const end = yield* keyAfter(table, position, stretch);
      const rows = yield* readRange(table, fields, {
        after: position,
        upTo: end,
        condition: probe,
        limit: limit - found.length,
      });
      found.push(...rows);
      if (end === undefined || found.length >= limit) return found;
      position = end;
      const density = rows.length / stretch;
      if (density < sparse) break;
      stretch = Math.ceil(Math.min((limit - found.length) / density, limit * 16));
    }
  }
  const rest = yield* readRange(table, fields, {
    after: position,
    upTo: undefined,
    condition: seek,
    limit: limit - found.length,
  });
  return found.length === 0 ? rest : [...found, ...rest];
}

/** Below this share of rows wanted, an index on the scope serves better. */
const sparse = 1 / 16;

/** The key that is `count` rows further on; undefined when the table ends before. */
function* keyAfter(table: SyncTable, after: Key | undefined, count: number): Core<Key | undefined> {
  const keys = keySql(table);
  const past = after === undefined ? "" : ` WHERE ${rowValue(keys)} > ${placeholders(keys)}`;
  const rows = yield* all(
    `SELECT ${keys.join(", ")} FROM ${identifier(table.name)} AS x${past} ORDER BY ${keys.join(", ")} LIMIT 1 OFFSET ?`,
    [...(after ?? []), count - 1],
  );
  return rows[0];
}

interface KeyRange {
  readonly after: Key | undefined;
  readonly upTo: Key | undefined;
  readonly condition: Condition;
  readonly limit: number;
}

function* readRange(table: SyncTable, fields: string, { after, upTo, condition, limit }: KeyRange): Core<Rows> {
  const keys = keySql(table);
  const where = [
    ...(after === undefined ? [] : [`${rowValue(keys)} > ${placeholders(keys)}`]),
    ...(upTo === undefined ? [] : [`${rowValue(keys)} <= ${placeholders(keys)}`]),
    condition.sql,
  ];
  return yield* all(
    `SELECT ${fields} FROM ${identifier(table.name)} AS x WHERE ${where.join(" AND ")} ORDER BY ${keys.join(", ")} ${LIMIT_SQL}`,
    [...(after ?? []), ...(upTo ?? []), ...condition.params, limit],
  );
}

function keySql(table: SyncTable): readonly string[] {
  return table.keyColumns.map((column) => `x.${identifier(column.name)}`);
}

function rowValue(parts: readonly string[]): string {
  return parts.length === 1 ? parts.join("") : `(${parts.join(", ")})`;
}

function placeholders(keys: readonly string[]): string {
  return rowValue(keys.map(() => "?"));
}

const byKeysTexts = new WeakMap<SyncTable, WeakMap<readonly SyncColumn[], Map<number, string>>>();

function byKeysSql(table: SyncTable, columns: readonly SyncColumn[], size: number): string {
  let byColumns = byKeysTexts.get(table);
  if (byColumns === undefined) byKeysTexts.set(table, (byColumns = new WeakMap()));
  let bySize = byColumns.get(columns);
  if (bySize === undefined) byColumns.set(columns, (bySize = new Map()));
  let text = bySize.get(size);
  if (text === undefined) bySize.set(size, (text = writeByKeysSql(table, columns, size)));
  return text;
}

function writeByKeysSql(table: SyncTable, columns: readonly SyncColumn[], size: number): string {
  const names = table.keyColumns.map((_, i) => `k${i}`);
  const row = `(${names.map(() => "?").join(", ")})`;
  // The equality serves the index; the second comparison is exact where the column ignores case.
  const same = table.keyColumns.map(
    (column, i) => `x.${identifier(column.name)} = q.k${i} AND x.${identifier(column.name)} = q.k${i} COLLATE BINARY`,
  );
  return (
    `WITH q(${names.join(", ")}) AS (VALUES ${Array.from({ length: size }, () => row).join(", ")}) ` +
    `SELECT ${selected(table, columns)} FROM q CROSS JOIN ${identifier(table.name)} AS x ON ${same.join(" AND ")}`
  );
}

function selected(table: SyncTable, columns: readonly SyncColumn[]): string {
  return [...valuesSql(table, columns), scopeSql(table, "x")].join(", ");
}

function valuesSql(table: SyncTable, columns: readonly SyncColumn[]): readonly string[] {
  return [...table.keyColumns, ...columns].map((column) => `x.${identifier(column.name)}`);
}

function readLive(table: SyncTable, columns: readonly SyncColumn[], rows: Rows): readonly LiveRow[] {
  const start = table.keyColumns.length;
  const end = start + columns.length;
  return rows.map((row) => ({
    key: row.slice(0, start),
    values: row.slice(start, end),
    scopes: splitScopes(row[end]),
  }));
}

type Condition = { readonly sql: string; readonly params: readonly Value[] };

/**
 * The condition under which a row is in one of the scopes; undefined when none can be. `seek`: written so that indexes on
 * scope columns and foreign keys serve it. `probe`: so that they do not, for a row that is at hand.
 */
function inScopes(
  table: SyncTable,
  row: string,
  scopes: readonly string[],
  way: "seek" | "probe",
  depth = 1,
): Condition | undefined {
  const { parent } = table;
  if (parent !== undefined) {
    const alias = `a${depth}`;
    const above = inScopes(parent.table, alias, scopes, way, depth + 1);
    const [target] = parent.table.keyColumns;
    if (above === undefined || target === undefined) return undefined;
    const value = `${row}.${identifier(parent.column.name)}`;
    const id = `${alias}.${identifier(target.name)}`;
    const from = `FROM ${identifier(parent.table.name)} AS ${alias} WHERE`;
    return {
      sql:
        way === "seek"
          ? `${value} IN (SELECT ${id} ${from} ${above.sql})`
          : `EXISTS (SELECT 1 ${from} ${id} = ${value} AND ${above.sql})`,
      params: above.params,
    };
  }
  const parts = scopeParts(table, row);
  const conditions: Condition[] = [];
  for (const [i, rule] of table.scopes.entries()) {
    if (rule.kind === "constant") {
      if (scopes.includes(rule.scope)) return { sql: "1", params: [] };
      continue;
    }
    const condition = inRule(rule, parts[i] ?? "NULL", row, scopes, way);
    if (condition !== undefined) conditions.push(condition);
  }
  if (conditions.length === 0) return undefined;
  return {
    sql: `(${conditions.map((condition) => condition.sql).join(" OR ")})`,
    params: conditions.flatMap((condition) => condition.params),
  };
}

// The first column's values serve its index; the whole text decides.
function inRule(
  rule: ScopeRule & { readonly kind: "columns" },
  text: string,
  row: string,
  scopes: readonly string[],
  way: "seek" | "probe",
): Condition | undefined {
  const possible = scopes.flatMap((scope) => {
    const parts = partsOf(rule, scope);
    return parts?.[0] === undefined ? [] : [{ scope, value: parts[0] }];
  });
  const [column] = rule.columns;
  if (possible.length === 0 || column === undefined) return undefined;
  const list = "(SELECT value FROM json_each(?))";
  const exact: Condition = { sql: `${text} IN ${list}`, params: [JSON.stringify(possible.map(({ scope }) => scope))] };
  if (way === "probe") return exact;
  const values = JSON.stringify([...new Set(possible.map(({ value }) => value))]);
  return { sql: `(${row}.${identifier(column.name)} IN ${list} AND ${exact.sql})`, params: [values, ...exact.params] };
}
