/**
 * Device records and schemas (rules I1, P10, V1). Everything here is a piece of a transaction that somebody else opens.
 *
 * A record never expires. A lost one is the same as one with `lastTx` 0: the device then sends what it still has (I3).
 *
 * @module
 */

import { type Core, all, first, run } from "../plugin/core.ts";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import type { DeviceId, TxRef } from "../protocol/ids.ts";
import { type KnownSchema, matchSchema } from "./known-schema.ts";

/** What the server remembers of a device. */
export interface DeviceRecord {
  readonly lastTx: TxRef;
  /** The head of the log when `lastTx` was committed (rule U3). */
  readonly lastSeq: number;
  readonly ackedTx: number;
  /** Whether there is a record at all. */
  readonly isKnown: boolean;
}

const unknownDevice: DeviceRecord = { lastTx: { number: 0, stamp: 0 }, lastSeq: 0, ackedTx: 0, isKnown: false };

/** Reads a device's record; throws `DEVICE_TAKEN` when the id belongs to another subject (rule I1). */
export function* readDevice(deviceId: DeviceId, subject: string): Core<DeviceRecord> {
  const row = yield* first(
    `SELECT subject, last_tx, last_stamp, last_seq, acked_tx FROM ${serverTables.devices} WHERE device_id = ?`,
    [deviceId],
  );
  if (row === undefined) return unknownDevice;
  if (row[0] !== subject) throw deviceTaken();
  return {
    lastTx: { number: Number(row[1]), stamp: Number(row[2]) },
    lastSeq: Number(row[3]),
    ackedTx: Number(row[4]),
    isKnown: true,
  };
}

/** Reads the hash of the schema that a device announced last. */
export function* readAnnounced(deviceId: DeviceId): Core<string | undefined> {
  const row = yield* first(`SELECT schema FROM ${serverTables.devices} WHERE device_id = ?`, [deviceId]);
  return row === undefined ? undefined : String(row[0]);
}

/** Registers a device at its handshake, or notes the schema of one that is known (rule I1). */
export function* registerDevice(deviceId: DeviceId, subject: string, schema: string, nowMs: number): Core<void> {
  yield* run(
    `INSERT INTO ${serverTables.devices} (device_id, subject, schema, registered_at, seen_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (device_id) DO UPDATE SET schema = excluded.schema, seen_at = excluded.seen_at WHERE subject = excluded.subject`,
    [deviceId, subject, schema, nowMs, nowMs],
  );
  yield* readDevice(deviceId, subject);
}

/** Writes the last transaction handled, in the transaction that holds its effects (rule P10). */
export function* writeLastTx(
  deviceId: DeviceId,
  subject: string,
  handled: { readonly lastTx: TxRef; readonly lastSeq: number; readonly schema: string; readonly nowMs: number },
): Core<void> {
  const { lastTx, lastSeq, schema, nowMs } = handled;
  yield* run(
    `INSERT INTO ${serverTables.devices} (device_id, subject, last_tx, last_stamp, last_seq, schema, registered_at, seen_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device_id) DO UPDATE SET last_tx = excluded.last_tx, last_stamp = excluded.last_stamp,
  last_seq = excluded.last_seq, seen_at = excluded.seen_at`,
    [deviceId, subject, lastTx.number, lastTx.stamp, lastSeq, schema, nowMs, nowMs],
  );
}

/** Remembers a schema under its hash. */
export function* writeSchema(hash: string, tables: KnownTables): Core<void> {
  yield* run(`INSERT INTO ${serverTables.schemas} (hash, tables) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING`, [
    hash,
    JSON.stringify(tables),
  ]);
}

/** The devices whose last transaction was handled at or after a position; the index keeps it cheap (rules U3, L3). */
export function* readDevicesSince(seq: number): Core<ReadonlyMap<string, DeviceRecord>> {
  const rows = yield* all(
    `SELECT device_id, last_tx, last_stamp, last_seq, acked_tx FROM ${serverTables.devices} WHERE last_seq >= ?`,
    [seq],
  );
  const records = new Map<string, DeviceRecord>();
  for (const [deviceId, lastTx, lastStamp, lastSeq, ackedTx] of rows) {
    records.set(String(deviceId), {
      lastTx: { number: Number(lastTx), stamp: Number(lastStamp) },
      lastSeq: Number(lastSeq),
      ackedTx: Number(ackedTx),
      isKnown: true,
    });
  }
  return records;
}

/** The schemas that devices announced, matched with the server's and kept in memory. */
export interface SchemaCache {
  /** The schema under a hash; undefined when no device announced it here. */
  read(hash: string): Core<KnownSchema | undefined>;
}

const maxCachedSchemas = 256;

/** Creates the cache of one database. */
export function createSchemaCache(database: SyncDatabase): SchemaCache {
  const cache = new Map<string, KnownSchema>();
  return {
    *read(hash) {
      const cached = cache.get(hash);
      if (cached !== undefined) return cached;
      const row = yield* first(`SELECT tables FROM ${serverTables.schemas} WHERE hash = ?`, [hash]);
      if (row === undefined) return undefined;
      const schema = matchSchema(database, hash, JSON.parse(String(row[0])) as KnownTables);
      // The oldest goes first: a server sees few schemas at a time, but over the years many.
      const oldest = cache.keys().next();
      if (cache.size >= maxCachedSchemas && oldest.done !== true) cache.delete(oldest.value);
      cache.set(hash, schema);
      return schema;
    },
  };
}

function deviceTaken(): SyncError<"DEVICE_TAKEN"> {
  return new SyncError({
    code: "DEVICE_TAKEN",
    message:
      "This device id belongs to another subject. Another subject on the same device needs a database of its own.",
  });
}
