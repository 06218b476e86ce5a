/**
 * What a page changes in the tables, the base images and the queue (rules A2, A3), in the transaction that applies it.
 *
 * ```
 *   nothing pending ─▶ written as it is
 *   all that is pending is covered, and each of its rows brought ─▶ the same (`covered.ts`)
 *   the transactions that stay are not concerned ─▶ the short way: the rows of those that leave become the base
 *                                                   again, and the page is written beside the others (`untouched.ts`)
 *   else ─▶ the long way: all become the base, the page is written, what stays is replayed (`rebase.ts`)
 * ```
 *
 * @module
 */

import { type Core, run } from "../plugin/core.ts";
import { lastTransaction, readTransactions, type DeviceTransaction } from "../plugin/device-log.ts";
import { PREFIX } from "../plugin/names.ts";
import type { ChangedRow, SyncDatabase } from "../plugin/sync-database.ts";
import { isSyncError } from "../protocol/errors.ts";
import type { Page } from "../protocol/pull.ts";
import { type ShownRows, changedRows, noteAll, noteGroups, noteImages, noteTouched } from "./applied-rows.ts";
import {
  type BaseImages,
  addFreshImages,
  keepOwn,
  loadImages,
  removeImages,
  restoreOwn,
  putBack,
  storeImages,
} from "./base-images.ts";
import { withoutBrought, withoutBroughtByRound } from "./brought-rows.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { findCovered } from "./covered.ts";
import type { DeviceSchema } from "./device-schema.ts";
import { collectInheritedKeys } from "./inherited-keys.ts";
import { lastFormsAfter } from "./last-forms.ts";
import { type Settled, defaultKeepSentMs, leaveQueue } from "./leave-queue.ts";
import { replay } from "./rebase.ts";
import { type BoundGroup, displacedText, readDisplaced, requireSettled, writeGroups } from "./row-writer.ts";
import { dropAll, dropOutside } from "./scope-drop.ts";
import { readStagedGroups } from "./stage.ts";
import { isConstraintError } from "./storage-error.ts";
import type { OnRefusal } from "./row-sql.ts";
import { type Beside, leavesKeptAlone } from "./untouched.ts";

/** The base of a round turned out to be broken; rolls the application back. */
export class BrokenBase extends Error {
  constructor(table: string) {
    super(`rows of ${table} without their parent`);
    this.name = "BrokenBase";
  }
}

/** What is to be written, and how it ends. */
export interface PageChanges {
  readonly groups: readonly BoundGroup[];
  /** Numbers of staged pages that come before. */
  readonly staged: readonly number[];
  /** Whether the base is replaced as a whole. */
  readonly replaces: boolean;
  /** Whether they are those of a snapshot, into tables that were empty before it. */
  readonly isFresh: boolean;
  /** The new scopes, when they differ from those held. */
  readonly scopes?: readonly string[];
  /** The last page of a round; absent while a first sync goes on. */
  readonly end?: Page;
  readonly nowMs?: number;
  readonly keepSentMs?: number;
}

/** What became of it. `checkpoint`: what it changes there. */
export interface Written {
  readonly tables: ReadonlySet<string>;
  readonly settled: readonly Settled[];
  readonly checkpoint: Partial<Checkpoint>;
  readonly applied: readonly ChangedRow[];
}

/** Writes a page into the tables, and lets the transactions that it covers leave the queue. */
export function* writeChanges(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
): Core<Written> {
  const shown: ShownRows | undefined = sync.isFollowed ? new Map() : undefined;
  if (shown) {
    if (changes.replaces || changes.scopes) yield* noteAll(schema, shown);
    for (const n of changes.staged) yield* noteGroups(yield* readStagedGroups(schema, n), shown);
    yield* noteGroups(changes.groups, shown);
  }
  const written = yield* writeNoting(sync, schema, checkpoint, changes, shown);
  return { ...written, applied: shown ? yield* changedRows(shown) : [] };
}

