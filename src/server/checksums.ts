/**
 * Checksums of scopes: for each, the sum of the hashes of its rows, in every table that the device knows and over the
 * columns that are sent to it, in their order. The device compares them with its base, never with visible rows.
 *
 * Each table is walked once, whatever the number of scopes: a row in several of them is read and hashed once. Where that
 * are too many rows for one answer, the later half of the scopes is left out, and again, down to one: what an answer costs
 * is bounded by one scope, and the device asks for the others again.
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
import { checkLimits } from "./limits.ts";

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
    if (sums.size === checkLimits.scopes) break;
    if (target.has(scope)) sums.set(scope, emptyRowSum());
  }
  const budget = { share: checkLimits.rows, left: checkLimits.rows };
  if (sums.size > 0) for (const known of schema.sent) yield* sumTable(database, known, sums, budget);
  return Object.fromEntries([...sums].map(([scope, sum]) => [scope, rowSumText(sum)]));
}

function* sumTable(
  database: SyncDatabase,
  known: KnownTable,
  sums: Map<string, RowSum>,
  budget: { share: number; left: number },
): Core<void> {
  const { table, columns } = known;
  const forms = columns.map((column) => column.form);
  let after: Key | undefined;
  for (;;) {
    const rows: Rows = yield* readScopedRows(database, table, {
      columns: known.others,
      scopes: [...sums.keys()],
      limit: chunk,
      ...(after === undefined ? {} : { after }),
    });
    for (const row of rows) {
      const concerned = splitScopes(row[columns.length]).flatMap((scope) => sums.get(scope) ?? []);
      addRow(concerned, row, forms);
    }
    budget.left -= rows.length;
    if (budget.left < 0 && sums.size > 1) {
      for (const scope of [...sums.keys()].slice(Math.ceil(sums.size / 2))) sums.delete(scope);
      // Ever less for ever fewer, so that all of them together cost no more than twice the first share.
      budget.share /= 2;
      budget.left = budget.share;
    }
    if (rows.length < chunk) return;
    after = rows.at(-1)?.slice(0, table.keyColumns.length);
  }
}
