/**
 * The push: sends what waits in the queue, and takes in what the server says about it. It drops nothing: only a page does.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import {
  closeStrangers,
  correctClock,
  lastTransaction,
  readClockOffset,
  type DeviceTransaction,
} from "../plugin/device-log.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { clockOffset, type ClockReading } from "../protocol/hlc.ts";
import type { PushAnswer } from "../protocol/push.ts";
import { noteAttempts } from "./attempts.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { type ExchangeContext, requireAgreement, fork } from "./exchange.ts";
import { judgeIdentity } from "./identity.ts";
import type { MachineEvent } from "./machine.ts";
import { buildAhead, nextPush } from "./push-ahead.ts";
import { refuse } from "./refusals.ts";
import { noteFruitless, type Session } from "./session.ts";
import { storageError } from "./storage-error.ts";

/** Transactions whose whole rows are sent without being asked for, at most. */
const MAX_NEED_AHEAD = 256;

/** One push. */
export async function push(context: ExchangeContext, signal: AbortSignal): Promise<MachineEvent> {
  const { sync, local, session, transport, onError } = context;
  const agreement = requireAgreement(session);
  const built = await local("write", () => nextPush(context));
  if (!built.made) return { type: "pushed", more: false };
  const { request, transactions } = built.made;
  let answer: PushAnswer;
  const sentAt = sync.now();
  let stopBuilding = (): void => undefined;
  try {
    const sent = transport.push(request, { signal });
    stopBuilding = buildAhead(context, built.made);
    answer = await sent;
  } catch (error) {
    stopBuilding();
    session.ahead = undefined;
    if (isSyncError(error) && error.code !== "ABORTED") await noteFailed(context, transactions, error);
    const [only] = transactions;
    if (!isSyncError(error, "TOO_LARGE") || !only || request.txs.every(({ ops }) => ops.length === 0)) throw error;
    onError(error);
    // It would never be taken; without its operations it makes way for those behind it (promise 4).
    if (transactions.length === 1) await local("write", () => refuse(only.id));
    else halvePushes(session, transactions.length, request);
    return { type: "pushed", more: true };
  }
  stopBuilding();
  session.maxPushTransactions = Math.min(Number.MAX_SAFE_INTEGER, session.maxPushTransactions * 2);
  if (answer.epoch !== agreement.epoch || answer.kind === "reset" || answer.kind === "need-schema")
    return { type: "renegotiate" };
  if (answer.kind === "forked") {
    if (session.isDoubted || !transactions.some(isDoubtful)) return await fork(context);
    // What has another stamp by now may have been handled before, under the one of then: the page that comes next names it.
    session.isDoubted = session.isBehind = true;
    return { type: "renegotiate" };
  }
  session.isDoubted = false;
  const { lastTx, ackedTx, time } = answer;
  const reading = time === undefined ? undefined : { sentAt, receivedAt: sync.now(), serverTime: time };
  const judged = await local("read", function* () {
    const isClockWrong = reading !== undefined && (yield* offsetOf(reading)) !== undefined;
    const checkpoint = yield* requireCheckpoint();
    if (checkpoint.deviceId !== request.deviceId)
      return { identity: "same" as const, last: checkpoint.handled, isStale: true, isClockWrong };
    return {
      identity: yield* judgeIdentity(checkpoint, { lastTx, ackedTx }, built.checkpoint.handled.number),
      last: yield* lastTransaction(),
      isStale: false,
      isClockWrong,
    };
  });
  if (reading !== undefined && judged.isClockWrong) await putClockRight(context, reading);
  if (judged.isStale) return { type: "pushed", more: true };
  if (judged.identity === "forked") return await fork(context, lastTx);
  if (judged.identity === "behind") {
    // I3: whether the server has lost what it handled, or only its record of us, the pull tells that comes first now.
    session.isBehind = true;
    return { type: "renegotiate" };
  }

  const before = session.uploaded.number;
  if (answer.kind === "gap" || lastTx.number > before) session.uploaded = lastTx;
  if (answer.kind === "need") {
    if (session.needed.has(answer.number)) {
      throw new SyncError({
        code: "INVALID_MESSAGE",
        message: `The server asks again for the rows of transaction ${answer.number}, which it was sent.`,
      });
    }
    // A resolver that needs one row mostly needs the next ones, too: a long queue is not asked for them one by one.
    for (let i = 0; i < session.needAhead; i++) session.needed.add(answer.number + i);
    session.needAhead = Math.min(session.needAhead * 2, MAX_NEED_AHEAD);
  } else if (session.uploaded.number <= before && before < (transactions[0]?.number ?? 0))
    noteFruitless(session, "push");
  if (lastTx.number > before) session.fruitless = 0;
  if (answer.kind === "ok") session.needAhead = 1;
  for (const number of [...session.needed]) if (number <= session.uploaded.number) session.needed.delete(number);
  return { type: "pushed", more: judged.last.number > session.uploaded.number };
}

/** Whether the server may know the number of a transaction with another stamp than the one it was sent with (I4). */
function isDoubtful({ id, stamp, isVoid }: DeviceTransaction): boolean {
  return isVoid || id !== stamp;
}

/** Rule P11: a clock that was moved since the handshake. */
async function putClockRight({ sync, local, session }: ExchangeContext, reading: ClockReading): Promise<void> {
  await local("write", function* () {
    yield* closeStrangers(sync);
    const offset = yield* offsetOf(reading);
    if (offset !== undefined) yield* correctClock(offset, reading.receivedAt);
  });
  session.clockMoves++;
}

function* offsetOf(reading: ClockReading): Core<number | undefined> {
  return clockOffset(reading, yield* readClockOffset());
}

/** What failed is readable at any time (promise 4); that it cannot be noted must not hide why it failed. */
async function noteFailed(
  { local, onError }: ExchangeContext,
  transactions: readonly DeviceTransaction[],
  error: SyncError,
): Promise<void> {
  // Those before the one that the server names are handled.
  const from = isSyncError(error, "UNAVAILABLE") ? (error.details?.transaction ?? 0) : 0;
  const ids = transactions.filter(({ number }) => number >= from).map(({ id }) => id);
  try {
    await local("write", function* () {
      yield* noteAttempts(ids, error, (yield* requireCheckpoint()).handled.number);
    });
  } catch (failure) {
    onError(storageError(failure));
  }
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
