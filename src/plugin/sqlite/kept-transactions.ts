/**
 * What has left a device's queue and is kept for a while (rule I3): a server that is restored from a backup loses
 * transactions that it had handled, and nobody else has them any more. They stay where they are, in the log, below a mark:
 * leaving the queue costs one row for each page, not one for each transaction, and coming back moves the mark.
 *
 * ```
 *   log   ──[ deleted | pruned | kept ············ | queue ············ | open entries
 *                     oldest   ▲ pruned            ▲ dropped
 * ```
 *
 * What is kept no longer is deleted from the front, in small steps. The log's newest row always stays, or its seq would be
 * given again.
 *
 * @module
 */

import type { TxRef } from "../../protocol/ids.ts";
import { all, first, run, type Core } from "../core.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { LOG, MARKER, PREFIX, markerKinds, metaKeys } from "../names.ts";
import { findMarkerAfter, readDropped, writeDropped } from "./device-log-reader.ts";
import type { DeviceTransaction } from "./read-transactions.ts";

/** How a transaction left the queue, as far as the log knows. */
export type KeptStatus = "merged" | "rejected" | undefined;

const SENT = `${PREFIX}sent`;

/** So many rows of the log are kept at most, however young they are. */
const maxKeptRows = 100_000;

/** Rows deleted at a time, at least. */
const step = 4000;

/** Takes the transactions up to this one out of the queue, and keeps them. In a write transaction. */
export function* keepTransactions(last: DeviceTransaction, nowMs: number): Core<void> {
  const { number, stamp, lastSeq } = last;
  yield* writeDropped({ number, stamp, seq: lastSeq });
  yield* run(`INSERT OR REPLACE INTO ${SENT} (seq, at) VALUES (?, ?)`, [lastSeq, nowMs]);
}

/** Notes with which outcome a transaction left the queue. A rejected one comes back as an empty one. */
export function* noteKeptStatus(markerSeq: number, status: KeptStatus): Core<void> {
  yield* run(`UPDATE ${LOG} SET kind = ? WHERE seq = ?`, [markerKinds[status ?? "plain"], markerSeq]);
}

/** Gives up what was kept for long enough, and deletes a little of what was given up. */
export function* pruneKept({ nowMs, keepSentMs }: { readonly nowMs: number; readonly keepSentMs: number }): Core<void> {
  const { seq: dropped } = yield* readDropped();
  const oldest = Number((yield* first(`SELECT seq FROM ${LOG} ORDER BY seq LIMIT 1`))?.[0] ?? 0);
  let pruned = yield* readPruned();
  const before = pruned;
  // From the front, so that a clock that was moved back and forth keeps too much rather than too little.
  for (const [seq, at] of yield* all(`SELECT seq, at FROM ${SENT} ORDER BY seq LIMIT 64`)) {
    const isOld = Number(at) <= nowMs - keepSentMs || dropped - Number(seq) >= maxKeptRows;
    if (!isOld) break;
    pruned = Number(seq);
  }
  if (pruned > before) yield* giveUp(pruned);
  if (pruned < oldest) return;
  // Twice what has just been given up: what lies behind is caught up with.
  const upTo = Math.min(pruned, oldest + Math.max(step, 2 * (pruned - before)));
  yield* run(`DELETE FROM ${LOG} WHERE seq <= ? AND seq < (SELECT max(seq) FROM ${LOG})`, [upTo]);
}

/** What {@link takeBackTransactions} found. */
export interface TakenBack {
  /** The last transaction before the queue, which begins with the first that came back. */
  readonly dropped: TxRef;
  /** Numbers that were to come back and are kept no longer. */
  readonly gone?: { readonly from: number; readonly number: number };
}

/** Puts the transactions after this one back at the front of the queue, as far as they are kept. In a write transaction. */
export function* takeBackTransactions(after: TxRef): Core<TakenBack> {
  const dropped = yield* readDropped();
  const pruned = yield* readPruned();
  const found = yield* findMarkerAfter(after.number, pruned);
  const last = found === undefined ? dropped.number : found.number - 1;
  const gone = last > after.number ? { gone: { from: after.number + 1, number: last } } : {};
  const before = yield* first(`SELECT max(seq) FROM ${LOG} WHERE t = ${MARKER} AND seq < ?`, [found?.seq ?? null]);
  // A number that stands for a loss has a stamp of its own: to a copy of this device it must not look like the transaction (I4).
  const front: TxRef = last === after.number ? after : { number: last, stamp: 0 };
  const at = found === undefined ? dropped.seq : Math.max(Number(before?.[0] ?? 0), pruned);
  yield* writeDropped({ ...front, seq: at });
  yield* run(`DELETE FROM ${SENT} WHERE seq > ?`, [at]);
  return { dropped: front, ...gone };
}

/** A transaction in the log. */
export interface LoggedTransaction {
  readonly markerSeq: number;
  /** What it is sent with. */
  readonly stamp: number;
  readonly status: KeptStatus;
}

/** Looks a transaction up by its number, in the queue or among those kept. */
export function* findTransaction(number: number): Core<LoggedTransaction | undefined> {
  const dropped = yield* readDropped();
  const marker = yield* findMarkerAfter(number - 1, number > dropped.number ? dropped.seq : yield* readPruned());
  if (marker?.number !== number) return undefined;
  const { seq, stamp, kind } = marker;
  const status = kind === markerKinds.rejected ? "rejected" : kind === markerKinds.merged ? "merged" : undefined;
  return { markerSeq: seq, stamp, status };
}

/**
 * Empties the queue: what is in it left undone, and is to be pushed no more. What was kept is given up: another subject may
 * be next, under whose name it must not be sent. In a write transaction.
 */
export function* voidTransactions(after: number, nowMs: number): Core<void> {
  const { seq: dropped } = yield* readDropped();
  yield* giveUp(dropped);
  yield* run(`UPDATE ${LOG} SET kind = ? WHERE t = ${MARKER} AND k0 > ? AND seq > ?`, [
    markerKinds.rejected,
    after,
    dropped,
  ]);
  const last = yield* first(`SELECT seq, k0, stamp FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined) return;
  const [seq, number, stamp] = last;
  yield* writeDropped({ number: Number(number), stamp: Number(stamp), seq: Number(seq) });
  yield* run(`INSERT OR REPLACE INTO ${SENT} (seq, at) VALUES (?, ?)`, [seq ?? null, nowMs]);
}

/** Forgets everything that was ever written here, and begins to count at 1. In a write transaction, with nothing open. */
export function* clearTransactions(): Core<void> {
  yield* run(`DELETE FROM ${SENT}`);
  yield* run(`DELETE FROM ${LOG} WHERE seq < (SELECT max(seq) FROM ${LOG})`);
  yield* run(`UPDATE ${LOG} SET k0 = 0, kind = ? WHERE t = ${MARKER}`, [markerKinds.plain]);
  const last = Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
  yield* writeDropped({ number: 0, stamp: 0, seq: last });
  yield* writeMeta(metaKeys.pruned, last);
}

/** What lies up to this row never comes back; it is deleted by and by. */
function* giveUp(seq: number): Core<void> {
  yield* run(`DELETE FROM ${SENT} WHERE seq <= ?`, [seq]);
  yield* writeMeta(metaKeys.pruned, seq);
}

function* readPruned(): Core<number> {
  return Number((yield* readMeta(metaKeys.pruned)) ?? 0);
}
