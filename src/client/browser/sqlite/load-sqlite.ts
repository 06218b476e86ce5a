/**
 * Loads SQLite once per worker. A standby tab loads it too, without opening the file, so that taking over needs neither a
 * network nor a compilation.
 *
 * @module
 */

import init from "./sqlite3.js";
import type { Sqlite } from "./sqlite-module.ts";

let loading: Promise<Sqlite> | undefined;

/** Instantiates the prebundled module, once; a failed load is tried again by the next call. */
export function loadSqlite(): Promise<Sqlite> {
  loading ??= init({ print: () => {}, printErr: () => {} }).catch((error: unknown) => {
    loading = undefined;
    throw error;
  });
  return loading;
}
