/**
 * The state as the app reads it and is told of it. Reading may be ahead of telling: what was written in this very tick is
 * counted at once where the database answers at once, and told when the commit is heard of.
 *
 * @module
 */

import { stepSync } from "../plugin/core.ts";
import { lastTransaction } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { isSyncError, type SyncError } from "../protocol/errors.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { Machine } from "./machine.ts";
import type { Runner } from "./runner.ts";
import type { Session } from "./session.ts";
import type { SyncState } from "./sync-engine.ts";

/** What the state is made of. */
export interface StateSources {
  readonly session: Session;
  readonly runner: () => Pick<Runner, "machine" | "lastError">;
  readonly checkpoint: () => Checkpoint | undefined;
  /** The number of the last local transaction that the engine has heard of. */
  readonly lastNumber: () => number;
}

/** Shows the state of one engine. The same object until something in it changes. */
export interface StateBoard {
  read(): SyncState;
  subscribe(listener: (state: SyncState) => void): () => void;
  /** Whether anybody is told. */
  readonly hasListeners: boolean;
  /** Tells subscribers when the state is another one than they were told last. */
  refresh(): void;
  /** Forgets the subscribers; the state stays as it was, and the database is not looked into any more. */
  close(): void;
}

/** Creates the board of one engine. */
export function createStateBoard(sync: SyncDatabase, sources: StateSources): StateBoard {
  const { session } = sources;
  const listeners = new Set<(state: SyncState) => void>();
  let state: SyncState = { status: "idle", pending: 0 };
  let told = state;
  let isClosed = false;

  const current = (lastNumber: number): SyncState => {
    const { received, remaining } = session;
    const { machine, lastError } = sources.runner();
    const checkpoint = sources.checkpoint();
    const next: SyncState = {
      status: isOutdated(machine, lastError) ? "update-needed" : machine.status,
      pending: checkpoint ? Math.max(0, lastNumber - checkpoint.handled.number) : 0,
      ...(checkpoint?.cursor === undefined ? {} : { cursor: checkpoint.cursor }),
      ...(checkpoint?.syncedAt === undefined ? {} : { lastSyncedAt: checkpoint.syncedAt }),
      ...(checkpoint === undefined || checkpoint.mismatches === 0 ? {} : { mismatches: checkpoint.mismatches }),
      ...(received === 0 ? {} : { progress: { received, ...(remaining === undefined ? {} : { remaining }) } }),
      ...(lastError ? { error: lastError } : {}),
    };
    return isSameState(state, next) ? state : next;
  };
  const lastWritten = (): number => {
    const { connection } = sync;
    if (connection.kind !== "sync") return sources.lastNumber();
    try {
      return Math.max(sources.lastNumber(), stepSync(connection, lastTransaction()).number);
    } catch {
      // The app has closed its database; the state still says what is known. Any other call fails with the reason.
      return sources.lastNumber();
    }
  };
  return {
    read() {
      if (!isClosed && sources.checkpoint()) state = current(lastWritten());
      return state;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    get hasListeners() {
      return listeners.size > 0;
    },
    refresh() {
      state = current(sources.lastNumber());
      if (isSameState(told, state)) return;
      const next = state;
      told = next;
      for (const listener of [...listeners]) callSafely(() => listener(next));
    },
    close() {
      isClosed = true;
      listeners.clear();
    },
  };
}

/** Rule V3: in step but for what only an update of the app can send. Downloads go on, and so does writing. */
function isOutdated({ status, queue }: Machine, error: SyncError | undefined): boolean {
  const isAtRest = status === "synced" || status === "idle";
  return isAtRest && queue === "held" && isSyncError(error, "SCHEMA_MISMATCH") && error.details?.tooOld === "device";
}

function isSameState(a: SyncState, b: SyncState): boolean {
  return (
    a.status === b.status &&
    a.pending === b.pending &&
    a.cursor === b.cursor &&
    a.lastSyncedAt === b.lastSyncedAt &&
    a.mismatches === b.mismatches &&
    a.error === b.error &&
    a.progress?.received === b.progress?.received &&
    a.progress?.remaining === b.progress?.remaining
  );
}

/** A listener's error is the app's: it must not stop the engine, nor vanish. */
function callSafely(call: () => void): void {
  try {
    call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
