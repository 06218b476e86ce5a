/**
 * One answer into the local database (rules A1–A4, R1, R4), in one local transaction that the caller opens in `apply` mode,
 * so with foreign keys off.
 *
 * ```
 *   is it for us, from exactly this state?  ─ no ─▶ dropped
 *   more pages follow ─▶ staged; on a first sync written at once
 *   last page ─▶ rewind: tables = base
 *                drop the rows that left the scopes, write the staged pages and this one
 *                drop the transactions that the page covers
 *                replay the others
 *                outcomes, cursor, scopes
 * ```
 *
 * When the transactions that stay in the queue are not concerned, only the rows of those that leave it are rewound, and
 * nothing is replayed (`untouched.ts`).
 *
 * @module
 */

import { run, type Core } from "../plugin/core.ts";
import { closeStrangers, lastTransaction, readTransactions } from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import { PREFIX } from "../plugin/names.ts";
import type { ChangedRow, SyncDatabase } from "../plugin/sync-database.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import type { RandomBytes } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import { changedRows, noteAll, noteGroups, noteImages, noteTouched, type ShownRows } from "./applied-rows.ts";
import {
  addFreshImages,
  keepOwn,
  loadImages,
  removeImages,
  restoreOwn,
  rewind,
  storeImages,
  type BaseImages,
} from "./base-images.ts";
import { withoutBrought, withoutBroughtByRound } from "./brought-rows.ts";
import { requireCheckpoint, roundText, writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema, type DeviceSchema } from "./device-schema.ts";
import { judgeIdentity, takeBack } from "./identity.ts";
import { collectInheritedKeys } from "./inherited-keys.ts";
import { lastFormsAfter } from "./last-forms.ts";
import { defaultKeepSentMs, leaveQueue, type Settled } from "./leave-queue.ts";
import { replay } from "./rebase.ts";
import {
  bindGroups,
  displacedText,
  readDisplaced,
  requireSettled,
  writeGroups,
  type BoundGroup,
} from "./row-writer.ts";
import { dropAll, dropOutside } from "./scope-drop.ts";
import { clearStage, readStagedPage, stagePage, stagedPages } from "./stage.ts";
import { isConstraintError } from "./storage-error.ts";
import { leavesKeptAlone, type Beside } from "./untouched.ts";

/** The state that a request was made from (rule A1). */
export interface Basis {
  readonly deviceId: string;
  readonly held: string;
  readonly schema: string;
  /** Absent for a stream, whose frames name the cursor they start from. */
  readonly request?: { readonly cursor: string | undefined; readonly round: string | undefined };
  /** The last transaction known to be handled when the request was made; 0 for a stream. */
  readonly handled: number;
}

/** What else is noted with an applied round. */
export interface ApplyContext {
  /** The scope declaration of the handshake. */
  readonly declaration: string;
  readonly nowMs: number;
  /** How long handled transactions are kept (rule I3). @default seven days */
  readonly keepSentMs?: number | undefined;
  readonly random?: RandomBytes | undefined;
}

/** What became of a page. `tables`: those that may have changed. */
export type PageResult =
  | { readonly kind: "stale" | "forked" | "foreign-epoch" }
  | ({ readonly kind: "staged" } & Changed)
  | ({ readonly kind: "applied"; readonly settled: readonly Settled[] } & Changed);

/** What a page changed. */
interface Changed {
  readonly tables: ReadonlySet<string>;
  /** The visible rows, for `db.$sync.onChange`; empty while nobody asks for them. */
  readonly applied: readonly ChangedRow[];
}

/** The base of a round turned out to be broken; rolls the application back. */
export class BrokenBase extends Error {
  constructor(table: string) {
    super(`rows of ${table} without their parent`);
    this.name = "BrokenBase";
  }
}

/** The basis of a request that is made from a checkpoint. */
export function basisOf(checkpoint: Checkpoint, schema: string): Basis {
  const { deviceId, held, handled, cursor, round } = checkpoint;
  return { deviceId, held, schema, handled: handled.number, request: { cursor, round } };
}

/** Applies or stages a page. */
export function* applyPage(sync: SyncDatabase, page: Page, basis: Basis, context: ApplyContext): Core<PageResult> {
  const schema = deviceSchema(sync);
  yield* closeStrangers(sync);
  const checkpoint = yield* requireCheckpoint();
  if (!fits(checkpoint, page, basis, schema)) return { kind: "stale" };
  if (checkpoint.epoch !== undefined && checkpoint.epoch !== page.epoch) return { kind: "foreign-epoch" };
  const identity = yield* judgeIdentity(checkpoint, page, basis.handled);
  if (identity === "forked") return { kind: "forked" };
  // An older snapshot lacks what we know to be handled. A page from our own cursor cannot be older than we are.
  if (identity === "overtaken" && page.from === undefined) return { kind: "stale" };
  return page.to === undefined
    ? yield* applyPart(sync, schema, checkpoint, page)
    : yield* muted(applyLast(sync, schema, checkpoint, { ...page, to: page.to }, context));
}

