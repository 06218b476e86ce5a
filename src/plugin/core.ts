/**
 * One core for synchronous and asynchronous drivers. Everything the library does inside the database is written once, as
 * generator functions that yield statements and receive rows. A synchronous runner steps them without ever awaiting, so
 * that no application code can fall into an open transaction; an asynchronous one awaits each step inside a transaction
 * of its own. Resolvers are therefore pure and synchronous, and waits for the network stay between runs.
 *
 * @module
 */

import type { Value } from "../protocol/ids.ts";

/** Rows as arrays of storage values; integers beyond 2^53 are bigints. */
export type Rows = readonly (readonly Value[])[];

/** One statement to execute. `each` runs the same prepared statement for every parameter list, in order. */
export type Step =
  | { readonly kind: "all"; readonly sql: string; readonly params: readonly Value[] }
  | { readonly kind: "run"; readonly sql: string; readonly params: readonly Value[] }
  | { readonly kind: "each"; readonly sql: string; readonly rows: readonly (readonly Value[])[] };

/** A piece of work inside the database: yields {@link Step}s, is resumed with rows (`all`) or the number of changed rows. */
export type Core<T> = Generator<Step, T, Rows | number>;

/** Reads rows. */
export function* all(sql: string, params: readonly Value[] = []): Core<Rows> {
  return (yield { kind: "all", sql, params }) as Rows;
}

/** Reads the first row, or undefined. */
export function* first(sql: string, params: readonly Value[] = []): Core<readonly Value[] | undefined> {
  return ((yield { kind: "all", sql, params }) as Rows)[0];
}

/** Executes a statement and returns the number of changed rows. */
export function* run(sql: string, params: readonly Value[] = []): Core<number> {
  return (yield { kind: "run", sql, params }) as number;
}

/** Executes one statement for each parameter list and returns the number of changed rows in all. */
export function* each(sql: string, rows: readonly (readonly Value[])[]): Core<number> {
  if (rows.length === 0) return 0;
  return (yield { kind: "each", sql, rows }) as number;
}

/**
 * How a transaction is opened. `read`: deferred, one snapshot, must not write. `write`: immediate. `apply`: immediate,
 * outermost, with foreign keys switched off before it opens (rule A4) and restored after it. `page`: the same for what rows
 * become of a page, and no change of the schema; its body may be run twice (see `sqlite/key-trials.ts`).
 */
export type TransactionMode = "read" | "write" | "apply" | "page";

/** A connection whose statements answer at once (better-sqlite3, the browser's worker). */
export interface SyncConnection {
  readonly kind: "sync";
  all(sql: string, params: readonly Value[]): Rows;
  run(sql: string, params: readonly Value[]): number;
  each(sql: string, rows: readonly (readonly Value[])[]): number;
  /** Runs `body` in a transaction: committed when it returns, rolled back when it throws. Never nested. */
  transaction<T>(mode: TransactionMode, body: () => T): T;
}

/** A connection whose statements answer with a promise (libSQL, sqlite-proxy, Postgres). */
export interface AsyncConnection {
  readonly kind: "async";
  all(sql: string, params: readonly Value[]): Promise<Rows>;
  run(sql: string, params: readonly Value[]): Promise<number>;
  each(sql: string, rows: readonly (readonly Value[])[]): Promise<number>;
  transaction<T>(mode: TransactionMode, body: (connection: AsyncConnection) => Promise<T>): Promise<T>;
}

export type Connection = SyncConnection | AsyncConnection;

/** Runs a core in one transaction. Answers at once on a synchronous connection, with a promise on an asynchronous one. */
export function transact<T>(connection: SyncConnection, mode: TransactionMode, core: () => Core<T>): T;
export function transact<T>(connection: Connection, mode: TransactionMode, core: () => Core<T>): T | Promise<T>;
export function transact<T>(connection: Connection, mode: TransactionMode, core: () => Core<T>): T | Promise<T> {
  return connection.kind === "sync"
    ? connection.transaction(mode, () => stepSync(connection, core()))
    : connection.transaction(mode, (inner) => stepAsync(inner, core()));
}

/** Steps a core on a synchronous connection, in whatever transaction is open. */
export function stepSync<T>(connection: SyncConnection, core: Core<T>): T {
  let result = core.next();
  while (!result.done) {
    const step = result.value;
    let answer: Rows | number;
    try {
      answer =
        step.kind === "each"
          ? connection.each(step.sql, step.rows)
          : step.kind === "all"
            ? connection.all(step.sql, step.params)
            : connection.run(step.sql, step.params);
    } catch (error) {
      // The core may catch it: a savepoint is rolled back and the work goes on.
      result = core.throw(error);
      continue;
    }
    result = core.next(answer);
  }
  return result.value;
}

/** Steps a core on an asynchronous connection, in whatever transaction is open. */
export async function stepAsync<T>(connection: AsyncConnection, core: Core<T>): Promise<T> {
  let result = core.next();
  while (!result.done) {
    const step = result.value;
    let answer: Rows | number;
    try {
      answer =
        step.kind === "each"
          ? await connection.each(step.sql, step.rows)
          : step.kind === "all"
            ? await connection.all(step.sql, step.params)
            : await connection.run(step.sql, step.params);
    } catch (error) {
      result = core.throw(error);
      continue;
    }
    result = core.next(answer);
  }
  return result.value;
}
