/**
 * Reads and closes the server's log.
 *
 * Entries are found by scope in two ways: sought in the index as far as it reaches (`scope-index.ts`), and scanned past it.
 *
 * @module
 */

import type { Key, Position } from "../../protocol/ids.ts";
import { all, first, run, type Core, type Rows } from "../core.ts";
import type { Layout } from "../layouts.ts";
import { readMeta } from "../meta.ts";
import {
  LIMIT_SQL,
  LOG,
  MARKER,
  SAME_SCOPES,
  STAMP_SQL,
  kindNames,
  kindNumbers,
  metaKeys,
  type EntryKind,
} from "../names.ts";
import { meetsScopes, splitScopes } from "../scope-text.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncColumn, SyncTable } from "../table.ts";
import { readIndexed, seekEntries } from "./scope-index.ts";

/** One entry of the server's log. */
export interface LogEntry {
  readonly seq: number;
  readonly table: SyncTable;
  readonly kind: EntryKind;
  readonly key: Key;
  /** Of an update, the changed columns besides the key; the same array for the same ones. Empty for other kinds. */
  readonly columns: readonly SyncColumn[];
  /** Scopes of the row before and after. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** What {@link readEntries} is asked for. */
export interface EntryRange {
  /** Entries after this seq … */
  readonly after: number;
  /** … up to this one. */
  readonly upTo: number;
  /** Only entries whose scopes, before or after, are among these. */
  readonly scopes: ReadonlySet<string>;
  /** At most so many entries. */
  readonly limit: number;
}

const none: readonly SyncColumn[] = [];
const scanned = 2000;

/**
 * The position of the newest entry, to stand on. Throws where that entry has no stamp yet, which only a transaction that
 * writes can give it: `readAtHead` sees to that. Whoever asks for the seq alone has {@link readHeadSeq}.
 */
export function* readHead(): Core<Position> {
  const row = yield* first(`SELECT seq, stamp FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (row === undefined) return yield* readHorizon();
  if (row[1] === null) throw new UnstampedHead();
  return { seq: Number(row[0]), stamp: Number(row[1]) };
}

/** Whether {@link readHead} failed since the newest entry has no stamp. */
export function isUnstampedHead(error: unknown): boolean {
  return error instanceof UnstampedHead;
}

class UnstampedHead extends Error {
  constructor() {
    super("The newest entry of the log has no stamp yet.");
    this.name = "UnstampedHead";
  }
}

/** Gives the newest entry its stamp, unless it has one. In a write transaction. */
export function* stampHead(): Core<void> {
  const row = yield* first(`SELECT seq, stamp FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (row !== undefined) yield* stampOf(Number(row[0]));
}

/** The stamp of an entry, given to it now if it has none. In a write transaction. */
export function* stampOf(seq: number): Core<number> {
  yield* run(`UPDATE ${LOG} SET stamp = ${STAMP_SQL} WHERE seq = ? AND stamp IS NULL`, [seq]);
  return Number((yield* first(`SELECT stamp FROM ${LOG} WHERE seq = ?`, [seq]))?.[0]);
}

/** The position below which the log has been trimmed. */
export function* readHorizon(): Core<Position> {
  const value = yield* readMeta(metaKeys.horizon);
  const [seq, stamp] = typeof value === "string" ? (JSON.parse(value) as readonly number[]) : [];
  return { seq: seq ?? 0, stamp: stamp ?? 0 };
}

/**
 * The latest time of anything below the horizon (rule P11), on the hybrid logical clock; undefined while nothing has been
 * trimmed.
 */
export function* readHorizonTime(): Core<number | undefined> {
  const value = yield* readMeta(metaKeys.horizon);
  return typeof value === "string" ? (JSON.parse(value) as readonly number[])[2] : undefined;
}

/**
 * Whether a position is one that this log had (rule I2): not below the horizon, which may have been read already, and with the
 * stamp that stands there.
 */
export function* vouches(position: Position, horizon?: Position): Core<boolean> {
  horizon ??= yield* readHorizon();
  if (position.seq < horizon.seq) return false;
  if (position.seq === horizon.seq) return position.stamp === horizon.stamp;
  const row = yield* first(`SELECT stamp FROM ${LOG} WHERE seq = ?`, [position.seq]);
  return row !== undefined && row[0] === position.stamp;
}

/** Reads entries that touch scopes, in the order of the log. `reached` is the seq up to which the answer is complete. */
export function* readEntries(
  sync: SyncDatabase,
  range: EntryRange,
): Core<{ readonly entries: readonly LogEntry[]; readonly reached: number }> {
  const { upTo, scopes, limit } = range;
  const entries: LogEntry[] = [];
  if (scopes.size === 0) return { entries, reached: upTo };
  const fields = entryFields(sync);
  let position = range.after;
  const mark = Math.min(yield* readIndexed(), upTo);
  // A few entries are scanned faster than many scopes are sought.
  if (mark - position > scopes.size * 4) {
    for (let stretch = Math.max(limit, scopes.size) * 4; position < mark;) {
      const end = Math.min(position + stretch, mark);
      const room = limit - entries.length;
      const rows = yield* seekEntries(fields, scopes, { after: position, upTo: end, limit: room });
      yield* append(sync, rows, undefined, entries);
      if (rows.length >= room) return { entries, reached: lastSeq(rows) };
      position = end;
      if (rows.length < limit / 4) stretch *= 4;
    }
  }
  while (position < upTo) {
    const rows = yield* all(`SELECT ${fields} FROM ${LOG} WHERE seq > ? AND seq <= ? ORDER BY seq ${LIMIT_SQL}`, [
      position,
      upTo,
      scanned,
    ]);
    const stoppedAt = yield* append(sync, rows, { scopes, limit }, entries);
    if (stoppedAt !== undefined) return { entries, reached: stoppedAt };
    if (rows.length < scanned) break;
    position = lastSeq(rows);
  }
  return { entries, reached: upTo };
}

/** Reads entries after a seq, whatever their scopes. */
export function* readEntriesAfter(sync: SyncDatabase, after: number, limit: number): Core<readonly LogEntry[]> {
  const entries: LogEntry[] = [];
  const rows = yield* all(`SELECT ${entryFields(sync)} FROM ${LOG} WHERE seq > ? ORDER BY seq ${LIMIT_SQL}`, [
    after,
    limit,
  ]);
  yield* append(sync, rows, undefined, entries);
  return entries;
}

/**
 * The newest seq; 0 before the log is installed. For both roles. Once installed, one statement: what is asked for before a
 * write is answered before it, on asynchronous drivers too.
 */
export function* readHeadSeq(sync: SyncDatabase): Core<number> {
  if (sync.role === undefined && (yield* first("SELECT 1 FROM sqlite_master WHERE name = ?", [LOG])) === undefined)
    return 0;
  return Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
}

/** An entry without its values and scopes. */
export interface ChangedKey {
  readonly seq: number;
  readonly table: SyncTable;
  readonly kind: EntryKind;
  readonly key: Key;
}

/** Reads which rows entries after a seq speak of, as far as they have not been trimmed. For both roles. */
export function* readChangedKeys(sync: SyncDatabase, after: number, limit: number): Core<readonly ChangedKey[]> {
  const changed: ChangedKey[] = [];
  // Who overwrites a row changes it: on a server such an insert has scopes before it.
  const kindOf =
    sync.role === "server"
      ? `CASE WHEN kind = ${kindNumbers.insert} AND sb IS NOT NULL THEN ${kindNumbers.update} ELSE kind END`
      : "kind";
  const rows = yield* all(
    `SELECT seq, t, ${kindOf}, ${keyFields(sync)} FROM ${LOG} WHERE seq > ? AND t <> ${MARKER} ORDER BY seq ${LIMIT_SQL}`,
    [after, limit],
  );
  for (const row of rows) {
    const layout = yield* layoutOf(sync, Number(row[1]));
    const kind = kindNames[Number(row[2])];
    if (layout?.table !== undefined && kind !== undefined)
      changed.push({ seq: Number(row[0]), table: layout.table, kind, key: row.slice(3, 3 + layout.keyLength) });
  }
  return changed;
}

/**
 * The keys of the tables that have entries after a seq; undefined when there are more than `limit` entries, or some of them
 * have been trimmed.
 */
export function* tablesSince(sync: SyncDatabase, after: number, limit: number): Core<ReadonlySet<string> | undefined> {
  const rows = yield* all(`SELECT seq, t FROM ${LOG} WHERE seq > ? ORDER BY seq ${LIMIT_SQL}`, [after, limit]);
  if (rows.length >= limit || (yield* isTrimmed(after, rows))) return undefined;
  const keys = new Set<string>();
  for (const number of new Set(rows.map(([, t]) => Number(t)))) {
    if (number === MARKER) continue;
    const table = (yield* layoutOf(sync, number))?.table;
    if (table !== undefined) keys.add(table.key);
  }
  return keys;
}

/** Whether entries after a seq are gone. Where the next one follows at once, nothing is asked. */
function* isTrimmed(after: number, next: Rows): Core<boolean> {
  return Number(next[0]?.[0]) !== after + 1 && after < (yield* readHorizon()).seq;
}

/**
 * Writes the row that closes a transaction, with its time, unless everything is closed already or nothing was logged.
 * Must be inside the writing transaction.
 */
export function* closeTransaction(sync: SyncDatabase, hlc: number): Core<boolean> {
  void sync;
  const last = yield* first(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined || last[0] === MARKER) return false;
  yield* run(`INSERT INTO ${LOG}(stamp, t, kind, mask) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?)`, [hlc]);
  return true;
}

/** The layout that an entry names, also one that another process has added meanwhile. */
export function* layoutOf(sync: SyncDatabase, number: number): Core<Layout | undefined> {
  const layout = sync.layouts.get(number);
  if (layout !== undefined) return layout;
  yield* sync.reloadLayouts();
  return sync.layouts.get(number);
}

function entryFields(sync: SyncDatabase): string {
  return `seq, t, kind, mask, sb, sa, ${keyFields(sync)}`;
}

function keyFields(sync: SyncDatabase): string {
  let keys = 1;
  for (const layout of sync.layouts.values()) keys = Math.max(keys, layout.keyLength);
  return Array.from({ length: keys }, (_, i) => `k${i}`).join(", ");
}

function lastSeq(rows: Rows): number {
  return Number(rows.at(-1)?.[0]);
}

/** Appends what the rows say, filtered if asked; answers the seq at which the limit was reached. */
function* append(
  sync: SyncDatabase,
  rows: Rows,
  filter: { readonly scopes: ReadonlySet<string>; readonly limit: number } | undefined,
  entries: LogEntry[],
): Core<number | undefined> {
  for (const row of rows) {
    const [seq, number, kind, mask, before, after] = row;
    if (
      number === MARKER ||
      (filter !== undefined && !meetsScopes(before, filter.scopes) && !meetsScopes(after, filter.scopes))
    )
      continue;
    const layout = yield* layoutOf(sync, Number(number));
    const named = kindNames[Number(kind)];
    if (layout?.table === undefined || named === undefined) continue;
    // Such an update may have changed what it could not name: the row goes whole.
    const name = named === "update" && layout.isPartial ? "moved" : named;
    const scopesAfter = splitScopes(after);
    entries.push({
      seq: Number(seq),
      table: layout.table,
      kind: name,
      key: row.slice(6, 6 + layout.keyLength),
      columns: name === "update" ? layout.changed(mask ?? null) : none,
      before: before === SAME_SCOPES ? scopesAfter : splitScopes(before),
      after: scopesAfter,
    });
    if (filter !== undefined && entries.length >= filter.limit) return Number(seq);
  }
  return undefined;
}
