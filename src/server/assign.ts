/**
 * The app's `assign`, bound to who calls: values that the server gives to rows which a device inserts.
 *
 * @module
 */

import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Value } from "../protocol/ids.ts";
import { type AppRow, toStorageValue } from "./column-values.ts";
import type { Assign } from "./execute.ts";

type AssignFunctions = Readonly<
  Record<
    string,
    ((options: { readonly ctx: unknown; readonly subject: string; readonly row: AppRow }) => AppRow) | undefined
  >
>;

/** Binds `assign` to a caller; undefined when the app has none. Throws `INVALID_CONFIG` when it names no table. */
export function bindAssign(
  database: SyncDatabase,
  functions: AssignFunctions | undefined,
  caller: { readonly ctx: unknown; readonly subject: string },
): Assign | undefined {
  if (functions === undefined) return undefined;
  for (const key of Object.keys(functions)) {
    if (!database.tableByKey.has(key)) throw invalid(`\`assign\` names \`${key}\`, which is no synced table.`);
  }
  return (table, row) => {
    const values = functions[table.key]?.({ ...caller, row });
    return values === undefined ? undefined : toColumns(table, values);
  };
}

function toColumns(table: SyncTable, values: AppRow): ReadonlyMap<SyncColumn, Value> {
  if (typeof values !== "object" || values === null || "then" in values) {
    // Its rejection must not end the process.
    if ((values as unknown) instanceof Promise) void (values as unknown as Promise<unknown>).catch(() => undefined);
    throw invalid(`\`assign\` of table \`${table.key}\` must return an object with values, and not a promise of one.`);
  }
  const assigned = new Map<SyncColumn, Value>();
  for (const [key, value] of Object.entries(values)) {
    const column = table.columnByKey.get(key);
    if (column === undefined || column.isKey)
      throw invalid(`\`assign\` of table \`${table.key}\` sets \`${key}\`, which is no column that can be assigned.`);
    if (value !== undefined) assigned.set(column, toStorageValue(column, value));
  }
  return assigned;
}

function invalid(message: string): SyncError<"INVALID_CONFIG"> {
  return new SyncError({ code: "INVALID_CONFIG", message });
}
