/**
 * A better-sqlite3 database that can die between any two statements, as a process does: what was open is rolled back,
 * and nobody who still holds the handle can do anything more. {@link reopen} gives a new handle on what was committed.
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
  /** Dies at the n-th statement from now on; `undefined` takes that back. */
  crashAfter(statements: number | undefined): void;
  /** Dies now. */
  crash(): void;
  /** Fails the n-th statement from now on, once, without dying: a transient error of the disk. */
  failAfter(statements: number): void;
  /** Called after each statement that left no transaction open: what it wrote is committed. */
  onSettled: (() => void) | undefined;
}

/** Opens a database in memory, from the bytes of another one if given. */
export function openCrashDatabase(image?: Buffer): CrashDatabase {
  // Two handles on one database are not to be had in memory: the observer shares the connection, not the overridden methods.
  const raw = new Database(image ?? ":memory:");
  raw.pragma("foreign_keys = ON");
  const prepare = raw.prepare.bind(raw);
  const exec = raw.exec.bind(raw);
  const pragma = raw.pragma.bind(raw);
  const handle = Object.create(raw) as Database.Database;
  let hasCrashed = false;
  let statements = 0;
  let crashAt: number | undefined;
  let failAt: number | undefined;

  const crash = (): void => {
    hasCrashed = true;
    if (raw.inTransaction) exec("ROLLBACK");
  };
  const tick = (): void => {
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
  };
  const settle = (): void => {
    if (!raw.inTransaction && !hasCrashed) database.onSettled?.();
  };
  const watched = (statement: Database.Statement): Database.Statement => {
    for (const method of ["run", "get", "all", "iterate"] as const) {
      const original = statement[method].bind(statement) as (...params: unknown[]) => unknown;
      Object.defineProperty(statement, method, {
        writable: true,
        configurable: true,
        value: (...params: unknown[]) => {
          tick();
          const result = original(...params);
          if (method === "run") settle();
          return result;
        },
      });
    }
    return statement;
  };

  Object.assign(handle, {
    prepare: (sql: string) => (hasCrashed ? throwCrash() : watched(prepare(sql))),
    exec: (sql: string) => {
      tick();
      exec(sql);
      settle();
      return handle;
    },
    pragma: (source: string, options?: Database.PragmaOptions) => {
      tick();
      return pragma(source, options);
    },
    // The driver's own transactions run their BEGIN and COMMIT past the overridden methods: the statements inside are counted.
    transaction: (body: (...args: unknown[]) => unknown) => {
      const own = raw.transaction(body);
      const settling =
        (run: (...args: unknown[]) => unknown) =>
        (...args: unknown[]) => {
          if (hasCrashed) throw new Crash();
          const result = run(...args);
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
    crashAfter: (count) => {
      crashAt = count === undefined ? undefined : statements + count;
    },
    failAfter: (count) => {
      failAt = statements + count;
    },
  };
  return database;
}

/** Opens what a crashed (or living) database had committed, as a new process would. The old handle is dead from then on. */
export function reopen(database: CrashDatabase): CrashDatabase {
  if (!database.hasCrashed) database.crash();
  const next = openCrashDatabase(database.raw.serialize());
  database.raw.close();
  return next;
}

function throwCrash(): never {
  throw new Crash();
}
