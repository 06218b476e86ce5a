/**
 * A push, inside the database: what is to be handled of it, and groups of consecutive transactions handled in one database
 * transaction, each under a savepoint of its own (rules P3, P10, I4).
 *
 * @module
 */

import { type Core, run } from "../plugin/core.ts";
import { closeTransaction, readHeadSeq, tablesSince, vouches } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncTable } from "../plugin/table.ts";
import type { Resolver } from "../protocol/conflict.ts";
import type { SyncError } from "../protocol/errors.ts";
import { hlcBounded } from "../protocol/hlc.ts";
import { type DeviceId, parseCursor, type TxRef } from "../protocol/ids.ts";
import type { PushRequest, PushTransaction } from "../protocol/push.ts";
import { type ApplyContext, applyTransaction, type Verdict } from "./apply.ts";
import { applyBatch, type BatchContext } from "./apply-batch.ts";
import type { BatchTransaction } from "./batch-draft.ts";
import { appendMarker } from "./declaration.ts";
import { type DeviceRecord, readDevice, type SchemaCache, writeLastTx } from "./devices.ts";
import type { Assign } from "./execute.ts";
import type { KnownSchema } from "./known-schema.ts";
import { groupLimits } from "./limits.ts";
import type { OperationReader, ReadTransaction, Refusal, RowOperation } from "./operations.ts";
import { hasNotes, hasRejectedKeys } from "./outcomes.ts";
import { createRecorder, type Recorder } from "./record.ts";
import { areAllowed, type Revival, withRevivals } from "./revivals.ts";
import { areStale, type AskedRights } from "./scopes.ts";

/** Who pushes, with what. */
export interface PushContext {
  readonly database: SyncDatabase;
  readonly deviceId: DeviceId;
  readonly subject: string;
  readonly rights: AskedRights;
  /** Keys of the tables whose commits may change the rights. */
  readonly scopesDependOn: ReadonlySet<string>;
  readonly schemas: ReadonlyMap<string, KnownSchema>;
  /** What the device knows now, whatever it knew when it wrote; absent when that is not known. */
  readonly announced?: KnownSchema | undefined;
  readonly reader: OperationReader;
  /** Transactions that the app's `authorize` refused, by number. */
  readonly refusals: ReadonlyMap<number, Refusal>;
  /** Rows that it allows to come back, by transaction; absent when there is no `authorize`. */
  readonly revivals?: ReadonlyMap<number, readonly Revival[]>;
  readonly isCascading: boolean;
  readonly assign: Assign | undefined;
  readonly onError: (error: unknown) => void;
  readonly now: () => number;
  /** The server's next time on the hybrid logical clock. */
  readonly nextHlc: () => number;
}

/** What a push meets before anything is written. */
export type Preparation =
  | { readonly kind: "need-schema" }
  | { readonly kind: "forked" }
  | {
      readonly kind: "ready";
      readonly device: DeviceRecord;
      readonly schemas: ReadonlyMap<string, KnownSchema>;
      readonly announced: KnownSchema | undefined;
    };

/** Reads the device's record and the schemas of what is left to be handled. */
export function* preparePush(request: PushRequest, subject: string, schemas: SchemaCache): Core<Preparation> {
  const device = yield* readDevice(request.deviceId, subject);
  if (isForked(request, device)) return { kind: "forked" };
  const known = new Map<string, KnownSchema>();
  for (const tx of request.txs) {
    if (tx.number <= device.lastTx.number || known.has(tx.schema)) continue;
    const schema = yield* schemas.read(tx.schema);
    if (schema === undefined) return { kind: "need-schema" };
    known.set(tx.schema, schema);
  }
  const { announced } = device;
  return {
    kind: "ready",
    device,
    schemas: known,
    announced: announced === undefined ? undefined : yield* schemas.read(announced),
  };
}

/**
 * How a group is handled. `together`: one after the other; throws {@link FailedBatch} where it cannot begin with a batch.
 * `again`: the same after that. `alone`: a single transaction, with foreign keys checked at its commit. `refuse`: a single
 * transaction whose commit the database refused.
 */
export type GroupMode = "together" | "again" | "alone" | "refuse";

/**
 * How far a group came. `done`: all of it. `full`: what is left goes into a database transaction of its own, so that others have
 * their turn. `alone`: the transaction at `next` wants one for itself.
 * `stale`: rights may have changed since they were asked for. `authorize`: the app must be asked about `ask` first. The
 * others end the push.
 */
export interface GroupResult {
  readonly end: "done" | "full" | "alone" | "gap" | "need" | "authorize" | "forked" | "mismatch" | "stale";
  readonly error?: SyncError<"SCHEMA_MISMATCH">;
  readonly ask?: Question;
  /** Index of the first transaction of the group that was not handled. */
  readonly next: number;
  readonly lastTx: TxRef;
  readonly ackedTx: number;
  /** Whether anything was handled, if only refused. */
  readonly hasHandled: boolean;
  /** Whether rows were changed, and in which tables, cascades and triggers included; empty when there are too many to tell. */
  readonly wrote: boolean;
  readonly tables: ReadonlySet<string>;
  /** The log's head. */
  readonly head: number;
}

