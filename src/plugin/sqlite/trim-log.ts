/**
 * Trims the server's log from its old end, step by step. One step removes a bounded number of entries and moves the horizon
 * with them, in the same transaction: whenever the process dies, the log reaches from its horizon to its head without a
 * hole.
 *
 * The entry at the horizon stays in the log. So a device whose cursor is just there goes on (rule I2), and the newest entry
 * is never removed: SQLite would give its seq to the next one, and two entries would answer to one cursor.
 *
 * Readers ask for nothing below the horizon, so it may stand inside a transaction of many entries.
 *
 * @module
 */

import { hlcNow } from "../../protocol/hlc.ts";
import type { Position } from "../../protocol/ids.ts";
import { first, run, type Core } from "../core.ts";
import { writeMeta } from "../meta.ts";
import { LIMIT_SQL, LOG, MARKER, metaKeys } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import { readHorizon, readHorizonTime, stampOf } from "./oplog-reader.ts";
import { unindex } from "./scope-index.ts";

/** What a step of {@link trimLog} did. */
export interface TrimStep {
  /** Entries removed. */
  readonly removed: number;
  /** Whether there is nothing left to remove. */
  readonly isDone: boolean;
  readonly horizon: Position;
}

/** Entries among which the marker that closes the entry at the horizon is looked for. */
const markerReach = 10_000;

/**
 * Removes at most `maxRows` of the oldest entries, and none after seq `upTo`; the horizon moves to the newest one that it
 * came to, which stays. In a write transaction. Several processes may trim at once: each step begins where the log does.
 */
export function* trimLog(sync: SyncDatabase, upTo: number, maxRows: number): Core<TrimStep> {
  const horizon = yield* readHorizon();
  const found = yield* first(
    `SELECT count(*), max(seq), max(CASE WHEN t = ${MARKER} THEN mask END)
       FROM (SELECT seq, t, mask FROM ${LOG} WHERE seq <= ? ORDER BY seq ${LIMIT_SQL})`,
    [upTo, maxRows + 1],
  );
  const removed = Number(found?.[0] ?? 0) - 1;
  if (found === undefined || removed < 1) return { removed: 0, isDone: true, horizon };
  const end = Number(found[1]);
  const moved = end > horizon.seq ? yield* moveHorizon(sync, end, Number(found[2] ?? 0)) : horizon;
  yield* unindex(end);
  yield* run(`DELETE FROM ${LOG} WHERE seq < ?`, [end]);
  return { removed, isDone: removed < maxRows, horizon: moved };
}

function* moveHorizon(sync: SyncDatabase, seq: number, newest: number): Core<Position> {
  // Where nobody stands yet, somebody may while the entry is the newest one.
  const stamp = yield* stampOf(seq);
  // P11: nothing below the horizon was written later than this. What its marker lies too far ahead for counts as written now.
  const closing = yield* first(
    `SELECT mask FROM (SELECT t, mask FROM ${LOG} WHERE seq >= ? ORDER BY seq ${LIMIT_SQL}) WHERE t = ${MARKER} LIMIT 1`,
    [seq, markerReach],
  );
  const closed = closing === undefined ? hlcNow(0, sync.now()) : Number(closing[0]);
  const time = Math.max((yield* readHorizonTime()) ?? 0, newest, closed);
  yield* writeMeta(metaKeys.horizon, JSON.stringify([seq, stamp, time]));
  return { seq, stamp };
}