/** Rule A1. */
function fits(checkpoint: Checkpoint, page: Page, basis: Basis, schema: DeviceSchema): boolean {
  if (checkpoint.deviceId !== basis.deviceId || checkpoint.held !== basis.held) return false;
  if (page.schema !== schema.hash || basis.schema !== schema.hash) return false;
  if (basis.request) {
    const { cursor, round } = basis.request;
    if (checkpoint.cursor !== cursor || checkpoint.round !== round) return false;
  }
  return page.from === undefined ? checkpoint.cursor === undefined : page.from === checkpoint.cursor;
}

/** Whether pages go straight into the tables: nothing is in them that the page could contradict (rule R4). */
const isFirstSync = (checkpoint: Checkpoint, page: Page): boolean =>
  page.from === undefined && checkpoint.base !== "whole";

function* applyPart(sync: SyncDatabase, schema: DeviceSchema, checkpoint: Checkpoint, page: Page): Core<PageResult> {
  if (!page.round)
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A page has neither an end nor a continuation." });
  const next: Checkpoint = { ...checkpoint, epoch: page.epoch, round: roundText(page.round), roundSchema: schema.hash };
  if (!isFirstSync(checkpoint, page)) {
    yield* stagePage(page);
    yield* writeCheckpoint(checkpoint, next);
    return { kind: "staged", tables: new Set(), applied: [] };
  }
  const changes: PageChanges = {
    groups: bindGroups(schema, page.changes),
    staged: [],
    replaces: startsOver(checkpoint),
  };
  const written = yield* muted(writeChanges(sync, schema, checkpoint, changes));
  yield* writeCheckpoint(checkpoint, { ...next, ...written.checkpoint, base: "partial" });
  return { kind: "staged", tables: written.tables, applied: written.applied };
}

/** A first sync that begins again empties the tables first. */
const startsOver = (checkpoint: Checkpoint): boolean => checkpoint.base === "partial" && checkpoint.round === undefined;

function* applyLast(
  sync: SyncDatabase,
  schema: DeviceSchema,
  before: Checkpoint,
  page: Page & Required<Pick<Page, "to">>,
  context: ApplyContext,
): Core<PageResult> {
  // I3: a page from our own cursor has the effects of all that is handled, whatever the server's record says.
  const isLost = page.from === undefined && page.lastTx !== undefined && page.lastTx.number < before.handled.number;
  const { checkpoint, lost } = isLost ? yield* takeBack(before, page.lastTx, context.random) : { checkpoint: before };
  const isFirst = isFirstSync(checkpoint, page);
  const staged = isFirst || checkpoint.round === undefined ? [] : yield* stagedPages();
  const held = JSON.stringify([...page.scopes].sort());
  const changes: PageChanges = {
    groups: bindGroups(schema, page.changes),
    staged,
    replaces: page.from === undefined && (!isFirst || startsOver(checkpoint)),
    ...(page.from !== undefined && held !== checkpoint.held ? { scopes: page.scopes } : {}),
    end: page,
    returned: before.handled.number,
    nowMs: context.nowMs,
    keepSentMs: context.keepSentMs ?? defaultKeepSentMs,
  };
  const written = yield* writeChanges(sync, schema, checkpoint, changes);
  if (staged.length > 0 || checkpoint.round !== undefined) yield* clearStage();
  const lastTx = page.lastTx ?? checkpoint.handled;
  yield* writeCheckpoint(checkpoint, {
    ...checkpoint,
    ...written.checkpoint,
    epoch: page.epoch,
    cursor: page.to,
    base: "whole",
    held,
    // V2: the columns that the base holds, which are fewer while the server is older.
    baseSchema: page.shared ?? page.schema,
    declaration: context.declaration,
    syncedAt: context.nowMs,
    handled: lastTx.number > checkpoint.handled.number ? lastTx : checkpoint.handled,
    told: Math.max(checkpoint.told, lastTx.number),
    isDenied: false,
    round: undefined,
    roundSchema: undefined,
    displaced: undefined,
  });
  const settled = lost ? [{ id: lost.id, outcome: lost }, ...written.settled] : written.settled;
  return { kind: "applied", tables: written.tables, applied: written.applied, settled };
}

