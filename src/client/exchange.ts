/**
 * The three requests: handshake, push, pull. Each reads the local database in one transaction, waits for the server, and
 * takes the answer in with another; between the two anything may have happened, which is what rule A1 is for. What comes
 * back is what the state machine needs to hear; errors are thrown.
 *
 * @module
 */

import { closeStrangers, lastTransaction } from "../plugin/device-log.ts";
import type { Core } from "../plugin/core.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { hashScopes } from "../protocol/hash.ts";
import { protocolVersions } from "../protocol/version.ts";
import type { RandomBytes } from "../protocol/ids.ts";
import type { Page, PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { PushAnswer } from "../protocol/push.ts";
import { applyPage, basisOf, BrokenBase, type Basis, type PageResult } from "./apply.ts";
import { heldScopes, requireCheckpoint, roundOf, type Checkpoint } from "./checkpoint.ts";
import type { Clock } from "./clock.ts";
import { resetBase, restartRound } from "./device-state.ts";
import { deviceSchema } from "./device-schema.ts";
import type { Holds, Wish } from "./holds.ts";
import { judgeIdentity, startAnew } from "./identity.ts";
import type { LocalDatabase } from "./local-database.ts";
import { buildPush } from "./pending.ts";
import { forgetRefusals, readRefusals, refuse, withRefusals } from "./refusals.ts";
import { forgetQueue, noteFruitless, type Session } from "./session.ts";
import type { MachineEvent } from "./machine.ts";
import type { Transport } from "./transport.ts";

/** What the requests work with. */
export interface ExchangeContext {
  readonly sync: SyncDatabase;
  readonly transport: Transport;
  readonly local: LocalDatabase;
  readonly session: Session;
  readonly holds: Holds;
  readonly clock: Clock;
  readonly random?: RandomBytes | undefined;
  /** Told after a page was applied or staged, and after a transaction left the queue. */
  readonly onApplied: (
    changed: Pick<PageResult & { readonly kind: "applied" }, "tables" | "applied" | "settled">,
    checkpoint: Checkpoint,
  ) => void;
  /** The number of the last transaction known to be handled. */
  readonly handled: () => number;
  /** Told of what healed itself. */
  readonly onError: (error: SyncError) => void;
}

/** Rule V1, and what the agreement means for the base. */
export async function handshake(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { sync, local, session, transport, clock } = context;
  const schema = deviceSchema(sync);
  const { deviceId } = await local("read", requireCheckpoint);
  const answer = await transport.handshake(
    { deviceId, protocol: protocolVersions, schema: { hash: schema.hash, tables: schema.known }, time: clock.now() },
    { signal },
  );
  session.agreement = answer;
  session.maxRequestBytes = answer.limits.maxRequestBytes;
  session.sendsHeldList = false;
  const agreed = await local("write", function* () {
    yield* closeStrangers(sync);
    let checkpoint = yield* requireCheckpoint();
    if (checkpoint.epoch !== undefined && checkpoint.epoch !== answer.epoch)
      checkpoint = yield* resetBase(checkpoint, answer.epoch);
    if (checkpoint.declaration !== undefined && checkpoint.declaration !== answer.declaration)
      checkpoint = yield* resetBase(checkpoint);
    return { checkpoint, last: yield* lastTransaction() };
  });
  if (session.uploaded.number < agreed.checkpoint.handled.number) session.uploaded = agreed.checkpoint.handled;
  return {
    type: "connected",
    hasQueue: agreed.last.number > session.uploaded.number,
    isEmpty: agreed.checkpoint.base !== "whole",
  };
}

/** One push. */
export async function push(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { sync, local, session, transport, onError } = context;
  const agreement = requireAgreement(session);
  const built = await local("write", function* () {
    yield* closeStrangers(sync);
    const checkpoint = yield* requireCheckpoint();
    if (session.uploaded.number < checkpoint.handled.number) session.uploaded = checkpoint.handled;
    const made = yield* buildPush(sync, {
      checkpoint,
      after: session.uploaded,
      epoch: agreement.epoch,
      limits: {
        maxPushTransactions: Math.min(agreement.limits.maxPushTransactions, session.maxPushTransactions),
        maxRequestBytes: session.maxRequestBytes,
      },
      refused: yield* readRefusals(),
      serverTables: agreement.tables,
      needed: session.needed,
    });
    return { checkpoint, made };
  });
  if (!built.made) return { type: "pushed", more: false };
  const { request, transactions } = built.made;
  let answer: PushAnswer;
  try {
    answer = await transport.push(request, { signal });
  } catch (error) {
    if (isSyncError(error) && error.code !== "ABORTED") noteAttempts(session, transactions, error);
    const [only] = transactions;
    if (!isSyncError(error, "TOO_LARGE") || !only || request.txs.every(({ ops }) => ops.length === 0)) throw error;
    onError(error);
    // It would never be taken; without its operations it makes way for those behind it (promise 4).
    if (transactions.length === 1) await local("write", () => refuse(only.stamp));
    else halvePushes(session, transactions.length, request);
    return { type: "pushed", more: true };
  }
  session.maxPushTransactions = Math.min(Number.MAX_SAFE_INTEGER, session.maxPushTransactions * 2);
  if (answer.epoch !== agreement.epoch || answer.kind === "reset" || answer.kind === "need-schema")
    return { type: "renegotiate" };
  if (answer.kind === "forked") return await fork(context);
  const { lastTx, ackedTx } = answer;
  const judged = await local("read", function* () {
    const checkpoint = yield* requireCheckpoint();
    if (checkpoint.deviceId !== request.deviceId)
      return { identity: "same" as const, last: checkpoint.handled, isStale: true };
    return {
      identity: yield* judgeIdentity(sync, checkpoint, { lastTx, ackedTx }, built.checkpoint.handled.number),
      last: yield* lastTransaction(),
      isStale: false,
    };
  });
  if (judged.isStale) return { type: "pushed", more: true };
  if (judged.identity !== "same") return await fork(context);

  const before = session.uploaded.number;
  if (answer.kind === "gap" || lastTx.number > before) session.uploaded = lastTx;
  if (answer.kind === "need") {
    if (session.needed.has(answer.number)) {
      throw new SyncError({
        code: "INVALID_MESSAGE",
        message: `The server asks again for the rows of transaction ${answer.number}, which it was sent.`,
      });
    }
    session.needed.add(answer.number);
  } else if (session.uploaded.number <= before && before < (transactions[0]?.number ?? 0))
    noteFruitless(session, "push");
  if (lastTx.number > before) session.fruitless = 0;
  for (const number of [...session.attempts.keys()])
    if (number <= session.uploaded.number) session.attempts.delete(number);
  for (const number of [...session.needed]) if (number <= session.uploaded.number) session.needed.delete(number);
  return { type: "pushed", more: judged.last.number > session.uploaded.number };
}

/** Rule I4: somebody else speaks under our name, or the server has forgotten us. */
export async function fork(context: ExchangeContext): Promise<MachineEvent> {
  const { local, session, random } = context;
  await local("write", function* () {
    yield* closeStrangers(context.sync);
    return yield* startAnew(yield* requireCheckpoint(), random);
  });
  forgetQueue(session);
  return { type: "renegotiate" };
}

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
  const { local, session, transport, holds } = context;
  requireAgreement(session);
  const plan = await local("read", () => planPull(context));
  let answer: PullAnswer;
  try {
    answer = await transport.pull(plan.request, { signal });
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
    return { ...event, more: stoppedShort || holds.granted(plan.wish, answer.scopes) };
  }
  return await takeSignal(context, answer, plan);
}

