/**
 * One stretch of the log, as the rows it touched are now (rule U2). Entries are grouped by row; how often a row changed
 * does not matter, so a page counts rows, and a row that changed a thousand times travels once (C3).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { type LogEntry, readEntries } from "../plugin/oplog.ts";
import { readRows } from "../plugin/rows.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import { type ChangeCollector, type GrowingGroup, sizeOf } from "./change-groups.ts";
import type { KnownSchema, KnownTable } from "./known-schema.ts";
import { meets, sameScopes } from "./scopes.ts";

/** What a stretch is judged with. */
export interface StretchQuery {
  /** The target of the round. */
  readonly target: ReadonlySet<string>;
  /** What the device held at the beginning of the stretch, as far as it is in the target. */
  readonly held: ReadonlySet<string>;
  /** What the device knows now, and what it knew at the beginning of the stretch. */
  readonly schema: KnownSchema;
  readonly base: KnownSchema;
  readonly after: number;
  readonly upTo: number;
  /** Rows wanted at most. */
  readonly limit: number;
  /** Bytes of values, roughly, at which the reading stops. */
  readonly bytes: number;
}

/** Entries read for one page at most, however few rows they touch: it bounds the time that a page takes. */
const maxEntries = 20_000;
/** Entries whose rows are read before their size is known, and at most at a time: multiples of what a statement reads. */
const firstSlice = 10;
const maxSlice = 500;

/** How far a stretch was read, and roughly the bytes of what was found. */
export interface StretchRead {
  readonly reached: number;
  readonly bytes: number;
}

/** Adds the changes of a stretch to a page. */
export function* readStretch(database: SyncDatabase, query: StretchQuery, changes: ChangeCollector): Core<StretchRead> {
  // Held scopes are a part of the target: what is not in it any more, the device drops by itself (rule U1).
  const scopes = query.target;
  const touched: Touched = new Map();
  let reached = query.after;
  let rows = 0;
  let entries = 0;
  let bytes = 0;
  let slice = firstSlice;
  const lists = createColumnLists();
  while (reached < query.upTo && rows < query.limit && entries < maxEntries && bytes < query.bytes) {
    const chunk = yield* readEntries(database, { after: reached, upTo: query.upTo, scopes, limit: query.limit - rows });
    let at = 0;
    while (at < chunk.entries.length && bytes < query.bytes) {
      const part = chunk.entries.slice(at, at + slice);
      const found = yield* readSlice(touched, part, query, { lists, bytes: query.bytes - bytes, isFirst: bytes === 0 });
      bytes += found.bytes;
      rows += found.rows;
      at += found.entries;
      if (found.entries < part.length) break;
      // What was read so far tells how many more fit.
      const fitting = Math.floor(((query.bytes - bytes) * (entries + at)) / Math.max(1, bytes));
      slice = Math.max(1, Math.min(maxSlice, slice * 10, fitting));
    }
    entries += at;
    if (at < chunk.entries.length) {
      reached = chunk.entries[at - 1]?.seq ?? reached;
      break;
    }
    reached = chunk.reached;
  }
  addRows(query.schema, touched, changes);
  return { reached, bytes };
}

/** Reads the rows of some entries, as far as they fit; answers how many entries that are. */
function* readSlice(
  touched: Touched,
  part: readonly LogEntry[],
  query: StretchQuery,
  page: { readonly lists: ColumnLists; readonly bytes: number; readonly isFirst: boolean },
): Core<{ readonly entries: number; readonly rows: number; readonly bytes: number }> {
  // In the order of the entries that touch them first, with what was known of them before.
  const lacking = new Map<TouchedRow, { readonly at: number; readonly before: Need }>();
  part.forEach((entry, at) => {
    const found = touch(touched, entry, query);
    if (found !== undefined && !lacking.has(found.row)) lacking.set(found.row, { at, before: found.before });
  });
  yield* findRows(lacking.keys(), query.target, page.lists);
  let bytes = 0;
  let rows = 0;
  let end = part.length;
  for (const [row, { at, before }] of lacking) {
    const size = sizeOf(row.key) + sizeOf(row.found?.values) - sizeOf(before.found?.values);
    if (end === part.length && bytes + size > page.bytes && !(page.isFirst && at === 0)) end = at;
    if (end < part.length) {
      // It comes with a later page.
      Object.assign(row, before);
      continue;
    }
    bytes += size;
    if (before === untouched) rows++;
  }
  return { entries: end, rows, bytes };
}

type Touched = Map<SyncTable, Map<string, TouchedRow>>;

/** What a page must tell of a row. */
interface Need {
  /** Whether the device did not have it, or anything but updates that left its scopes alone happened to it. */
  isWhole: boolean;
  columns: readonly SyncColumn[];
  /** The row as it is, over the columns that it was read for; without values when it is gone or out of the target. */
  found: { readonly columns: readonly SyncColumn[]; readonly values?: readonly Value[] } | undefined;
}