/** A transaction as it would be executed, with rows that come back. */
export interface Question {
  readonly tx: PushTransaction;
  readonly operations: readonly RowOperation[];
  readonly revivals: readonly Revival[];
}

interface Left {
  readonly end: "alone" | "need" | "authorize" | "mismatch";
  readonly error?: SyncError<"SCHEMA_MISMATCH">;
  readonly ask?: Question;
}

/** Handles consecutive transactions in the database transaction that is open. */
export function* pushGroup(
  context: PushContext,
  request: PushRequest,
  txs: readonly PushTransaction[],
  mode: GroupMode,
): Core<GroupResult> {
  const { deviceId, subject, database } = context;
  // Looked at again: the record may have moved since the push was prepared.
  const device = yield* readDevice(deviceId, subject);
  let { lastTx } = device;
  let schema: string | undefined;
  let start = 0;
  let lastTime = 0;
  const result = (end: GroupResult["end"], next: number): GroupResult => ({
    end,
    next,
    lastTx,
    ackedTx: device.ackedTx,
    hasHandled: false,
    wrote: false,
    tables: noTables,
    head: 0,
  });
  if (isForked(request, device)) return result("forked", 0);
  if (yield* areStale(database, context.rights, context.scopesDependOn)) return result("stale", 0);
  // I3: an empty range would hide that what it stands for is lost.
  if (request.cursor !== undefined && !(yield* vouches(parseCursor(request.cursor)))) return result("gap", 0);
  if (mode === "alone") yield* run("PRAGMA defer_foreign_keys = ON");

  const recorder = createRecorder(context, {
    hasNotes: yield* hasNotes(deviceId),
    hasRejected: yield* hasRejectedKeys(deviceId),
  });
  let stop: GroupResult | undefined;
  let window = txs.length;
  let work = 0;
  for (let i = 0; i < txs.length;) {
    if (work >= groupLimits.transactions) {
      stop = result("full", i);
      break;
    }
    const tx = txs[i] as PushTransaction;
    if (tx.number <= lastTx.number) {
      i++; // P3: it was handled.
      continue;
    }
    if ((tx.from ?? tx.number) > lastTx.number + 1) {
      stop = result("gap", i);
      break;
    }
    const isFirst = schema === undefined;
    // C5: what strangers left open is not this device's.
    if (isFirst) {
      yield* closeTransaction(database, context.nextHlc());
      start = yield* readHeadSeq(database);
    }
    let count = 0;
    if (mode === "together" || mode === "again")
      count = yield* handleTogether(context, recorder, txs.slice(i, i + window), isFirst && mode === "together");
    // Where one needs a decision, the next ones often do: they are tried in growing numbers.
    window = count < window ? 1 : window * 2;
    if (count === 0) {
      const left = yield* handle(context, recorder, tx, mode);
      if (left !== undefined) {
        stop = { ...result(left.end, i), ...left };
        break;
      }
      count = 1;
      work += groupLimits.alone;
    } else {
      work += count;
    }
    i += count;
    const last = txs[i - 1] as PushTransaction;
    lastTx = { number: last.number, stamp: last.stamp };
    lastTime = hlcBounded(last.hlc, context.now());
    schema = last.schema;
  }
  const end = stop ?? result("done", txs.length);
  if (schema === undefined) return end;
  yield* closeTransaction(database, lastTime);
  const wrote = (yield* readHeadSeq(database)) > start;
  // Streams in other processes see that the head moved, also where everything was refused.
  if (!wrote) yield* appendMarker(context.nextHlc());
  // P10: in the same database transaction as the effects.
  const head = yield* readHeadSeq(database);
  yield* writeLastTx(deviceId, subject, { lastTx, lastSeq: head, schema, nowMs: context.now() });
  const tables = wrote ? yield* tablesSince(database, start, manyEntries) : undefined;
  return { ...end, hasHandled: true, wrote, tables: tables ?? noTables, head };
}

/** Rule I4: another transaction was handled under a number that this message names. */
function isForked(request: PushRequest, device: DeviceRecord): boolean {
  const { number, stamp } = device.lastTx;
  const said = request.previous.number === number ? request.previous : request.txs.find((tx) => tx.number === number);
  return said !== undefined && said.stamp !== stamp;
}