/** Takes a page in, from a pull or a stream. */
export async function takePage(context: ExchangeContext, page: Page, basis: Basis): Promise<MachineEvent> {
  const { sync, local, session, clock, onError } = context;
  const { declaration } = requireAgreement(session);
  let result: PageResult & { readonly checkpoint?: Checkpoint };
  try {
    result = await local("apply", function* () {
      const applied = yield* applyPage(sync, yield* withRefusals(page), basis, { declaration, nowMs: clock.now() });
      if (applied.kind === "applied") yield* forgetRefusals(applied.settled);
      return { ...applied, checkpoint: yield* requireCheckpoint() };
    });
  } catch (error) {
    if (!(error instanceof BrokenBase)) throw error;
    const broken = brokenBase(error, page.from === undefined);
    if (broken.code !== "CHECKSUM_MISMATCH") throw broken;
    onError(broken);
    await local("write", function* () {
      return yield* resetBase(yield* requireCheckpoint());
    });
    return { type: "pulled", more: true, isEmpty: false };
  }
  const { checkpoint } = result;
  const isEmpty = checkpoint?.base !== "whole";
  switch (result.kind) {
    case "forked":
      return await fork(context);
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
      return { type: "pulled", more: result.kind === "staged", isEmpty };
  }
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
      await ifUnchanged(context, plan.basis, (checkpoint) => resetBase(checkpoint, answer.epoch));
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

function requireAgreement(session: Session): NonNullable<Session["agreement"]> {
  if (!session.agreement)
    throw new SyncError({ code: "UNAVAILABLE", message: "Nothing is agreed with the server yet." });
  return session.agreement;
}

function noteAttempts(session: Session, transactions: readonly { readonly number: number }[], error: SyncError): void {
  for (const { number } of transactions)
    session.attempts.set(number, { count: (session.attempts.get(number)?.count ?? 0) + 1, lastError: error });
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

/** At most as many as half of those in a request that was too large, and half their bytes. */
function halvePushes(session: Session, count: number, request: Parameters<typeof sizeHint>[0]): void {
  session.maxPushTransactions = Math.max(1, Math.floor(count / 2));
  session.maxRequestBytes = Math.max(1024, Math.floor(Math.min(session.maxRequestBytes, sizeHint(request)) / 2));
}

function sizeHint(request: { readonly txs: readonly { readonly ops: readonly unknown[] }[] }): number {
  let ops = 0;
  for (const tx of request.txs) ops += tx.ops.length;
  return Math.max(2048, ops * 200);
}