function* writeNoting(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
  shown: ShownRows | undefined,
): Core<Omit<Written, "applied">> {
  const tables = new Set(changes.groups.map((group) => group.table.key));
  const hasPending = (yield* lastTransaction()).number > checkpoint.handled.number;
  if (!hasPending) {
    const displaced = yield* writeBase(schema, checkpoint, changes, tables);
    const settled = yield* leave(sync, checkpoint, changes, { dropped: [], images: new Map() });
    return { tables, settled, checkpoint: { displaced, withheld: [], cascaded: false } };
  }
  const covered = yield* findCovered(sync, schema, checkpoint, changes);
  if (covered) {
    const written = yield* tryCovered(sync, schema, checkpoint, changes, covered, tables);
    if (written) return written;
  }
  const beside = yield* leavesKeptAlone(sync, schema, checkpoint, changes);
  if (beside) {
    if (shown) yield* noteImages(beside.images, shown);
    for (const { table } of beside.images.values()) tables.add(table.key);
    for (const { table } of beside.pages.flat()) tables.add(table.key);
    if (yield* tryBeside(schema, beside)) {
      return { tables, settled: yield* leave(sync, checkpoint, changes, beside), checkpoint: {} };
    }
  }
  return yield* rebase(sync, schema, checkpoint, changes, tables, shown);
}

const SAVEPOINT = `${PREFIX}beside`;

