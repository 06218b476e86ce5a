/**
 * Base images from before a migration of the device: what they hold for columns that were added since. That is what the user
 * saw there before any pending change (rule V2), until a page brings the server's values: what the first change of the column
 * says was there, or else what the row shows. Without it a pending value would be left behind as if it were the base.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { DeviceEntry, DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { BaseImage } from "./base-images.ts";
import type { DeviceTable } from "./device-schema.ts";
import { readRow } from "./row-sql.ts";

/** Completes the images of rows that are in the base. */
export function* completeImages(
  images: Map<string, BaseImage>,
  transactions: readonly DeviceTransaction[],
): Core<void> {
  for (const [name, image] of images) {
    const { table, key, here } = image;
    if (!here || image.columns.length >= table.columns.length) continue;
    const missing = table.columns.filter((column) => !image.columns.includes(column));
    if (missing.length === 0) continue;
    const entries = entriesOf(image, transactions);
    const row = yield* readRow(table, key);
    const columns = [...image.columns];
    const values = [...image.values];
    for (const column of missing) {
      const value = valueBefore(column, entries, row && (row[table.columns.indexOf(column)] ?? null)) ?? zeroOf(column);
      if (value === undefined) continue;
      columns.push(column);
      values.push(value);
    }
    images.set(name, { ...image, columns, values });
  }
}

function entriesOf({ table, key }: BaseImage, transactions: readonly DeviceTransaction[]): readonly DeviceEntry[] {
  const text = keyText(key);
  return transactions.flatMap(({ entries }) =>
    entries.filter((entry) => isOf(entry, table) && keyText(entry.key) === text),
  );
}

const isOf = (entry: DeviceEntry, table: DeviceTable): boolean => entry.table === table.table;

/** What a column held before the first of these entries; undefined where nothing tells. */
function valueBefore(column: SyncColumn, entries: readonly DeviceEntry[], shown: Value | undefined): Value | undefined {
  for (const entry of entries) {
    // Made anew: what it holds now is no sign of what it held.
    if (entry.kind === "insert") return undefined;
    const at = entry.columns.indexOf(column);
    if (at >= 0) return entry.before[at] ?? null;
    if (entry.kind === "delete") return undefined;
  }
  return shown;
}

/** For a column that cannot do without: a row that was deleted here is put back for a moment, until its page comes. */
function zeroOf(column: SyncColumn): Value | undefined {
  if (!column.notNull || column.column.default !== undefined) return undefined;
  return column.form === "blob" ? new Uint8Array() : column.form === "text" || column.form === "json" ? "" : 0;
}
