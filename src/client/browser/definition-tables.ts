/**
 * The synced tables of a definition, as page and worker read them: neither has a database that would say how Drizzle's
 * `casing` names columns.
 *
 * @module
 */

import { CasingCache } from "drizzle-orm/casing";
import type { SyncDefinition } from "../../plugin/define-sync.ts";
import { readTables, type TableRules } from "../../plugin/read-tables.ts";
import type { SyncTable } from "../../plugin/table.ts";

/** Reads a definition. */
export function readDefinition(
  sync: SyncDefinition<Record<string, unknown>>,
  casing: "snake_case" | "camelCase" | undefined,
): readonly SyncTable[] {
  const naming = casing && new CasingCache(casing);
  // The rules have been checked by `defineSync`.
  const rules = sync.tables as Readonly<Record<string, TableRules>>;
  return readTables(sync.schema, rules, naming && ((column) => naming.getColumnCasing(column)));
}
