/**
 * The pull: asks for pages and takes them in, from a pull or a stream; also what the server answers instead of a page.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { hashScopes } from "../protocol/hash.ts";
import type { TxRef } from "../protocol/ids.ts";
import type { Page, PullAnswer, PullRequest } from "../protocol/pull.ts";
import { findMismatches } from "./checksums.ts";
import { applyPage, basisOf, type Basis, type PageResult } from "./apply.ts";
import { BrokenBase } from "./write-changes.ts";
import { heldScopes, requireCheckpoint, roundOf, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase, resetMismatched, restartRound } from "./device-state.ts";
import { type ExchangeContext, requireAgreement, fork } from "./exchange.ts";
import type { Wish } from "./holds.ts";
import type { MachineEvent } from "./machine.ts";
import { forgetRefusals, withRefusals } from "./refusals.ts";
import { noteFruitless, type Session } from "./session.ts";
import { mismatchError, type Verdict } from "./verification.ts";

/** A request for pages, and the state it is made from. */
export interface PullPlan {
  readonly request: PullRequest;
  readonly basis: Basis;
  readonly checkpoint: Checkpoint;
  readonly wish: Wish;
}

/** Reads what a pull, or a stream, is asked for with. */
export function* planPull(context: ExchangeContext): Core<PullPlan> {
  const { sync, session, holds, clock } = context;
  const schema = deviceSchema(sync);
  const checkpoint = yield* requireCheckpoint();
  const { deviceId, epoch, cursor, handled, baseSchema } = checkpoint;
  const held = heldScopes(checkpoint);
  const round = roundOf(checkpoint);
  const wish = holds.wish(held, checkpoint.base !== "whole" && cursor === undefined, clock.now());
  const request: PullRequest = {
    deviceId,
    ...(epoch === undefined ? {} : { epoch }),
    ...(cursor === undefined ? {} : { cursor }),
    // Rule U4: a hash says enough only while the target stays what is held.
    held:
      session.sendsHeldList || (wish.wanted && JSON.stringify(wish.wanted) !== checkpoint.held)
        ? held
        : hashScopes(held),
    ...(wish.wanted === undefined ? {} : { wanted: wish.wanted }),
    schema: schema.hash,
    baseSchema: baseSchema ?? schema.hash,
    ackedTx: handled.number,
    limit: Math.max(1, Math.min(session.pageRows, session.agreement?.limits.maxPageRows ?? session.pageRows)),
    ...(round === undefined ? {} : { round }),
  };
  return { request, basis: basisOf(checkpoint, schema.hash), checkpoint, wish };
}

/** One pull. */
export async function pull(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { local, session, readAhead, holds, verification } = context;
  requireAgreement(session);
  const plan = await local("read", () => planPull(context));
  const check = verification.ask(plan.checkpoint);
  const request: PullRequest = {
    ...plan.request,
    ...(check === undefined ? {} : { check }),
    ...(session.because === undefined || plan.request.cursor !== undefined ? {} : { because: session.because }),
  };
  let answer: PullAnswer;
  try {
    answer = await readAhead.pull(request, signal);
  } catch (error) {
    if (isSyncError(error, "TOO_LARGE")) session.pageRows = Math.max(1, Math.floor(session.pageRows / 2));
    throw error;
  }
  if (answer.kind === "page") {
    const event = await takePage(context, answer, plan.basis);
    if (event.type !== "pulled" || event.more || answer.to === undefined) return event;
    session.sendsHeldList = false;
    // U3: a page may stop short of what was pushed when its outcomes are many; the next one brings the others.
    const covered = answer.lastTx?.number ?? 0;
    const stoppedShort = covered > plan.checkpoint.handled.number && covered < session.uploaded.number;
    if (answer.lastTx && !stoppedShort) await noteRecord(context, answer.lastTx);
    return { ...event, more: stoppedShort || holds.granted(plan.wish, answer.scopes ?? heldScopes(plan.checkpoint)) };
  }
  return await takeSignal(context, answer, plan);
}

