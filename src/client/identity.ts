/**
 * Who we are, as an answer sees it (rules I3, I4). Before anything is dropped because an answer says so, the device checks
 * that the answer speaks of *its* transactions: two devices may carry one id (a copied file, one restored from its
 * backup), and a restored server may have forgotten transactions.
 *
 * Whatever does not fit makes the device start anew under a fresh id: its pending transactions are numbered from 1 and
 * pushed again, judged by value like any other. The base stays: a cursor is the server's position, not the device's.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readTransactions } from "../plugin/device-log.ts";
import { renumberTransactions } from "../plugin/sqlite/renumber.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { makeDeviceId, type RandomBytes, type TxRef } from "../protocol/ids.ts";
import { writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { clearStage } from "./stage.ts";

/**
 * `behind`: the server lost transactions that it had handled (I3); they are gone from the queue, so all that can be kept
 * is kept by a fresh id, too.
 */
export type Identity = "same" | "forked" | "behind";

/** What an answer says about the device. */
export interface IdentityClaim {
  readonly lastTx?: TxRef | undefined;
  readonly ackedTx?: number | undefined;
}

/** Judges an answer to a request that was made when `handledThen` was the last transaction known to be handled. */
export function* judgeIdentity(
  sync: SyncDatabase,
  checkpoint: Checkpoint,
  claim: IdentityClaim,
  handledThen: number,
): Core<Identity> {
  const { handled } = checkpoint;
  // An acknowledgement beyond anything we were ever told is somebody else's.
  if (claim.ackedTx !== undefined && claim.ackedTx > handled.number) return "forked";
  if (!claim.lastTx) return "same";
  const { number, stamp } = claim.lastTx;
  // An older answer, overtaken by another channel, says nothing about us.
  if (number < handled.number) return number >= handledThen ? "same" : "behind";
  const mine = number === handled.number ? handled.stamp : yield* stampOf(sync, number);
  return mine === stamp ? "same" : "forked";
}

/** Takes a fresh id and numbers the pending transactions from 1. */
export function* startAnew(checkpoint: Checkpoint, random?: RandomBytes): Core<Checkpoint> {
  yield* renumberTransactions(checkpoint.handled.number);
  yield* clearStage();
  const next: Checkpoint = {
    ...checkpoint,
    deviceId: makeDeviceId(random),
    handled: { number: 0, stamp: 0 },
    round: undefined,
    roundSchema: undefined,
  };
  yield* writeCheckpoint(checkpoint, next);
  return next;
}

function* stampOf(sync: SyncDatabase, number: number): Core<number | undefined> {
  const [transaction] = yield* readTransactions(sync, { after: number - 1, limit: 1 });
  return transaction?.number === number ? transaction.stamp : undefined;
}
