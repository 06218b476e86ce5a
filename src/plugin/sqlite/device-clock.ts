/**
 * The device's clock, put right by the server's (rule P11). Transactions are stamped with the device's own clock and the offset
 * that was measured last, which is durable: a device whose clock is a year off neither wins nor loses for that, also while it
 * is offline.
 *
 * Stamps rise, whatever the clock does, so one that lies ahead of the truth would drag all later ones along. Therefore, and
 * then alone, the stamps of what still waits are moved when an offset is learned: all of them by the first one, since they
 * were made without any; later on those that lie ahead of the server's time, which cannot be.
 *
 * @module
 */

import { hlcAt, hlcPerMilli } from "../../protocol/hlc.ts";
import { first, run, type Core } from "../core.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { LOG, MARKER, metaKeys } from "../names.ts";

/** Milliseconds by which the server's clock is ahead; undefined before it was measured. */
export function* readClockOffset(): Core<number | undefined> {
  const offset = yield* readMeta(metaKeys.clock);
  return offset === undefined || offset === null ? undefined : Number(offset);
}

/** Takes over a measured offset. `nowMs` is the device's own clock. In a write transaction, after the open entries were closed. */
export function* correctClock(offsetMs: number, nowMs: number): Core<void> {
  const isFirst = (yield* readClockOffset()) === undefined;
  yield* writeMeta(metaKeys.clock, offsetMs);
  if (isFirst) {
    yield* run(`UPDATE ${LOG} SET mask = max(CAST(mask AS INTEGER) + CAST(? AS INTEGER), 1) WHERE t = ${MARKER}`, [
      offsetMs * hlcPerMilli,
    ]);
  }
  const now = hlcAt(nowMs + offsetMs);
  const last = yield* first(`SELECT mask FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined || Number(last[0]) <= now) return;
  // As far apart as they were, but not before those that were stamped rightly.
  const floor = yield* first(`SELECT max(mask) FROM ${LOG} WHERE t = ${MARKER} AND mask <= ?`, [now]);
  yield* run(
    `UPDATE ${LOG} SET mask = max(CAST(mask AS INTEGER) + CAST(? AS INTEGER), CAST(? AS INTEGER)) WHERE t = ${MARKER} AND mask > ?`,
    [now - Number(last[0]), Number(floor?.[0] ?? 1), now],
  );
}
