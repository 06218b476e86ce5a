/**
 * Whole rows as the user saw them, for a resolver that needs more than was sent (rule P6). The log holds the old values of
 * changed columns only; the rest comes from the row's base image, or from the last form it had before a page took it
 * away, with the pending changes before the operation on top.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readTransactions } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { addFreshImages, imageName, loadImages } from "./base-images.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";

/** The rows by the seq of their entry: values of the columns after the key. */
export type SeenRows = ReadonlyMap<number, readonly Value[]>;

/** Works out what the user saw at each entry of some transactions that updates or deletes. */
export function* seenRows(sync: SyncDatabase, checkpoint: Checkpoint, numbers: ReadonlySet<number>): Core<SeenRows> {
  const seen = new Map<number, readonly Value[]>();
  if (numbers.size === 0) return seen;
  const schema = deviceSchema(sync);
  const images = yield* loadImages(schema);
  // All of it: the base of a row that was written since the last page is found by undoing every change of it.
  const pending = yield* readTransactions(sync, { after: checkpoint.handled.number, limit: Number.MAX_SAFE_INTEGER });
  yield* addFreshImages(schema, images, pending);
  const rows = new Map<string, Map<SyncColumn, Value>>();
  for (const { number, entries } of pending) {
    for (const entry of entries) {
      const table = schema.byKey.get(entry.table.key);
      if (!table) continue;
      const name = imageName(table, entry.key);
      let row = rows.get(name);
      if (!row) {
        const image = images.get(name);
        row = new Map(image?.columns.map((column, at) => [column, image.values[at] ?? null]));
        rows.set(name, row);
      }
      if (entry.kind !== "insert") {
        for (const [at, column] of entry.columns.entries()) row.set(column, entry.before[at] ?? null);
        if (numbers.has(number)) {
          const values = row;
          seen.set(
            entry.seq,
            table.rest.map((column) => values.get(column) ?? null),
          );
        }
      }
      if (entry.kind === "delete") row.clear();
      else for (const [at, column] of entry.columns.entries()) row.set(column, entry.values[at] ?? null);
    }
  }
  return seen;
}
