/**
 * The engine's transactions on the local database. What a driver throws comes out as a `SyncError`; what the engine throws
 * itself to roll back comes out as it is.
 *
 * @module
 */

import { transact, type Core, type TransactionMode } from "../plugin/core.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { BrokenBase } from "./write-changes.ts";
import type { Clock } from "./clock.ts";
import { isBusyError, storageError } from "./storage-error.ts";

/** Runs a core in one transaction of its own. */
export type LocalDatabase = <T>(mode: TransactionMode, core: () => Core<T>) => Promise<T>;

/** How long is waited before each further attempt while another process holds the lock, in milliseconds. */
const BUSY_DELAYS = [10, 50, 250] as const;

/** Wraps a database's connection. */
export function localDatabase(sync: SyncDatabase, clock: Clock): LocalDatabase {
  return async (mode, core) => {
    for (let attempt = 0; ; attempt++) {
      try {
        return await transact(sync.connection, mode, core);
      } catch (error) {
        if (error instanceof BrokenBase) throw error;
        const delay = isBusyError(error) ? BUSY_DELAYS[attempt] : undefined;
        if (delay === undefined) throw storageError(error);
        await new Promise<void>((resolve) => void clock.delay(delay, resolve));
      }
    }
  };
}
