/**
 * What became of transactions that were merged or rejected, kept until the device has acknowledged them (rules P10, I5),
 * and what judging its later ones needs: notes of what the database made of its values (P5), and the keys of rows whose
 * insert was refused (P8).
 *
 * @module
 */

import { all, type Core, each, first, run } from "../plugin/core.ts";
import { LIMIT_SQL } from "../plugin/names.ts";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import type { DeviceId, TxRef, Value } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import { outcomeLimits } from "./limits.ts";

/** Stores an outcome, in the transaction that it speaks of. Of rows that are too large for it, it tells less. */
export function* writeOutcome(deviceId: DeviceId, outcome: Outcome): Core<void> {
  const whole = encodeCbor(outcome);
  const body = whole.length <= outcomeLimits.bytes ? whole : encodeCbor(shorten(outcome));
  yield* run(
    `INSERT INTO ${serverTables.outcomes} (device_id, number, body) VALUES (?, ?, ?) ON CONFLICT (device_id, number) DO UPDATE SET body = excluded.body`,
    [deviceId, outcome.number, body],
  );
}

/** What one page tells of a device's outcomes. */
export interface ToldOutcomes {
  /** Oldest first. */
  readonly outcomes: readonly Outcome[];
  /** Up to where the page tells everything, if that is not all: the page's `lastTx` is no later (rule U3). */
  readonly upTo?: TxRef;
}

/**
 * The outcomes that a device has not acknowledged. Where they are too many for one page, those up to `told`, which the
 * device has, are left out first, and then the latest: the page after this one brings them.
 */
export function* readOutcomes(
  deviceId: DeviceId,
  told: number,
  maxBytes: number = outcomeLimits.pageBytes,
): Core<ToldOutcomes> {
  const sizes = yield* all(
    `SELECT number, length(body) FROM ${serverTables.outcomes} WHERE device_id = ? ORDER BY number`,
    [deviceId],
  );
  if (sizes.length === 0) return nothingToTell;
  let wanted = sizes;
  let total = sizes.reduce((sum, [, size]) => sum + Number(size), 0);
  if (total > maxBytes) {
    wanted = sizes.filter(([number]) => Number(number) > told);
    total = 0;
    const end = wanted.findIndex(([, size], i) => (total += Number(size)) > maxBytes && i > 0);
    if (end > 0) wanted = wanted.slice(0, end);
  }
  if (wanted.length === 0) return nothingToTell;
  const rows = yield* all(
    `SELECT body FROM ${serverTables.outcomes} WHERE device_id = ? AND number BETWEEN ? AND ? ORDER BY number`,
    [deviceId, wanted[0]?.[0] ?? null, wanted.at(-1)?.[0] ?? null],
  );
  // Written by writeOutcome alone, so its form is known.
  const outcomes = rows.map(([body]) => decodeCbor(body as Uint8Array) as Outcome);
  const last = outcomes.at(-1);
  if (last === undefined || wanted.at(-1)?.[0] === sizes.at(-1)?.[0]) return { outcomes };
  return { outcomes, upTo: { number: last.number, stamp: last.stamp } };
}

const nothingToTell: ToldOutcomes = { outcomes: [] };

/** Leaves rows and values out until what is left is small. The device has its own version by itself. */
function shorten(outcome: Outcome): Outcome {
  let left: number = outcomeLimits.bytes;
  const fits = (value: Value): boolean => {
    const size = typeof value === "string" || value instanceof Uint8Array ? value.length + 16 : 16;
    if (size > left) return false;
    left -= size;
    return true;
  };
  if (outcome.status === "rejected") {
    if (outcome.operation === undefined) return outcome;
    const { server, ...operation } = outcome.operation;
    return { ...outcome, operation: server === null ? outcome.operation : operation };
  }
  const conflicts = outcome.conflicts.map(({ server, client, ...conflict }) => {
    const written = client && Object.fromEntries(Object.entries(client).filter(([, value]) => fits(value)));
    const isShown = server === null || (server !== undefined && Object.values(server).every(fits));
    return { ...conflict, client: written, ...(isShown ? { server } : {}) };
  });
  return { ...outcome, conflicts };
}

/**
 * Drops what a device has acknowledged. The caller has checked that the acknowledgement came with a cursor that the log
 * vouches for and does not run ahead of what was handled (rule I5).
 *
 * Keys of refused inserts stay for the transactions that were in the queue already.
 * Notes are kept for one acknowledgement more: a transaction that was written before its page came still says what the
 * user saw then. A lost note costs a false conflict and nothing else.
 */
export function* acknowledge(deviceId: DeviceId, ackedBefore: number, ackedTx: number): Core<void> {
  yield* run(`UPDATE ${serverTables.devices} SET acked_tx = ? WHERE device_id = ? AND acked_tx < ?`, [
    ackedTx,
    deviceId,
    ackedTx,
  ]);
  yield* run(`DELETE FROM ${serverTables.outcomes} WHERE device_id = ? AND number <= ?`, [deviceId, ackedTx]);
  yield* run(`DELETE FROM ${serverTables.rejectedKeys} WHERE device_id = ? AND number <= ?`, [
    deviceId,
    ackedTx - keptRejections,
  ]);
  yield* run(`DELETE FROM ${serverTables.notes} WHERE device_id = ? AND number <= ?`, [deviceId, ackedBefore]);
}

