/**
 * Which rows the queue names, kept in memory between pages: draining a long queue would otherwise read all of it with every
 * page. Only entries that are new are read from the log. What is remembered is tied to the marker it was read up to: a
 * marker's stamp is random, so one that is still there vouches for everything before it, and one that is not (rolled
 * back, or dropped) makes us read again.
 *
 * What has left the queue is in the log for a while; it is not read, but when it comes back (I3), everything is read anew.
 * Rows that left the queue may still be named; callers ask for what comes after a seq.
 *
 * @module
 */

import { first, type Core } from "../plugin/core.ts";
import { readDropped } from "../plugin/device-log.ts";
import { LOG } from "../plugin/names.ts";
import { readChangedKeys } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";

/** What the queue says about rows and tables, by the seq of the last entry that says it. */
export interface QueueRows {
  /** Whether an entry after `seq` names the row. */
  names(table: string, key: Key, seq: number): boolean;
  /** Whether an entry after `seq` inserts the row. */
  inserts(table: string, key: Key, seq: number): boolean;
  /** Whether an entry after `seq` writes a row of the table, in one of these ways. */
  writes(table: string, kinds: "any" | "update" | "delete", seq: number): boolean;
}

interface Known {
  /** From where on the log was read. */
  readonly from: number;
  /** Up to where the log was read, and the stamp of its row there. */
  readonly seq: number;
  readonly stamp: Value;
  /** In the order of their last entries. */
  readonly rows: Map<string, { readonly last: number; readonly inserted: number }>;
  readonly tables: Map<string, { any: number; update: number; delete: number }>;
}

const knownByDatabase = new WeakMap<SyncDatabase, Known>();

/** Brings the memory up to date. In a write transaction, after the open entries were closed. */
export function* readQueueRows(sync: SyncDatabase): Core<QueueRows> {
  const before = knownByDatabase.get(sync);
  const front = (yield* readDropped()).seq;
  const isVouched =
    before !== undefined &&
    before.from <= front &&
    (yield* first(`SELECT stamp FROM ${LOG} WHERE seq = ?`, [before.seq]))?.[0] === before.stamp;
  const known: Known = isVouched
    ? { ...before, from: front }
    : { from: front, seq: front, stamp: null, rows: new Map(), tables: new Map() };
  for (const [name, { last }] of known.rows) {
    if (last > front) break;
    known.rows.delete(name);
  }
  // Until it is complete it vouches for nothing.
  knownByDatabase.delete(sync);
  yield* readOn(sync, known);
  const [seq, stamp] = (yield* first(`SELECT seq, stamp FROM ${LOG} ORDER BY seq DESC LIMIT 1`)) ?? [0, null];
  knownByDatabase.set(sync, { ...known, seq: Number(seq), stamp: stamp ?? null });
  const { rows, tables } = known;
  return {
    names: (table, key, after) => (rows.get(nameOf(table, key))?.last ?? 0) > after,
    inserts: (table, key, after) => (rows.get(nameOf(table, key))?.inserted ?? 0) > after,
    writes: (table, kinds, after) => (tables.get(table)?.[kinds] ?? 0) > after,
  };
}

function* readOn(sync: SyncDatabase, { seq: from, rows, tables }: Known): Core<void> {
  for (const { seq, table, kind, key } of yield* readChangedKeys(sync, from, Number.MAX_SAFE_INTEGER)) {
    const name = nameOf(table.key, key);
    const inserted = kind === "insert" ? seq : (rows.get(name)?.inserted ?? 0);
    rows.delete(name);
    rows.set(name, { last: seq, inserted });
    let ofTable = tables.get(table.key);
    if (!ofTable) tables.set(table.key, (ofTable = { any: 0, update: 0, delete: 0 }));
    ofTable.any = seq;
    if (kind === "update" || kind === "delete") ofTable[kind] = seq;
  }
}

const nameOf = (table: string, key: Key): string => `${table}\n${keyText(key)}`;
