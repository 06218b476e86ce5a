/**
 * The push: sends what waits in the queue, and takes in what the server says about it. It drops nothing: only a page does.
 *
 * @module
 */

import { closeStrangers, lastTransaction } from "../plugin/device-log.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import type { PushAnswer } from "../protocol/push.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { type ExchangeContext, requireAgreement, fork } from "./exchange.ts";
import { judgeIdentity } from "./identity.ts";
import type { MachineEvent } from "./machine.ts";
import { buildPush } from "./pending.ts";
import { readRefusals, refuse } from "./refusals.ts";
import { noteFruitless, type Session } from "./session.ts";

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

function noteAttempts(session: Session, transactions: readonly { readonly number: number }[], error: SyncError): void {
  for (const { number } of transactions)
    session.attempts.set(number, { count: (session.attempts.get(number)?.count ?? 0) + 1, lastError: error });
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
