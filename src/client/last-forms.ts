/**
 * The last form of rows that are not in the base any more while pending operations name them: what the user saw, and what is sent
 * when a resolver may bring such a row back (rule P6). Transactions that leave the queue with the page that takes the row away
 * have changed what the user saw, and so has the insert of a row that somebody else deleted before it ever came back.
 *
 * @module
 */

import type { DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { imageName, type BaseImages } from "./base-images.ts";
import type { DeviceSchema } from "./device-schema.ts";

/** The images with the changes of transactions that leave the queue on top. */
export function lastFormsAfter(
  schema: DeviceSchema,
  images: BaseImages,
  dropped: readonly DeviceTransaction[],
): BaseImages {
  const forms: BaseImages = new Map(images);
  for (const entry of dropped.flatMap(({ entries }) => entries)) {
    const table = schema.byKey.get(entry.table.key);
    // A deleted row was seen last as it was before.
    if (!table || entry.kind === "delete") continue;
    const name = imageName(table, entry.key);
    const before = forms.get(name);
    const row = new Map<SyncColumn, Value>();
    if (entry.kind === "insert") table.keyColumns.forEach((column, at) => row.set(column, entry.key[at] ?? null));
    else before?.columns.forEach((column, at) => row.set(column, before.values[at] ?? null));
    // What was never whole here stays unknown.
    if (row.size === 0) continue;
    entry.columns.forEach((column, at) => {
      if (!column.excluded) row.set(column, entry.values[at] ?? null);
    });
    forms.set(name, {
      ...before,
      table,
      key: entry.key,
      here: before?.here === true,
      columns: [...row.keys()],
      values: [...row.values()],
    });
  }
  return forms;
}
