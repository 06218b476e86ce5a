/**
 * A better-sqlite3 database as a {@link SyncConnection}: prepared statements kept by their text, values in and out exactly.
 * The driver is described structurally; nothing here imports it.
 *
 * @module
 */

import type { Value } from "../../protocol/ids.ts";
import type { Rows, SyncConnection, TransactionMode } from "../core.ts";
import { createRecent } from "./recent.ts";

/** A prepared statement of better-sqlite3, as far as it is used here. */
export interface BetterStatement {
  readonly reader: boolean;
  readonly readonly: boolean;
  readonly source: string;
  run(...params: unknown[]): { readonly changes: number };
  get(...params: unknown[]): unknown;
  all(...params: unknown[]): unknown[];
  iterate(...params: unknown[]): IterableIterator<unknown>;
  raw(on?: boolean): BetterStatement;
  pluck(on?: boolean): BetterStatement;
  safeIntegers(on?: boolean): BetterStatement;
}

/** A better-sqlite3 database, as far as it is used here. */
export interface BetterDatabase {
  readonly inTransaction: boolean;
  readonly open: boolean;
  readonly readonly: boolean;
  prepare(sql: string): BetterStatement;
  exec(sql: string): unknown;
  transaction(body: (...args: never[]) => unknown): BetterTransaction;
}

/** What better-sqlite3's `transaction` returns. */
export interface BetterTransaction {
  (...args: unknown[]): unknown;
  deferred: (...args: unknown[]) => unknown;
  immediate: (...args: unknown[]) => unknown;
  exclusive: (...args: unknown[]) => unknown;
}

/** Makes a connection of a database. It does not close it. */
export function betterSqlite3Connection(database: BetterDatabase): SyncConnection {
  const statements = createRecent<BetterStatement>(512);
  const prepare = (sql: string): BetterStatement => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const statement = database.prepare(sql);
    if (statement.reader) statement.raw(true);
    // DDL is run once, and its statements would hold the old schema.
    if (!/^\s*(create|drop|alter)\b/i.test(sql)) statements.set(sql, statement);
    return statement;
  };
  return {
    kind: "sync",
    all(sql, params) {
      const statement = prepare(sql);
      if (!statement.reader) {
        statement.run(...params.map(bound));
        return [];
      }
      const values = params.map(bound);
      // Reading integers as bigints costs; a statement that writes cannot be run twice to do it only where it matters.
      if (!statement.readonly) return exactly(statement, values);
      const rows = statement.all(...values) as Value[][];
      return rows.some(hasUnsafeInteger) ? exactly(statement, values) : rows;
    },
    run(sql, params) {
      const statement = prepare(sql);
      if (!statement.reader) return statement.run(...params.map(bound)).changes;
      return statement.all(...params.map(bound)).length;
    },
    each(sql, rows) {
      const statement = prepare(sql);
      let changes = 0;
      for (const params of rows) changes += statement.run(...params.map(bound)).changes;
      return changes;
    },
    transaction<T>(mode: TransactionMode, body: () => T): T {
      if (database.inTransaction) throw new BusyConnectionError();
      const foreignKeys = mode === "apply" && prepare("PRAGMA foreign_keys").all().flat()[0] === 1;
      // Inside a transaction the pragma does nothing (A4).
      if (foreignKeys) database.exec("PRAGMA foreign_keys = OFF");
      try {
        prepare(mode === "read" ? "BEGIN" : "BEGIN IMMEDIATE").run();
        try {
          const result = body();
          prepare("COMMIT").run();
          return result;
        } catch (error) {
          // Some failures have rolled back by themselves.
          if (database.inTransaction) prepare("ROLLBACK").run();
          throw error;
        }
      } finally {
        if (foreignKeys) database.exec("PRAGMA foreign_keys = ON");
      }
    },
  };
}

/** The app has a transaction open on this very connection: it passes, like a lock that somebody else holds. */
class BusyConnectionError extends Error {
  readonly code = "SQLITE_BUSY";

  constructor() {
    super("A transaction of the library cannot begin inside another one: one is open on this connection.");
    this.name = "BusyConnectionError";
  }
}

/** A value as it must be bound: the driver binds every number as a float, which a column without a type would keep. */
export function bound(value: Value): Value {
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
}

function exactly(statement: BetterStatement, params: readonly unknown[]): Rows {
  statement.safeIntegers(true);
  try {
    return (statement.all(...params) as Value[][]).map((row) => row.map(narrowed));
  } finally {
    statement.safeIntegers(false);
  }
}

function narrowed(value: Value): Value {
  return typeof value === "bigint" && value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
    ? Number(value)
    : value;
}

// A float that large is whole, too: it is read again like an integer and comes back as it was.
function hasUnsafeInteger(row: readonly Value[]): boolean {
  for (const value of row)
    if (typeof value === "number" && (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER)) return true;
  return false;
}