interface TouchedRow extends Need {
  readonly known: KnownTable;
  readonly key: Key;
}

const untouched: Need = { isWhole: false, columns: [], found: undefined };

/** Notes an entry; answers its row, and what was known of it, when it must be read, or read again for more columns. */
function touch(
  touched: Touched,
  entry: LogEntry,
  query: StretchQuery,
): { readonly row: TouchedRow; readonly before: Need } | undefined {
  const known = query.schema.sentByTable.get(entry.table);
  if (known === undefined) return undefined;
  let byKey = touched.get(entry.table);
  if (byKey === undefined) touched.set(entry.table, (byKey = new Map()));
  const isWhole = entry.kind !== "update" || !sameScopes(entry.before, entry.after);
  const text = keyText(entry.key);
  const row = byKey.get(text);
  if (row === undefined) {
    const had = query.base.sentByTable.has(entry.table) && meets(entry.before, query.held);
    const { key, columns } = entry;
    const made: TouchedRow = { known, key, isWhole: isWhole || !had, columns, found: undefined };
    byKey.set(text, made);
    return { row: made, before: untouched };
  }
  if (row.isWhole || (!isWhole && row.columns === entry.columns)) return undefined;
  const columns = isWhole ? row.columns : union(row.columns, entry.columns);
  if (!isWhole && columns === row.columns) return undefined;
  const before: Need = { isWhole: row.isWhole, columns: row.columns, found: row.found };
  row.isWhole = isWhole;
  row.columns = columns;
  return { row, before };
}

function union(left: readonly SyncColumn[], right: readonly SyncColumn[]): readonly SyncColumn[] {
  const more = right.filter((column) => !left.includes(column));
  return more.length === 0 ? left : [...left, ...more];
}

/** Reads rows as they are now. */
function* findRows(lacking: Iterable<TouchedRow>, target: ReadonlySet<string>, lists: ColumnLists): Core<void> {
  const groups = new Map<readonly SyncColumn[], { readonly known: KnownTable; readonly rows: TouchedRow[] }>();
  for (const row of lacking) {
    const columns = row.isWhole ? row.known.others : lists.of(row.known, row.columns);
    // The device knows none of the columns that changed.
    if (columns.length === 0 && !row.isWhole) continue;
    const group = groups.get(columns);
    if (group === undefined) groups.set(columns, { known: row.known, rows: [row] });
    else group.rows.push(row);
  }
  for (const [columns, { known, rows }] of groups) {
    const keys = rows.map(({ key }) => key);
    const live = new Map<string, readonly Value[]>();
    for (const row of yield* readRows(known.table, columns, keys))
      if (meets(row.scopes, target)) live.set(keyText(row.key), row.values);
    for (const row of rows) {
      const values = live.get(keyText(row.key));
      row.found = values === undefined ? { columns } : { columns, values };
    }
  }
}

/** Puts the rows that were found into the page. */
function addRows(schema: KnownSchema, touched: Touched, changes: ChangeCollector): void {
  for (const known of schema.sent) {
    const byKey = touched.get(known.table);
    if (byKey === undefined) continue;
    const groups = new Map<readonly SyncColumn[], GrowingGroup>();
    for (const { key, isWhole, found } of byKey.values()) {
      if (found === undefined) continue;
      if (found.values === undefined) {
        // Gone, or out of the target. A removal also takes back what an earlier page of the same round brought.
        changes.removals(known).add(key, []);
        continue;
      }
      let group = groups.get(found.columns);
      if (group === undefined) {
        group = isWhole ? changes.rows(known) : changes.updates(known, found.columns);
        groups.set(found.columns, group);
      }
      group.add(key, found.values);
    }
  }
}

/** The columns of a list that are sent, the same list for the same ones, so that its statement is written once. */
interface ColumnLists {
  of(known: KnownTable, columns: readonly SyncColumn[]): readonly SyncColumn[];
}

function createColumnLists(): ColumnLists {
  // Entries of one layout and mask share one list of columns: they are looked at once.
  const sent = new Map<readonly SyncColumn[], readonly SyncColumn[]>();
  const byName = new Map<string, readonly SyncColumn[]>();
  return {
    of(known, columns) {
      let list = sent.get(columns);
      if (list === undefined) {
        list = known.others.filter((column) => columns.includes(column));
        const name = JSON.stringify([known.table.key, ...list.map((column) => column.index)]);
        const same = byName.get(name);
        if (same === undefined) byName.set(name, list);
        sent.set(columns, (list = same ?? list));
      }
      return list;
    },
  };
}
