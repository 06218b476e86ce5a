/**
 * One answer into the local database (rules A1–A4, R1, R4), in one local transaction that the caller opens in `apply` mode,
 * so with foreign keys off.
 *
 * ```
 *   is it for us, from exactly this state?  ─ no ─▶ dropped
 *   more pages follow ─▶ staged; on a first sync written at once
 *   last page ─▶ tables, images and queue become what it says (`write-changes.ts`), with outcomes, cursor and scopes
 * ```
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { closeStrangers } from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import type { ChangedRow, SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { RandomBytes } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import { type Checkpoint, requireCheckpoint, roundText, writeCheckpoint } from "./checkpoint.ts";
import { type DeviceSchema, deviceSchema } from "./device-schema.ts";
import { judgeIdentity, takeBack } from "./identity.ts";
import { type Settled, defaultKeepSentMs } from "./leave-queue.ts";
import { stampOfId } from "./outcomes.ts";
import { bindGroups } from "./row-writer.ts";
import { clearStage, forgetChanges, stagePage, stagedPages } from "./stage.ts";
import { type PageChanges, writeChanges } from "./write-changes.ts";

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

/** The basis of a request that is made from a checkpoint. */
export function basisOf(checkpoint: Checkpoint, schema: string): Basis {
  const { deviceId, held, handled, cursor, round } = checkpoint;
  return { deviceId, held, schema, handled: handled.number, request: { cursor, round } };
}

/** The scopes that a device holds once it has taken a page in, as its checkpoint has them. */
export function heldAfter({ scopes }: Page, before: string): string {
  return scopes === undefined ? before : JSON.stringify([...scopes].sort());
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
  return page.from === checkpoint.cursor;
}

/** Whether pages go straight into the tables: nothing is in them that the page could contradict (rule R4). */
const isFirstSync = (checkpoint: Checkpoint, page: Page): boolean =>
  page.from === undefined && checkpoint.base !== "whole";

function* applyPart(sync: SyncDatabase, schema: DeviceSchema, checkpoint: Checkpoint, page: Page): Core<PageResult> {
  if (!page.round)
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A page has neither an end nor a continuation." });
  const next: Checkpoint = { ...checkpoint, epoch: page.epoch, round: roundText(page.round), roundSchema: schema.hash };
  if (!isFirstSync(checkpoint, page)) {
    yield* stagePage(schema, page);
    yield* writeCheckpoint(checkpoint, next);
    return { kind: "staged", tables: new Set(), applied: [] };
  }
  const changes: PageChanges = {
    groups: bindGroups(schema, page.changes),
    staged: [],
    replaces: startsOver(checkpoint),
    isFresh: true,
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
  const { checkpoint, lost } =
    page.from === undefined && page.lastTx !== undefined
      ? yield* takeBack(before, page.lastTx, context.random)
      : { checkpoint: before };
  const isFirst = isFirstSync(checkpoint, page);
  const staged = isFirst || checkpoint.round === undefined ? [] : yield* stagedPages();
  const held = heldAfter(page, checkpoint.held);
  const changes: PageChanges = {
    groups: bindGroups(schema, page.changes),
    staged,
    replaces: page.from === undefined && (!isFirst || startsOver(checkpoint)),
    isFresh: page.from === undefined,
    ...(page.scopes !== undefined && page.from !== undefined && held !== checkpoint.held
      ? { scopes: page.scopes }
      : {}),
    end: page,
    nowMs: context.nowMs,
    keepSentMs: context.keepSentMs ?? defaultKeepSentMs,
  };
  const written = yield* writeChanges(sync, schema, checkpoint, changes);
  if (staged.length > 0) {
    yield* clearStage();
    forgetChanges(schema);
  }
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
  const settled = lost ? [{ id: stampOfId(lost.id), outcome: lost }, ...written.settled] : written.settled;
  return { kind: "applied", tables: written.tables, applied: written.applied, settled };
}
