/**
 * `createSyncClient`: composition only. It finds the engine of a database (made here, or living in a browser's worker) and
 * gives it a face in the app's own terms: values as Drizzle's columns give them.
 *
 * @module
 */

import { syncOf } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import { isCursor } from "../protocol/ids.ts";
import { attachInternals } from "./client-internals.ts";
import { createEngine } from "./engine.ts";
import type { EngineOptions } from "./engine-options.ts";
import { engineOf, type EngineHome } from "./engine-of.ts";
import { createLocalLiveSource } from "./local-live-source.ts";
import {
  appOutcome,
  appTransaction,
  storedOperations,
  type Outcome,
  type PendingOperation,
  type PendingTransaction,
} from "./app-values.ts";
import type { EngineHold, HoldOptions, SignOutOptions, SyncEngine, SyncState, WaitOptions } from "./sync-engine.ts";
import type { Transport } from "./transport.ts";
import type { VerifyResult } from "./verification.ts";
import { withToken } from "./with-token.ts";

export type { Outcome, OutcomeConflict, PendingOperation, PendingTransaction } from "./app-values.ts";

/** Options of {@link createSyncClient}. */
export interface SyncClientOptions extends EngineOptions {
  /** The device's database: `withSync(drizzle(…), sync)`, or a browser database. */
  readonly db: object;
  /** How the server is reached: `httpTransport({ url })` or `trpcTransport(trpc.sync)`. A browser's worker has its own. */
  readonly transport?: Transport;
  /** Gives the bearer token, or null while nobody is signed in; for transports that were given none of their own. */
  readonly token?: () => string | null | Promise<string | null>;
}

/** How a transaction left the queue. */
export type Settled =
  /** `unknown`: nothing of it is kept. It was settled long ago, or never written here. */
  | { readonly status: "applied" | "discarded" | "unknown" }
  | { readonly status: "merged" | "rejected" | "lost"; readonly outcome: Outcome };

/** A wish for a scope. `ready` resolves when the device holds it, and rejects when the subject may not read it. */
export type Hold = EngineHold;

/** Keeps one device database in step with its server. */
export interface SyncClient {
  /** Pushes, pulls, then stays live; goes on by itself after every failure that may pass. */
  start(): void;
  pause(): void;
  /** Goes on after `pause`, a sign-in, an update, an error; tries held transactions again. */
  resume(): void;
  readonly state: SyncState;
  /** Subscribes to changes of {@link SyncClient.state}; returns the unsubscribe function. */
  subscribe(listener: (state: SyncState) => void): () => void;
  /** One full cycle now; resolves when the server has everything, rejects when that cannot be reached now. */
  sync(options?: WaitOptions): Promise<void>;
  hold(scope: string, options?: HoldOptions): Hold;
  /** Resolves when the device has everything up to a cursor: `await db.$sync.cursor()` on the server, after a write there. */
  reached(cursor: string, options?: WaitOptions): Promise<void>;
  /** The offline queue. */
  readonly pending: {
    /** Its transactions, oldest first. */
    list(): Promise<readonly PendingTransaction[]>;
    /**
     * Resolves when a transaction has left the queue; at once for one that is not in it, as long as something of it is kept: an outcome
     * until it is dealt with, the others for `keepSentMs`.
     */
    settled(id: string, options?: WaitOptions): Promise<Settled>;
    /**
     * Gives up a transaction that never gets through: it is undone here, what was written after it stays, and its number
     * goes to the server with nothing in it, so that those behind it do. Resolves when that is recorded. Where an
     * answer was lost and the server has applied it all the same, its changes come back with a page.
     *
     * @throws `NOT_PENDING` when it is not in the queue, or the server is known to have it.
     */
    discard(id: string): Promise<void>;
  };
  /** What became of merged and rejected transactions, with both versions, until it is resolved. */
  readonly outcomes: {
    list(): Promise<readonly Outcome[]>;
    /**
     * Tells of each outcome once, those that came while nobody listened first; again only where the process ended between the
     * call and the record of it. Returns the unsubscribe function.
     */
    subscribe(listener: (outcome: Outcome) => void): () => void;
    /**
     * Removes an outcome from the list; `retry` writes the given operations, perhaps edited, as a new transaction in the same
     * step. An update whose row is gone brings the row back with its `row`. Dependants are retried after their cause.
     *
     * @throws `OUTCOME_GONE` when it was dealt with already, `ROW_GONE` when an update without `row` names a row that is gone,
     * `STORAGE_FAILED` when the operations break a local constraint. Then nothing is written, and the outcome is kept.
     */
    resolve(id: string, resolution: { readonly retry: readonly PendingOperation[] } | "discard"): Promise<void>;
  };
  /**
   * Compares this device's rows, without what is pending, with the server's, by a checksum for each scope: those of `scopes` that are
   * held, or all. What differs heals by itself: a fresh snapshot is taken, the queue stays, `onError` hears
   * `CHECKSUM_MISMATCH`, and `state.mismatches` counts it. Resolves when the device is in step again; rejects, as `sync()`
   * does, when the server cannot be reached now. Both sides read every row of those scopes, here in one transaction.
   */
  verify(scopes?: readonly string[], options?: WaitOptions): Promise<VerifyResult>;
  signOut(options: SignOutOptions): Promise<void>;
  /** Asks for a fresh snapshot; the queue stays. */
  reset(): Promise<void>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Creates the client of a device database. Nothing is sent before `start()` or `sync()`.
 *
 * @example
 * const client = createSyncClient({ db, transport: httpTransport({ url: "https://example.com/api/sync", token }) });
 * client.start();
 */
export function createSyncClient(options: SyncClientOptions): SyncClient {
  const home = engineOf(options.db) ?? localHome(options);
  return createFace(home.engine(options), home);
}

/** The home of an engine in this process. */
function localHome({ db, transport, token }: SyncClientOptions): EngineHome {
  if (!transport) {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: "`createSyncClient` needs a `transport` for this database, such as `httpTransport({ url })`.",
    });
  }
  if (token && transport.takesToken === false) {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message:
        "`token` has no effect on `trpcTransport`: the tRPC client's own links send it. Give it to them, and leave it out here.",
    });
  }
  const sync = syncOf(db);
  return {
    engine: ({ token, ...options }) =>
      createEngine({ ...options, sync, transport: token ? withToken(transport, token) : transport }),
    tableByKey: sync.tableByKey,
    keyOfTable: (table) => sync.tables.find((candidate) => candidate.table === table)?.key,
    liveSource: createLocalLiveSource(sync),
  };
}

