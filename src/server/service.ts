/**
 * The server over one database: handshake, pull, push, live, stats. Composition only; each answer is computed by a core
 * that runs in one transaction, and everything that may be asynchronous (`scopes`, `authorize`) runs before it opens.
 *
 * @module
 */

import { setImmediate } from "node:timers/promises";
import { type Core, first, transact } from "../plugin/core.ts";
import { readMeta } from "../plugin/meta.ts";
import { metaKeys } from "../plugin/names.ts";
import { indexTail, readHead, readHeadSeq, readHorizon, readHorizonAge } from "../plugin/oplog.ts";
import { readAtHead } from "../plugin/read-at-head.ts";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import type { HandshakeAnswer, HandshakeRequest, Limits } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import { hlcNow } from "../protocol/hlc.ts";
import { type Cursor, type Epoch, formatCursor } from "../protocol/ids.ts";
import type { PullAnswer, PullRequest, ResetReason } from "../protocol/pull.ts";
import type { PushAnswer, PushRequest, PushTransaction } from "../protocol/push.ts";
import { negotiateProtocol } from "../protocol/version.ts";
import { type Authorize, type AuthorizeTransaction, describeTransaction, withAuthorization } from "./authorize.ts";
import { isRedeclared, writeDeclaration } from "./declaration.ts";
import { createSchemaCache, registerDevice, writeSchema } from "./devices.ts";
import type { Assign } from "./execute.ts";
import { frameStream, type FrameStream, startFlow } from "./frame-stream.ts";
import { matchSchema, outdatedTables, sharedTables } from "./known-schema.ts";
import { defaultLimits, maxPageBytes, tailLimits } from "./limits.ts";
import { createLiveStreams } from "./live.ts";
import type { StreamedFrame } from "./live-stream.ts";
import { createOperationReader, type OperationReader } from "./operations.ts";
import { type PullQuery, type PullResult, pull, writeAcknowledgement } from "./pull.ts";
import { type GroupResult, preparePush, type Preparation } from "./push.ts";
import { pushInGroups } from "./push-groups.ts";
import { createRetention, readRetention, type RetentionOptions } from "./retention.ts";
import { areStale, type AskedRights, readAsOf, type Rights } from "./scopes.ts";

/** Who calls, as the app's options see it. */
export interface SyncCaller {
  readonly subject: string;
  /** Asks the app which scopes the subject may read and write now. */
  scopes(): Promise<Rights>;
  /** Asks the app whether a transaction may be applied: refused for good, or (by a throw) not now. */
  readonly authorize?: Authorize;
  readonly assign?: Assign;
}

/** What the server tells about itself. */
export interface SyncStats {
  readonly epoch: Epoch;
  readonly head: Cursor;
  /** How far back the log reaches: a device whose cursor lies below fetches its rows anew. */
  readonly horizon: Cursor;
  /** For how many milliseconds a device may have been away without that, at least. Absent until it is known. */
  readonly horizonAgeMs?: number;
  /** Entries between the horizon and the head, markers included. */
  readonly logEntries: number;
  readonly devices: number;
  /** Outcomes that no device has acknowledged yet. */
  readonly outcomes: number;
  /**
   * Devices sent to take a fresh snapshot, by reason, since this process began; `CHECKSUM_MISMATCH` are those that found by
   * themselves that their rows are not the server's.
   */
  readonly resets: Readonly<Partial<Record<ResetReason, number>>>;
  /** Streams that are open in this process. */
  readonly streams: number;
}

/** Options of {@link createSyncService}. */
export interface SyncServiceOptions {
  readonly database: SyncDatabase;
  readonly limits?: Partial<Limits>;
  /** Keys of the tables whose commits change what `scopes` answers. */
  readonly scopesDependOn?: ReadonlySet<string>;
  /** How long a stream is silent, and how old its rights may be. @default one minute */
  readonly heartbeatMs?: number;
  /** @default {@link defaultRetention} */
  readonly retention?: RetentionOptions;
  /** Told of what a resolver, a `check` or the upkeep of the log threw. */
  readonly onError: (error: unknown) => void;
}

