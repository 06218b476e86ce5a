/**
 * The offline queue as the app sees it, and what became of transactions that left it. Reads only: whoever asks has closed
 * what strangers left open.
 *
 * @module
 */

import { first, type Core } from "../plugin/core.ts";
import { readTransactions } from "../plugin/device-log.ts";
import { LOG, MARKER, TX_ID_SQL, markerKinds } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncError } from "../protocol/errors.ts";
import { hlcMillis } from "../protocol/hlc.ts";
import { readAttempts } from "./attempts.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { readDiscarded } from "./discard.ts";
import { operationsOf, readOutcome, stampOfId, transactionId } from "./outcomes.ts";
import type { QueuedTransaction, SettledTransaction } from "./sync-engine.ts";

/** What the engine knows of sending, for transactions that are not uploaded yet. */
export interface Sending {
  /** The number of the last transaction that the server is known to have. */
  readonly uploaded: number;
  /** When the next attempt is made; absent while none is planned. */
  readonly nextTryAt?: number;
  /** What keeps the queue from being sent at all. */
  readonly heldBy?: SyncError;
}

/** Lists the queue, oldest first. */
export function* listQueue(sync: SyncDatabase, sending: Sending): Core<readonly QueuedTransaction[]> {
  const { handled, withheld } = yield* requireCheckpoint();
  const hidden = new Set(withheld);
  const discarded = yield* readDiscarded();
  const attempts = yield* readAttempts();
  const queue = yield* readTransactions(sync, { after: handled.number, limit: Number.MAX_SAFE_INTEGER });
  // I3: what was rejected before it came back is settled; only its number is still to be sent.
  const open = queue.filter(({ isVoid, id }) => !isVoid || discarded.has(id));
  return open.map((transaction) => {
    const { id, number } = transaction;
    const isUploaded = number <= sending.uploaded;
    const failures = attempts.get(id);
    const lastError = failures?.lastError ?? (isUploaded ? undefined : sending.heldBy);
    return {
      id: transactionId(id),
      number,
      writtenAt: hlcMillis(transaction.hlc),
      operations: operationsOf(transaction),
      isWithheld: hidden.has(id),
      isUploaded,
      isDiscarded: discarded.has(id),
      attempts: failures?.count ?? 0,
      ...(lastError === undefined || isUploaded ? {} : { lastError }),
      ...(sending.nextTryAt === undefined || isUploaded ? {} : { nextTryAt: sending.nextTryAt }),
    };
  });
}

/** What became of a transaction; `queued` while it is in the queue, undefined where nothing of it is kept. */
export function* lookUp(id: string): Core<SettledTransaction | "queued" | undefined> {
  const stored = yield* readOutcome(id);
  if (stored) return { status: stored.outcome.status, outcome: stored };
  const written = stampOfId(id);
  if ((yield* readDiscarded()).has(written)) return { status: "discarded" };
  const { handled } = yield* requireCheckpoint();
  // What has left the queue is kept in the log for a while.
  const marker = yield* first(`SELECT k0, kind FROM ${LOG} WHERE t = ${MARKER} AND ${TX_ID_SQL} = ?`, [written]);
  // One that was rejected goes again with nothing in it, where a server has lost it (I3): it settles no more.
  if (marker === undefined || marker[1] === markerKinds.rejected) return undefined;
  if (Number(marker[0]) > handled.number) return "queued";
  // Of a merged one the app has dealt with the outcome.
  return marker[1] === markerKinds.plain ? { status: "applied" } : undefined;
}
