/**
 * The next push, read from the queue; and the one after it, built while that one is on its way, so that neither side waits for
 * the other. What was built ahead is sent only if it is what would be built then: nothing before it was left open, nothing in
 * it was discarded or stamped anew, and the server has not asked for more of it.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { closeStrangers, findTransaction } from "../plugin/device-log.ts";
import type { HandshakeAnswer } from "../protocol/handshake.ts";
import type { TxRef } from "../protocol/ids.ts";
import { requireCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { type ExchangeContext, requireAgreement } from "./exchange.ts";
import { buildPush, type Push } from "./pending.ts";
import { readRefusals } from "./refusals.ts";

/** A push, and the checkpoint that it was built from. */
export interface BuiltPush {
  readonly checkpoint: Checkpoint;
  /** Undefined when nothing waits. */
  readonly made: Push | undefined;
}

/** A push that was built before its turn, and what it was built on. */
export interface PushAhead {
  readonly push: Push;
  readonly deviceId: string;
  readonly agreement: HandshakeAnswer;
  /** How often the queue's clocks had been put right. */
  readonly clockMoves: number;
  /** The transaction before its first one. */
  readonly after: TxRef;
}

/** Reads the next push, or takes the one that was built ahead. In a write transaction. */
export function* nextPush(context: ExchangeContext): Core<BuiltPush> {
  const { sync, session } = context;
  yield* closeStrangers(sync);
  const checkpoint = yield* requireCheckpoint();
  if (!(yield* isUploaded(session.uploaded, checkpoint))) session.uploaded = checkpoint.handled;
  // I3: as of the last pull. The server looks again whether it has what was handled.
  const { recordEnd, ahead } = session;
  session.recordEnd = session.ahead = undefined;
  const refused = yield* readRefusals();
  if (ahead && recordEnd === undefined && refused.size === 0 && (yield* holds(context, ahead, checkpoint)))
    return { checkpoint, made: ahead.push };
  return { checkpoint, made: yield* build(context, checkpoint, recordEnd ?? session.uploaded, refused) };
}

/**
 * Whether a transaction is ahead of what is handled, and goes under the stamp that it was uploaded with. A client beside this one
 * may have given it another one (I4): what is behind it must not reach a server that has it under the former one, since the
 * server's word on that would be taken for one on this.
 */
function* isUploaded({ number, stamp }: TxRef, { handled }: Checkpoint): Core<boolean> {
  if (number <= handled.number) return number === handled.number;
  return (yield* findTransaction(number))?.stamp === stamp;
}

/** Builds what follows a push as soon as that is on its way; the returned function gives it up. */
export function buildAhead(context: ExchangeContext, { request, isAll }: Push): () => void {
  const { local, session, clock, transport } = context;
  const agreement = requireAgreement(session);
  const last = request.txs.at(-1);
  if (isAll || last === undefined) return () => undefined;
  let isWanted = true;
  const cancel = clock.delay(0, () => {
    const after: TxRef = { number: last.number, stamp: last.stamp };
    const { clockMoves } = session;
    local("read", function* () {
      const checkpoint = yield* requireCheckpoint();
      const push = yield* build(context, checkpoint, after, yield* readRefusals());
      return push && { push, deviceId: checkpoint.deviceId, agreement, clockMoves, after };
    })
      .then((ahead) => {
        if (!isWanted) return;
        session.ahead = ahead;
        if (ahead) transport.prepare?.(ahead.push.request);
      })
      // It is built when its turn comes, and what is wrong is said then.
      .catch(() => undefined);
  });
  return () => {
    isWanted = false;
    cancel();
  };
}

function* holds({ session }: ExchangeContext, ahead: PushAhead, checkpoint: Checkpoint): Core<boolean> {
  const { after, push } = ahead;
  const { uploaded, agreement, clockMoves, needed } = session;
  if (after.number !== uploaded.number || after.stamp !== uploaded.stamp) return false;
  if (ahead.agreement !== agreement || ahead.clockMoves !== clockMoves) return false;
  if (ahead.deviceId !== checkpoint.deviceId || push.transactions.some(({ number }) => needed.has(number)))
    return false;
  const last = push.transactions.at(-1);
  // I4: a discarded transaction gives itself and all behind it other stamps.
  return last !== undefined && (yield* findTransaction(last.number))?.stamp === last.stamp;
}

function build(
  { sync, session }: ExchangeContext,
  checkpoint: Checkpoint,
  after: TxRef,
  refused: ReadonlySet<number>,
): Core<Push | undefined> {
  const agreement = requireAgreement(session);
  return buildPush(sync, {
    checkpoint,
    after,
    epoch: agreement.epoch,
    limits: {
      maxPushTransactions: Math.min(agreement.limits.maxPushTransactions, session.maxPushTransactions),
      maxRequestBytes: session.maxRequestBytes,
    },
    refused,
    serverTables: agreement.tables,
    outdated: agreement.outdated,
    written: session.written,
    needed: session.needed,
  });
}