/** Handles as many of the transactions as need no decision; answers how many. */
function* handleTogether(
  context: PushContext,
  recorder: Recorder,
  txs: readonly PushTransaction[],
  isFirst: boolean,
): Core<number> {
  // P8: each has to be compared with what was refused.
  if (recorder.hasRejected) return 0;
  const transactions: BatchTransaction[] = [];
  for (const tx of txs) {
    const read = context.reader.read(tx, context.schemas.get(tx.schema) as KnownSchema);
    if (read.kind !== "operations" || context.refusals.has(tx.number)) break;
    transactions.push({ number: tx.number, operations: read.operations });
  }
  const [first] = txs;
  if (first === undefined || transactions.length === 0) return 0;
  const { database, rights, assign } = context;
  const timeOf = (number: number): number =>
    hlcBounded((txs[number - first.number] as PushTransaction).hlc, context.now());
  const batch: BatchContext = {
    database,
    writable: rights.write,
    assign,
    ...(database.tables.some(needsTimes) ? { timeOf } : {}),
  };
  const { count, notes } = yield* applyBatch(batch, transactions, isFirst);
  for (const tx of notes.length === 0 ? [] : txs.slice(0, count)) {
    const own = notes.filter(({ number }) => number === tx.number).map(({ note }) => note);
    yield* recorder.keep(tx, { kind: "applied", conflicts: [], notes: own, inserted: [] });
  }
  return count;
}

/** Handles one transaction; answers why it was left, with nothing of it in the database. */
function* handle(
  context: PushContext,
  recorder: Recorder,
  tx: PushTransaction,
  mode: GroupMode,
): Core<Left | undefined> {
  const clientTime = hlcBounded(tx.hlc, context.now());
  const read = context.reader.read(tx, context.schemas.get(tx.schema) as KnownSchema);
  if (read.kind === "mismatch") return { end: "mismatch", error: read.error };
  const verdict: Verdict =
    mode === "refuse"
      ? { kind: "refused", refusal: broken(read.operations), live: noRows }
      : yield* judge(context, recorder, tx, clientTime, read);
  switch (verdict.kind) {
    case "mismatch": {
      const hopeless = findHopeless(context, verdict.error);
      if (hopeless === undefined) return { end: "mismatch", error: verdict.error };
      yield* recorder.refuse(tx, read.operations, hopeless, noRows);
      return undefined;
    }
    case "need":
      return { end: "need" };
    case "authorize": {
      const { revivals } = verdict;
      return { end: "authorize", ask: { tx, operations: withRevivals(read.operations, revivals), revivals } };
    }
    case "deferred":
      if (mode !== "alone") return { end: "alone" };
      // Alone, and refused at a statement all the same: such a key is checked at once, whatever was asked for.
      yield* recorder.refuse(tx, read.operations, broken(read.operations), noRows);
      return undefined;
    case "refused":
      yield* recorder.refuse(tx, read.operations, verdict.refusal, verdict.live);
      return undefined;
    case "applied":
      yield* recorder.keep(tx, verdict);
      // P11: with the device's time, where somebody asks for it; else the group is closed as one. Cascades and triggers reach
      // tables that the operations do not name.
      if (context.database.tables.some(needsTimes)) yield* closeTransaction(context.database, clientTime);
      return undefined;
  }
}

function* judge(
  context: PushContext,
  recorder: Recorder,
  tx: PushTransaction,
  clientTime: number,
  read: Exclude<ReadTransaction, { kind: "mismatch" }>,
): Core<Verdict> {
  const refusal = read.kind === "refused" ? read.refusal : context.refusals.get(tx.number);
  if (refusal !== undefined) return { kind: "refused", refusal, live: noRows };
  if (read.operations.length === 0) return nothing;
  const { revivals } = context;
  const apply: ApplyContext = {
    ...context,
    clientTime,
    hasNotes: recorder.hasNotes,
    hasRejected: recorder.hasRejected,
    ...(revivals === undefined ? {} : { isAuthorized: (rows) => areAllowed(revivals.get(tx.number), rows) }),
  };
  return yield* applyTransaction(apply, read.operations);
}

/**
 * A new row without a value that it must have waits for the app's update (rule V3). Once the device has had it, no update
 * will bring the value: the transaction is refused, and those behind it go on.
 */
function findHopeless({ announced }: PushContext, { details }: SyncError<"SCHEMA_MISMATCH">): Refusal | undefined {
  const { table = "", column } = details ?? {};
  const isKnown = announced?.tableByKey.get(table)?.others.some(({ key }) => key === column) === true;
  return isKnown
    ? {
        code: "CONSTRAINT",
        message: `Table \`${table}\`: the row was written before column \`${column}\` was there, which it must have now. Write it again.`,
      }
    : undefined;
}

/** What the database refuses as a whole, at the commit or over a foreign key, it does not blame on an operation. */
function broken(operations: readonly RowOperation[]): Refusal {
  const tables = [...new Set(operations.map(({ table }) => `\`${table.key}\``))].join(", ");
  return {
    code: "CONSTRAINT",
    message: `The transaction would break a constraint of the database. It writes ${tables}.`,
  };
}

function needsTimes(table: SyncTable): boolean {
  return (table.conflict as Resolver<unknown> | undefined)?.needs.times === true;
}

const manyEntries = 100_000;
const noTables: ReadonlySet<string> = new Set<string>();
const noRows: ReadonlyMap<string, never> = new Map<string, never>();
/** Discarded by the app, or handled under other numbers: nothing happens (see `PushTransaction.from`). */
const nothing: Verdict = { kind: "applied", conflicts: [], notes: [], inserted: [] };
