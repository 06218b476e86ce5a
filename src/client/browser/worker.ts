/**
 * Entry `drizzle-sync/client/worker`. The app owns a worker file of three lines that calls {@link startSyncWorker}; nothing
 * happens on import.
 *
 * @module
 */

import type { SyncDefinition } from "../../plugin/define-sync.ts";
import type { Transport } from "../transport.ts";
import { clientLock, startHost } from "./host.ts";
import { openOwnedDatabase } from "./owned-database.ts";
import type { BundledMigration } from "./bundled-migrations.ts";
import { loadSqlite } from "./sqlite/load-sqlite.ts";
import { dedicatedWorkerScope } from "./worker-scope.ts";

export type { BundledMigration } from "./bundled-migrations.ts";

export interface SyncWorkerOptions {
  /** What `defineSync` returned; the page gives the same to `openBrowserDatabase`. */
  readonly sync: SyncDefinition<Record<string, unknown>>;
  /** The module that `drizzle-sync bundle-migrations` wrote. They run before anything else touches the file. */
  readonly migrations: readonly BundledMigration[];
  /** How the server is reached. A page's `token` is used where the transport has none of its own. */
  readonly transport: Transport;
  /** Drizzle's `casing`, as the page has it. @default none */
  readonly casing?: "snake_case" | "camelCase";
  /** Milliseconds without a statement after which an interactive transaction is rolled back. @default 5000 */
  readonly idleTransactionMs?: number;
}

/**
 * Starts the worker of a tab. One tab's worker at a time owns the file and syncs; the others forward to it.
 *
 * @example
 * // db.worker.ts
 * startSyncWorker({ sync, migrations, transport: httpTransport({ url: "/api/sync" }) });
 */
export function startSyncWorker(options: SyncWorkerOptions): void {
  const scope = dedicatedWorkerScope();
  startHost({
    scope,
    release: options.migrations.reduce((newest, { when }) => Math.max(newest, when), 0),
    makeId: () => crypto.randomUUID().slice(0, 8),
    prepare: loadSqlite,
    open: (name, host) =>
      openOwnedDatabase({
        ...options,
        name,
        askToken: host.askToken,
        online: host.online,
        emit: (event) => host.broadcast({ kind: "sync", event }),
        aliveClients: async () => {
          const prefix = clientLock(name, "");
          const { held = [] } = await scope.locks.query();
          return new Set(
            held.flatMap((lock) => (lock.name?.startsWith(prefix) ? [lock.name.slice(prefix.length)] : [])),
          );
        },
      }),
  });
}
