/**
 * Checksums of scopes: for each, the sum of the hashes of its rows, in every table that the device knows and over the
 * columns that are sent to it, in their order. The device compares them with its base, never with visible rows.
 *
 * @module
 */

import type { Core, Rows } from "../plugin/core.ts";
import { readSnapshotRows } from "../plugin/rows.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { rowHash, sumHashes } from "../protocol/hash.ts";
import type { Key } from "../protocol/ids.ts";
import type { KnownSchema } from "./known-schema.ts";

const chunk = 1000;

/** Sums the rows of those scopes asked for that are in the target; the others are left out. */
export function* readChecksums(
  database: SyncDatabase,
  schema: KnownSchema,
  asked: readonly string[],
  target: ReadonlySet<string>,
): Core<Readonly<Record<string, string>>> {
  const sums: [string, string][] = [];
  for (const scope of new Set(asked))
    if (target.has(scope)) sums.push([scope, yield* sumScope(database, schema, scope)]);
  return Object.fromEntries(sums);
}

function* sumScope(database: SyncDatabase, schema: KnownSchema, scope: string): Core<string> {
  let sum = sumHashes([]);
  for (const known of schema.sent) {
    const forms = known.columns.map((column) => column.form);
    let after: Key | undefined;
    for (;;) {
      const rows: Rows = yield* readSnapshotRows(database, known.table, {
        columns: known.others,
        scopes: [scope],
        limit: chunk,
        ...(after === undefined ? {} : { after }),
      });
      sum = sumHashes([sum, ...rows.map((row) => rowHash(row, forms))]);
      if (rows.length < chunk) break;
      after = rows.at(-1)?.slice(0, known.table.keyColumns.length);
    }
  }
  return sum;
}
