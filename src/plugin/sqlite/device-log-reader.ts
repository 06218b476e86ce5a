/**
 * Reads, closes and drops the transactions of a device's log. A transaction is the entries before a marker; the marker has its
 * number, stamp, time and the hash of the schema it was written with. Numbers rise by one and are never used twice: the
 * last one that left the queue is remembered. What left it stays in the log for a while (`kept-transactions.ts`).
 *
 * @module
 */

import { hashSchema } from "../../protocol/hash.ts";
import { hlcNow } from "../../protocol/hlc.ts";
import type { Key, TxRef, Value } from "../../protocol/ids.ts";
import { all, first, run, type Core } from "../core.ts";
import { knownTables } from "../known-tables.ts";
import { isChanged, type Layout } from "../layouts.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { EVICT, LOG, MARKER, META, STAMP_SQL, kindNames, markerKinds, metaKeys } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncColumn, SyncTable } from "../table.ts";
import { readClockOffset } from "./device-clock.ts";
import { layoutOf } from "./oplog-reader.ts";

/** One change of one row. */
export interface DeviceEntry {
  readonly seq: number;
  readonly table: SyncTable;
  readonly kind: "insert" | "update" | "delete";
  readonly key: Key;
  /** Changed columns besides the key; all of them for an insert and a delete. The same array for the same ones. */
  readonly columns: readonly SyncColumn[];
  /** New values; empty for a delete. */
  readonly values: readonly Value[];
  /** Old values; empty for an insert. */
  readonly before: readonly Value[];
  /** The same of columns that a migration has taken away since; absent for none. */
  readonly gone?: readonly GoneValue[];
}

/** What an entry says about a column that is not there any more. */
export interface GoneValue {
  /** The name in SQL. */
  readonly name: string;
  readonly value: Value;
  readonly before: Value;
}

/** One transaction of the queue. */
export interface DeviceTransaction {
  readonly number: number;
  readonly stamp: number;
  readonly hlc: number;
  /** Hash of the schema it was written with. */
  readonly schema: string;
  /** The stretch of the log that it covers; `lastSeq` is its marker. */
  readonly firstSeq: number;
  readonly lastSeq: number;
  /** Whether it was rejected, and has come back since (I3): its number is to be handled again, and nothing else. */
  readonly isVoid: boolean;
  /** None where it is void. */
  readonly entries: readonly DeviceEntry[];
}

const none: readonly Value[] = [];
const chunk = 2000;

/** Closes what writers who do not know us left open, as a transaction of its own. In a write transaction, before anything else. */
export function* closeStrangers(sync: SyncDatabase): Core<void> {
  yield* closeDeviceTransaction(sync);
}

/** Writes the marker that closes the open entries; answers whether there were any. In the writing transaction. */
export function* closeDeviceTransaction(sync: SyncDatabase): Core<boolean> {
  const last = yield* first(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined || last[0] === MARKER) return false;
  const before = yield* lastMarker();
  yield* run(`INSERT INTO ${LOG}(stamp, t, kind, mask, k0, c0) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?, ?, ?)`, [
    hlcNow(before.hlc, sync.now() + before.clock),
    before.number + 1,
    hashSchema(knownTables(sync.tables)),
  ]);
  yield* run(`DELETE FROM ${EVICT}`);
  return true;
}

/** Whether writers who do not know us left entries that are in no transaction yet. */
export function* hasUnclosedEntries(): Core<boolean> {
  const last = yield* first(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  return last !== undefined && last[0] !== MARKER;
}

/** The number and stamp of the last transaction that was closed; 0 and 0 when there was none. */
export function* lastTransaction(): Core<TxRef> {
  const { number, stamp } = yield* lastMarker();
  return { number, stamp };
}

/** How many closed transactions are in the queue. */
export function* pendingCount(): Core<number> {
  const { number, seq } = yield* readDropped();
  return Number(
    (yield* first(`SELECT count(*) FROM ${LOG} WHERE t = ${MARKER} AND k0 > ? AND seq > ?`, [number, seq]))?.[0] ?? 0,
  );
}

/**
 * Reads closed transactions with a number above `after`, oldest first, whole, at most `limit` of them. `rejected`: what those
 * had written that are void, too.
 */
export function* readTransactions(
  sync: SyncDatabase,
  { after, limit, rejected = false }: { readonly after: number; readonly limit: number; readonly rejected?: boolean },
): Core<readonly DeviceTransaction[]> {
  const transactions: DeviceTransaction[] = [];
  const width = logWidth(sync);
  const fields = [
    "seq",
    "stamp",
    "t",
    "kind",
    "mask",
    ...Array.from({ length: width.keys }, (_, i) => `k${i}`),
    ...Array.from({ length: width.rest }, (_, i) => `c${i}`),
    ...Array.from({ length: width.rest }, (_, i) => `o${i}`),
  ].join(", ");
  // From the queue's front, where `after` mostly lies.
  const dropped = yield* readDropped();
  const from = after >= dropped.number ? dropped.seq : 0;
  const next = yield* findMarkerAfter(after, from);
  if (next === undefined) return transactions;
  const start = yield* first(`SELECT seq FROM ${LOG} WHERE t = ${MARKER} AND seq < ? ORDER BY seq DESC LIMIT 1`, [
    next.seq,
  ]);
  let position = Math.max(Number(start?.[0] ?? 0), from);
  // A few transactions are not worth reading a whole stretch of the queue.
  const size = Math.min(chunk, Math.max(16, limit * 4));
  let entries: DeviceEntry[] = [];
  let firstSeq = position + 1;
  for (;;) {
    const rows = yield* all(`SELECT ${fields} FROM ${LOG} WHERE seq > ? ORDER BY seq LIMIT ?`, [position, size]);
    for (const row of rows) {
      const seq = Number(row[0]);
      position = seq;
      if (row[2] !== MARKER) {
        if (entries.length === 0) firstSeq = seq;
        const layout = yield* layoutOf(sync, Number(row[2]));
        const entry = layout === undefined ? undefined : readEntry(seq, row, layout, width);
        if (entry !== undefined) entries.push(entry);
        continue;
      }
      const schema = row[5 + width.keys];
      const isVoid = row[3] === markerKinds.rejected;
      transactions.push({
        number: Number(row[5]),
        stamp: Number(row[1]),
        hlc: Number(row[4]),
        schema: typeof schema === "string" ? schema : "",
        firstSeq: entries.length === 0 ? seq : firstSeq,
        lastSeq: seq,
        isVoid,
        entries: isVoid && !rejected ? [] : entries,
      });
      entries = [];
      if (transactions.length === limit) return transactions;
    }
    if (rows.length < size) return transactions;
  }
}

/** The marker that closes a transaction. */
export interface LogMarker extends TxRef {
  readonly seq: number;
  /** One of `markerKinds`. */
  readonly kind: Value;
}

/**
 * The first marker past a place in the log whose transaction has a number above `after`. Numbers rise with their place, so a
 * long queue is not walked through: each of its pushes would begin at the front.
 */
export function* findMarkerAfter(after: number, from: number): Core<LogMarker | undefined> {
  const front = yield* markerPast(from);
  if (front === undefined || front.number > after) return front;
  let low = front.seq;
  let high = Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const probe = yield* markerPast(middle);
    if (probe === undefined || probe.number > after) high = middle;
    else low = probe.seq;
  }
  return yield* markerPast(low);
}

