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
import {
  closeStrangers,
  dropTransactions,
  lastTransaction,
  readTransactions,
  type DeviceTransaction,
} from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import { PREFIX } from "../plugin/names.ts";
import type { ChangedRow, SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Page } from "../protocol/pull.ts";
import { changedRows, noteAll, noteGroups, noteImages, noteTouched, type ShownRows } from "./applied-rows.ts";
import { addFreshImages, loadImages, removeImages, restoreOwn, rewind, storeImages } from "./base-images.ts";
import { requireCheckpoint, roundText, writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema, type DeviceSchema } from "./device-schema.ts";
import { judgeIdentity } from "./identity.ts";
import { collectInheritedKeys } from "./inherited-keys.ts";
import { storeOutcome, transactionId, type StoredOutcome } from "./outcomes.ts";
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
}

/** A transaction that left the queue. */
export interface Settled {
  readonly id: string;
  readonly outcome?: StoredOutcome;
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
  if ((yield* judgeIdentity(sync, checkpoint, page, basis.handled)) !== "same") return { kind: "forked" };
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
  checkpoint: Checkpoint,
  page: Page & Required<Pick<Page, "to">>,
  context: ApplyContext,
): Core<PageResult> {
  const isFirst = isFirstSync(checkpoint, page);
  const staged = isFirst || checkpoint.round === undefined ? [] : yield* stagedPages();
  const held = JSON.stringify([...page.scopes].sort());
  const changes: PageChanges = {
    groups: bindGroups(schema, page.changes),
    staged,
    replaces: page.from === undefined && (!isFirst || startsOver(checkpoint)),
    ...(page.from !== undefined && held !== checkpoint.held ? { scopes: page.scopes } : {}),
    end: page,
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
    baseSchema: schema.hash,
    declaration: context.declaration,
    syncedAt: context.nowMs,
    handled: lastTx.number > checkpoint.handled.number ? lastTx : checkpoint.handled,
    round: undefined,
    roundSchema: undefined,
    displaced: undefined,
  });
  return { kind: "applied", tables: written.tables, applied: written.applied, settled: written.settled };
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
    return { tables, settled: [], checkpoint: { displaced, withheld: [], cascaded: false } };
  }
  const beside = yield* leavesKeptAlone(sync, schema, checkpoint, changes);
  if (beside) {
    if (shown) yield* noteImages(beside.images, shown);
    for (const { table } of beside.images.values()) tables.add(table.key);
    if (yield* tryBeside(schema, changes.groups, beside)) {
      return { tables, settled: yield* leaveQueue(beside.dropped, changes.end), checkpoint: {} };
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
    yield* rewind(images);
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
  yield* addFreshImages(schema, images, transactions);
  if (shown) yield* noteImages(images, shown);
  yield* rewind(images);
  const displaced = yield* writeBase(schema, checkpoint, changes, tables);

  const handled = changes.end?.lastTx?.number ?? 0;
  const settled = yield* leaveQueue(
    transactions.filter(({ number }) => number <= handled),
    changes.end,
  );
  const replayed = yield* replay(
    schema,
    transactions.filter(({ number }) => number > handled),
    images,
  );
  yield* restoreOwn(images);
  yield* storeImages(replayed.images);
  if (shown) noteTouched(replayed.images, shown);
  for (const image of replayed.images.values()) tables.add(image.table.key);
  return { tables, settled, checkpoint: { displaced, withheld: [...replayed.withheld], cascaded: replayed.cascaded } };
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

/** Promise 2: what leaves the queue has been applied as written, or has its outcome stored with it. */
function* leaveQueue(dropped: readonly DeviceTransaction[], end: Page | undefined): Core<readonly Settled[]> {
  const outcomes = new Map((end?.outcomes ?? []).map((outcome) => [outcome.number, outcome]));
  const settled: Settled[] = [];
  for (const transaction of dropped) {
    const outcome = outcomes.get(transaction.number);
    const id = transactionId(transaction.stamp);
    if (outcome && outcome.stamp === transaction.stamp)
      settled.push({ id, outcome: yield* storeOutcome(transaction, outcome) });
    else settled.push({ id });
  }
  const last = dropped.at(-1);
  if (last) yield* dropTransactions(last.number);
  return settled;
}