/** What is to be written, and how it ends. */
export interface PageChanges {
  readonly groups: readonly BoundGroup[];
  /** Numbers of staged pages that come before. */
  readonly staged: readonly number[];
  /** Whether the base is replaced as a whole. */
  readonly replaces: boolean;
  /** The new scopes, when they differ from those held. */
  readonly scopes?: readonly string[];
  /** The last page of a round; absent while a first sync goes on. */
  readonly end?: Page;
  /** Transactions of the queue up to this number have come back to it: base images know their effects (I3). @default none */
  readonly returned?: number;
  readonly nowMs?: number;
  readonly keepSentMs?: number;
}

interface Written {
  readonly tables: ReadonlySet<string>;
  readonly settled: readonly Settled[];
  readonly checkpoint: Partial<Checkpoint>;
  readonly applied: readonly ChangedRow[];
}

function* writeChanges(
  sync: SyncDatabase,
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
): Core<Written> {
  const shown: ShownRows | undefined = sync.isFollowed ? new Map() : undefined;
  if (shown) {
    if (changes.replaces || changes.scopes || changes.staged.length > 0) yield* noteAll(schema, shown);
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
  const beside = yield* leavesKeptAlone(sync, schema, checkpoint, changes);
  if (beside) {
    if (shown) yield* noteImages(beside.images, shown);
    for (const { table } of beside.images.values()) tables.add(table.key);
    if (yield* tryBeside(schema, changes.groups, beside)) {
      return { tables, settled: yield* leave(sync, checkpoint, changes, beside), checkpoint: {} };
    }
  }
  return yield* rebase(sync, schema, checkpoint, changes, tables, shown);
}

const SAVEPOINT = `${PREFIX}beside`;

/**
 * Rule A2, the short way: only the rows of the dropped transactions become the base again. False, and nothing written, when
 * a kept row stands in the way of a unique value, or a row has lost the parent it inherits its scopes from: the long way
 * tells whose fault it is.
 */
function* tryBeside(schema: DeviceSchema, groups: readonly BoundGroup[], { images, isLast }: Beside): Core<boolean> {
  const inherited = collectInheritedKeys(schema);
  inherited.note(groups);
  let isWritten = false;
  yield* run(`SAVEPOINT ${SAVEPOINT}`);
  try {
    yield* keepOwn(images);
    yield* rewind(withoutBrought(images, groups));
    yield* writeGroups(groups);
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
  const returned = changes.returned ?? 0;
  yield* addFreshImages(
    schema,
    images,
    transactions.filter(({ number }) => number > returned),
  );
  // What came back has been part of the base. Undone, it gives the last form that its rows had before (P6), and nothing else.
  const lastForms: BaseImages = new Map(images);
  yield* addFreshImages(
    schema,
    lastForms,
    transactions.filter(({ number }) => number <= returned),
  );
  if (shown) yield* noteImages(images, shown);
  const write = (): Core<string | undefined> => writeBase(schema, checkpoint, changes, tables);
  const displaced = yield* rewindAndWrite(schema, changes, images, write);

  const handled = changes.end?.lastTx?.number ?? 0;
  const dropped = transactions.filter(({ number }) => number <= handled);
  const settled = yield* leave(sync, checkpoint, changes, { dropped, images });
  const replayed = yield* replay(
    schema,
    transactions.filter(({ number }) => number > handled),
    lastFormsAfter(schema, new Map([...lastForms, ...images]), dropped),
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
      yield* rewind(left);
      const displaced = yield* write();
      yield* run(`RELEASE ${SAVEPOINT}`);
      return displaced;
    } catch (error) {
      const isRefused = isConstraintError(error) || isSyncError(error, "STORAGE_FAILED");
      if (!isRefused && !(error instanceof BrokenBase)) throw error;
      yield* run(`ROLLBACK TO ${SAVEPOINT}`);
      yield* run(`RELEASE ${SAVEPOINT}`);
    }
  }
  yield* rewind(images);
  return yield* write();
}

/** Brings the tables, which hold the base, to the page's base. */
function* writeBase(
  schema: DeviceSchema,
  checkpoint: Checkpoint,
  changes: PageChanges,
  tables: Set<string>,
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
    const groups = bindGroups(schema, (yield* readStagedPage(n)).changes);
    for (const group of groups) tables.add(group.table.key);
    inherited.note(groups);
    yield* writeGroups(groups, displaced);
  }
  inherited.note(changes.groups);
  yield* writeGroups(changes.groups, displaced);
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
