/**
 * Reads the transactions of a device's log, whole or in outline.
 *
 * What reading a row costs is mostly the number of its columns, and the log is as wide as the widest table, twice. So a long
 * stretch is read by parts: its markers, and then, for each table and kind of change, only the columns that such entries
 * have. A short one is read in one statement.
 *
 * @module
 */

import type { Key, Value } from "../../protocol/ids.ts";
import { keyText } from "../../protocol/key.ts";
import { all, first, type Core, type Rows } from "../core.ts";
import { isChanged, type Layout } from "../layouts.ts";
import { LIMIT_SQL, LOG, MARKER, kindNames, kindNumbers, markerKinds } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncColumn, SyncTable } from "../table.ts";
import { startOf } from "./device-log-reader.ts";
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
  /** Names it on this device for good, whatever becomes of {@link stamp}. */
  readonly id: number;
  readonly number: number;
  /** What it is sent with: the id, until an earlier transaction of the queue was discarded (I4). */
  readonly stamp: number;
  readonly hlc: number;
  /** Hash of the schema it was written with. */
  readonly schema: string;
  /** The place of its marker in the log. */
  readonly lastSeq: number;
  /** Whether it was rejected, and has come back since (I3): its number is to be handled again, and nothing else. */
  readonly isVoid: boolean;
  /** None where it is void. */
  readonly entries: readonly DeviceEntry[];
}

/** Rows of the log that are read in one statement, whatever is in them. */
const fewRows = 64;
/** Rows, and roughly bytes, that are read at a time by parts. */
const manyRows = 4000;
const manyBytes = 4 * 1024 * 1024;
/** Combinations of table, kind and columns that get a statement each; with more of them, a table is read as a whole. */
const fewShapes = 12;

const none: readonly Value[] = [];

/**
 * Reads closed transactions with a number above `after`, oldest first, whole, at most `limit` of them. `rejected`: what those
 * had written that are void, too.
 */
export function* readTransactions(
  sync: SyncDatabase,
  { after, limit, rejected = false }: { readonly after: number; readonly limit: number; readonly rejected?: boolean },
): Core<readonly DeviceTransaction[]> {
  const transactions: DeviceTransaction[] = [];
  let position = yield* startOf(after);
  let size = fewRows;
  let open: DeviceEntry[] = [];
  while (transactions.length < limit) {
    const read = size === fewRows ? yield* readWide(sync, position, size) : yield* readByParts(sync, position, size);
    let at = 0;
    for (const marker of read.markers) {
      for (; at < read.entries.length && (read.entries[at] as DeviceEntry).seq < marker.lastSeq; at++)
        open.push(read.entries[at] as DeviceEntry);
      transactions.push({ ...marker, entries: marker.isVoid && !rejected ? [] : open });
      open = [];
      if (transactions.length === limit) return transactions;
    }
    for (; at < read.entries.length; at++) open.push(read.entries[at] as DeviceEntry);
    if (read.rows < size) return transactions;
    ({ position } = read);
    // Two rows a transaction, mostly.
    const wanted = Math.max(fewRows + 1, 2 * (limit - transactions.length));
    size = Math.min(manyRows, wanted, Math.max(fewRows + 1, Math.floor((manyBytes * read.rows) / (1 + read.bytes))));
  }
  return transactions;
}

/** A stretch of the log. */
interface Stretch {
  readonly markers: readonly Omit<DeviceTransaction, "entries">[];
  readonly entries: readonly DeviceEntry[];
  /** How many rows it has; fewer than were asked for at the log's end. */
  readonly rows: number;
  readonly position: number;
  /** Roughly, of the values. */
  readonly bytes: number;
}

function* readWide(sync: SyncDatabase, after: number, size: number): Core<Stretch> {
  const { keys, rest } = logWidth(sync);
  const names = ["seq", "t", "kind", "mask", ...named("k", keys), ...named("c", rest), ...named("o", rest), "stamp"];
  const rows = yield* all(`SELECT ${names.join(", ")} FROM ${LOG} WHERE seq > ? ORDER BY seq ${LIMIT_SQL}`, [
    after,
    size,
  ]);
  const markers: Omit<DeviceTransaction, "entries">[] = [];
  const entries: DeviceEntry[] = [];
  for (const row of rows) {
    const [seq, t, kind, mask] = row;
    if (t === MARKER) {
      markers.push(markerOf([seq, kind, mask, row.at(-1), row[4], row[4 + keys], row[4 + keys + rest]]));
      continue;
    }
    const layout = yield* layoutOf(sync, Number(t));
    const images = (from: number): readonly Value[] => row.slice(from, from + (layout?.rest.length ?? 0));
    const entry =
      layout &&
      readEntry(layout, Number(kind), mask ?? null, [
        Number(seq),
        row.slice(4, 4 + layout.keyLength),
        images(4 + keys),
        images(4 + keys + rest),
      ]);
    if (entry !== undefined) entries.push(entry);
  }
  return { markers, entries, rows: rows.length, position: Number(rows.at(-1)?.[0] ?? after), bytes: bytesOf(rows) };
}

