/**
 * The worker's connection over the same SQLite build, in Node and in memory: for tests of everything that does not need a
 * browser.
 *
 * @module
 */

import init from "@sqlite.org/sqlite-wasm";
import { createWorkerConnection } from "../../client/browser/sqlite/connection.ts";
import type { WorkerConnection } from "../../client/browser/sqlite/connection.ts";
import type { Sqlite } from "../../client/browser/sqlite/sqlite-module.ts";

let loading: Promise<Sqlite> | undefined;

/** Opens a fresh database in memory. */
export async function openMemoryConnection(): Promise<WorkerConnection> {
  // The package's own types describe more than we use, and differ in details that do not matter here.
  loading ??= init() as unknown as Promise<Sqlite>;
  const sqlite = await loading;
  const connection = createWorkerConnection(sqlite, new sqlite.oo1.DB(":memory:", "c"));
  connection.script("PRAGMA foreign_keys = ON");
  return connection;
}
