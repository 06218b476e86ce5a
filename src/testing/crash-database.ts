/**
 * A better-sqlite3 database that can die between any two statements, as a process does: what was open is rolled back,
 * and nobody who still holds the handle can do anything more. {@link reopen} gives a new handle on what was committed.
 *
 * The connection itself and its prepared statements outlive the process: opening a database from bytes and preparing
 * everything again would cost more than what is tested. A program sees its handle alone, whose statements are its own.
 *
 * @module
 */

import Database from "better-sqlite3";

/** Thrown by the statement at which a database died, and by every later one on its handle. */
export class Crash extends Error {
  constructor() {
    super("The process died here.");
    this.name = "Crash";
  }
}

export interface CrashDatabase {
  /** The handle that the program under test uses. */
  readonly handle: Database.Database;
  /** The database itself, for the observer: reads are not counted, and work after a crash. */
  readonly raw: Database.Database;
  readonly hasCrashed: boolean;
  /** Statements executed through the handle. */
  readonly statements: number;
  /** Another number whenever the database may hold something else; who writes through {@link raw} says so by {@link touch}. */
  readonly version: number;
  touch(): void;
  /** Dies at the n-th statement from now on; `undefined` takes that back. */
  crashAfter(statements: number | undefined): void;
  /** Dies now. */
  crash(): void;
  /** Fails the n-th statement from now on, once, without dying: a transient error of the disk. */
  failAfter(statements: number): void;
  /** Called after each statement that wrote and left no transaction open: what it wrote is committed. */
  onSettled: (() => void) | undefined;
}

/** Opens a database in memory, from the bytes of another one if given. */
export function openCrashDatabase(image?: Buffer): CrashDatabase {
  // Two handles on one database are not to be had in memory: the observer shares the connection.
  const raw = new Database(image ?? ":memory:");
  return startProcess(raw, new Map(), 0);
}

/** Opens what a crashed (or living) database had committed, as a new process would. The old handle is dead from then on. */
export function reopen(database: CrashDatabase): CrashDatabase {
  database.crash();
  const kept = connections.get(database);
  if (kept === undefined) throw new Error("This database was not opened by `openCrashDatabase`.");
  return startProcess(database.raw, kept, database.version + 1);
}

/** Statements by their text, then by how they give their rows. */
type Prepared = Map<string, (Database.Statement | undefined)[]>;

/** What the connection of a database has prepared. */
const connections = new WeakMap<CrashDatabase, Prepared>();