function* readByParts(sync: SyncDatabase, after: number, size: number): Core<Stretch> {
  const end = yield* first(
    `SELECT count(*), max(seq) FROM (SELECT seq FROM ${LOG} WHERE seq > ? ORDER BY seq ${LIMIT_SQL})`,
    [after, size],
  );
  const rows = Number(end?.[0]);
  if (rows === 0) return { markers: [], entries: [], rows, position: after, bytes: 0 };
  const range = [after, end?.[1] ?? null] as const;
  const markers = yield* all(
    `SELECT seq, kind, mask, stamp, k0, c0, o0 FROM ${LOG} WHERE seq > ? AND seq <= ? AND t = ${MARKER} ORDER BY seq`,
    range,
  );
  const entries: DeviceEntry[] = [];
  let bytes = 0;
  const shapes = yield* shapesIn(range);
  for (const shape of shapes) {
    const found = yield* readShape(sync, range, shape);
    bytes += bytesOf(found.rows);
    for (const entry of found.entries) entries.push(entry);
  }
  if (shapes.length > 1) entries.sort((a, b) => a.seq - b.seq);
  return { markers: markers.map(markerOf), entries, rows, position: Number(end?.[1]), bytes };
}

/** What entries have in common. */
interface EntryShape {
  readonly layout: number;
  readonly kind: number;
  /** The changed columns of an update; null for other kinds, undefined where entries with any are read together. */
  readonly mask: Value | undefined;
}

function* shapesIn(range: readonly Value[]): Core<readonly EntryShape[]> {
  const found = yield* all(
    `SELECT DISTINCT t, kind, CASE kind WHEN ${kindNumbers.update} THEN mask END FROM ${LOG} WHERE seq > ? AND seq <= ? AND t <> ${MARKER}`,
    range,
  );
  if (found.length <= fewShapes)
    return found.map(([t, kind, mask]) => ({ layout: Number(t), kind: Number(kind), mask: mask ?? null }));
  const shapes = new Map<string, EntryShape>();
  for (const [t, kind] of found)
    shapes.set(`${String(t)}/${String(kind)}`, { layout: Number(t), kind: Number(kind), mask: undefined });
  return [...shapes.values()];
}

function* readShape(
  sync: SyncDatabase,
  range: readonly Value[],
  { layout: number, kind, mask }: EntryShape,
): Core<{ readonly entries: readonly DeviceEntry[]; readonly rows: Rows }> {
  const layout = yield* layoutOf(sync, number);
  if (layout?.table === undefined) return { entries: [], rows: [] };
  const size = layout.rest.length;
  const isUpdate = kind === kindNumbers.update;
  const places = layout.rest.flatMap((_, i) => (isUpdate && mask !== undefined && !isChanged(mask, i) ? [] : [i]));
  const news = kind === kindNumbers.delete ? [] : places;
  const olds = kind === kindNumbers.insert ? [] : places;
  const names = [
    "seq",
    "mask",
    ...named("k", layout.keyLength),
    ...news.map((i) => `c${i}`),
    ...olds.map((i) => `o${i}`),
  ];
  const rows = yield* all(
    `SELECT ${names.join(", ")} FROM ${LOG} WHERE seq > ? AND seq <= ? AND t = ? AND kind = ?${isUpdate && mask !== undefined ? " AND mask IS ?" : ""} ORDER BY seq`,
    [...range, number, kind, ...(isUpdate && mask !== undefined ? [mask] : [])],
  );
  const start = 2 + layout.keyLength;
  // Where all of a layout's columns are there, what was read is what the entry says.
  const isPlain = mask !== undefined && layout.all.length === size;
  const name = kindNames[kind];
  const columns = isUpdate ? layout.changed(mask ?? null) : layout.all;
  const entries: DeviceEntry[] = [];
  for (const row of rows) {
    const key = row.slice(2, start);
    if (isPlain && name !== undefined && name !== "moved") {
      const values = news.length === 0 ? none : row.slice(start, start + news.length);
      const before = olds.length === 0 ? none : row.slice(start + news.length);
      entries.push({ seq: Number(row[0]), table: layout.table, kind: name, key, columns, values, before });
      continue;
    }
    const spread = (from: number, read: readonly number[]): readonly Value[] => {
      const values = new Array<Value>(size).fill(null);
      read.forEach((place, i) => (values[place] = row[from + i] ?? null));
      return values;
    };
    const images = [spread(start, news), spread(start + news.length, olds)] as const;
    const entry = readEntry(layout, kind, row[1] ?? null, [Number(row[0]), key, ...images]);
    if (entry !== undefined) entries.push(entry);
  }
  return { entries, rows };
}

