/**
 * Closes the transactions of a device's log, and finds its way among them. A transaction is the entries before a marker; the
 * marker has its number, stamp, time and the hash of the schema it was written with. Numbers rise by one and are never used
 * twice: the last one that left the queue is remembered. What is in them is read in `read-transactions.ts`; what left the
 * queue stays in the log for a while (`kept-transactions.ts`).
 *
 * @module
 */

import { hlcNow } from "../../protocol/hlc.ts";
import type { TxRef, Value } from "../../protocol/ids.ts";
import { first, run, type Core } from "../core.ts";
import { knownHash } from "../known-tables.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { EVICT, LOG, MARKER, META, STAMP_SQL, metaKeys } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import { readClockOffset } from "./device-clock.ts";

/** Closes what writers who do not know us left open, as a transaction of its own. In a write transaction, before anything else. */
export function* closeStrangers(sync: SyncDatabase): Core<void> {
  yield* closeDeviceTransaction(sync);
}

/** Writes the marker that closes the open entries; answers whether there were any. In the writing transaction. */
export function* closeDeviceTransaction(sync: SyncDatabase): Core<boolean> {
  const last = yield* first(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined || last[0] === MARKER) return false;
  const before = yield* lastMarker();
  yield* run(`INSERT INTO ${LOG}(stamp, t, kind, mask, k0, c0) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?, ?, ?)`, [
    hlcNow(before.hlc, sync.now() + before.clock),
    before.number + 1,
    knownHash(sync.tables),
  ]);
  yield* run(`DELETE FROM ${EVICT}`);
  return true;
}

/** The last transaction; undefined while entries that writers who do not know us left are in none yet. */
export function* lastIfClosed(): Core<TxRef | undefined> {
  const last = yield* first(`SELECT t, k0, stamp FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined) return yield* lastTransaction();
  return last[0] === MARKER ? { number: Number(last[1]), stamp: Number(last[2]) } : undefined;
}

/** The number and stamp of the last transaction that was closed; 0 and 0 when there was none. */
export function* lastTransaction(): Core<TxRef> {
  const { number, stamp } = yield* lastMarker();
  return { number, stamp };
}

/** How many closed transactions are in the queue. */
export function* pendingCount(): Core<number> {
  const { number, seq } = yield* readDropped();
  return Number(
    (yield* first(`SELECT count(*) FROM ${LOG} WHERE t = ${MARKER} AND k0 > ? AND seq > ?`, [number, seq]))?.[0] ?? 0,
  );
}

/** The marker that closes a transaction. */
export interface LogMarker extends TxRef {
  readonly seq: number;
  /** One of `markerKinds`. */
  readonly kind: Value;
}

/** Where the transaction after this number begins: the place before its first entry. */
export function* startOf(after: number): Core<number> {
  // From the queue's front, where it mostly lies.
  const dropped = yield* readDropped();
  const from = after >= dropped.number ? dropped.seq : 0;
  const next = yield* findMarkerAfter(after, from);
  if (next === undefined) return Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
  const start = yield* first(`SELECT seq FROM ${LOG} WHERE t = ${MARKER} AND seq < ? ORDER BY seq DESC LIMIT 1`, [
    next.seq,
  ]);
  return Math.max(Number(start?.[0] ?? 0), from);
}

/**
 * The first marker past a place in the log whose transaction has a number above `after`. Numbers rise with their place, so a
 * long queue is not walked through: each of its pushes would begin at the front.
 */
export function* findMarkerAfter(after: number, from: number): Core<LogMarker | undefined> {
  const front = yield* markerPast(from);
  if (front === undefined || front.number > after) return front;
  let low = front.seq;
  let high = Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const probe = yield* markerPast(middle);
    if (probe === undefined || probe.number > after) high = middle;
    else low = probe.seq;
  }
  return yield* markerPast(low);
}

function* markerPast(seq: number): Core<LogMarker | undefined> {
  const row = yield* first(
    `SELECT seq, k0, stamp, kind FROM ${LOG} WHERE t = ${MARKER} AND seq > ? ORDER BY seq LIMIT 1`,
    [seq],
  );
  return row && { seq: Number(row[0]), number: Number(row[1]), stamp: Number(row[2]), kind: row[3] ?? null };
}

/** Where the queue begins: the last transaction that left it, and its place in the log. */
export interface Dropped extends TxRef {
  readonly seq: number;
}

/** Reads where the queue begins. */
export function* readDropped(): Core<Dropped> {
  const value = yield* readMeta(metaKeys.dropped);
  const [number, stamp, seq] = typeof value === "string" ? (JSON.parse(value) as readonly number[]) : [];
  return { number: number ?? 0, stamp: stamp ?? 0, seq: seq ?? 0 };
}

/** Moves the queue's front. */
export function* writeDropped({ number, stamp, seq }: Dropped): Core<void> {
  yield* writeMeta(metaKeys.dropped, JSON.stringify([number, stamp, seq]));
}

function* lastMarker(): Core<TxRef & { readonly hlc: number; readonly clock: number }> {
  const row = yield* first(
    `SELECT k0, stamp, mask, (SELECT v FROM ${META} WHERE k = ?) FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1`,
    [metaKeys.clock],
  );
  if (row !== undefined)
    return { number: Number(row[0]), stamp: Number(row[1]), hlc: Number(row[2]), clock: Number(row[3] ?? 0) };
  return { ...(yield* readDropped()), hlc: 0, clock: (yield* readClockOffset()) ?? 0 };
}
