/**
 * What a device knows, as the protocol names it: tables and columns by their keys in the schema.
 *
 * @module
 */

import type { KnownTables } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import type { SyncTable } from "./table.ts";

/** Tables to columns, the key's first; without the columns that never leave the server. */
export function knownTables(tables: readonly SyncTable[]): KnownTables {
  return Object.fromEntries(
    tables.map((table) => [table.key, table.columns.filter((column) => !column.excluded).map((column) => column.key)]),
  );
}

const hashes = new WeakMap<readonly SyncTable[], string>();

/** The hash of what a device knows. It goes with every transaction, so it is computed once. */
export function knownHash(tables: readonly SyncTable[]): string {
  let hash = hashes.get(tables);
  if (hash === undefined) hashes.set(tables, (hash = hashSchema(knownTables(tables))));
  return hash;
}
