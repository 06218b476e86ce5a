/**
 * Scopes as SQL. A row's scopes are one text, several joined by a line feed, or NULL for none. The same expression stands in
 * triggers, in snapshots and in reads of live rows, so that they cannot differ.
 *
 * Only texts and whole numbers name scopes: other storage classes have no one spelling. A text with a line feed names
 * none, or it could smuggle in a second scope.
 *
 * @module
 */

import { EVICT } from "../names.ts";
import type { ScopeRule, SyncColumn, SyncTable } from "../table.ts";
import { identifier, literal } from "./quote.ts";
import type { Safeguards } from "./safeguards.ts";

/** Options of {@link scopeSql}. */
export interface ScopeSqlOptions {
  /** Gives a table's layout number; undefined for a table that is not in the database, where nothing can be looked up. */
  readonly numberOf?: ((table: SyncTable) => number | undefined) | undefined;
  /**
   * Lookups of a parent that is gone fall back on the note of its eviction: REPLACE removes a parent without firing its
   * triggers, and only then cascades to the children.
   */
  readonly isBefore?: boolean;
  readonly without?: Safeguards | undefined;
}

/** An expression for all scopes of the row that `row` (an alias, `NEW` or `OLD`) stands for. */
export function scopeSql(table: SyncTable, row: string, options: ScopeSqlOptions = {}, depth = 1): string {
  const { parent } = table;
  if (parent === undefined) return ownScopesSql(table, row, options.without);
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
    return `nullif(${found}, '')`;
  const note = `(SELECT e.s FROM ${EVICT} AS e WHERE e.t = ${number} AND e.k0 = ${value})`;
  return `nullif(coalesce(${found}, ${note}), '')`;
}

/** One expression for each scope rule of the table: the scope's text, or NULL. */
export function scopeParts(table: SyncTable, row: string, without?: Safeguards): readonly string[] {
  return table.scopes.map((rule) => ruleSql(rule, row, without));
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

function ownScopesSql(table: SyncTable, row: string, without: Safeguards | undefined): string {
  const parts = scopeParts(table, row, without);
  const [only] = parts;
  if (only === undefined) return "NULL";
  if (parts.length === 1) return only;
  return `nullif(substr(${parts.map((part) => `coalesce(char(10) || ${part}, '')`).join(" || ")}, 2), '')`;
}

function ruleSql(rule: ScopeRule, row: string, without: Safeguards | undefined): string {
  if (rule.kind === "constant") return literal(rule.scope);
  const values = rule.columns.map((column) => `${row}.${identifier(column.name)}`);
  const usable = values.flatMap((value) => [
    ...(without?.has("scope-class") ? [] : [`typeof(${value}) IN ('text', 'integer')`]),
    ...(without?.has("scope-line-feed") ? [] : [`instr(${value}, char(10)) = 0`]),
  ]);
  const escaped = (value: string): string =>
    without?.has("scope-escape") ? value : `replace(replace(${value}, '%', '%25'), ':', '%3A')`;
  const text = [
    literal(`${rule.name}:`),
    ...values.flatMap((value, i) => [...(i === 0 ? [] : ["':'"]), rule.compound ? escaped(value) : value]),
  ].join(" || ");
  return usable.length === 0 ? text : `CASE WHEN ${usable.join(" AND ")} THEN ${text} END`;
}