/** What is read of transactions without what they have written. */
export interface QueueOutline {
  /** Oldest first, without their entries. */
  readonly transactions: readonly DeviceTransaction[];
  /** Each row that one of them names, with the columns that updates changed; undefined where it was inserted or deleted. */
  readonly rows: ReadonlyMap<SyncTable, ReadonlyMap<string, readonly SyncColumn[] | undefined>>;
}

/** Reads closed transactions with numbers above `after`, up to one that is in the log, without what they wrote. */
export function* outlineTransactions(sync: SyncDatabase, after: number, upTo: number): Core<QueueOutline> {
  const transactions: DeviceTransaction[] = [];
  const rows = new Map<SyncTable, Map<string, readonly SyncColumn[] | undefined>>();
  const start = yield* startOf(after);
  let position = start;
  for (;;) {
    const markers = yield* all(
      `SELECT seq, kind, mask, stamp, k0, NULL, o0 FROM ${LOG} WHERE seq > ? AND t = ${MARKER} ORDER BY seq ${LIMIT_SQL}`,
      [position, manyRows],
    );
    for (const row of markers) {
      const marker = markerOf(row);
      if (marker.number > upTo) break;
      position = marker.lastSeq;
      transactions.push({ ...marker, entries: [] });
    }
    if (markers.length < manyRows || transactions.at(-1)?.number === upTo) break;
  }
  const end = position;
  const names = ["seq", "t", "kind", "mask", ...named("k", logWidth(sync).keys)];
  const sql = `SELECT ${names.join(", ")} FROM ${LOG} WHERE seq > ? AND seq <= ? AND t <> ${MARKER} ORDER BY seq ${LIMIT_SQL}`;
  for (position = start; ;) {
    const entries = yield* all(sql, [position, end, manyRows]);
    for (const row of entries) {
      const layout = yield* layoutOf(sync, Number(row[1]));
      if (layout?.table === undefined) continue;
      const columns = row[2] === kindNumbers.update ? layout.changed(row[3] ?? null) : undefined;
      noteRow(rows, layout.table, keyText(row.slice(4, 4 + layout.keyLength)), columns);
    }
    if (entries.length < manyRows) return { transactions, rows };
    position = Number(entries.at(-1)?.[0]);
  }
}

function noteRow(
  rows: Map<SyncTable, Map<string, readonly SyncColumn[] | undefined>>,
  table: SyncTable,
  row: string,
  columns: readonly SyncColumn[] | undefined,
): void {
  let ofTable = rows.get(table);
  if (ofTable === undefined) rows.set(table, (ofTable = new Map()));
  if (!ofTable.has(row)) {
    ofTable.set(row, columns);
    return;
  }
  const before = ofTable.get(row);
  if (before === columns || before === undefined) return;
  ofTable.set(row, columns === undefined ? undefined : [...new Set([...before, ...columns])]);
}

function markerOf([seq, kind, hlc, stamp, number, schema, id]: readonly (Value | undefined)[]): Omit<
  DeviceTransaction,
  "entries"
> {
  return {
    id: Number(id ?? stamp),
    number: Number(number),
    stamp: Number(stamp),
    hlc: Number(hlc),
    schema: typeof schema === "string" ? schema : "",
    lastSeq: Number(seq),
    isVoid: kind === markerKinds.rejected,
  };
}

/** An entry from its images, which have a value for each column of the layout. */
function readEntry(
  layout: Layout,
  kindNumber: number,
  mask: Value,
  [seq, key, news, olds]: readonly [number, Key, readonly Value[], readonly Value[]],
): DeviceEntry | undefined {
  const { table, rest } = layout;
  const kind = kindNames[kindNumber];
  if (table === undefined || kind === undefined || kind === "moved") return undefined;
  const has = (i: number): boolean => kind !== "update" || isChanged(mask, i);
  const image = (values: readonly Value[]): readonly Value[] =>
    values.filter((_, i) => rest[i] !== undefined && has(i));
  const entry: DeviceEntry = {
    seq,
    table,
    kind,
    key,
    columns: kind === "update" ? layout.changed(mask) : layout.all,
    values: kind === "delete" ? none : image(news),
    before: kind === "insert" ? none : image(olds),
  };
  if (layout.all.length === rest.length) return entry;
  const gone = rest.flatMap((column, i): readonly GoneValue[] =>
    column === undefined && has(i)
      ? [{ name: layout.restNames[i] ?? "", value: news[i] ?? null, before: olds[i] ?? null }]
      : [],
  );
  return gone.length === 0 ? entry : { ...entry, gone };
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

function named(prefix: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}`);
}

/** Of the values that may be long, by the first of the rows. */
function bytesOf(rows: Rows): number {
  let bytes = 0;
  const looked = rows.slice(0, fewRows);
  for (const row of looked)
    for (const value of row) if (typeof value === "string" || value instanceof Uint8Array) bytes += value.length;
  return looked.length === 0 ? 0 : (bytes * rows.length) / looked.length;
}
