/**
 * The checkpoint: the durable record of how far this device is. Who it is, which server's base it holds, up to which
 * cursor, in which scopes, which of its transactions it knows to be handled, and the round in progress. It changes only in
 * the transaction that changes the base, so the two never disagree, and every answer is compared with it in that
 * transaction before it is applied (rule A1).
 *
 * @module
 */

import { all, run, type Core } from "../plugin/core.ts";
import { META } from "../plugin/names.ts";
import {
  makeDeviceId,
  parseCursor,
  parseDeviceId,
  parseEpoch,
  type Cursor,
  type DeviceId,
  type Epoch,
  type RandomBytes,
  type TxRef,
} from "../protocol/ids.ts";
import { fromJsonValues, toJsonValues } from "../protocol/json-values.ts";
import { parseRoundState } from "../protocol/parse.ts";
import type { RoundState } from "../protocol/pull.ts";
import { SyncError } from "../protocol/errors.ts";

/** The record. */
export interface Checkpoint {
  readonly deviceId: DeviceId;
  /** The server's database that the base, or the round in progress, comes from. */
  readonly epoch: Epoch | undefined;
  /** Absent before the first sync is complete, and after a reset: then a fresh snapshot is asked for. */
  readonly cursor: Cursor | undefined;
  /**
   * `empty`: nothing of a base. `partial`: a first sync is under way and has written part of it (rule R4). `whole`: a
   * state that the server had.
   */
  readonly base: "empty" | "partial" | "whole";
  /** The scopes of the base, sorted, as JSON text: compared far more often than read. */
  readonly held: string;
  /** Hash of the schema that the base was computed with. */
  readonly baseSchema: string | undefined;
  /** Hash of the server's scope declaration that the base was computed with. */
  readonly declaration: string | undefined;
  /**
   * The last transaction before the queue: covered by a page, or given up. The server's record may end before it (I3); the
   * numbers between the two then go to it as an empty range.
   */
  readonly handled: TxRef;
  /** The highest number that a page ever said was handled (I4). */
  readonly told: number;
  /** Transactions up to this number were, or may have been, reported before (I3). */
  readonly repeated: number;
  /** The last one handled under an id that the device has given up (I4); 0 and 0 for none. */
  readonly former: TxRef;
  /** Whether the server's log was found not to have our cursor: until a fresh snapshot is there (I2). */
  readonly isDenied: boolean;
  /** The round in progress, as JSON text; the server's to read. */
  readonly round: string | undefined;
  /** The schema hash that the round in progress is for. */
  readonly roundSchema: string | undefined;
  /** Ids of withheld transactions (rule A3). */
  readonly withheld: readonly number[];
  /** Whether the last replay took rows along that no pending transaction names: then any of them may have been its cause. */
  readonly cascaded: boolean;
  /** When the device last had everything, in milliseconds since 1970. */
  readonly syncedAt: number | undefined;
  /** How often the base was found to differ from the server's rows, and was fetched anew. */
  readonly mismatches: number;
  /** Rows of a first sync whose unique value made room until a later page comes (see `row-writer.ts`), as JSON text. */
  readonly displaced: string | undefined;
}

const NOBODY: TxRef = { number: 0, stamp: 0 };

/** The keys in the meta table, by field. */
const keys = {
  deviceId: "device.id",
  epoch: "device.epoch",
  cursor: "device.cursor",
  base: "device.base",
  held: "device.held",
  baseSchema: "device.base_schema",
  declaration: "device.declaration",
  handled: "device.handled",
  told: "device.told",
  repeated: "device.repeated",
  former: "device.former",
  isDenied: "device.denied",
  round: "device.round",
  roundSchema: "device.round_schema",
  withheld: "device.withheld",
  cascaded: "device.cascaded",
  syncedAt: "device.synced_at",
  mismatches: "device.mismatches",
  displaced: "device.displaced",
} as const satisfies Record<keyof Checkpoint, string>;

const fields = Object.keys(keys) as readonly (keyof Checkpoint)[];

