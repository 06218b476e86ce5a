/**
 * Changes of the checkpoint that no page makes: opening, resets, restarts, signing out. Each is a piece of a local
 * transaction.
 *
 * @module
 */

import { run, type Core } from "../plugin/core.ts";
import {
  clearTransactions,
  closeStrangers,
  lastTransaction,
  readTransactions,
  voidTransactions,
  type DeviceTransaction,
} from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import { META } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { Epoch, RandomBytes } from "../protocol/ids.ts";
import type { ResetReason } from "../protocol/pull.ts";
import { addFreshImages, loadImages, rewind, storeImages } from "./base-images.ts";
import { newCheckpoint, readCheckpoint, requireCheckpoint, writeCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { startAnew } from "./identity.ts";
import { clearOutcomes } from "./outcomes.ts";
import { forgetRefusals } from "./refusals.ts";
import { dropAll } from "./scope-drop.ts";
import { clearStage } from "./stage.ts";

/** Reads the checkpoint, or makes the first one. A round for another schema than the present one is dropped (rule V2). */
export function* openDevice(sync: SyncDatabase, random?: RandomBytes): Core<Checkpoint> {
  const found = yield* readCheckpoint();
  if (!found) {
    const created = newCheckpoint(random);
    yield* writeCheckpoint(undefined, created);
    return created;
  }
  if (found.round === undefined || found.roundSchema === deviceSchema(sync).hash) return found;
  return yield* restartRound(found);
}

/**
 * The base is not to be gone on from: a fresh snapshot is asked for. Rows and queue stay until it has come. `reason`: what the
 * server said, if it did; one that has another history than we may have lost what we wrote (I3).
 */
export function* resetBase(checkpoint: Checkpoint, epoch?: Epoch, reason?: ResetReason): Core<Checkpoint> {
  yield* clearStage();
  const next: Checkpoint = {
    ...checkpoint,
    epoch: epoch ?? checkpoint.epoch,
    isDenied: checkpoint.isDenied || reason === "CURSOR_UNKNOWN" || (epoch !== undefined && epoch !== checkpoint.epoch),
    cursor: undefined,
    declaration: undefined,
    round: undefined,
    roundSchema: undefined,
  };
  yield* writeCheckpoint(checkpoint, next);
  return next;
}

/** The same, because rows of the base are not the server's; counted, so that an app can tell of it. */
export function* resetMismatched(checkpoint: Checkpoint): Core<Checkpoint> {
  const reset = yield* resetBase(checkpoint);
  const next: Checkpoint = { ...reset, mismatches: reset.mismatches + 1 };
  yield* writeCheckpoint(reset, next);
  return next;
}

/** The round in progress begins again; a first sync empties the tables when its first page comes (rule R4). */
export function* restartRound(checkpoint: Checkpoint): Core<Checkpoint> {
  yield* clearStage();
  const next: Checkpoint = { ...checkpoint, round: undefined, roundSchema: undefined };
  yield* writeCheckpoint(checkpoint, next);
  return next;
}

/** Undoes everything that is pending; in `apply` mode. Gives the discarded transactions. */
export function* discardPending(
  sync: SyncDatabase,
  nowMs: number,
  random?: RandomBytes,
): Core<readonly DeviceTransaction[]> {
  const schema = deviceSchema(sync);
  yield* closeStrangers(sync);
  const checkpoint = yield* requireCheckpoint();
  const pending = yield* readTransactions(sync, { after: checkpoint.handled.number, limit: Number.MAX_SAFE_INTEGER });
  if (pending.length === 0) return [];
  yield* muted(
    (function* (): Core<void> {
      const images = yield* loadImages(schema);
      yield* addFreshImages(schema, images, pending);
      yield* rewind(images);
      yield* storeImages(new Map());
    })(),
  );
  // Their numbers are used up on the server's side or missing there; under a fresh id neither matters.
  yield* voidTransactions(checkpoint.handled.number, nowMs);
  const left: Checkpoint = { ...checkpoint, handled: yield* lastTransaction(), withheld: [] };
  yield* writeCheckpoint(checkpoint, left);
  yield* startAnew(left, random);
  yield* forgetRefusals(pending);
  return pending;
}

/** Deletes the synced rows, the queue, the outcomes and the device's identity; in `apply` mode. */
export function* wipeDevice(sync: SyncDatabase, random?: RandomBytes): Core<void> {
  yield* closeStrangers(sync);
  yield* muted(dropAll(deviceSchema(sync)));
  yield* storeImages(new Map());
  yield* clearStage();
  yield* clearOutcomes();
  yield* clearTransactions();
  yield* run(`DELETE FROM ${META} WHERE k >= 'device.' AND k < 'device/'`);
  yield* writeCheckpoint(undefined, newCheckpoint(random));
}

/** Wipes, unless something is in the queue: then nothing is done, and the answer is false; in `apply` mode. */
export function* wipeIfFlushed(sync: SyncDatabase, random?: RandomBytes): Core<boolean> {
  yield* closeStrangers(sync);
  if ((yield* queueLength(yield* requireCheckpoint())) > 0) return false;
  yield* wipeDevice(sync, random);
  return true;
}

/** The keys of all tables, to tell listeners that everything may have changed. */
export function allTables(sync: SyncDatabase): ReadonlySet<string> {
  return new Set(sync.tables.map((table) => table.key));
}

/** Transactions of the queue that the checkpoint does not know to be handled. */
export function* queueLength(checkpoint: Checkpoint): Core<number> {
  const { number } = yield* lastTransaction();
  return Math.max(0, number - checkpoint.handled.number);
}
