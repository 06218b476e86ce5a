/**
 * Device records and schemas (rules I1, P10, V1). Everything here is a piece of a transaction that somebody else opens.
 *
 * A record never expires. A lost one is the same as one with `lastTx` 0: the device then sends what it still has (I3).
 *
 * @module
 */

import { type Core, all, first, run } from "../plugin/core.ts";
import { createRecent } from "../plugin/sqlite/recent.ts";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import type { DeviceId, TxRef, Value } from "../protocol/ids.ts";
import { type KnownSchema, matchSchema } from "./known-schema.ts";

/** What the server remembers of a device. */
export interface DeviceRecord {
  readonly lastTx: TxRef;
  /** The head of the log when `lastTx` was committed (rule U3). */
  readonly lastSeq: number;
  readonly ackedTx: number;
  /** Hash of the schema that the device announced last; absent when there is no record. */
  readonly announced?: string;
  /** Whether there is a record at all. */
  readonly isKnown: boolean;
}

const unknownDevice: DeviceRecord = { lastTx: { number: 0, stamp: 0 }, lastSeq: 0, ackedTx: 0, isKnown: false };

/** Reads a device's record; throws `DEVICE_TAKEN` when the id belongs to another subject (rule I1). */
export function* readDevice(deviceId: DeviceId, subject: string): Core<DeviceRecord> {
  const row = yield* first(
    `SELECT subject, last_tx, last_stamp, last_seq, acked_tx, schema FROM ${serverTables.devices} WHERE device_id = ?`,
    [deviceId],
  );
  if (row === undefined) return unknownDevice;
  const [owner, ...record] = row;
  if (owner !== subject) throw deviceTaken();
  return recordOf(record);
}

/** The same for a device whose subject has been looked at; undefined when there is none. */
export function* readRecord(deviceId: DeviceId): Core<DeviceRecord | undefined> {
  const row = yield* first(
    `SELECT last_tx, last_stamp, last_seq, acked_tx, schema FROM ${serverTables.devices} WHERE device_id = ?`,
    [deviceId],
  );
  return row === undefined ? undefined : recordOf(row);
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

/**
 * Remembers a schema under its hash. Throws `INVALID_MESSAGE` when the hash is known as that of other tables: it is not
 * cryptographic, and whoever made the two meet must not decide what others are sent.
 */
export function* writeSchema(hash: string, tables: KnownTables): Core<void> {
  const text = schemaText(tables);
  const written = yield* run(
    `INSERT INTO ${serverTables.schemas} (hash, tables) VALUES (?, ?) ON CONFLICT (hash) DO NOTHING`,
    [hash, text],
  );
  if (written > 0) return;
  const stored = yield* first(`SELECT tables FROM ${serverTables.schemas} WHERE hash = ?`, [hash]);
  if (stored?.[0] === text || schemaText(JSON.parse(String(stored?.[0])) as KnownTables) === text) return;
  throw new SyncError({
    code: "INVALID_MESSAGE",
    message: `Other tables than these are known under the hash ${hash}: somebody forged them. Delete that row from \`${serverTables.schemas}\`.`,
  });
}

/** As the hash sees it: the order of columns counts, that of tables does not. */
function schemaText(tables: KnownTables): string {
  return JSON.stringify(Object.fromEntries(Object.entries(tables).sort(([a], [b]) => (a < b ? -1 : 1))));
}

/** The devices whose last transaction was handled at or after a position; the index keeps it cheap (rules U3, L3). */
export function* readDevicesSince(seq: number): Core<ReadonlyMap<string, DeviceRecord>> {
  const rows = yield* all(
    `SELECT device_id, last_tx, last_stamp, last_seq, acked_tx, schema FROM ${serverTables.devices} WHERE last_seq >= ?`,
    [seq],
  );
  return new Map(rows.map(([deviceId, ...record]) => [String(deviceId), recordOf(record)]));
}

function recordOf([number, stamp, lastSeq, ackedTx, schema]: readonly (Value | undefined)[]): DeviceRecord {
  return {
    lastTx: { number: Number(number), stamp: Number(stamp) },
    lastSeq: Number(lastSeq),
    ackedTx: Number(ackedTx),
    announced: String(schema),
    isKnown: true,
  };
}

/** The schemas that devices announced, matched with the server's and kept in memory. */
export interface SchemaCache {
  /** The schema under a hash; undefined when no device announced it here. */
  read(hash: string): Core<KnownSchema | undefined>;
}

const maxCachedSchemas = 256;

/** Creates the cache of one database. */
export function createSchemaCache(database: SyncDatabase): SchemaCache {
  // A server sees few schemas at a time, but over the years many.
  const cache = createRecent<KnownSchema>(maxCachedSchemas);
  return {
    *read(hash) {
      const cached = cache.get(hash);
      if (cached !== undefined) return cached;
      const row = yield* first(`SELECT tables FROM ${serverTables.schemas} WHERE hash = ?`, [hash]);
      if (row === undefined) return undefined;
      const schema = matchSchema(database, hash, JSON.parse(String(row[0])) as KnownTables);
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
