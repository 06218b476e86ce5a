/**
 * A device's file that a newer version of the app has migrated already: an old tab after the others, or a release that was
 * taken back. The old version goes on with it while everything that it declares is there; it is then like any old device. Else
 * its statements would fail one by one, so it says at once what is missing.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { all, type Core } from "./core.ts";
import type { SyncDatabase } from "./sync-database.ts";

/** Throws `SCHEMA_MISMATCH` when the file lacks a table or column that this version of the app declares. */
export function* requireDeclared(sync: SyncDatabase): Core<void> {
  for (const table of sync.tables) {
    const there = new Set(
      (yield* all("SELECT name FROM pragma_table_xinfo(?)", [table.name])).map(([name]) => String(name).toLowerCase()),
    );
    const lacking = table.columns.find(({ name }) => !there.has(name.toLowerCase()));
    if (there.size > 0 && lacking === undefined) continue;
    throw outdated(table.key, there.size === 0 ? undefined : lacking?.key);
  }
}

function outdated(table: string, column: string | undefined): SyncError<"SCHEMA_MISMATCH"> {
  const what = column === undefined ? `table \`${table}\`` : `column \`${column}\` of table \`${table}\``;
  return new SyncError({
    code: "SCHEMA_MISMATCH",
    message: `A newer version of the app has migrated this database, and ${what} is not there any more. Reload, or update the app; nothing is lost.`,
    details: { tooOld: "device", table, ...(column === undefined ? {} : { column }) },
  });
}
