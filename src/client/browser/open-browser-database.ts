/**
 * `openBrowserDatabase`: a Drizzle database that lives in a file on OPFS, owned by one worker among the tabs. The module can
 * be imported on a server, where nothing is opened and a query throws.
 *
 * @module
 */

import type { DrizzleConfig } from "drizzle-orm";
import type { SqliteRemoteDatabase } from "drizzle-orm/sqlite-proxy";
import type { SyncDefinition } from "../../plugin/define-sync.ts";
import { engineHome, type EngineHome } from "../engine-of.ts";
import { readDefinition } from "./definition-tables.ts";
import { createPageDatabase } from "./page-database.ts";
import { createRemoteEngine } from "./remote-engine.ts";
import { createTab } from "./tab.ts";
import type { PageWorker } from "./tab.ts";

export interface BrowserDatabaseOptions<TSchema extends Record<string, unknown>> {
  /** Names the file. People who share a browser profile need a name each: a queue is never sent under another name. */
  readonly name: string;
  /** The definition that the worker has too; its schema gives the database its types. */
  readonly sync: SyncDefinition<TSchema>;
  /**
   * Makes the worker. `new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" })` must stand literally in
   * the app's own file, since bundlers look for it.
   */
  readonly worker: () => PageWorker;
  /**
   * Asks the browser not to throw the database away when room runs short, once something waits to be uploaded. Some browsers
   * ask the user.
   * @default true
   */
  readonly persist?: boolean;
  /** Drizzle's `casing`; give `startSyncWorker` the same. */
  readonly casing?: NonNullable<DrizzleConfig["casing"]>;
  /** Drizzle's `logger`. */
  readonly logger?: NonNullable<DrizzleConfig["logger"]>;
}

/** The connection of a page to the worker that owns the database. */
export interface BrowserConnection {
  /** Whether this page's worker owns the file now. */
  readonly leads: boolean;
  /** Calls back when the file could not be opened; it is tried again. Returns the unsubscribe function. */
  onOpenFailed(listener: (error: Error) => void): () => void;
  /** Ends this page's worker. Another tab takes over. */
  close(): Promise<void>;
}

/** A Drizzle database in the browser. */
export type BrowserDatabase<TSchema extends Record<string, unknown>> = SqliteRemoteDatabase<TSchema> & {
  readonly $client: BrowserConnection;
};

/**
 * Opens a database in the browser. Nothing happens before the first query: then the worker starts, and the first tab to do
 * so owns the file, runs the migrations and syncs for all.
 *
 * @example
 * export const db = openBrowserDatabase({
 *   name: "app",
 *   sync,
 *   worker: () => new Worker(new URL("./db.worker.ts", import.meta.url), { type: "module" }),
 * });
 */
export function openBrowserDatabase<TSchema extends Record<string, unknown>>(
  options: BrowserDatabaseOptions<TSchema>,
): BrowserDatabase<TSchema> {
  const tab = createTab({ name: options.name, worker: options.worker });
  const { db, liveSource } = createPageDatabase<TSchema>(tab, {
    schema: options.sync.schema,
    ...(options.casing === undefined ? {} : { casing: options.casing }),
    ...(options.logger === undefined ? {} : { logger: options.logger }),
  });
  const $client: BrowserConnection = {
    get leads() {
      return tab.leads;
    },
    onOpenFailed: tab.onOpenFailed,
    close: tab.close,
  };
  const tables = readDefinition(options.sync, options.casing);
  const home: EngineHome = {
    engine: ({ token, onError, hold, retry, pageRows, echoMs, pollMs, silenceMs, verifyRate, keepSentMs }) => {
      const given = { hold, retry, pageRows, echoMs, pollMs, silenceMs, verifyRate, keepSentMs };
      return createRemoteEngine(tab, {
        token,
        onError,
        persist: options.persist ?? true,
        engine: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      });
    },
    tableByKey: new Map(tables.map((table) => [table.key, table])),
    keyOfTable: (table) => tables.find((candidate) => candidate.table === table)?.key,
    liveSource,
  };
  return Object.assign(db, { $client, [engineHome]: home });
}