function createFace(engine: SyncEngine, home: EngineHome): SyncClient {
  const { tableByKey, keyOfTable, liveSource } = home;
  const outcomeListeners = new Set<() => void>();
  const client: SyncClient = {
    start: () => engine.start(),
    pause: () => engine.pause(),
    resume: () => engine.resume(),
    get state() {
      return engine.state;
    },
    subscribe: (listener) => engine.subscribe(listener),
    sync: (wait) => engine.sync(wait),
    hold: (scope, options) => engine.hold(scope, options),
    async reached(cursor, wait) {
      if (!isCursor(cursor))
        throw new SyncError({
          code: "INVALID_CONFIG",
          message: "`reached` waits for a cursor, as the server's `db.$sync.cursor()` gives it.",
        });
      await engine.reached(cursor, wait);
    },
    pending: {
      list: async () => (await engine.pending()).map((transaction) => appTransaction(tableByKey, transaction)),
      async settled(id, wait) {
        const settled = await engine.settled(id, wait);
        return "outcome" in settled
          ? { status: settled.status, outcome: appOutcome(tableByKey, settled.outcome) }
          : settled;
      },
      discard: (id) => engine.discard(id),
    },
    outcomes: {
      list: async () => (await engine.outcomes()).map((outcome) => appOutcome(tableByKey, outcome)),
      subscribe: (listener) => engine.onOutcome((outcome) => listener(appOutcome(tableByKey, outcome))),
      async resolve(id, resolution) {
        await engine.resolve(
          id,
          resolution === "discard" ? resolution : { retry: storedOperations(tableByKey, resolution.retry) },
        );
        for (const listener of outcomeListeners) listener();
      },
    },
    verify: (scopes, wait) => engine.verify(scopes, wait),
    signOut: (options) => engine.signOut(options),
    reset: () => engine.reset(),
    close: () => engine.close(),
    [Symbol.asyncDispose]: () => engine.close(),
  };
  attachInternals(client, {
    liveSource,
    keyOfTable,
    onOutcomesChanged(listener) {
      outcomeListeners.add(listener);
      // Outcomes come with pages, which change the state.
      const stops = [engine.subscribe(listener), engine.onOutcomesChanged?.(listener)];
      return () => {
        outcomeListeners.delete(listener);
        for (const stop of stops) stop?.();
      };
    },
  });
  return client;
}