/** Reads the checkpoint; undefined before the device has an id. */
export function* readCheckpoint(): Core<Checkpoint | undefined> {
  const rows = yield* all(`SELECT k, v FROM ${META} WHERE k >= 'device.' AND k < 'device/'`);
  const texts = new Map(rows.map(([key, value]) => [String(key), String(value)]));
  const id = texts.get(keys.deviceId);
  if (id === undefined) return undefined;
  const text = (field: keyof Checkpoint): string | undefined => texts.get(keys[field]);
  try {
    const cursor = text("cursor");
    const epoch = text("epoch");
    return {
      deviceId: parseDeviceId(id),
      epoch: epoch === undefined ? undefined : parseEpoch(epoch),
      cursor: cursor === undefined ? undefined : checkedCursor(cursor),
      base: baseOf(text("base")),
      held: text("held") ?? "[]",
      baseSchema: text("baseSchema"),
      declaration: text("declaration"),
      handled: JSON.parse(text("handled") ?? "null") ?? NOBODY,
      told: Number(text("told") ?? 0),
      repeated: Number(text("repeated") ?? 0),
      former: JSON.parse(text("former") ?? "null") ?? NOBODY,
      isDenied: text("isDenied") === "true",
      round: text("round"),
      roundSchema: text("roundSchema"),
      withheld: JSON.parse(text("withheld") ?? "[]"),
      cascaded: text("cascaded") === "true",
      syncedAt: text("syncedAt") === undefined ? undefined : Number(text("syncedAt")),
      mismatches: Number(text("mismatches") ?? 0),
      displaced: text("displaced"),
    };
  } catch (cause) {
    throw new SyncError({
      code: "STORAGE_FAILED",
      message: "The device's checkpoint in the local database cannot be read.",
      cause,
    });
  }
}

/** Reads the checkpoint of a device that has one. */
export function* requireCheckpoint(): Core<Checkpoint> {
  const checkpoint = yield* readCheckpoint();
  if (!checkpoint)
    throw new SyncError({
      code: "STORAGE_FAILED",
      message: "The local database has lost the device's id. Open the client again.",
    });
  return checkpoint;
}

/** Writes what differs. */
export function* writeCheckpoint(before: Checkpoint | undefined, after: Checkpoint): Core<void> {
  for (const field of fields) {
    const was = before && stored(before, field);
    const is = stored(after, field);
    if (was === is && before) continue;
    if (is === undefined) yield* run(`DELETE FROM ${META} WHERE k = ?`, [keys[field]]);
    else
      yield* run(`INSERT INTO ${META}(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v`, [
        keys[field],
        is,
      ]);
  }
}

/** The checkpoint of a device that has nothing yet. */
export function newCheckpoint(random?: RandomBytes): Checkpoint {
  return {
    deviceId: makeDeviceId(random),
    epoch: undefined,
    cursor: undefined,
    base: "empty",
    held: "[]",
    baseSchema: undefined,
    declaration: undefined,
    handled: NOBODY,
    told: 0,
    repeated: 0,
    former: NOBODY,
    isDenied: false,
    round: undefined,
    roundSchema: undefined,
    withheld: [],
    cascaded: false,
    syncedAt: undefined,
    mismatches: 0,
    displaced: undefined,
  };
}

/** The held scopes as a list. */
export function heldScopes(checkpoint: Checkpoint): readonly string[] {
  return JSON.parse(checkpoint.held) as readonly string[];
}

/** The round in progress, as the server wrote it. */
export function roundOf(checkpoint: Checkpoint): RoundState | undefined {
  return checkpoint.round === undefined ? undefined : parseRoundState(fromJsonValues(JSON.parse(checkpoint.round)));
}

/** A round's state as it is stored. */
export function roundText(round: RoundState): string {
  return JSON.stringify(toJsonValues(round));
}

function stored(checkpoint: Checkpoint, field: keyof Checkpoint): string | undefined {
  const value = checkpoint[field];
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}

function baseOf(text: string | undefined): Checkpoint["base"] {
  return text === "partial" || text === "whole" ? text : "empty";
}

function checkedCursor(text: string): Cursor {
  parseCursor(text);
  // Parsed just now; the brand is the module's own.
  return text as Cursor;
}