/** Rule A2, where nothing stays and nothing has to be undone. Undefined, and nothing written, when a row is in another's way. */
function* tryCovered(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
  dropped: readonly DeviceTransaction[],
  tables: Set<string>,
): Core<Omit<Written, "applied"> | undefined> {
  let displaced: string | undefined;
  let isWritten = false;
  yield* run(`SAVEPOINT ${SAVEPOINT}`);
  try {
    displaced = yield* writeBase(schema, checkpoint, changes, tables, "keep");
    isWritten = true;
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  if (!isWritten) yield* run(`ROLLBACK TO ${SAVEPOINT}`);
  yield* run(`RELEASE ${SAVEPOINT}`);
  if (!isWritten) return undefined;
  const settled = yield* leave(sync, checkpoint, changes, { dropped, images: new Map() });
  return { tables, settled, checkpoint: { displaced, withheld: [], cascaded: false } };
}

/** Whether what the base is to be does not fit what is there. */
function isRefusal(error: unknown): boolean {
  return isConstraintError(error) || isSyncError(error, "STORAGE_FAILED") || error instanceof BrokenBase;
}

/**
 * Rule A2, the short way: only the rows of the dropped transactions become the base again. False, and nothing written, when
 * a kept row stands in the way of a unique value, or a row has lost the parent it inherits its scopes from: the long way
 * tells whose fault it is.
 */
function* tryBeside(schema: DeviceSchema, { images, isLast, pages }: Beside): Core<boolean> {
  const inherited = collectInheritedKeys(schema);
  const groups = pages.flat();
  inherited.note(groups);
  let isWritten = false;
  yield* run(`SAVEPOINT ${SAVEPOINT}`);
  try {
    yield* keepOwn(images);
    yield* putBack(withoutBrought(images, groups));
    for (const page of pages) yield* writeGroups(page, { onRefusal: "keep" });
    isWritten = (yield* inherited.findOrphan()) === undefined;
  } catch (error) {
    if (!isConstraintError(error)) throw error;
  }
  if (!isWritten) yield* run(`ROLLBACK TO ${SAVEPOINT}`);
  yield* run(`RELEASE ${SAVEPOINT}`);
  if (!isWritten) return false;
  yield* restoreOwn(images);
  yield* isLast ? storeImages(new Map()) : removeImages(images);
  return true;
}

/** Rule A2, the long way. */
function* rebase(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
  tables: Set<string>,
  shown: ShownRows | undefined,
): Core<Omit<Written, "applied">> {
  const transactions = yield* readTransactions(sync, {
    after: checkpoint.handled.number,
    limit: Number.MAX_SAFE_INTEGER,
  });
  for (const { entries } of transactions) for (const entry of entries) tables.add(entry.table.key);
  const images = yield* loadImages(schema);
  for (const image of images.values()) tables.add(image.table.key);
  // What the server has lost comes back where the base is replaced (I3): undone like the rest, it gives the last form that its
  // rows had before (P6).
  yield* addFreshImages(schema, images, transactions);
  if (shown) yield* noteImages(images, shown);
  const write = (): Core<string | undefined> => writeBase(schema, checkpoint, changes, tables);
  const displaced = yield* rewindAndWrite(schema, changes, images, write);

  const handled = changes.end?.lastTx?.number ?? 0;
  const dropped = transactions.filter(({ number }) => number <= handled);
  const settled = yield* leave(sync, checkpoint, changes, { dropped, images });
  const replayed = yield* replay(
    schema,
    transactions.filter(({ number }) => number > handled),
    lastFormsAfter(schema, images, dropped),
  );
  yield* restoreOwn(images);
  yield* storeImages(replayed.images);
  if (shown) noteTouched(replayed.images, shown);
  for (const image of replayed.images.values()) tables.add(image.table.key);
  return { tables, settled, checkpoint: { displaced, withheld: [...replayed.withheld], cascaded: replayed.cascaded } };
}

/**
 * Makes the tables hold the base, and then the page's. Rows that the page brings whole are left as they are until it does; when
 * anything stands in the way then, all of them are put back first.
 */
function* rewindAndWrite(
  schema: DeviceSchema,
  changes: PageChanges,
  images: BaseImages,
  write: () => Core<string | undefined>,
): Core<string | undefined> {
  yield* keepOwn(images);
  // A base that is replaced need not be put back before; a damaged one cannot always be.
  if (changes.replaces) return yield* write();
  const left = changes.scopes ? images : yield* withoutBroughtByRound(schema, images, changes);
  if (left !== images) {
    yield* run(`SAVEPOINT ${SAVEPOINT}`);
    try {
      yield* putBack(left);
      const displaced = yield* write();
      yield* run(`RELEASE ${SAVEPOINT}`);
      return displaced;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      yield* run(`ROLLBACK TO ${SAVEPOINT}`);
      yield* run(`RELEASE ${SAVEPOINT}`);
    }
  }
  yield* putBack(images);
  return yield* write();
}

/** Brings the tables, which hold the base, to the page's base. */
function* writeBase(
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
  tables: Set<string>,
  onRefusal: OnRefusal = "undo",
): Core<string | undefined> {
  const displaced = readDisplaced(checkpoint.displaced);
  if (changes.replaces) {
    yield* dropAll(schema);
    for (const table of schema.tables) tables.add(table.key);
    displaced.clear();
  } else if (changes.scopes) {
    for (const table of yield* dropOutside(schema, changes.scopes)) tables.add(table);
  }
  const inherited = collectInheritedKeys(schema);
  for (const n of changes.staged) {
    const groups = yield* readStagedGroups(schema, n);
    for (const group of groups) tables.add(group.table.key);
    inherited.note(groups);
    yield* writeGroups(groups, { displaced, areNew: changes.isFresh, onRefusal });
  }
  inherited.note(changes.groups);
  yield* writeGroups(changes.groups, { displaced, areNew: changes.isFresh, onRefusal });
  if (!changes.end) return displacedText(displaced);
  requireSettled(displaced);
  // A whole base that is new comes from snapshots of many moments only until its log pages are in, which they are now.
  const orphans = yield* inherited.findOrphan();
  if (orphans !== undefined) throw new BrokenBase(orphans);
  return undefined;
}

/** Promise 2, with what the page says of them. */
function leave(
  sync: SyncDatabase,
  checkpoint: Checkpoint,
  { end, nowMs = 0, keepSentMs = defaultKeepSentMs }: PageChanges,
  { dropped, images }: Pick<Beside, "dropped" | "images">,
): Core<readonly Settled[]> {
  const outcomes = new Map((end?.outcomes ?? []).map((outcome) => [outcome.number, outcome]));
  return leaveQueue(sync, dropped, { checkpoint, outcomes, images, nowMs, keepSentMs });
}