/** The server over one database. */
export interface SyncService {
  handshake(caller: SyncCaller, request: HandshakeRequest): Promise<HandshakeAnswer>;
  pull(caller: SyncCaller, request: PullRequest): Promise<PullAnswer>;
  push(caller: SyncCaller, request: PushRequest): Promise<PushAnswer>;
  /** Streams from the request's cursor on; `pokes` only says that there is more. Ends when the signal aborts. */
  stream(
    caller: SyncCaller,
    request: PullRequest,
    how: { readonly carries: "pages" | "pokes"; readonly signal: AbortSignal },
  ): FrameStream<StreamedFrame>;
  stats(): Promise<SyncStats>;
  /** Ends all streams with `shutdown`, and trimming after the step that is running. */
  close(): void;
}

const oneMinute = 60_000;
const maxAsks = 5;

/** Creates the server over one database. Nothing is read or written before it is called. */
export function createSyncService(options: SyncServiceOptions): SyncService {
  const { database, onError, scopesDependOn = new Set<string>(), heartbeatMs = oneMinute } = options;
  const { connection } = database;
  const limits: Limits = { ...defaultLimits, ...options.limits };
  const schemas = createSchemaCache(database);
  const retention = createRetention({ database, retention: readRetention(options.retention), onError });
  const live = createLiveStreams({
    database,
    schemas,
    scopesDependOn,
    intervalMs: heartbeatMs,
    now: database.now,
    onLook: () => retention.noticed(),
    onError,
  });
  let isCascading: boolean | undefined;
  let indexedUpTo = 0;
  let isIndexing = false;
  let hlc = 0;

  const resets = new Map<ResetReason, number>();
  const countReset = (reason: ResetReason): void => void resets.set(reason, (resets.get(reason) ?? 0) + 1);

  const nextHlc = (): number => (hlc = hlcNow(hlc, database.now()));

  /** Installs if needed, and takes note of the declaration. */
  const ready = async (): Promise<void> => {
    await database.install("server");
    if (database.role !== "server") {
      throw new SyncError({
        code: "INVALID_CONFIG",
        message:
          "This database follows a server itself, so it cannot be served. Give `createSyncRouter` the server's own.",
      });
    }
    if (isCascading !== undefined) return;
    const found = await transact(connection, "read", inspect);
    if (found.isRedeclared)
      await transact(connection, "write", () => writeDeclaration(database.declaration, nextHlc()));
    isCascading = found.isCascading;
  };
  function* inspect(): Core<{ readonly isRedeclared: boolean; readonly isCascading: boolean }> {
    const foreignKeys = yield* first("PRAGMA foreign_keys");
    return { isRedeclared: yield* isRedeclared(database.declaration), isCascading: Number(foreignKeys?.[0]) === 1 };
  }

  const askRights = async (caller: SyncCaller): Promise<AskedRights> => {
    if (scopesDependOn.size === 0) return caller.scopes();
    const asOf = await transact(connection, "read", () => readAsOf(database));
    return { ...(await caller.scopes()), asOf };
  };
  /** Runs with rights; again with fresh ones when a commit meanwhile may have changed them. */
  const withRights = async <T>(caller: SyncCaller, run: (rights: AskedRights) => Promise<T | "stale">): Promise<T> => {
    for (let asked = 0; asked < maxAsks; asked++) {
      const result = await run(await askRights(caller));
      if (result !== "stale") return result;
    }
    throw unavailable("What the subject may read or write changes faster than it can be asked for. Try again.");
  };

  const readEpoch = function* (): Core<Epoch> {
    // Written at the installation; its form is known.
    return (yield* readMeta(metaKeys.epoch)) as Epoch;
  };

  /** Indexes the log's tail in short transactions, when it has grown long. */
  const keepIndexed = (head: number): void => {
    if (isIndexing || head - indexedUpTo < tailLimits.entries) return;
    isIndexing = true;
    void indexInBackground(head);
  };
  const indexInBackground = async (head: number): Promise<void> => {
    try {
      for (;;) {
        await setImmediate();
        if ((await transact(connection, "write", () => indexTail(database, tailLimits.batch))) < tailLimits.batch)
          break;
      }
      indexedUpTo = head;
    } catch (error) {
      onError(error);
    } finally {
      isIndexing = false;
    }
  };

  const service: SyncService = {
    async handshake(caller, request) {
      await ready();
      const protocol = negotiateProtocol(request.protocol);
      const { hash, tables } = request.schema;
      if (hashSchema(tables) !== hash)
        throw new SyncError({ code: "INVALID_MESSAGE", message: "The hash of the schema is not that of its tables." });
      const schema = matchSchema(database, hash, tables);
      const shared = sharedTables(schema);
      const outdated = outdatedTables(schema);
      const epoch = await transact(connection, "write", function* () {
        yield* writeSchema(hash, tables);
        // What a base was computed over, once the server has more (rule V2).
        if (schema.sharedHash !== hash) yield* writeSchema(schema.sharedHash, shared);
        yield* registerDevice(request.deviceId, caller.subject, hash, database.now());
        return yield* readEpoch();
      });
      return {
        epoch,
        protocol,
        ...(schema.sharedHash === hash ? {} : { tables: shared }),
        ...(outdated === undefined ? {} : { outdated }),
        declaration: database.declaration,
        limits,
        time: database.now(),
      };
    },

    async pull(caller, request) {
      await ready();
      const pageLimits = { rows: Math.min(request.limit, limits.maxPageRows), bytes: maxPageBytes };
      return withRights(caller, async (rights) => {
        const query: Omit<PullQuery, "epoch"> = { request, subject: caller.subject, rights, limits: pageLimits };
        function* compute(): Core<"stale" | { readonly result: PullResult; readonly head: number }> {
          if (yield* areStale(database, rights, scopesDependOn)) return "stale";
          const result = yield* pull(database, schemas, { ...query, epoch: yield* readEpoch() });
          return { result, head: yield* readHeadSeq(database) };
        }
        let computed = await readAtHead(connection, compute);
        if (computed !== "stale" && computed.result.kind === "acknowledge") {
          await transact(connection, "write", () => writeAcknowledgement(request, caller.subject));
          computed = await readAtHead(connection, compute);
        }
        if (computed === "stale") return "stale";
        keepIndexed(computed.head);
        retention.noticed(computed.head);
        if (computed.result.kind === "acknowledge")
          throw unavailable("The acknowledgement could not be written. Try again.");
        const { answer } = computed.result;
        if (answer.kind === "reset") countReset(answer.reason);
        // Once for each fresh snapshot: with its first page.
        else if (request.because !== undefined && request.cursor === undefined && request.round === undefined)
          countReset(request.because);
        return answer;
      });
    },

    async push(caller, request) {
      await ready();
      if (request.txs.length > limits.maxPushTransactions) {
        throw new SyncError({
          code: "TOO_LARGE",
          message: `A push holds at most ${limits.maxPushTransactions} transactions.`,
          details: { limit: limits.maxPushTransactions },
        });
      }
      const prepared = await transact(connection, "read", function* (): Core<{
        readonly epoch: Epoch;
        readonly preparation: Preparation | undefined;
      }> {
        const epoch = yield* readEpoch();
        return {
          epoch,
          preparation: request.epoch === epoch ? yield* preparePush(request, caller.subject, schemas) : undefined,
        };
      });
      const { epoch, preparation } = prepared;
      if (preparation === undefined) return { kind: "reset", epoch, reason: "EPOCH_CHANGED" };
      if (preparation.kind !== "ready") return { kind: preparation.kind, epoch };

      const reader = createOperationReader(request.shapes, database.tableByKey, preparation.announced);
      const open = request.txs.filter((tx) => tx.number > preparation.device.lastTx.number);
      const context = {
        database,
        deviceId: request.deviceId,
        subject: caller.subject,
        scopesDependOn,
        schemas: preparation.schemas,
        announced: preparation.announced,
        reader,
        isCascading: isCascading ?? true,
        assign: caller.assign,
        onError,
        now: database.now,
        nextHlc,
      };
      const describeTx = (tx: PushTransaction) => describe(reader, tx, preparation);
      const { result, failure } = await withAuthorization(caller.authorize, open, describeTx, onError, (said) =>
        withRights(caller, async (rights) => {
          const handled = await pushInGroups({ ...context, ...said, rights }, request, said.allowed, committed);
          // What was handled is skipped when it is sent through again.
          return handled.end === "stale" ? "stale" : handled;
        }),
      );
      const { lastTx, ackedTx } = result;
      if (result.error !== undefined) throw result.error;
      if (result.end === "forked") return { kind: "forked", epoch };
      const said = { epoch, lastTx, ackedTx, time: database.now() };
      if (result.end === "gap") return { kind: "gap", ...said };
      if (result.end === "need") return { kind: "need", ...said, number: lastTx.number + 1 };
      // P12: what came before the transaction that could not be judged is handled; the device tries again from there.
      if (failure !== undefined) throw failure;
      return { kind: "ok", ...said };
    },

    stream(caller, request, { carries, signal }) {
      const limit = Math.min(request.limit, limits.maxPageRows);
      const opened = live.open({
        request,
        subject: caller.subject,
        askRights: () => askRights(caller),
        carries,
        signal,
        limit,
      });
      return frameStream((taker) => {
        const flow = opened[startFlow](taker);
        let isReady = false;
        return {
          ask() {
            if (isReady) return flow.ask();
            ready().then(() => {
              isReady = true;
              flow.ask();
            }, taker.over);
          },
          stop: flow.stop,
        };
      });
    },

    async stats() {
      await ready();
      return readAtHead(connection, function* (): Core<SyncStats> {
        const head = yield* readHead();
        const horizon = yield* readHorizon();
        const age = yield* readHorizonAge(database.now());
        const devices = yield* first(`SELECT count(*) FROM ${serverTables.devices}`);
        const outcomes = yield* first(`SELECT count(*) FROM ${serverTables.outcomes}`);
        return {
          epoch: yield* readEpoch(),
          head: formatCursor(head),
          horizon: formatCursor(horizon),
          ...(age === undefined ? {} : { horizonAgeMs: age }),
          logEntries: head.seq - horizon.seq,
          devices: Number(devices?.[0]),
          outcomes: Number(outcomes?.[0]),
          resets: Object.fromEntries(resets),
          streams: live.count,
        };
      });
    },

    close() {
      retention.stop();
      live.close();
    },
  };

  const committed = (result: GroupResult): void => {
    if (result.wrote) database.committed(result.tables);
    // A refusal leaves no entry, but its device's stream must tell of it.
    else if (result.hasHandled) live.wake();
    keepIndexed(result.head);
    retention.noticed(result.head);
  };
  return service;
}

/** What `authorize` sees; undefined for transactions that are not tried anyway. */
function describe(
  reader: OperationReader,
  tx: PushTransaction,
  preparation: Extract<Preparation, { kind: "ready" }>,
): AuthorizeTransaction | undefined {
  const schema = preparation.schemas.get(tx.schema);
  if (schema === undefined || tx.ops.length === 0) return undefined;
  const read = reader.read(tx, schema);
  return read.kind === "operations" ? describeTransaction(tx, read.operations) : undefined;
}

function unavailable(message: string, cause?: unknown): SyncError<"UNAVAILABLE"> {
  return new SyncError({ code: "UNAVAILABLE", message, ...(cause === undefined ? {} : { cause }) });
}
