/**
 * A better-sqlite3 database as a {@link SyncConnection}: prepared statements kept by their text, values in and out exactly.
 * The driver is described structurally; nothing here imports it.
 *
 * @module
 */

import type { Value } from "../../protocol/ids.ts";
import type { Rows, SyncConnection, TransactionMode } from "../core.ts";
import { createKeyTrials } from "./key-trials.ts";
import { createRecent } from "./recent.ts";
import { transactSync, type TransactionParts } from "./transactions.ts";

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
  const trials = createKeyTrials(() => prepare("SELECT total_changes()").all().flat()[0] as number);
  const watched = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      trials.failed(error);
      throw error;
    }
  };
  /** Executes a statement that is not asked for rows. */
  const change = (statement: BetterStatement, params: readonly Value[]): number => {
    const { changes } = statement.run(...params.map(bound));
    trials.changed(changes);
    return changes;
  };
  const parts: TransactionParts = {
    execute: (sql) => void prepare(sql).run(),
    isOpen: () => database.inTransaction,
    enforcesKeys: () => prepare("PRAGMA foreign_keys").all().flat()[0] === 1,
    enforceKeys: (on) => void database.exec(`PRAGMA foreign_keys = ${on ? "ON" : "OFF"}`),
    trials,
  };
  return {
    kind: "sync",
    all: (sql, params) =>
      watched(() => {
        const statement = prepare(sql);
        if (!statement.reader) {
          change(statement, params);
          return [];
        }
        const values = params.map(bound);
        // Reading integers as bigints costs; a statement that writes cannot be run twice to do it only where it matters.
        if (!statement.readonly) return exactly(statement, values);
        const rows = statement.all(...values) as Value[][];
        return rows.some(hasUnsafeInteger) ? exactly(statement, values) : rows;
      }),
    run: (sql, params) =>
      watched(() => {
        const statement = prepare(sql);
        return statement.reader ? statement.all(...params.map(bound)).length : change(statement, params);
      }),
    each: (sql, rows) =>
      watched(() => {
        const statement = prepare(sql);
        let changes = 0;
        for (const params of rows) changes += change(statement, params);
        return changes;
      }),
    transaction<T>(mode: TransactionMode, body: () => T): T {
      if (database.inTransaction) throw new BusyConnectionError();
      return transactSync(parts, mode, body);
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
