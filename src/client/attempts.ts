/**
 * How often each transaction of the queue was sent in vain, and what was said to it last. It is kept in the database, so that a
 * transaction which never gets through is recognized as such after a restart too; by its id, which no renaming touches.
 *
 * @module
 */

import { all, type Core } from "../plugin/core.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { LOG, MARKER, TX_ID_SQL } from "../plugin/names.ts";
import { fromWire, toWire, type SyncError, type WireError } from "../protocol/errors.ts";

/** A transaction's failures so far. */
export interface Attempts {
  readonly count: number;
  readonly lastError?: SyncError;
}

/** Among the device's own, so that it goes with them when the device is wiped. */
const KEY = "device.attempts";

interface Stored {
  /** Many transactions fail together: what was said to them is kept once. */
  readonly errors: readonly WireError[];
  /** Id, count, index of the error. */
  readonly failed: readonly (readonly [number, number, number])[];
}

/** Reads them by id. */
export function* readAttempts(): Core<ReadonlyMap<number, Attempts>> {
  const { errors, failed } = yield* read();
  const known = errors.map((error) => fromWire(error));
  return new Map(
    failed.map(([id, count, at]) => {
      const lastError = known[at];
      return [id, { count, ...(lastError === undefined ? {} : { lastError }) }];
    }),
  );
}

/** Notes that transactions were sent in vain. Those up to `handled`, which have left the queue, are forgotten. */
export function* noteAttempts(ids: readonly number[], error: SyncError, handled: number): Core<void> {
  const before = yield* read();
  const markers = yield* all(`SELECT ${TX_ID_SQL} FROM ${LOG} WHERE t = ${MARKER} AND k0 > ?`, [handled]);
  const queued = new Set(markers.map(([id]) => Number(id)));
  const errors = [...before.errors, toWire(error)];
  const failed = new Map(before.failed.flatMap((entry) => (queued.has(entry[0]) ? [[entry[0], entry] as const] : [])));
  for (const id of ids) failed.set(id, [id, (failed.get(id)?.[1] ?? 0) + 1, errors.length - 1]);
  const used = [...new Set([...failed.values()].map(([, , at]) => at))].sort((a, b) => a - b);
  const stored: Stored = {
    errors: used.flatMap((at) => errors[at] ?? []),
    failed: [...failed.values()].map(([id, count, at]) => [id, count, used.indexOf(at)]),
  };
  yield* writeMeta(KEY, JSON.stringify(stored));
}

function* read(): Core<Stored> {
  const text = yield* readMeta(KEY);
  // Written by `noteAttempts` alone.
  return typeof text === "string" ? (JSON.parse(text) as Stored) : { errors: [], failed: [] };
}
