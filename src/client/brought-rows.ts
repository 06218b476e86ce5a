/**
 * Rows that a page brings whole. They need not become the base before the page is written, which overwrites them: a device's own
 * rows come back to it like that, mostly as they are shown already.
 *
 * A table with unique values beside its key is left out: there a row that is not the base any more may stand in the way of one
 * that becomes it. So are rows without the columns that an older server lacks (rule V2).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { Value } from "../protocol/ids.ts";
import { imageName, type BaseImages } from "./base-images.ts";
import type { DeviceSchema } from "./device-schema.ts";
import type { BoundGroup } from "./row-writer.ts";
import { maxPagesReadAgain, readStagedGroups } from "./stage.ts";

/** The images of rows that must become the base again before groups are written. */
export function withoutBrought(images: BaseImages, groups: readonly BoundGroup[]): BaseImages {
  let left = images;
  for (const { table, kind, columns, values, count } of groups) {
    if (left.size === 0) return left;
    if (kind !== "row" || columns.length < table.columns.length || table.table.uniques.length > 0) continue;
    const size = table.keyColumns.length;
    const key: Value[] = new Array<Value>(size);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < size; j++) key[j] = values[j]?.[i] ?? null;
      const name = imageName(table, key);
      if (!left.has(name)) continue;
      if (left === images) left = new Map(images);
      left.delete(name);
    }
  }
  return left;
}

/** The same for the pages of a round. */
export function* withoutBroughtByRound(
  schema: DeviceSchema,
  images: BaseImages,
  round: { readonly staged: readonly number[]; readonly groups: readonly BoundGroup[] },
): Core<BaseImages> {
  let left = withoutBrought(images, round.groups);
  if (round.staged.length > maxPagesReadAgain) return left;
  for (const n of round.staged) {
    if (left.size === 0) return left;
    left = withoutBrought(left, yield* readStagedGroups(schema, n));
  }
  return left;
}
