/**
 * Where the engine of a database lives. A database that is opened in another place than the client (a browser's worker)
 * carries an {@link EngineHome}, so that `createSyncClient` needs to know nothing of that place.
 *
 * @module
 */

import type { Table } from "drizzle-orm";
import type { SyncTable } from "../plugin/table.ts";
import type { EngineOptions } from "./engine-options.ts";
import type { LiveSource } from "./live-source.ts";
import type { SyncEngine } from "./sync-engine.ts";

/** Options of a client that reach an engine elsewhere. */
export type RemoteEngineOptions = EngineOptions & { readonly token?: () => string | null | Promise<string | null> };

/** The engine of a database, and what the client needs to speak of its tables. */
export interface EngineHome {
  engine(options: RemoteEngineOptions): SyncEngine;
  readonly tableByKey: ReadonlyMap<string, SyncTable>;
  keyOfTable(table: Table): string | undefined;
  readonly liveSource: LiveSource;
}

/** The property of a database that holds its {@link EngineHome}; a symbol of all copies of this package. */
export const engineHome: unique symbol = Symbol.for("drizzle-sync.engine-home") as never;

/** The home of a database's engine, if it brings one. */
export function engineOf(db: object): EngineHome | undefined {
  return (db as { readonly [engineHome]?: EngineHome })[engineHome];
}
