/**
 * The walk of a round through its phases (rules R1–R3). A page goes as far as its limits let it; all of it is read from
 * one snapshot, so it may cross from one phase into the next.
 *
 * The state between two pages lives on the device. It is checked like any input: a state that does not fit the log, the
 * rights or the definition restarts the round, and none grants anything.
 *
 * @module
 */

import type { Core, Rows } from "../plugin/core.ts";
import { readMeta } from "../plugin/meta.ts";
import { metaKeys } from "../plugin/names.ts";
import { readHorizon, vouches } from "../plugin/oplog.ts";
import { readSnapshotRows } from "../plugin/rows.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { formatCursor, parseCursor, type Key, type Position } from "../protocol/ids.ts";
import type { RoundState } from "../protocol/pull.ts";
import { type ChangeCollector, sizeOf } from "./change-groups.ts";
import { gained, type KnownSchema } from "./known-schema.ts";
import type { Rights } from "./scopes.ts";
import { readStretch } from "./stretch.ts";

/** Where a round stands, with its schemas and sets at hand. */
export interface Walk {
  readonly phase: RoundState["phase"];
  readonly scopes: readonly string[];
  readonly added: readonly string[];
  readonly held: readonly string[];
  readonly isFresh: boolean;
  readonly s0: number;
  readonly next: number;
  readonly table?: string;
  readonly after?: Key;
  /** The schema of what the device has; the one it knows now, once the snapshot is complete. */
  readonly base: KnownSchema;
}

/** The limits of a page. */
export interface PageLimits {
  readonly rows: number;
  readonly bytes: number;
}

/** Begins a round at a cursor, or a fresh one without. `held` is already cut to the target. */
export function beginRound(
  target: readonly string[],
  held: readonly string[],
  start: {
    readonly cursor: Position | undefined;
    readonly head: Position;
    readonly schema: KnownSchema;
    readonly base: KnownSchema;
  },
): Walk {
  const { cursor, head, schema, base } = start;
  if (cursor === undefined) {
    return {
      phase: "snapshot",
      scopes: target,
      added: target,
      held: [],
      isFresh: true,
      s0: head.seq,
      next: head.seq,
      base: schema,
    };
  }
  const has = new Set(held);
  const added = target.filter((scope) => !has.has(scope));
  const isGaining = added.length > 0 || (base !== schema && schema.sent.some((known) => gained(known, base)));
  return {
    phase: isGaining ? "log0" : "log",
    scopes: target,
    added,
    held,
    isFresh: false,
    s0: head.seq,
    next: cursor.seq,
    base,
  };
}

/** Takes up a round from its state; undefined when it must restart (rule R3). */
export function* resumeRound(
  state: RoundState,
  check: {
    readonly rights: Rights;
    readonly head: Position;
    readonly schema: KnownSchema;
    readonly base: KnownSchema;
    readonly hasCursor: boolean;
  },
): Core<Walk | undefined> {
  const scopes = sorted(state.scopes);
  const target = new Set(scopes);
  const added = sorted(state.added).filter((scope) => target.has(scope));
  const held = sorted(state.held).filter((scope) => target.has(scope));
  // U1: a lost right restarts the round; what was sent of it is in the stage alone.
  if (scopes.some((scope) => !check.rights.read.has(scope))) return undefined;
  if (!state.fresh && !check.hasCursor) return undefined;
  // I2: the head at which the last page was read; a restored database does not vouch for it.
  const head = parseCursor(state.head);
  if (!(yield* vouches(head))) return undefined;
  // What changed unseen meanwhile is in none of the log pages that would follow.
  if (head.seq < Number((yield* readMeta(metaKeys.declaredSince)) ?? 0)) return undefined;
  // The pages before were computed over other columns: the server was upgraded, or rolled back.
  if ((state.shared ?? check.schema.hash) !== check.schema.sharedHash) return undefined;
  const horizon = yield* readHorizon();
  const at = state.phase === "snapshot" ? state.s0 : state.next;
  if (at < horizon.seq || at > head.seq || state.s0 > head.seq || head.seq > check.head.seq) return undefined;
  const walk: Walk = {
    phase: state.phase,
    scopes,
    added,
    held,
    isFresh: state.fresh,
    s0: state.s0,
    next: state.next,
    base: check.base,
  };
  if (state.phase !== "snapshot" || state.table === undefined) return walk;
  const known = check.schema.sent.find((each) => each.table.key === state.table);
  if (known === undefined || (state.after !== undefined && state.after.length !== known.table.keyColumns.length))
    return undefined;
  return { ...walk, table: state.table, ...(state.after === undefined ? {} : { after: state.after }) };
}

