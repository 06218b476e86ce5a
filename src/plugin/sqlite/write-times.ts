/**
 * When the columns of a row were last written, for last-write-wins (rule P11): found in the log, from its newest entry of the
 * row back, along an index that the tables have which use it.
 *
 * Never an earlier time than the true one: a write would be overwritten by an older one. What was trimmed counts as
 * written at the horizon's time; what lies further back than is looked at, as late as the log's notes of its age allow.
 *
 * @module
 */

import { defaultMaxAheadMs, hlcAt, hlcNow } from "../../protocol/hlc.ts";
import type { Key } from "../../protocol/ids.ts";
import { all, first, type Core } from "../core.ts";
import { LIMIT_SQL, LOG, MARKER, kindNumbers } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncColumn, SyncTable } from "../table.ts";
import { readWrittenBy } from "./log-ages.ts";
import { layoutOf, readHorizonTime } from "./oplog-reader.ts";

/**
 * Entries of a row that are looked at, newest first, at most, in steps that grow: mostly what is asked for is found at once,
 * but a row may have been changed a million times, and a push holds the write lock meanwhile.
 */
const steps: readonly number[] = [32, 128, 512, 2048, 8192];

/**
 * When columns of a row were last written, on the hybrid logical clock. Columns that were last written before the log began
 * are missing.
 */
export function* lastWriteHlc(
  sync: SyncDatabase,
  table: SyncTable,
  key: Key,
  columns: readonly SyncColumn[],
): Core<ReadonlyMap<string, number>> {
  const times = new Map<string, number>();
  const numbers = [...sync.layouts.values()]
    .filter((layout) => layout.name === table.name)
    .map((layout) => layout.number);
  const wanted = new Set(columns.map((column) => column.key));
  const at = key.map((_, i) => `k${i} = ?`).join(" AND ");
  let before = Number.MAX_SAFE_INTEGER;
  for (const limit of steps) {
    if (wanted.size === 0) return times;
    const rows = yield* all(
      `SELECT seq, t, kind, mask FROM ${LOG} WHERE t IN (${numbers.join(", ")}) AND ${at} AND seq < ? ORDER BY seq DESC ${LIMIT_SQL}`,
      [...key, before, limit],
    );
    for (const [seq, number, kind, mask] of rows) {
      const layout = yield* layoutOf(sync, Number(number));
      if (layout === undefined || kind === kindNumbers.moved) continue;
      const written =
        kind === kindNumbers.update ? layout.changed(mask ?? null).map((column) => column.key) : [...wanted];
      const found = written.filter((column) => wanted.delete(column));
      if (found.length === 0) continue;
      const time = yield* timeOf(sync, Number(seq));
      for (const column of found) times.set(column, time);
    }
    if (rows.length < limit) {
      const horizonTime = wanted.size === 0 ? undefined : yield* readHorizonTime();
      if (horizonTime !== undefined) for (const column of wanted) times.set(column, horizonTime);
      return times;
    }
    before = Number(rows.at(-1)?.[0]);
  }
  if (wanted.size === 0) return times;
  // A device's time may lie ahead of the commit by as much as its clock may.
  const latest = hlcAt((yield* readWrittenBy(before, sync.now())) + defaultMaxAheadMs);
  for (const column of wanted) times.set(column, latest);
  return times;
}

// The marker that closes the entry's transaction has its time; what strangers left open is as good as written now.
function* timeOf(sync: SyncDatabase, seq: number): Core<number> {
  const marker = yield* first(`SELECT mask FROM ${LOG} WHERE seq > ? AND t = ${MARKER} ORDER BY seq LIMIT 1`, [seq]);
  return marker === undefined ? hlcNow(0, sync.now()) : Number(marker[0]);
}