function* markerPast(seq: number): Core<LogMarker | undefined> {
  const row = yield* first(
    `SELECT seq, k0, stamp, kind FROM ${LOG} WHERE t = ${MARKER} AND seq > ? ORDER BY seq LIMIT 1`,
    [seq],
  );
  return row && { seq: Number(row[0]), number: Number(row[1]), stamp: Number(row[2]), kind: row[3] ?? null };
}

/** Where the queue begins: the last transaction that left it, and its place in the log. */
export interface Dropped extends TxRef {
  readonly seq: number;
}

/** Reads where the queue begins. */
export function* readDropped(): Core<Dropped> {
  const value = yield* readMeta(metaKeys.dropped);
  const [number, stamp, seq] = typeof value === "string" ? (JSON.parse(value) as readonly number[]) : [];
  return { number: number ?? 0, stamp: stamp ?? 0, seq: seq ?? 0 };
}

/** Moves the queue's front. */
export function* writeDropped({ number, stamp, seq }: Dropped): Core<void> {
  yield* writeMeta(metaKeys.dropped, JSON.stringify([number, stamp, seq]));
}

function* lastMarker(): Core<TxRef & { readonly hlc: number; readonly clock: number }> {
  const row = yield* first(
    `SELECT k0, stamp, mask, (SELECT v FROM ${META} WHERE k = ?) FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1`,
    [metaKeys.clock],
  );
  if (row !== undefined)
    return { number: Number(row[0]), stamp: Number(row[1]), hlc: Number(row[2]), clock: Number(row[3] ?? 0) };
  return { ...(yield* readDropped()), hlc: 0, clock: (yield* readClockOffset()) ?? 0 };
}

interface LogWidth {
  readonly keys: number;
  readonly rest: number;
}

function logWidth(sync: SyncDatabase): LogWidth {
  let keys = 1;
  let rest = 1;
  for (const layout of sync.layouts.values()) {
    keys = Math.max(keys, layout.keyLength);
    rest = Math.max(rest, layout.rest.length);
  }
  return { keys, rest };
}

function readEntry(seq: number, row: readonly Value[], layout: Layout, width: LogWidth): DeviceEntry | undefined {
  const { table, keyLength } = layout;
  const kind = kindNames[Number(row[3])];
  if (table === undefined || kind === undefined || kind === "moved") return undefined;
  const mask = row[4] ?? null;
  const key = row.slice(5, 5 + keyLength);
  const columns = kind === "update" ? layout.changed(mask) : layout.all;
  const at = 5 + width.keys;
  const image = (from: number): readonly Value[] => {
    const values: Value[] = [];
    for (const [i, column] of layout.rest.entries()) {
      if (column !== undefined && (kind !== "update" || isChanged(mask, i))) values.push(row[from + i] ?? null);
    }
    return values;
  };
  const entry: DeviceEntry = {
    seq,
    table,
    kind,
    key,
    columns,
    values: kind === "delete" ? none : image(at),
    before: kind === "insert" ? none : image(at + width.rest),
  };
  if (layout.all.length === layout.rest.length) return entry;
  const gone = layout.rest.flatMap((column, i): readonly GoneValue[] =>
    column === undefined && (kind !== "update" || isChanged(mask, i))
      ? [{ name: layout.restNames[i] ?? "", value: row[at + i] ?? null, before: row[at + width.rest + i] ?? null }]
      : [],
  );
  return gone.length === 0 ? entry : { ...entry, gone };
}