/** The state that travels, with the head at which the page was read. */
export function roundState(walk: Walk, schema: KnownSchema, head: Position): RoundState {
  return {
    phase: walk.phase,
    scopes: walk.scopes,
    added: walk.added,
    held: walk.held,
    fresh: walk.isFresh,
    s0: walk.s0,
    head: formatCursor(head),
    next: walk.next,
    ...(walk.table === undefined ? {} : { table: walk.table }),
    ...(walk.after === undefined ? {} : { after: walk.after }),
    baseSchema: walk.base.hash,
    ...(schema.sharedHash === schema.hash ? {} : { shared: schema.sharedHash }),
  };
}

/** Fills a page; answers where the round stands after it, or undefined when it is complete up to `head`. */
export function* walkRound(
  database: SyncDatabase,
  start: Walk,
  page: {
    readonly schema: KnownSchema;
    readonly head: Position;
    readonly limits: PageLimits;
    readonly changes: ChangeCollector;
  },
): Core<Walk | undefined> {
  const { schema, head, limits, changes } = page;
  const target = new Set(start.scopes);
  let walk = start;
  let bytes = 0;
  for (;;) {
    if (walk.phase === "snapshot") {
      const read = yield* readSnapshotPart(database, walk, {
        schema,
        changes,
        rows: limits.rows - changes.count,
        bytes: limits.bytes - bytes,
      });
      bytes += read.bytes;
      if (read.at !== undefined) return { ...walk, ...read.at };
      // R2: from here on the added counts as held, and the device has what it knows.
      const { table: _table, after: _after, ...rest } = walk;
      walk = { ...rest, phase: "log", next: walk.s0, held: walk.scopes, base: schema };
      continue;
    }
    const upTo = walk.phase === "log0" ? Math.min(walk.s0, head.seq) : head.seq;
    const held = new Set(walk.held);
    if (walk.next < upTo) {
      const left = { limit: limits.rows - changes.count, bytes: limits.bytes - bytes };
      const query = { target, held, schema, base: walk.base, after: walk.next, upTo, ...left };
      const read = yield* readStretch(database, query, changes);
      bytes += read.bytes;
      walk = { ...walk, next: read.reached };
      if (read.reached < upTo) return walk;
    }
    if (walk.phase === "log") return undefined;
    walk = { ...walk, phase: "snapshot" };
  }
}

interface SnapshotPart {
  /** Where to go on; undefined when every table is complete. */
  readonly at?: { readonly table: string; readonly after?: Key };
  readonly bytes: number;
}

/** Rows read before their size is known, and at most at a time: some may be far larger than those before them. */
const firstChunk = 8;
const maxChunk = 1024;

/** Rows of the scopes, tables and columns that the device gains, by key, parents first (rule R2). */
function* readSnapshotPart(
  database: SyncDatabase,
  walk: Walk,
  page: {
    readonly schema: KnownSchema;
    readonly changes: ChangeCollector;
    readonly rows: number;
    readonly bytes: number;
  },
): Core<SnapshotPart> {
  const { schema, changes } = page;
  let { rows } = page;
  let bytes = 0;
  let isBefore = walk.table !== undefined;
  for (const known of schema.sent) {
    const isHere = known.table.key === walk.table;
    if (isBefore && !isHere) continue;
    isBefore = false;
    const scopes = walk.isFresh || gained(known, walk.base) ? walk.scopes : walk.added;
    if (scopes.length === 0) continue;
    let after = isHere ? walk.after : undefined;
    let chunk = firstChunk;
    for (;;) {
      if (rows <= 0 || bytes >= page.bytes)
        return { at: { table: known.table.key, ...(after === undefined ? {} : { after }) }, bytes };
      const limit = Math.min(chunk, rows);
      const read = yield* readSnapshotRows(database, known.table, {
        columns: known.others,
        scopes,
        limit,
        ...(after === undefined ? {} : { after }),
      });
      const fitting = fittingRows(read, page.bytes - bytes);
      changes.rows(known).addRows(fitting.rows);
      rows -= fitting.rows.length;
      bytes += fitting.bytes;
      if (fitting.rows.length === read.length && read.length < limit) break;
      after = fitting.rows.at(-1)?.slice(0, known.table.keyColumns.length);
      // The rows seen so far tell how many more fit.
      const more = Math.floor((page.bytes - bytes) / Math.max(1, fitting.bytes / fitting.rows.length));
      chunk = Math.max(1, Math.min(limit * 8, maxChunk, more));
    }
  }
  return { bytes };
}

/** The first of the rows, as many as fit, but one at least. */
function fittingRows(rows: Rows, maxBytes: number): { readonly rows: Rows; readonly bytes: number } {
  let bytes = 0;
  for (let i = 0; i < rows.length; i++) {
    const size = sizeOf(rows[i]);
    if (i > 0 && bytes + size > maxBytes) return { rows: rows.slice(0, i), bytes };
    bytes += size;
  }
  return { rows, bytes };
}

function sorted(scopes: readonly string[]): readonly string[] {
  return [...new Set(scopes)].sort();
}
