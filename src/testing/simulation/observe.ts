/**
 * The oracles' own eyes on a database: a connection that is not counted, and goes on after a crash.
 *
 * @module
 */

import type { SyncConnection } from "../../plugin/core.ts";
import { betterSqlite3Connection, type BetterDatabase } from "../../plugin/sqlite/better-sqlite3.ts";
import type { CrashDatabase } from "../crash-database.ts";

const observers = new WeakMap<CrashDatabase, SyncConnection>();

/** A connection of the observer, which is not counted and sees what is committed. */
export function observe(database: CrashDatabase): SyncConnection {
  let connection = observers.get(database);
  if (connection === undefined) {
    // The driver's own type is wider than what the connection asks for.
    connection = betterSqlite3Connection(database.raw as unknown as BetterDatabase);
    observers.set(database, connection);
  }
  return connection;
}
