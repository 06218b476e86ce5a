/**
 * Drops the rows that are in none of the scopes that an answer grants (rule U1). Runs on the base, children before their
 * parents, since an inherited scope is read from the parent.
 *
 * @module
 */

import { all, run, type Core } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import { scopeSql } from "../plugin/sqlite/scope-sql.ts";
import type { SyncTable } from "../plugin/table.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";

/** Deletes every row that is in none of `scopes`; gives the tables from which something was deleted. */
export function* dropOutside(schema: DeviceSchema, scopes: readonly string[]): Core<Set<string>> {
  const kept = new Set(scopes);
  const touched = new Set<string>();
  const deepestFirst = [...schema.tables].sort((a, b) => depth(b.table) - depth(a.table));
  for (const table of deepestFirst) if ((yield* dropRows(table, kept)) > 0) touched.add(table.key);
  return touched;
}

/** Deletes every row of every table. */
export function* dropAll(schema: DeviceSchema): Core<void> {
  for (const { table } of schema.tables) yield* run(`DELETE FROM ${identifier(table.name)}`);
}

function* dropRows({ table }: DeviceTable, kept: ReadonlySet<string>): Core<number> {
  const name = identifier(table.name);
  const scopes = `coalesce(${scopeSql(table, "r")}, '')`;
  // A table has far fewer sets of scopes than rows.
  const lost: string[] = [];
  for (const [text] of yield* all(`SELECT DISTINCT ${scopes} FROM ${name} AS r`)) {
    if (
      !String(text)
        .split("\n")
        .some((scope) => kept.has(scope))
    )
      lost.push(String(text));
  }
  if (lost.length === 0) return 0;
  return yield* run(`DELETE FROM ${name} AS r WHERE ${scopes} IN (SELECT value FROM json_each(?))`, [
    JSON.stringify(lost),
  ]);
}

function depth(table: SyncTable): number {
  return table.parent ? 1 + depth(table.parent.table) : 0;
}
