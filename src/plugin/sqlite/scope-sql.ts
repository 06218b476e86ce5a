/**
 * Scopes as SQL. A row's scopes are one text, several joined by a line feed, or NULL for none. One generator writes what stands
 * in triggers, in snapshots and in reads of live rows.
 *
 * Only texts and whole numbers name scopes: other storage classes have no one spelling. A text with a line feed names
 * none, or it could smuggle in a second scope.
 *
 * In triggers a function call is dear: SQLite then keeps a statement journal, a copy of each page that the statement changes,
 * for a delete that needs none otherwise. So what the log gets is written without functions where that can be. The one
 * scope of a row goes there behind a line feed and unchecked; whoever reads it drops it if another one follows
 * (`splitScopes`). And none is an empty text as well as NULL.
 *
 * @module
 */

import { EVICT } from "../names.ts";
import type { ScopeRule, SyncColumn, SyncTable } from "../table.ts";
import { identifier, literal } from "./quote.ts";
import type { Safeguards } from "./safeguards.ts";

const LINE_FEED = literal("\n");

/** Options of {@link scopeSql}. */
export interface ScopeSqlOptions {
  /** Gives a table's layout number; undefined for a table that is not in the database, where nothing can be looked up. */
  readonly numberOf?: ((table: SyncTable) => number | undefined) | undefined;
  /**
   * Lookups of a parent that is gone fall back on the note of its eviction: REPLACE removes a parent without firing its
   * triggers, and only then cascades to the children.
   */
  readonly isBefore?: boolean;
  /** For the log: as cheap as can be, to be read by `splitScopes`. Else a row's only scope is its text, and none is NULL. */
  readonly isLogged?: boolean;
  /** Whether a column of the database turns every number into a text. */
  readonly isText?: (table: SyncTable, column: SyncColumn) => boolean;
  readonly without?: Safeguards | undefined;
}

/** An expression for all scopes of the row that `row` (an alias, `NEW` or `OLD`) stands for. */
export function scopeSql(table: SyncTable, row: string, options: ScopeSqlOptions = {}, depth = 1): string {
  const { parent } = table;
  if (parent === undefined) return ownScopesSql(table, row, options);
  const orNull = (sql: string): string => (options.isLogged === true ? sql : `nullif(${sql}, '')`);
  const alias = `p${depth}`;
  const [target] = parent.table.keyColumns;
  const number = options.numberOf?.(parent.table);
  if (target === undefined || (options.numberOf !== undefined && number === undefined)) return "NULL";
  const value = `${row}.${identifier(parent.column.name)}`;
  const found =
    `(SELECT coalesce(${scopeSql(parent.table, alias, options, depth + 1)}, '') FROM ${identifier(parent.table.name)} AS ${alias} ` +
    // The parent's column on the left: a foreign key compares with the parent's collation.
    `WHERE ${alias}.${identifier(target.name)} = ${value})`;
  if (number === undefined || options.isBefore !== true || options.without?.has("eviction-scopes"))
    return orNull(found);
  const note = `(SELECT e.s FROM ${EVICT} AS e WHERE e.t = ${number} AND e.k0 = ${value})`;
  return orNull(`coalesce(${found}, ${note})`);
}

/** One expression for each scope rule of the table: the scope's text, or NULL. */
export function scopeParts(table: SyncTable, row: string, options: ScopeSqlOptions = {}): readonly string[] {
  return table.scopes.map((rule) => ruleSql(table, rule, row, options));
}

/** Whether the scopes of the table's rows can change at all. */
export function hasChangingScopes(table: SyncTable): boolean {
  return table.parent !== undefined || table.scopes.some((rule) => rule.kind === "columns");
}

/** The columns on which a row's own or inherited scopes depend. */
export function scopeColumns(table: SyncTable): readonly SyncColumn[] {
  if (table.parent !== undefined) return [table.parent.column];
  return [...new Set(table.scopes.flatMap((rule) => (rule.kind === "columns" ? rule.columns : [])))];
}

function ownScopesSql(table: SyncTable, row: string, options: ScopeSqlOptions): string {
  const [rule] = table.scopes;
  const isLogged = options.isLogged === true;
  if (rule === undefined) return "NULL";
  if (table.scopes.length === 1) return ruleSql(table, rule, row, options, isLogged);
  const joined = `substr(${scopeParts(table, row, options)
    .map((part) => `coalesce(${LINE_FEED} || ${part}, '')`)
    .join(" || ")}, 2)`;
  return isLogged ? joined : `nullif(${joined}, '')`;
}

/** `isAlone`: behind a line feed, and with those that are in it. */
function ruleSql(
  table: SyncTable,
  rule: ScopeRule,
  row: string,
  { without, isText }: ScopeSqlOptions,
  isAlone = false,
): string {
  if (rule.kind === "constant") return literal(rule.scope);
  const valueOf = (column: SyncColumn): string => `${row}.${identifier(column.name)}`;
  const values = rule.columns.map(valueOf);
  const withLineFeed = without?.has("scope-line-feed") === true;
  const usable = rule.columns.flatMap((column) => [
    ...(without?.has("scope-class") ? [] : [isNameable(valueOf(column), isText?.(table, column) === true)]),
    ...(isAlone || withLineFeed ? [] : [`instr(${valueOf(column)}, ${LINE_FEED}) = 0`]),
  ]);
  const escaped = (value: string): string =>
    without?.has("scope-escape") ? value : `replace(replace(${value}, '%', '%25'), ':', '%3A')`;
  const text = [
    literal(`${isAlone && !withLineFeed ? "\n" : ""}${rule.name}:`),
    ...values.flatMap((value, i) => [...(i === 0 ? [] : ["':'"]), rule.compound ? escaped(value) : value]),
  ].join(" || ");
  return usable.length === 0 ? text : `CASE WHEN ${usable.join(" AND ")} THEN ${text} END`;
}

/**
 * Whether a value is a text or a whole number, without `typeof`: blobs sort behind everything, and numbers before texts;
 * a number with a fraction, or stored as if it had one, is written otherwise than the integer that an operator on bits makes
 * of it.
 */
function isNameable(value: string, isText: boolean): string {
  const isNoBlob = `${value} < x'' COLLATE BINARY`;
  return isText ? isNoBlob : `${isNoBlob} AND (${value} >= '' COLLATE BINARY OR ${value} || '' = (${value} | 0) || '')`;
}
