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
import type { Key } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { ChangeCollector } from "./change-groups.ts";
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
}

/** Entries read for one page at most, however few rows they touch: it bounds the time that a page takes. */
const maxEntries = 20_000;

/** Adds the changes of a stretch to a page; answers the seq up to which it was read. */
export function* readStretch(database: SyncDatabase, query: StretchQuery, changes: ChangeCollector): Core<number> {
  // Held scopes are a part of the target: what is not in it any more, the device drops by itself (rule U1).
  const scopes = query.target;
  const touched = new Map<SyncTable, Map<string, TouchedRow>>();
  let reached = query.after;
  let rows = 0;
  let entries = 0;
  while (reached < query.upTo && rows < query.limit && entries < maxEntries) {
    const chunk = yield* readEntries(database, { after: reached, upTo: query.upTo, scopes, limit: query.limit - rows });
    for (const entry of chunk.entries) if (touch(touched, entry, query)) rows++;
    entries += chunk.entries.length;
    reached = chunk.reached;
  }
  for (const known of query.schema.sent) {
    const byKey = touched.get(known.table);
    if (byKey !== undefined) yield* addRows(known, byKey.values(), query.target, changes);
  }
  return reached;
}

interface TouchedRow {
  readonly key: Key;
  readonly had: boolean;
  /** Whether anything but updates that left its scopes alone happened to it. */
  isWhole: boolean;
  columns: readonly SyncColumn[];
}

function touch(touched: Map<SyncTable, Map<string, TouchedRow>>, entry: LogEntry, query: StretchQuery): boolean {
  if (!query.schema.sentByTable.has(entry.table)) return false;
  let byKey = touched.get(entry.table);
  if (byKey === undefined) touched.set(entry.table, (byKey = new Map()));
  const isWhole = entry.kind !== "update" || !sameScopes(entry.before, entry.after);
  const text = keyText(entry.key);
  const row = byKey.get(text);
  if (row === undefined) {
    const had = query.base.sentByTable.has(entry.table) && meets(entry.before, query.held);
    byKey.set(text, { key: entry.key, had, isWhole, columns: entry.columns });
    return true;
  }
  row.isWhole ||= isWhole;
  if (!row.isWhole && row.columns !== entry.columns) row.columns = union(row.columns, entry.columns);
  return false;
}

function union(left: readonly SyncColumn[], right: readonly SyncColumn[]): readonly SyncColumn[] {
  const more = right.filter((column) => !left.includes(column));
  return more.length === 0 ? left : [...left, ...more].sort((a, b) => a.index - b.index);
}

function* addRows(
  known: KnownTable,
  rows: Iterable<TouchedRow>,
  target: ReadonlySet<string>,
  changes: ChangeCollector,
): Core<void> {
  const whole: Key[] = [];
  const updates = new Map<string, { readonly columns: readonly SyncColumn[]; readonly keys: Key[] }>();
  // Entries of one layout and mask share one list of columns: they are looked at once.
  const byList = new Map<readonly SyncColumn[], { readonly keys: Key[] } | undefined>();
  for (const row of rows) {
    if (row.isWhole || !row.had) {
      whole.push(row.key);
      continue;
    }
    let group = byList.get(row.columns);
    if (group === undefined && !byList.has(row.columns)) {
      const columns = known.others.filter((column) => row.columns.includes(column));
      const name = columns.map((column) => column.index).join();
      if (columns.length > 0) {
        const found = updates.get(name) ?? { columns, keys: [] };
        updates.set(name, found);
        group = found;
      }
      byList.set(row.columns, group);
    }
    group?.keys.push(row.key);
  }
  yield* addLive(known, known.others, whole, target, changes, "rows");
  for (const { columns, keys } of updates.values()) yield* addLive(known, columns, keys, target, changes, "updates");
}

function* addLive(
  known: KnownTable,
  columns: readonly SyncColumn[],
  keys: readonly Key[],
  target: ReadonlySet<string>,
  changes: ChangeCollector,
  kind: "rows" | "updates",
): Core<void> {
  if (keys.length === 0) return;
  const group = kind === "rows" ? changes.rows(known) : changes.updates(known, columns);
  const visible = new Set<string>();
  for (const row of yield* readRows(known.table, columns, keys)) {
    if (!meets(row.scopes, target)) continue;
    group.add(row.key, row.values);
    visible.add(keyText(row.key));
  }
  if (visible.size === keys.length) return;
  // Gone, or out of the target. A removal also takes back what an earlier page of the same round brought.
  const removals = changes.removals(known);
  for (const key of keys) if (!visible.has(keyText(key))) removals.add(key, []);
}
