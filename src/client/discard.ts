/**
 * Discards one transaction of the queue that the app has given up: it is undone here, the others are replayed without it, and
 * its number goes to the server with nothing in it (rule P3: numbers rise by one and are never used twice).
 *
 * What was behind it goes with other stamps, as it does itself (`sent-stamps.ts`): a copy of this device, which has not
 * discarded it, must not take the server's word for one on its own queue (rule I4). What the server has handled already,
 * because an answer was lost on the way, comes back with a page like anybody's change, and the verdict is told no more.
 *
 * @module
 */

import { first, run, type Core } from "../plugin/core.ts";
import { closeStrangers, noteKeptStatus, readTransactions } from "../plugin/device-log.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { muted } from "../plugin/mute.ts";
import { LOG, MARKER } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { RandomBytes } from "../protocol/ids.ts";
import { addFreshImages, loadImages, restoreOwn, rewind, storeImages } from "./base-images.ts";
import { requireCheckpoint, writeCheckpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { stampOfId } from "./outcomes.ts";
import { replay } from "./rebase.ts";
import { forgetRefusals } from "./refusals.ts";
import { restampFrom } from "./sent-stamps.ts";

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
export function* discardTransaction(
  sync: SyncDatabase,
  id: string,
  { uploaded, random }: { readonly uploaded: number; readonly random?: RandomBytes | undefined },
): Core<Discarded> {
  yield* closeStrangers(sync);
  const checkpoint = yield* requireCheckpoint();
  const pending = yield* readTransactions(sync, { after: checkpoint.handled.number, limit: Number.MAX_SAFE_INTEGER });
  const known = yield* readDiscarded();
  const wanted = stampOfId(id);
  if (known.has(wanted)) return { kind: "discarded", tables: new Set() };
  const found = pending.find((transaction) => !transaction.isVoid && transaction.id === wanted);
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
  yield* noteKeptStatus(found.lastSeq, "rejected");
  yield* restampFrom(found.number, checkpoint.handled.number, random);
  yield* forgetRefusals([found]);
  const queued = new Set(pending.map((transaction) => transaction.id));
  const forgotten = known.size - REMEMBERED;
  const remembered = [...known].filter((each, at) => at >= forgotten || queued.has(each));
  yield* writeMeta(KEY, JSON.stringify([...remembered, found.id]));
  return { kind: "discarded", tables };
}

/** The ids of the discarded transactions in the queue, and of the latest that have left it. */
export function* readDiscarded(): Core<ReadonlySet<number>> {
  const stored = yield* readMeta(KEY);
  // Written above alone.
  return new Set(typeof stored === "string" ? (JSON.parse(stored) as readonly number[]) : []);
}
