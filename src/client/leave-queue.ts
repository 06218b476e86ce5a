/**
 * Transactions leave the queue because a page covers them (promise 2): what was not applied as written has its outcome stored in
 * the same local transaction. They are kept for a while, for a server that loses them (rule I3).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import {
  findTransaction,
  keepTransactions,
  noteKeptStatus,
  pruneKept,
  readTransactions,
  type DeviceTransaction,
} from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { BaseImages } from "./base-images.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { findGoneRows } from "./gone-rows.ts";
import { storeOutcome, storeOutcomeAgain, type StoredOutcome } from "./outcomes.ts";

/** How long a handled transaction is kept when nothing else is said, in milliseconds. */
export const defaultKeepSentMs = 7 * 24 * 60 * 60 * 1000;

/** A transaction that left the queue. */
export interface Settled {
  /** The stamp that it was written with, which names it on this device. */
  readonly id: number;
  readonly outcome?: StoredOutcome;
}

/** What leaves, and when. */
export interface Leaving {
  readonly checkpoint: Checkpoint;
  /** What the page says became of them, by number. */
  readonly outcomes: ReadonlyMap<number, Outcome>;
  /** Base images of their rows. */
  readonly images: BaseImages;
  readonly nowMs: number;
  readonly keepSentMs: number;
}

/** Takes transactions out of the queue, from its front. */
export function* leaveQueue(
  sync: SyncDatabase,
  leaving: readonly DeviceTransaction[],
  { checkpoint, outcomes, images, nowMs, keepSentMs }: Leaving,
): Core<readonly Settled[]> {
  const settled: Settled[] = [];
  if (outcomes.size > 0) settled.push(...(yield* correctKept(sync, checkpoint, outcomes)));
  const gone = outcomes.size === 0 ? undefined : yield* findGoneRows(deviceSchema(sync), leaving, images);
  for (const transaction of leaving) {
    const { id, number, stamp, lastSeq, isVoid } = transaction;
    const outcome = outcomes.get(number);
    // What was rejected before has been told, and went as an empty one.
    if (isVoid) continue;
    if (outcome?.stamp !== stamp) {
      settled.push({ id });
      continue;
    }
    const store = number <= checkpoint.repeated ? storeOutcomeAgain : storeOutcome;
    settled.push({ id, outcome: yield* store(transaction, outcome, gone) });
    yield* noteKeptStatus(lastSeq, outcome.status);
  }
  const last = leaving.at(-1);
  if (!last) return settled;
  yield* keepTransactions(last, nowMs);
  yield* pruneKept({ nowMs, keepSentMs });
  return settled;
}

/**
 * What has left the queue may turn out otherwise: another device with our id, before either noticed, sent it again to a
 * server that had lost it (I3, I4). That is reported, too.
 */
function* correctKept(
  sync: SyncDatabase,
  { handled }: Checkpoint,
  outcomes: ReadonlyMap<number, Outcome>,
): Core<readonly Settled[]> {
  const corrected: Settled[] = [];
  for (const [number, outcome] of outcomes) {
    if (number > handled.number) continue;
    const kept = yield* findTransaction(number);
    if (!kept || kept.stamp !== outcome.stamp || kept.status === outcome.status) continue;
    const [transaction] = yield* readTransactions(sync, { after: number - 1, limit: 1, rejected: true });
    if (transaction?.number !== number) continue;
    corrected.push({ id: transaction.id, outcome: yield* storeOutcomeAgain(transaction, outcome) });
    yield* noteKeptStatus(kept.markerSeq, outcome.status);
  }
  return corrected;
}
