/**
 * The offline queue as the app sees it.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { closeStrangers, readTransactions } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { hlcMillis } from "../protocol/hlc.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { operationsOf, readOutcome, transactionId, type StoredOutcome } from "./outcomes.ts";
import type { Session } from "./session.ts";
import type { QueuedTransaction } from "./sync-engine.ts";

/** Lists the queue, oldest first; in a write transaction, since what strangers left open is closed first. */
export function* listQueue(sync: SyncDatabase, session: Session): Core<readonly QueuedTransaction[]> {
  yield* closeStrangers(sync);
  const { handled, withheld } = yield* requireCheckpoint();
  const hidden = new Set(withheld);
  const queue = yield* readTransactions(sync, { after: handled.number, limit: Number.MAX_SAFE_INTEGER });
  return queue.map((transaction) => {
    const attempts = session.attempts.get(transaction.number);
    return {
      id: transactionId(transaction.stamp),
      number: transaction.number,
      writtenAt: hlcMillis(transaction.hlc),
      operations: operationsOf(transaction),
      isWithheld: hidden.has(transaction.stamp),
      isUploaded: transaction.number <= session.uploaded.number,
      attempts: attempts?.count ?? 0,
      ...(attempts?.lastError === undefined ? {} : { lastError: attempts.lastError }),
      ...(attempts?.nextTryAt === undefined ? {} : { nextTryAt: attempts.nextTryAt }),
    };
  });
}

/** Whether a transaction is in the queue, and what became of it where that is kept. */
export function* lookUp(
  sync: SyncDatabase,
  id: string,
): Core<{ readonly isQueued: boolean; readonly outcome: StoredOutcome | undefined }> {
  yield* closeStrangers(sync);
  const { handled } = yield* requireCheckpoint();
  const queue = yield* readTransactions(sync, { after: handled.number, limit: Number.MAX_SAFE_INTEGER });
  return { isQueued: queue.some(({ stamp }) => transactionId(stamp) === id), outcome: yield* readOutcome(id) };
}
