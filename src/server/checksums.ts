/**
 * Checksums of scopes: for each, the sum of the hashes of its rows, in every table that the device knows and over the
 * columns that are sent to it, in their order. The device compares them with its base, never with visible rows.
 *
 * Each table is walked once, whatever the number of scopes: a row in several of them is read and hashed once.
 *
 * @module
 */

import type { Core, Rows } from "../plugin/core.ts";
import { readScopedRows } from "../plugin/rows.ts";
import { splitScopes } from "../plugin/scope-text.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { addRow, emptyRowSum, rowSumText, type RowSum } from "../protocol/hash.ts";
import type { Key } from "../protocol/ids.ts";
import type { KnownSchema, KnownTable } from "./known-schema.ts";
import { maxCheckedScopes } from "./limits.ts";

const chunk = 1000;

/** Sums the rows of those scopes asked for that are in the target, as many as one answer may cost; others are left out. */
export function* readChecksums(
  database: SyncDatabase,
  schema: KnownSchema,
  asked: readonly string[],
  target: ReadonlySet<string>,
): Core<Readonly<Record<string, string>>> {
  const sums = new Map<string, RowSum>();
  for (const scope of asked) {
    if (sums.size === maxCheckedScopes) break;
    if (target.has(scope)) sums.set(scope, emptyRowSum());
  }
  if (sums.size > 0) for (const known of schema.sent) yield* sumTable(database, known, sums);
  return Object.fromEntries([...sums].map(([scope, sum]) => [scope, rowSumText(sum)]));
}

function* sumTable(database: SyncDatabase, known: KnownTable, sums: ReadonlyMap<string, RowSum>): Core<void> {
  const { table, columns } = known;
  const forms = columns.map((column) => column.form);
  const scopes = [...sums.keys()];
  let after: Key | undefined;
  for (;;) {
    const rows: Rows = yield* readScopedRows(database, table, {
      columns: known.others,
      scopes,
      limit: chunk,
      ...(after === undefined ? {} : { after }),
    });
    for (const row of rows) {
      const concerned = splitScopes(row[columns.length]).flatMap((scope) => sums.get(scope) ?? []);
      addRow(concerned, row, forms);
    }
    if (rows.length < chunk) return;
    after = rows.at(-1)?.slice(0, table.keyColumns.length);
  }
}