// A queue may hold so many transactions that were written before the device heard of the refusal. Without the key, an update of
// that row would go to the resolver, which could only bring back a row that never was.
const keptRejections = 10_000;

/** What the database made of a value that a device wrote (rule P5). */
export interface Note {
  readonly column: string;
  readonly wrote: Value;
  readonly stored: Value;
}

/** The notes of one row of a device. */
export function* readNotes(deviceId: DeviceId, table: string, rowKey: string): Core<readonly Note[]> {
  const rows = yield* all(
    `SELECT col, wrote, stored FROM ${serverTables.notes} WHERE device_id = ? AND tbl = ? AND row_key = ?`,
    [deviceId, table, rowKey],
  );
  return rows.map(([column, wrote, stored]) => ({
    column: String(column),
    wrote: wrote ?? null,
    stored: stored ?? null,
  }));
}

/** Whether a device has any notes; most have none, and then no row is asked about. */
export function* hasNotes(deviceId: DeviceId): Core<boolean> {
  return (yield* first(`SELECT 1 FROM ${serverTables.notes} WHERE device_id = ? LIMIT 1`, [deviceId])) !== undefined;
}

/** Writes notes, the newest of each column over the older one. */
export function* writeNotes(
  deviceId: DeviceId,
  number: number,
  notes: readonly (Note & { readonly table: string; readonly rowKey: string })[],
): Core<void> {
  yield* each(
    `INSERT INTO ${serverTables.notes} (device_id, tbl, row_key, col, number, wrote, stored) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device_id, tbl, row_key, col) DO UPDATE SET number = excluded.number, wrote = excluded.wrote, stored = excluded.stored`,
    notes.map((note) => [deviceId, note.table, note.rowKey, note.column, number, note.wrote, note.stored]),
  );
}

/**
 * Drops at most `maxRows` notes of devices that have not been seen since a time, in milliseconds since 1970. Their later
 * edits may meet a conflict that is none. Answers whether all are gone.
 */
export function* dropOldNotes(seenBefore: number, maxRows: number): Core<boolean> {
  // The devices that have notes are found one by one along the key, not by reading all notes.
  const device = yield* first(
    `WITH RECURSIVE noted(id) AS (
       SELECT min(device_id) FROM ${serverTables.notes}
       UNION ALL SELECT (SELECT min(device_id) FROM ${serverTables.notes} WHERE device_id > noted.id) FROM noted WHERE noted.id IS NOT NULL)
     SELECT id FROM noted JOIN ${serverTables.devices} ON device_id = id WHERE seen_at < ? LIMIT 1`,
    [seenBefore],
  );
  if (device === undefined) return true;
  const [id = null] = device;
  yield* run(
    `DELETE FROM ${serverTables.notes} WHERE device_id = ? AND (tbl, row_key, col) IN (
       SELECT tbl, row_key, col FROM ${serverTables.notes} WHERE device_id = ? ${LIMIT_SQL})`,
    [id, id, maxRows],
  );
  return false;
}

/** Remembers rows whose insert was refused (rule P8). */
export function* writeRejectedKeys(
  deviceId: DeviceId,
  number: number,
  rows: readonly { readonly table: string; readonly rowKey: string }[],
): Core<void> {
  yield* each(
    `INSERT INTO ${serverTables.rejectedKeys} (device_id, tbl, row_key, number) VALUES (?, ?, ?, ?)
ON CONFLICT (device_id, tbl, row_key) DO UPDATE SET number = excluded.number`,
    rows.map((row) => [deviceId, row.table, row.rowKey, number]),
  );
}

/** Forgets such rows, once they are there after all. */
export function* forgetRejectedKeys(
  deviceId: DeviceId,
  rows: readonly { readonly table: string; readonly rowKey: string }[],
): Core<void> {
  yield* each(
    `DELETE FROM ${serverTables.rejectedKeys} WHERE device_id = ? AND tbl = ? AND row_key = ?`,
    rows.map((row) => [deviceId, row.table, row.rowKey]),
  );
}

/** Whether a device has such rows; most have none, and then none is asked about. It may also have very many. */
export function* hasRejectedKeys(deviceId: DeviceId): Core<boolean> {
  const found = yield* first(`SELECT 1 FROM ${serverTables.rejectedKeys} WHERE device_id = ? LIMIT 1`, [deviceId]);
  return found !== undefined;
}

/** The transaction of this device whose insert of a row was refused; undefined when none was, or long ago. */
export function* readRejection(deviceId: DeviceId, table: string, rowKey: string): Core<number | undefined> {
  const found = yield* first(
    `SELECT number FROM ${serverTables.rejectedKeys} WHERE device_id = ? AND tbl = ? AND row_key = ?`,
    [deviceId, table, rowKey],
  );
  return found === undefined ? undefined : Number(found[0]);
}
