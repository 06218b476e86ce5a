/**
 * Logging rows that are there already, when a database with rows becomes a device.
 *
 * @module
 */

import { LOG, STAMP_SQL, kindNumbers } from "../names.ts";
import type { LiveTable } from "./live-table.ts";
import { identifier } from "./quote.ts";

/** Logs every row of a table as inserted, on a device. */
export function logWholeTable(table: LiveTable, number: number): string {
  const values = table.columns.map(({ name }) => `x.${identifier(name)}`);
  const fields = values.map((_, i) => (i < table.keyLength ? `k${i}` : `c${i - table.keyLength}`));
  return (
    `INSERT INTO ${LOG}(stamp, t, kind, ${fields.join(", ")}) ` +
    `SELECT ${STAMP_SQL}, ${number}, ${kindNumbers.insert}, ${values.join(", ")} FROM ${identifier(table.table.name)} AS x`
  );
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
