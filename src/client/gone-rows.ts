/**
 * Whole rows of updates whose row is gone, for an app that wants to bring one back (`outcomes.resolve` with `retry`). The log
 * holds the changed columns only, and the base image, which has the last form that the row had before a page took it away,
 * goes with the transaction; so they are put together when its outcome is stored.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { DeviceEntry, DeviceTransaction } from "../plugin/device-log.ts";
import type { Value } from "../protocol/ids.ts";
import { imageName, type BaseImages } from "./base-images.ts";
import type { DeviceSchema } from "./device-schema.ts";
import { readRow } from "./row-sql.ts";

/** By update: column keys to values, the key's left out. */
export type GoneRows = ReadonlyMap<DeviceEntry, Readonly<Record<string, Value>>>;

/**
 * Finds them among transactions that leave the queue, oldest first. The tables hold the new base, or what is shown on top;
 * `images` are from before it.
 */
export function* findGoneRows(
  schema: DeviceSchema,
  transactions: readonly DeviceTransaction[],
  images: BaseImages,
): Core<GoneRows> {
  const gone = new Map<DeviceEntry, Readonly<Record<string, Value>>>();
  const rows = new Map<string, Record<string, Value> | undefined>();
  for (const entry of transactions.flatMap(({ entries }) => entries)) {
    const table = schema.byKey.get(entry.table.key);
    if (!table) continue;
    const name = imageName(table, entry.key);
    let row = rows.get(name);
    if (!row) {
      const image = images.get(name);
      // What was never whole here cannot be brought back.
      const isKnown =
        image !== undefined && image.columns.length > 0 && (yield* readRow(table, entry.key)) === undefined;
      row = {};
      if (isKnown)
        image.columns.forEach((column, at) => {
          if (row && !column.isKey) row[column.key] = image.values[at] ?? null;
        });
      rows.set(name, isKnown ? row : undefined);
      if (!isKnown) continue;
    }
    if (entry.kind === "delete") continue;
    entry.columns.forEach((column, at) => {
      if (row) row[column.key] = entry.values[at] ?? null;
    });
    if (entry.kind === "update") gone.set(entry, { ...row });
  }
  return gone;
}
