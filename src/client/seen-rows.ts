/**
 * Whole rows as the user saw them, for a resolver that needs more than was sent (rule P6). The log holds the old values of
 * changed columns only; the rest comes from the row's base image, or from the last form it had before a page took it
 * away, with the pending changes before the operation on top.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readTransactions, type DeviceEntry, type DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { addFreshImages, imageName, loadImages } from "./base-images.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";

/** The rows by entry: values of the columns after the key. */
export type SeenRows = ReadonlyMap<DeviceEntry, readonly Value[]>;

/** Works out what the user saw at each entry of a transaction that updates or deletes. */
export function* seenRows(sync: SyncDatabase, checkpoint: Checkpoint, transaction: DeviceTransaction): Core<SeenRows> {
  const schema = deviceSchema(sync);
  const images = yield* loadImages(schema);
  const pending = yield* readTransactions(sync, { after: checkpoint.handled.number, limit: Number.MAX_SAFE_INTEGER });
  yield* addFreshImages(schema, images, pending);
  const rows = new Map<string, Map<SyncColumn, Value>>();
  const seen = new Map<DeviceEntry, readonly Value[]>();
  for (const { number, entries } of pending) {
    if (number > transaction.number) break;
    for (const [index, entry] of entries.entries()) {
      const table = schema.byKey.get(entry.table.key);
      if (!table) continue;
      const name = imageName(table, entry.key);
      let row = rows.get(name);
      if (!row) {
        const image = images.get(name);
        row = new Map(image?.columns.map((column, at) => [column, image.values[at] ?? null]));
        rows.set(name, row);
      }
      if (entry.kind !== "insert") entry.columns.forEach((column, at) => row.set(column, entry.before[at] ?? null));
      if (number === transaction.number && entry.kind !== "insert") {
        seen.set(
          transaction.entries[index] as DeviceEntry,
          table.rest.map((column) => row.get(column) ?? null),
        );
      }
      if (entry.kind === "delete") row.clear();
      else entry.columns.forEach((column, at) => row.set(column, entry.values[at] ?? null));
    }
  }
  return seen;
}
