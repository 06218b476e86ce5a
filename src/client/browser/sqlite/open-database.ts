/**
 * Opens the one file on OPFS: the pool of access handles, the pragmas. Called by the tab that holds the lock, and never by
 * two at once. A file that is busy is tried again, since browsers let go of handles late after a reload; a browser without
 * OPFS gets an error. There is no silent fallback to memory: what a user wrote would be gone with the tab.
 *
 * @module
 */

import { SyncError } from "../../../protocol/errors.ts";
import { createWorkerConnection } from "./connection.ts";
import type { WorkerConnection } from "./connection.ts";
import type { Oo1Database, SahPool, Sqlite } from "./sqlite-module.ts";

/** The open file. */
export interface DatabaseFile {
  readonly connection: WorkerConnection;
  /** Closes the database and lets go of the handles, so that another tab can take them. */
  close(): void;
}

const RETRIES = 40;
const BUSY = /NoModificationAllowed|InvalidState|Access Handle/i;

/** Opens the database of that name, foreign keys still off: migrations run before they are switched on. */
export async function openDatabaseFile(sqlite: Sqlite, name: string): Promise<DatabaseFile> {
  const pool = await openPool(sqlite, name);
  let database: Oo1Database | undefined;
  try {
    database = new pool.OpfsSAHPoolDb(`/${name}.sqlite3`);
    const connection = createWorkerConnection(sqlite, database);
    for (const pragma of PRAGMAS) connection.script(`PRAGMA ${pragma}`);
    // The header is read only now: a file that is no database fails here, and not in the middle of something.
    connection.all("SELECT count(*) FROM sqlite_schema", []);
    return {
      connection,
      close: () => {
        connection.close();
        pool.pauseVfs();
      },
    };
  } catch (cause) {
    database?.close();
    pool.pauseVfs();
    throw new SyncError({ code: "STORAGE_FAILED", message: `The local database \`${name}\` cannot be opened.`, cause });
  }
}

// Recursive triggers stay off, as everywhere else: an app's trigger that sets `updated_at` would call itself for ever.
const PRAGMAS = [
  // Without shared memory, WAL needs the exclusive lock; both must come before the first read.
  "locking_mode = exclusive",
  "journal_mode = wal",
  "synchronous = normal",
  "foreign_keys = off",
] as const;

async function openPool(sqlite: Sqlite, name: string): Promise<SahPool> {
  if (typeof navigator.storage?.getDirectory !== "function") throw withoutOpfs();
  for (let attempt = 1; ; attempt++) {
    try {
      const pool = await sqlite.installOpfsSAHPoolVfs({
        name: `drizzle-sync-${name}`,
        directory: `/.drizzle-sync/${encodeURIComponent(name)}`,
        initialCapacity: 6,
        preserveOnInitFailure: true,
        forceReinitIfPreviouslyFailed: true,
        verbosity: 0,
      });
      // Paused: this worker has owned the file before.
      if (pool.isPaused()) await pool.unpauseVfs();
      return pool;
    } catch (cause) {
      const text = cause instanceof Error ? `${cause.name} ${cause.message}` : String(cause);
      if (/SecurityError/.test(text)) throw withoutOpfs(cause);
      if (!BUSY.test(text) || attempt === RETRIES) {
        throw new SyncError({
          code: "STORAGE_FAILED",
          message: `The storage of the local database \`${name}\` cannot be opened.`,
          cause,
        });
      }
      await new Promise((resolve) => setTimeout(resolve, 50 + attempt * 10));
    }
  }
}

function withoutOpfs(cause?: unknown): SyncError {
  return new SyncError({
    code: "STORAGE_FAILED",
    message:
      "This browser offers no private file system here (a private window, or a page that is not secure), so nothing can be kept on this device.",
    ...(cause === undefined ? {} : { cause }),
  });
}
