/**
 * Whether a page can be written beside the transactions that stay in the queue, without rewinding and replaying them. Those
 * that the page covers are *dropped*: their rows become the base again before the page is written. The others are *kept*:
 * they stay as they are shown when no row of theirs is among the dropped ones' or the page's, and no foreign key leads
 * from one to the other. A unique value that clashes is found when the page is written.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { lastTransaction, readTransactions, type DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { Value } from "../protocol/ids.ts";
import type { PageChanges } from "./write-changes.ts";
import { addFreshImages, imageName, loadImagesOf, type BaseImage, type BaseImages } from "./base-images.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import { readQueueRows, type QueueRows } from "./queue-rows.ts";
import type { BoundGroup } from "./row-writer.ts";
import { maxPagesReadAgain, readStagedGroups } from "./stage.ts";

/** What leaves the queue beside the others. */
export interface Beside {
  readonly dropped: readonly DeviceTransaction[];
  /** Base images of the rows of {@link dropped}. */
  readonly images: BaseImages;
  /** Whether nothing stays in the queue. */
  readonly isLast: boolean;
  /** The groups of the round's pages, in order. */
  readonly pages: readonly (readonly BoundGroup[])[];
}

/** Decides it; undefined when the kept ones have to be replayed. */
export function* leavesKeptAlone(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
): Core<Beside | undefined> {
  if (changes.replaces || changes.scopes || changes.staged.length > maxPagesReadAgain) return undefined;
  // Withheld transactions may fit now; displaced rows must be found again; and what a replay's cascade took along hangs on a
  // transaction that nobody can name any more.
  if (checkpoint.withheld.length > 0 || checkpoint.cascaded || checkpoint.displaced !== undefined) return undefined;
  const after = checkpoint.handled.number;
  const upTo = changes.end?.lastTx?.number ?? 0;
  const dropped =
    upTo > after
      ? (yield* readTransactions(sync, { after, limit: upTo - after })).filter(({ number }) => number <= upTo)
      : [];
  const images = yield* loadImagesOf(schema, dropped);
  yield* addFreshImages(schema, images, dropped);
  const pages: (readonly BoundGroup[])[] = [];
  for (const n of changes.staged) pages.push(yield* readStagedGroups(schema, n));
  pages.push(changes.groups);
  const beside: Beside = { dropped, images, isLast: (yield* lastTransaction()).number <= upTo, pages };
  if (beside.isLast) return beside;
  const queue: Kept = { rows: yield* readQueueRows(sync), seq: dropped.at(-1)?.lastSeq ?? 0 };
  const groups = pages.flat();
  if (changes.isFresh && groups.some((group) => mayDisplaceHidden(group, queue))) return undefined;
  const brought = new Set<string>();
  if (!groups.every((group) => standsAlone(group, queue, images, brought))) return undefined;
  for (const [name, image] of images) if (!turnsAlone(image, queue, brought.has(name))) return undefined;
  return beside;
}

/** The entries after `seq`: those of the kept transactions. */
interface Kept {
  readonly rows: QueueRows;
  readonly seq: number;
}

/**
 * Whether rows may take a unique value from one whose base a kept change hides. The pages of a first sync are of many moments:
 * that value may be the other's in the base of before, which only shows when the kept change is undone (rule R4).
 */
function mayDisplaceHidden({ table, kind }: BoundGroup, { rows, seq }: Kept): boolean {
  return kind !== "removal" && table.table.uniques.length > 0 && rows.writes(table.key, "any", seq);
}

/** Whether a page's rows have nothing to do with kept ones. Notes the images' rows that it brings whole. */
function standsAlone(group: BoundGroup, kept: Kept, images: BaseImages, brought: Set<string>): boolean {
  const { table, kind, columns, values, count } = group;
  const { rows, seq } = kept;
  if (kind === "removal" ? isParentOfKept(table, kept, true) : isParentOfKept(table, kept, false, columns))
    return false;
  if (kind !== "removal" && isChildOfKept(table, kept, columns)) return false;
  if (!rows.writes(table.key, "any", seq) && images.size === 0) return hasBaseParents(group, kept);
  const size = table.keyColumns.length;
  const key: Value[] = new Array<Value>(size);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < size; j++) key[j] = values[j]?.[i] ?? null;
    if (rows.names(table.key, key, seq)) return false;
    if (kind === "row" && images.size > 0) brought.add(imageName(table, key));
  }
  return hasBaseParents(group, kept);
}

/** Whether a row that becomes its base again has nothing to do with kept ones. */
function turnsAlone({ table, key, here }: BaseImage, kept: Kept, isBrought: boolean): boolean {
  if (kept.rows.names(table.key, key, kept.seq)) return false;
  if (isParentOfKept(table, kept, !here && !isBrought)) return false;
  return !here || !isChildOfKept(table, kept);
}

/** Whether kept changes may refer to rows of the table that go (`isGone`), or whose referenced columns besides the key may move. */
function isParentOfKept(
  table: DeviceTable,
  { rows, seq }: Kept,
  isGone: boolean,
  columns?: readonly unknown[],
): boolean {
  return table.referencedBy.some(
    ({ child, targetColumns }) =>
      rows.writes(child.key, "any", seq) &&
      (isGone || targetColumns.some((column) => !column.isKey && (!columns || columns.includes(column)))),
  );
}

/** Whether a kept change takes rows along that come under a parent: one that it deletes, or whose referenced columns it moves. */
function isChildOfKept(table: DeviceTable, { rows, seq }: Kept, columns?: readonly unknown[]): boolean {
  return table.references.some(
    ({ parent, columns: own, targetColumns }) =>
      (!columns || own.some((column) => columns.includes(column))) &&
      (rows.writes(parent.key, "delete", seq) ||
        (rows.writes(parent.key, "update", seq) && targetColumns.some((column) => !column.isKey))),
  );
}

/** Whether the parents that rows inherit their scopes from are the base's as far as they are there: none is only shown (rule A4). */
function hasBaseParents({ table, kind, columns, values }: BoundGroup, { rows, seq }: Kept): boolean {
  const { parent } = table.table;
  const at = parent ? columns.indexOf(parent.column) : -1;
  if (!parent || kind === "removal" || at < 0 || !rows.writes(parent.table.key, "any", seq)) return true;
  const key: [Value] = [null];
  for (const value of values[at] ?? []) {
    key[0] = value;
    if (rows.inserts(parent.table.key, key, seq)) return false;
  }
  return true;
}
