/**
 * Who we are, as an answer sees it (rules I3, I4). Before anything is dropped because an answer says so, the device checks
 * that the answer speaks of *its* transactions: two devices may carry one id (a copied file, one restored from its
 * backup), and a restored server may have lost transactions that it had handled.
 *
 * Both come down to one thing: the server's record ends before what we know to be handled. Under a fresh id it always does.
 *
 * ```
 *   the server's log has our cursor      ─▶ so it has what we wrote up to there: only the numbers are missing, and go as an
 *                                           empty range
 *   it has not; a fresh snapshot comes   ─▶ what is handled after the record's end is pending again, in the transaction that
 *                                           replaces the base; what is kept no longer is reported as lost
 * ```
 *
 * Numbers and stamps never change: a fresh id goes on where the former one stopped.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { findTransaction, takeBackTransactions } from "../plugin/device-log.ts";
import { makeDeviceId, makeStamp, type RandomBytes, type TxRef } from "../protocol/ids.ts";
import { writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { storeLost, type StoredOutcome } from "./outcomes.ts";
import { clearStage } from "./stage.ts";

/**
 * `forked`: somebody else speaks under our id (I4). `behind`: the server does not know any more what it had handled (I3), or
 * never did under this id. `overtaken`: an older answer, which says nothing about us.
 */
export type Identity = "same" | "forked" | "behind" | "overtaken";

/** What an answer says about the device. */
export interface IdentityClaim {
  readonly lastTx?: TxRef | undefined;
  readonly ackedTx?: number | undefined;
}

/** Judges an answer to a request that was made when `handledThen` was the last transaction known to be handled. */
export function* judgeIdentity(checkpoint: Checkpoint, claim: IdentityClaim, handledThen: number): Core<Identity> {
  const { handled, told } = checkpoint;
  // An acknowledgement beyond anything we were ever told is somebody else's.
  if (claim.ackedTx !== undefined && claim.ackedTx > told) return "forked";
  if (!claim.lastTx) return "same";
  const { number, stamp } = claim.lastTx;
  if (number === handled.number) return stamp === handled.stamp ? "same" : "forked";
  if (number < handled.number && number >= handledThen) return "overtaken";
  const ours = yield* findTransaction(number);
  if (number > handled.number) return ours?.stamp === stamp ? "same" : "forked";
  return ours === undefined || ours.stamp === stamp ? "behind" : "forked";
}

/**
 * Takes a fresh id (I4). What is pending is pushed under it; what was handled under the former one is kept like before, and
 * goes again only if the server turns out not to have it.
 */
export function* startAnew(checkpoint: Checkpoint, random?: RandomBytes): Core<Checkpoint> {
  yield* clearStage();
  const next: Checkpoint = {
    ...checkpoint,
    deviceId: makeDeviceId(random),
    told: checkpoint.handled.number,
    former: checkpoint.handled,
    round: undefined,
    roundSchema: undefined,
  };
  yield* writeCheckpoint(checkpoint, next);
  return next;
}

/** What a server's record that ends early makes of the queue. */
export interface TakenBack {
  readonly checkpoint: Checkpoint;
  /** The report on what is kept no longer. */
  readonly lost?: StoredOutcome;
}

/**
 * Puts what the server has lost back at the front of the queue (I3), in the transaction that replaces the base by a
 * snapshot in which it is missing.
 */
export function* takeBack(checkpoint: Checkpoint, lastTx: TxRef, random?: RandomBytes): Core<TakenBack> {
  const { handled, former, isDenied, repeated } = checkpoint;
  // Nothing says that the server lost what we wrote under a former id, unless its log denies our cursor: a device that was
  // restored from an old backup would write everything again, over whatever has been written since.
  const from = lastTx.number < former.number && !isDenied ? former : lastTx;
  if (from.number >= handled.number) return { checkpoint };
  const { dropped, gone } = yield* takeBackTransactions(from);
  const next: Checkpoint = {
    ...checkpoint,
    handled: dropped,
    repeated: Math.max(repeated, handled.number),
  };
  yield* writeCheckpoint(checkpoint, next);
  if (gone === undefined) return { checkpoint: next };
  const again = gone.number <= repeated;
  return { checkpoint: next, lost: yield* storeLost({ ...gone, stamp: makeStamp(random) }, again) };
}
