/**
 * The server's own state beside the log: who the devices are, what they know, what became of their transactions. The
 * tables are created by the installer; `src/server` alone reads and writes them.
 *
 * None of it is captured, and none of it expires by itself: a lost device record would make the device send its
 * transactions again (rule I3).
 *
 * @module
 */

import { PREFIX } from "../names.ts";

/** The names of the tables. */
export const serverTables = {
  devices: `${PREFIX}devices`,
  schemas: `${PREFIX}schemas`,
  outcomes: `${PREFIX}outcomes`,
  notes: `${PREFIX}notes`,
  rejectedKeys: `${PREFIX}rejected_keys`,
} as const;

/** Statements that create the server's state tables; each may be executed again at any time. */
export const serverStateDdl: readonly string[] = [
  // Rule I1. last_tx and last_stamp: the last transaction handled (P10). last_seq: the head when it was committed (U3).
  `CREATE TABLE IF NOT EXISTS ${serverTables.devices} (
  device_id TEXT PRIMARY KEY NOT NULL,
  subject TEXT NOT NULL,
  last_tx INTEGER NOT NULL DEFAULT 0,
  last_stamp INTEGER NOT NULL DEFAULT 0,
  last_seq INTEGER NOT NULL DEFAULT 0,
  acked_tx INTEGER NOT NULL DEFAULT 0,
  schema TEXT NOT NULL,
  registered_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL
) WITHOUT ROWID`,
  // The live stream asks which devices had something handled since a page began (U3, L3).
  `CREATE INDEX IF NOT EXISTS ${PREFIX}devices_last_seq ON ${serverTables.devices} (last_seq)`,
  // Rule V1: tables and columns as JSON, known by their hash.
  `CREATE TABLE IF NOT EXISTS ${serverTables.schemas} (
  hash TEXT PRIMARY KEY NOT NULL,
  tables TEXT NOT NULL
) WITHOUT ROWID`,
  // Merged and rejected transactions, as CBOR, until the device has acknowledged them (P10, I5).
  `CREATE TABLE IF NOT EXISTS ${serverTables.outcomes} (
  device_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (device_id, number)
) WITHOUT ROWID`,
  // Rule P5: what a device wrote into a column, and what the database made of it. wrote and stored keep their storage class.
  `CREATE TABLE IF NOT EXISTS ${serverTables.notes} (
  device_id TEXT NOT NULL,
  tbl TEXT NOT NULL,
  row_key TEXT NOT NULL,
  col TEXT NOT NULL,
  number INTEGER NOT NULL,
  wrote,
  stored,
  PRIMARY KEY (device_id, tbl, row_key, col)
) WITHOUT ROWID`,
  // Rule P8: rows whose insert by this device was refused, so that nothing brings them back.
  `CREATE TABLE IF NOT EXISTS ${serverTables.rejectedKeys} (
  device_id TEXT NOT NULL,
  tbl TEXT NOT NULL,
  row_key TEXT NOT NULL,
  number INTEGER NOT NULL,
  PRIMARY KEY (device_id, tbl, row_key)
) WITHOUT ROWID`,
];