/** Takes a page in, from a pull or a stream. */
export async function takePage(context: ExchangeContext, page: Page, basis: Basis): Promise<MachineEvent> {
  const { sync, local, session, clock, onError, verification } = context;
  const { declaration, tables } = requireAgreement(session);
  const isFresh = page.from === undefined;
  let result: PageResult & { readonly checkpoint?: Checkpoint };
  let verdict: Verdict | undefined;
  try {
    result = await local("page", function* () {
      const nowMs = clock.now();
      const { keepSentMs, random } = context;
      const how = { declaration, nowMs, keepSentMs, random };
      const applied = yield* applyPage(sync, yield* withRefusals(page), basis, how);
      if (applied.kind === "applied" && applied.settled.length > 0) yield* forgetRefusals(applied.settled);
      let checkpoint = yield* requireCheckpoint();
      verdict = undefined;
      // Sums over other columns than were agreed upon say nothing.
      const isComparable = (page.shared ?? page.schema) === session.agreed;
      if (applied.kind === "applied" && page.checksums !== undefined && isComparable) {
        const mismatched = yield* findMismatches(sync, checkpoint, page.checksums, tables);
        verdict = { checked: Object.keys(page.checksums), mismatched, isFresh };
        // In the transaction that found it: nothing is built upon a base that is known to be wrong.
        if (mismatched.length > 0 && !isFresh) checkpoint = yield* resetMismatched(checkpoint);
      }
      return { ...applied, checkpoint };
    });
  } catch (error) {
    if (!(error instanceof BrokenBase)) throw error;
    const broken = brokenBase(error, isFresh);
    if (broken.code !== "CHECKSUM_MISMATCH") throw broken;
    onError(broken);
    session.because = "CHECKSUM_MISMATCH";
    await local("write", function* () {
      return yield* resetMismatched(yield* requireCheckpoint());
    });
    return { type: "pulled", more: true, isEmpty: false };
  }
  /** Says what was found, once it is committed; whether a fresh snapshot is to be asked for. */
  const takeVerdict = (): boolean => {
    if (verdict === undefined) return false;
    verification.take(verdict);
    if (verdict.mismatched.length === 0) return false;
    onError(mismatchError(verdict));
    if (!isFresh) session.because = "CHECKSUM_MISMATCH";
    return !isFresh;
  };
  const { checkpoint } = result;
  const isEmpty = checkpoint?.base !== "whole";
  switch (result.kind) {
    case "forked":
      return await fork(context, page.lastTx);
    case "foreign-epoch":
      return { type: "renegotiate" };
    case "stale":
      noteFruitless(session, "pull");
      return { type: "pulled", more: true, isEmpty, isFruitless: true };
    case "staged":
    case "applied":
      session.fruitless = 0;
      noteProgress(session, page);
      if (checkpoint)
        context.onApplied(
          { tables: result.tables, applied: result.applied, settled: result.kind === "applied" ? result.settled : [] },
          checkpoint,
        );
      if (result.kind === "staged") return { type: "pulled", more: true, isEmpty };
      if (isFresh) session.because = undefined;
      const more = takeVerdict();
      // V3: the server was upgraded, or rolled back. What waits for it may go now, or has to wait.
      if ((page.shared ?? page.schema) !== session.agreed) return { type: "renegotiate" };
      return { type: "pulled", more, isEmpty };
  }
}

/** How often what the server was known to have is sent again, before the next local transaction has to see to it. */
const MAX_RESENT = 3;

/**
 * Rule I3: what the end of the server's record, as of a page that we now stand at, says about what is to be pushed. Where it ends
 * before the queue's front, only numbers are missing: whatever the server has lost is in the queue by now.
 */
async function noteRecord(context: ExchangeContext, lastTx: TxRef): Promise<void> {
  const { local, session } = context;
  const { handled } = await local("read", requireCheckpoint);
  const isShort = lastTx.number < session.uploaded.number;
  if (!isShort) session.resent = 0;
  if (!session.isBehind && (!isShort || session.resent++ >= MAX_RESENT)) return;
  session.isBehind = false;
  session.uploaded = handled;
  if (lastTx.number < handled.number) session.recordEnd = lastTx;
  context.onReturned();
}

async function takeSignal(
  context: ExchangeContext,
  answer: Exclude<PullAnswer, Page>,
  plan: PullPlan,
): Promise<MachineEvent> {
  const { local, session } = context;
  switch (answer.kind) {
    case "need-schema":
      return { type: "renegotiate" };
    case "need-held":
      noteFruitless(session, "held scopes");
      session.sendsHeldList = true;
      break;
    case "restart":
      noteFruitless(session, "restart");
      await ifUnchanged(context, plan.basis, restartRound);
      break;
    case "reset":
      noteFruitless(session, "reset");
      context.onError(
        new SyncError({
          code: answer.reason,
          message: "The server asks the device to take a fresh snapshot. Nothing that was written here is lost.",
        }),
      );
      await ifUnchanged(context, plan.basis, (checkpoint) => resetBase(checkpoint, answer.epoch, answer.reason));
      break;
  }
  const { base } = await local("read", requireCheckpoint);
  return { type: "pulled", more: true, isEmpty: base !== "whole", isFruitless: true };
}

/** Rule A1, for answers that carry no page. */
async function ifUnchanged(
  context: ExchangeContext,
  basis: Basis,
  change: (checkpoint: Checkpoint) => Core<Checkpoint>,
): Promise<void> {
  await context.local("write", function* () {
    const checkpoint = yield* requireCheckpoint();
    const { deviceId, cursor, round } = checkpoint;
    if (deviceId === basis.deviceId && cursor === basis.request?.cursor && round === basis.request?.round)
      yield* change(checkpoint);
  });
}

function noteProgress(session: Session, page: Page): void {
  for (const group of page.changes) session.received += group.values[0]?.length ?? 0;
  session.remaining = page.remaining;
  if (page.to === undefined) return;
  session.received = 0;
  session.remaining = undefined;
}

function brokenBase(cause: BrokenBase, isFresh: boolean): SyncError {
  return isFresh
    ? new SyncError({
        code: "INVALID_MESSAGE",
        message: "The server's snapshot has rows without the parents that they take their scopes from.",
        cause,
      })
    : new SyncError({
        code: "CHECKSUM_MISMATCH",
        message:
          "The rows on this device do not fit together; a fresh snapshot is taken. Nothing that was written here is lost.",
        cause,
      });
}
