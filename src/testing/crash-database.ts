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
  return startProcess(raw, { prepared: { on: new Map(), off: new Map() }, keys: "on" }, 0);
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

/** Whether foreign keys are enforced. */
type Keys = "on" | "off";

/** What outlives the process: the statements, which are compiled for one way of dealing with foreign keys. */
interface Connection {
  readonly prepared: Readonly<Record<Keys, Prepared>>;
  keys: Keys;
}
const connections = new WeakMap<CrashDatabase, Connection>();

/**
 * Switches foreign keys. SQLite does so as the pragma is compiled (`PRAGMA`, "some pragmas run during the SQL compilation
 * stage"); executing it would do nothing more than expire every statement, each of which then had to be compiled again. Who
 * does this keeps statements that were compiled for one way apart from those for the other. Inside a transaction it does nothing.
 */
export function switchKeys(raw: Database.Database, keys: Keys): void {
  raw.prepare(`PRAGMA foreign_keys = ${keys}`);
}

/** A text that may switch foreign keys; the first group is there when it does nothing else. */
const keySwitch = /^\s*PRAGMA foreign_keys = (ON|OFF)\s*$|foreign_keys[^;]*[=(]/i;

function startProcess(raw: Database.Database, connection: Connection, firstVersion: number): CrashDatabase {
  const exec = raw.exec.bind(raw);
  const pragma = raw.pragma.bind(raw);
  const noteKeys = (): void => {
    connection.keys = pragma("foreign_keys", { simple: true }) === 1 ? "on" : "off";
  };
  // What a process has set on its connection dies with it.
  switchKeys(raw, "on");
  noteKeys();
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
    const prepared = connection.prepared[connection.keys];
    let modes = prepared.get(sql);
    if (modes === undefined) prepared.set(sql, (modes = []));
    return (modes[mode] ??= prepareIn(raw, sql, mode));
  };
  const prepare = (sql: string): Database.Statement => {
    if (hasCrashed) throw new Crash();
    // The schema's own statements are run once, and would otherwise fill the memory.
    const switches = keySwitch.test(sql);
    const isKept = !switches && !/^\s*(?:create|drop|alter)\b/i.test(sql);
    const first = isKept ? statementOf(sql, 0) : raw.prepare(sql);
    const { reader, readonly } = first;
    // A transaction that has only begun has written nothing, whatever lock it took.
    const writes = (!readonly && !/^\s*begin\b/i.test(sql)) || /^\s*rollback\b/i.test(sql);
    const settles = writes || /^\s*(?:commit|end|release)\b/i.test(sql);
    let mode = 0;
    let current = first;
    let { keys } = connection;
    const inMode = (bit: number, on: boolean): unknown => {
      mode = on ? (mode & ~(bit === safeIntegers ? 0 : rows)) | bit : mode & ~bit;
      current = isKept ? statementOf(sql, mode) : prepareIn(raw, sql, mode);
      ({ keys } = connection);
      return own;
    };
    /** The connection's statement for foreign keys as they are enforced now. */
    const statement = (): Database.Statement => {
      if (!isKept || keys === connection.keys) return current;
      ({ keys } = connection);
      return (current = statementOf(sql, mode));
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
        const result = statement().run(...params);
        if (switches) noteKeys();
        if (settles) settle();
        return result;
      },
      get(...params: unknown[]) {
        tick(writes);
        const row = statement().get(...params);
        if (settles) settle();
        return row;
      },
      all(...params: unknown[]) {
        tick(writes);
        const found = statement().all(...params);
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
      const [switches, keys] = keySwitch.exec(sql) ?? [];
      tick(keys === undefined);
      if (keys === undefined) exec(sql);
      else switchKeys(raw, keys.toLowerCase() as Keys);
      if (switches !== undefined) noteKeys();
      settle();
      return handle;
    },
    pragma: (source: string, options?: Database.PragmaOptions) => {
      tick(false);
      const result = pragma(source, options);
      if (keySwitch.test(source)) noteKeys();
      return result;
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
  connections.set(database, connection);
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