function startProcess(raw: Database.Database, prepared: Prepared, firstVersion: number): CrashDatabase {
  const exec = raw.exec.bind(raw);
  const pragma = raw.pragma.bind(raw);
  // What a process has set on its connection dies with it.
  pragma("foreign_keys = ON");
  const handle = Object.create(raw) as Database.Database;
  let hasCrashed = false;
  let statements = 0;
  let version = firstVersion;
  let hasWritten = false;
  let crashAt: number | undefined;
  let failAt: number | undefined;

  const crash = (): void => {
    if (hasCrashed) return;
    hasCrashed = true;
    if (!raw.inTransaction) return;
    version++;
    exec("ROLLBACK");
  };
  const tick = (writes: boolean): void => {
    if (hasCrashed) throw new Crash();
    statements++;
    if (failAt !== undefined && statements >= failAt) {
      failAt = undefined;
      throw new Database.SqliteError("disk I/O error", "SQLITE_IOERR");
    }
    if (crashAt !== undefined && statements >= crashAt) {
      crash();
      throw new Crash();
    }
    if (!writes) return;
    version++;
    hasWritten = true;
  };
  const settle = (): void => {
    if (!hasWritten || raw.inTransaction || hasCrashed) return;
    hasWritten = false;
    database.onSettled?.();
  };
  /** One of the connection's statements, in the mode that a process's own statement is in. */
  const statementOf = (sql: string, mode: number): Database.Statement => {
    let modes = prepared.get(sql);
    if (modes === undefined) prepared.set(sql, (modes = []));
    return (modes[mode] ??= prepareIn(raw, sql, mode));
  };
  const prepare = (sql: string): Database.Statement => {
    if (hasCrashed) throw new Crash();
    // The schema's own statements are run once, and would otherwise fill the memory.
    const isKept = !/^\s*(?:create|drop|alter)\b/i.test(sql);
    const first = isKept ? statementOf(sql, 0) : raw.prepare(sql);
    const { reader, readonly } = first;
    const writes = !readonly || /^\s*rollback\b/i.test(sql);
    const settles = writes || /^\s*(?:commit|end|release)\b/i.test(sql);
    let mode = 0;
    let current = first;
    const inMode = (bit: number, on: boolean): unknown => {
      mode = on ? (mode & ~(bit === safeIntegers ? 0 : rows)) | bit : mode & ~bit;
      current = isKept ? statementOf(sql, mode) : prepareIn(raw, sql, mode);
      return own;
    };
    const own = {
      source: sql,
      reader,
      readonly,
      database: handle,
      get busy() {
        return current.busy;
      },
      run(...params: unknown[]) {
        tick(writes);
        const result = current.run(...params);
        if (settles) settle();
        return result;
      },
      get(...params: unknown[]) {
        tick(writes);
        const row = current.get(...params);
        if (settles) settle();
        return row;
      },
      all(...params: unknown[]) {
        tick(writes);
        const found = current.all(...params);
        if (settles) settle();
        return found;
      },
      iterate(...params: unknown[]) {
        tick(writes);
        // Others may run the connection's statement while this one is still being read.
        return prepareIn(raw, sql, mode).iterate(...params);
      },
      raw: (on = true) => inMode(asArrays, on),
      pluck: (on = true) => inMode(asFirstValue, on),
      safeIntegers: (on = true) => inMode(safeIntegers, on),
      columns: () => current.columns(),
    };
    return own as unknown as Database.Statement;
  };

  Object.assign(handle, {
    prepare,
    exec: (sql: string) => {
      tick(true);
      exec(sql);
      settle();
      return handle;
    },
    pragma: (source: string, options?: Database.PragmaOptions) => {
      tick(false);
      return pragma(source, options);
    },
    // The driver's own transactions run their BEGIN and COMMIT past the overridden methods: the statements inside are counted.
    transaction: (body: (...args: unknown[]) => unknown) => {
      const own = raw.transaction(body);
      const settling =
        (run: (...args: unknown[]) => unknown) =>
        (...args: unknown[]) => {
          if (hasCrashed) throw new Crash();
          let result: unknown;
          try {
            result = run(...args);
          } catch (error) {
            version++;
            throw error;
          }
          settle();
          return result;
        };
      return Object.assign(settling(own), {
        default: settling(own.default),
        deferred: settling(own.deferred),
        immediate: settling(own.immediate),
        exclusive: settling(own.exclusive),
      });
    },
    close: () => handle,
  });

  const database: CrashDatabase = {
    handle,
    raw,
    crash,
    onSettled: undefined,
    get hasCrashed() {
      return hasCrashed;
    },
    get statements() {
      return statements;
    },
    get version() {
      return version;
    },
    touch: () => {
      version++;
    },
    crashAfter: (count) => {
      crashAt = count === undefined ? undefined : statements + count;
    },
    failAfter: (count) => {
      failAt = statements + count;
    },
  };
  connections.set(database, prepared);
  return database;
}

/** How a statement gives its rows, as bits: better-sqlite3 keeps that as a state of the statement. */
const asArrays = 1;
const asFirstValue = 2;
const safeIntegers = 4;
const rows = asArrays | asFirstValue;

function prepareIn(raw: Database.Database, sql: string, mode: number): Database.Statement {
  const statement = raw.prepare(sql);
  if (mode & asArrays) statement.raw();
  if (mode & asFirstValue) statement.pluck();
  if (mode & safeIntegers) statement.safeIntegers();
  return statement;
}
