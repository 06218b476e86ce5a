/**
 * Reads and closes the server's log.
 *
 * Entries are found by scope in two ways. The writer only appends, so that capture stays cheap; whoever reads indexes the
 * tail in batches ({@link indexTail}), sorted, in short transactions. Up to the mark that it leaves, entries are sought
 * by scope; past it they are scanned.
 *
 * @module
 */

import type { Key, Position, Value } from "../../protocol/ids.ts";
import { all, each, first, run, type Core, type Rows } from "../core.ts";
import type { Layout } from "../layouts.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { LOG, MARKER, SCOPE_INDEX, STAMP_SQL, kindNames, metaKeys, type EntryKind } from "../names.ts";
import { meetsScopes, splitScopes } from "../scope-text.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncColumn, SyncTable } from "../table.ts";

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

/** The position of the newest entry. */
export function* readHead(): Core<Position> {
  const row = yield* first(`SELECT seq, stamp FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  return row === undefined ? yield* readHorizon() : { seq: Number(row[0]), stamp: Number(row[1]) };
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

/** Whether a position is one that this log had (rule I2): not below the horizon, and with the stamp that stands there. */
export function* vouches(position: Position): Core<boolean> {
  const horizon = yield* readHorizon();
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
  const mark = Math.min(Number((yield* readMeta(metaKeys.indexed)) ?? 0), upTo);
  // A few entries are scanned faster than many scopes are sought.
  if (mark - position > scopes.size * 4) {
    const wanted = JSON.stringify([...scopes]);
    for (let stretch = Math.max(limit, scopes.size) * 4; position < mark;) {
      const end = Math.min(position + stretch, mark);
      const room = limit - entries.length;
      const rows = yield* all(
        `SELECT ${fields} FROM ${LOG} WHERE seq IN (
           SELECT i.seq FROM json_each(?) AS s CROSS JOIN ${SCOPE_INDEX} AS i WHERE i.scope = s.value AND i.seq > ? AND i.seq <= ?
         ) ORDER BY seq LIMIT ?`,
        [wanted, position, end, room],
      );
      yield* append(sync, rows, undefined, entries);
      if (rows.length >= room) return { entries, reached: lastSeq(rows) };
      position = end;
      if (rows.length < limit / 4) stretch *= 4;
    }
  }
  while (position < upTo) {
    const rows = yield* all(`SELECT ${fields} FROM ${LOG} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?`, [
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
  const rows = yield* all(
    `SELECT seq, t, kind, ${keyFields(sync)} FROM ${LOG} WHERE seq > ? AND t <> ${MARKER} ORDER BY seq LIMIT ?`,
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
  const rows = yield* all(`SELECT seq, t FROM ${LOG} WHERE seq > ? ORDER BY seq LIMIT ?`, [after, limit]);
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

/** Indexes at most `maxRows` entries of the log's tail by scope; answers how many it covered. In a write transaction. */
export function* indexTail(sync: SyncDatabase, maxRows: number): Core<number> {
  void sync;
  const mark = Number((yield* readMeta(metaKeys.indexed)) ?? 0);
  const end = yield* first(
    `SELECT max(seq), count(*) FROM (SELECT seq FROM ${LOG} WHERE seq > ? ORDER BY seq LIMIT ?)`,
    [mark, maxRows],
  );
  if (end === undefined || end[0] === null) return 0;
  const upTo = Number(end[0]);
  // Sorted, so that pages fill up in order.
  yield* run(
    `INSERT OR IGNORE INTO ${SCOPE_INDEX}(scope, seq)
       SELECT sb, seq FROM ${LOG} WHERE seq > ? AND seq <= ? AND sb IS NOT NULL AND instr(sb, char(10)) = 0
       UNION SELECT sa, seq FROM ${LOG} WHERE seq > ? AND seq <= ? AND sa IS NOT NULL AND instr(sa, char(10)) = 0
       ORDER BY 1, 2`,
    // Numbered parameters are named ones to better-sqlite3.
    [mark, upTo, mark, upTo],
  );
  const several = yield* all(
    `SELECT seq, sb, sa FROM ${LOG} WHERE seq > ? AND seq <= ? AND (instr(sb, char(10)) OR instr(sa, char(10)))`,
    [mark, upTo],
  );
  yield* each(
    `INSERT OR IGNORE INTO ${SCOPE_INDEX}(scope, seq) VALUES (?, ?)`,
    several.flatMap(([seq, before, after]) =>
      [...new Set([...splitScopes(before), ...splitScopes(after)])].map((scope): Value[] => [scope, seq ?? null]),
    ),
  );
  yield* writeMeta(metaKeys.indexed, upTo);
  return Number(end[1]);
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
    entries.push({
      seq: Number(seq),
      table: layout.table,
      kind: name,
      key: row.slice(6, 6 + layout.keyLength),
      columns: name === "update" ? layout.changed(mask ?? null) : none,
      before: splitScopes(before),
      after: splitScopes(after),
    });
    if (filter !== undefined && entries.length >= filter.limit) return Number(seq);
  }
  return undefined;
}
