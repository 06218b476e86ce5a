/**
 * What cannot be used in a definition: errors that name table, column and remedy.
 *
 * @module
 */

import type { Column } from "drizzle-orm";
import { SyncError } from "../protocol/errors.ts";

/** An `INVALID_CONFIG` error. */
export function invalid(message: string, table: string, column?: string): SyncError<"INVALID_CONFIG"> {
  return new SyncError({
    code: "INVALID_CONFIG",
    message,
    details: { table, ...(column === undefined ? {} : { column }) },
  });
}

/** The column that an option names; throws when the table has none of that name. */
export function requireColumn(
  key: string,
  option: string,
  columnKey: string,
  known: ReadonlyMap<string, Column>,
): Column {
  const column = known.get(columnKey);
  if (column === undefined) {
    throw invalid(
      `Table \`${key}\` has no column \`${columnKey}\`, which \`${option}\` names. Its columns are ${[...known.keys()].map((name) => `\`${name}\``).join(", ")}.`,
      key,
      columnKey,
    );
  }
  return column;
}
