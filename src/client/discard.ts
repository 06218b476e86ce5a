/**
 * Discards one transaction of the queue that the app has given up: it is undone here, the others are replayed without it, and
 * its number goes to the server with nothing in it (rule P3: numbers rise by one and are never used twice).
 *
 * It goes with another stamp. To a copy of this device, which has not discarded it, the server's word on that number must not
 * look like one on the transaction: it would be dropped there as handled (rule I4). What the server has handled already,
 * because an answer was lost on the way, comes back with a page like anybody's change; the number gets its stamp back then,
 * and the verdict is told no more.
 *
 * @module
 */

import { first, run, type Core } from "../plugin/core.ts";
import { closeStrangers, readTransactions } from "../plugin/device-log.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { muted } from "../plugin/mute.ts";
import { LOG, MARKER, STAMP_SQL, markerKinds } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { TxRef } from "../protocol/ids.ts";
import { addFreshImages, loadImages, restoreOwn, rewind, storeImages } from "./base-images.ts";
import { requireCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { stampOfId, transactionId } from "./outcomes.ts";
import { replay } from "./rebase.ts";
import { forgetRefusals } from "./refusals.ts";

/** What became of it. `tables`: those whose rows may be shown differently now. */
export type Discarded =
  | { readonly kind: "discarded"; readonly tables: ReadonlySet<string> }
  /** `absent`: not in the queue. `uploaded`: the server has it. */
  | { readonly kind: "absent" | "uploaded" };

/** Among the device's own, so that it goes with them when the device is wiped. */
const KEY = "device.discarded";

/** How many discarded transactions are remembered when they have left the queue, for who asks what became of one. */
const REMEMBERED = 1000;

/** Discards a transaction, unless the server is known to have it; in `apply` mode. */
export function* discardTransaction(sync: SyncDatabase, id: string, uploaded: number): Core<Discarded> {
  yield* closeStrangers(sync);
  const checkpoint = yield* requireCheckpoint();
  const pending = yield* readTransactions(sync, { after: checkpoint.handled.number, limit: Number.MAX_SAFE_INTEGER });
  const known = yield* readDiscarded();
  if (known.has(stampOfId(id))) return { kind: "discarded", tables: new Set() };
  const found = pending.find(({ stamp, isVoid }) => !isVoid && transactionId(stamp) === id);
  if (!found) return { kind: "absent" };
  if (found.number <= uploaded) return { kind: "uploaded" };

  const schema = deviceSchema(sync);
  const images = yield* loadImages(schema);
  yield* addFreshImages(schema, images, pending);
  const tables = new Set([...images.values()].map(({ table }) => table.key));
  yield* muted(
    (function* (): Core<void> {
      yield* rewind(images);
      // Only now: without its entries nobody could tell what its rows were before.
      const before = yield* first(`SELECT max(seq) FROM ${LOG} WHERE t = ${MARKER} AND seq < ?`, [found.lastSeq]);
      yield* run(`DELETE FROM ${LOG} WHERE seq > ? AND seq < ?`, [before?.[0] ?? 0, found.lastSeq]);
      const replayed = yield* replay(
        schema,
        pending.filter((transaction) => transaction !== found),
        images,
      );
      yield* restoreOwn(images);
      yield* storeImages(replayed.images);
      for (const { table } of replayed.images.values()) tables.add(table.key);
      const { withheld, cascaded } = replayed;
      yield* writeCheckpoint(checkpoint, { ...checkpoint, withheld: [...withheld], cascaded });
    })(),
  );
  yield* run(`UPDATE ${LOG} SET stamp = ${STAMP_SQL}, kind = ? WHERE seq = ?`, [markerKinds.rejected, found.lastSeq]);
  const renamed = yield* first(`SELECT stamp FROM ${LOG} WHERE seq = ?`, [found.lastSeq]);
  yield* forgetRefusals([id]);
  const queued = new Set(pending.map(({ stamp }) => stamp));
  const forgotten = known.size - REMEMBERED;
  const remembered = [...known].filter(([, stamp], at) => at >= forgotten || queued.has(stamp));
  yield* writeMeta(KEY, JSON.stringify([...remembered, [found.stamp, renamed?.[0]]]));
  return { kind: "discarded", tables };
}

/**
 * Gives a discarded transaction its own stamp back, where the server has handled it before it was discarded; false where this is
 * not what the server's word on a number means.
 */
export function* restoreDiscarded({ number, stamp }: TxRef): Core<boolean> {
  const known = yield* readDiscarded();
  const sent = known.get(stamp);
  if (sent === undefined || sent === stamp) return false;
  const sql = `UPDATE ${LOG} SET stamp = ? WHERE t = ${MARKER} AND k0 = ? AND stamp = ?`;
  if ((yield* run(sql, [stamp, number, sent])) === 0) return false;
  yield* writeMeta(KEY, JSON.stringify([...new Map(known).set(stamp, stamp)]));
  return true;
}

/** The discarded transactions in the queue, and the latest that have left it: their stamps, and those that they go with. */
export function* readDiscarded(): Core<ReadonlyMap<number, number>> {
  const stored = yield* readMeta(KEY);
  // Written above alone.
  return new Map(typeof stored === "string" ? (JSON.parse(stored) as readonly (readonly [number, number])[]) : []);
}
