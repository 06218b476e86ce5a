/**
 * Reads the app's tables as they are.
 *
 * @module
 */

import type Database from "better-sqlite3";
import type { Row, Rows } from "../history/recorded-run.ts";
import { tables } from "./schema.ts";

/** All rows of all synced tables, by id. */
export function readRows(database: Database.Database): Rows {
  return Object.fromEntries(
    tables.map((table) => [table, database.prepare(`SELECT * FROM ${table} ORDER BY id`).all() as Row[]]),
  );
}
