/**
 * The oracles' own eyes on a database: a connection that is not counted, and goes on after a crash.
 *
 * @module
 */

import type Database from "better-sqlite3";
import type { SyncConnection } from "../../plugin/core.ts";
import { betterSqlite3Connection, type BetterDatabase } from "../../plugin/sqlite/better-sqlite3.ts";
import type { CrashDatabase } from "../crash-database.ts";

const observers = new WeakMap<Database.Database, SyncConnection>();

/** A connection of the observer, which is not counted and sees what is committed. It reads, and outlives the process. */
export function observe({ raw }: CrashDatabase): SyncConnection {
  let connection = observers.get(raw);
  if (connection === undefined) {
    // The driver's own type is wider than what the connection asks for.
    connection = betterSqlite3Connection(raw as unknown as BetterDatabase);
    observers.set(raw, connection);
  }
  return connection;
}
