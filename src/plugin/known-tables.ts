/**
 * What a device knows, as the protocol names it: tables and columns by their keys in the schema.
 *
 * @module
 */

import type { KnownTables } from "../protocol/handshake.ts";
import type { SyncTable } from "./table.ts";

/** Tables to columns, the key's first; without the columns that never leave the server. */
export function knownTables(tables: readonly SyncTable[]): KnownTables {
  return Object.fromEntries(
    tables.map((table) => [table.key, table.columns.filter((column) => !column.excluded).map((column) => column.key)]),
  );
}
