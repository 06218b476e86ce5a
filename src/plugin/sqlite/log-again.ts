/**
 * Logging rows that are there already: when triggers were missing for a while, and when a database with rows becomes a
 * device.
 *
 * @module
 */

import type { LayoutRow } from "../layouts.ts";
import { LOG, STAMP_SQL, kindNumbers } from "../names.ts";
import type { Role } from "../sync-database.ts";
import type { LiveTable } from "./live-table.ts";
import { identifier } from "./quote.ts";
import type { Safeguards } from "./safeguards.ts";
import { scopeSql } from "./scope-sql.ts";

/** Logs every row of a table as inserted. */
export function logWholeTable(table: LiveTable, number: number, role: Role, without?: Safeguards): string {
  const keys = table.columns
    .slice(0, table.keyLength)
    .map((column, i) => [`k${i}`, `x.${identifier(column.name)}`] as const);
  const image =
    role === "device"
      ? table.columns.slice(table.keyLength).map((column, i) => [`c${i}`, `x.${identifier(column.name)}`] as const)
      : [["sa", scopeSql(table.table, "x", { without })] as const];
  const all = [
    ["stamp", STAMP_SQL],
    ["t", String(number)],
    ["kind", String(kindNumbers.insert)],
    ...keys,
    ...image,
  ] as const;
  return `INSERT INTO ${LOG}(${all.map(([field]) => field).join(", ")}) SELECT ${all.map(([, value]) => value).join(", ")} FROM ${identifier(table.table.name)} AS x`;
}

/** Logs as deleted what the log last knew as present and is not there any more. Rows that the log has forgotten are not found. */
export function logLostRows(
  table: LiveTable,
  number: number,
  layouts: readonly LayoutRow[],
  hasLog: boolean,
): readonly string[] {
  if (!hasLog) return [];
  const numbers = layouts
    .filter((row) => row.name === table.table.name && row.keyLength === table.keyLength)
    .map((row) => row.number);
  const keys = table.columns.slice(0, table.keyLength).map((_, i) => `k${i}`);
  const isThere = table.columns
    .slice(0, table.keyLength)
    .map((column, i) => `x.${identifier(column.name)} IS l.k${i}`)
    .join(" AND ");
  // With max(), SQLite takes the other columns from the row that has the maximum.
  return [
    `INSERT INTO ${LOG}(stamp, t, kind, ${keys.join(", ")}, sb) SELECT ${STAMP_SQL}, ${number}, ${kindNumbers.delete}, ${keys.join(", ")}, sa ` +
      `FROM (SELECT ${keys.join(", ")}, kind, sa, max(seq) FROM ${LOG} WHERE t IN (${numbers.join(", ")}) GROUP BY ${keys.join(", ")}) AS l ` +
      `WHERE kind <> ${kindNumbers.delete} AND NOT EXISTS (SELECT 1 FROM ${identifier(table.table.name)} AS x WHERE ${isThere})`,
  ];
}

/** Tables with those that they reference first, so that the entries can be executed in their order. */
export function writeOrder(tables: readonly LiveTable[]): readonly LiveTable[] {
  const ordered: LiveTable[] = [];
  const visit = (table: LiveTable, path: readonly LiveTable[]): void => {
    if (ordered.includes(table) || path.includes(table)) return;
    for (const { target } of table.table.foreignKeys) {
      const parent = tables.find((other) => other.table === target);
      if (parent !== undefined) visit(parent, [...path, table]);
    }
    ordered.push(table);
  };
  for (const table of tables) visit(table, []);
  return ordered;
}
