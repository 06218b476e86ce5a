/**
 * Puts capture beneath a Drizzle database over better-sqlite3. The result inherits from the caller's database, session and
 * client, so nothing of the caller's is changed and every door stays as it was: builders, raw SQL, prepared queries,
 * `$client`, nested transactions.
 *
 * What it adds: the triggers are there before the first write and checked at each commit; a transaction that wrote is
 * closed by a marker, as its last statement; one-time queries share prepared statements, since a trigger is compiled into
 * each `prepare`. A transaction that wrote nothing stays a reader.
 *
 * @module
 */

import { hlcNow } from "../../protocol/hlc.ts";
import { stepSync, type SyncConnection } from "../core.ts";
import { LOG, MARKER, STAMP_SQL } from "../names.ts";
import type { InstallCause, SyncDatabase } from "../sync-database.ts";
import type { BetterDatabase, BetterStatement, BetterTransaction } from "./better-sqlite3.ts";
import { closeDeviceTransaction } from "./device-log-reader.ts";
import { liftTriggers } from "./install.ts";
import { isMissingTable } from "./missing-table.ts";
import { createRecent } from "./recent.ts";
import { isOneStatement, mayMeetTriggers, statementKind, type StatementKind } from "./statement-kind.ts";

/** The parts of a Drizzle database that are derived. */
interface DrizzleDatabase {
  readonly session: DrizzleSession;
  readonly $client: BetterDatabase;
}

interface DrizzleSession {
  readonly client: BetterDatabase;
  prepareQuery(query: { readonly sql: string }, ...rest: unknown[]): unknown;
}

type Method = (this: unknown, ...args: unknown[]) => unknown;

/** Statements kept for one-time queries. */
const keptStatements = 256;

/** Makes the derived database. */
export function hookBetterSqlite3(db: object, sync: SyncDatabase, connection: SyncConnection): object {
  // What `detectDriver` found it to be; Drizzle declares these members as internal.
  const drizzle = db as DrizzleDatabase;
  const raw = drizzle.$client;
  const statements = createRecent<BetterStatement>(keptStatements);
  const capture = createCapture(raw, sync, connection, () => statements.clear());

  const client = Object.create(raw) as { -readonly [K in keyof BetterDatabase]: BetterDatabase[K] };
  // Preparing compiles the triggers, so it is here that a missing log shows first.
  client.prepare = (sql) => {
    const kind = statementKind(sql);
    return kind === "read"
      ? raw.prepare(sql)
      : wrapStatement(
          capture.mending(() => raw.prepare(sql)),
          kind,
          raw,
          capture,
        );
  };
  client.transaction = (body) => wrapTransaction(body, raw, capture);
  client.exec = (sql) => {
    capture.ready();
    // A text may have run in part when it fails, so it is never run twice: what a tool took away is mended before.
    capture.checkSchema();
    const before = capture.begin();
    try {
      if (statementKind(sql) === "drop-column" && isOneStatement(sql)) capture.withoutTriggers(() => raw.exec(sql));
      else if (mayMeetTriggers(sql)) capture.unseen(() => raw.exec(sql));
      else raw.exec(sql);
    } finally {
      capture.checkSchema();
    }
    // The text may have committed by itself, so what it left open is closed in a transaction of its own.
    if (!raw.inTransaction) capture.closeApart(before);
    return client;
  };

  const session = Object.create(drizzle.session) as Record<string, unknown>;
  session["client"] = client;
  // `prepareQuery` asks its client for a statement and nothing else; this one gives the statement it gave before.
  const oneTime = Object.create(session) as { -readonly [K in keyof DrizzleSession]: DrizzleSession[K] };
  oneTime.client = {
    ...client,
    prepare(sql: string): BetterStatement {
      const known = statements.get(sql);
      if (known !== undefined) {
        // The query before may have read arrays.
        if (known.reader) known.raw(false);
        return known;
      }
      const statement = client.prepare(sql);
      const kind = statementKind(sql);
      if (kind === "read" || kind === "write") statements.set(sql, statement);
      return statement;
    },
  };
  session["prepareOneTimeQuery"] = (...args: Parameters<DrizzleSession["prepareQuery"]>) =>
    oneTime.prepareQuery(...args);

  const derived = Object.create(db) as Record<string, unknown>;
  derived["session"] = session;
  derived["$client"] = client;
  return derived;
}

/** What happens around the caller's statements. */
interface Capture {
  /** Installs at the first write. */
  ready(): void;
  /** Takes note of what this connection has changed so far; inside or before a transaction, touching no page. */
  begin(): number;
  /**
   * The last thing in a transaction that may have written: checks the triggers and closes what is open. Answers whether anything
   * was. With what `begin` said, it does nothing where nothing was written since: such a transaction stays a reader.
   */
  close(before?: number): boolean;
  /** The same in a transaction of its own. */
  closeApart(before: number): void;
  /** After the commit. */
  committed(): void;
  /** Mends triggers if the schema has changed. */
  checkSchema(): void;
  /** Runs one statement; when it fails since a tool took away what our triggers need, mends them and runs it once more. */
  mending<T>(body: () => T): T;
  /** Runs one statement that changes the schema, and mends the triggers that it took along. */
  reshaping<T>(body: () => T): T;
  /** The same for one that fails while a trigger names what it drops. */
  withoutTriggers<T>(body: () => T): T;
  /** Runs a text with the triggers lifted, to be mended afterwards as if somebody else had run it. */
  unseen<T>(body: () => T): T;
  /** Transaction control as prepared statements. */
  control(sql: "BEGIN" | "BEGIN IMMEDIATE" | "COMMIT" | "ROLLBACK"): void;
}

function createCapture(
  raw: BetterDatabase,
  sync: SyncDatabase,
  connection: SyncConnection,
  forget: () => void,
): Capture {
  let isReady = false;
  const prepared = new Map<string, BetterStatement>();
  const statement = (sql: string): BetterStatement => {
    let known = prepared.get(sql);
    if (known === undefined) {
      known = raw.prepare(sql);
      if (known.reader) known.pluck(true);
      prepared.set(sql, known);
    }
    return known;
  };
  const totalChanges = (): number => statement("SELECT total_changes()").get() as number;
  const schemaVersion = (): number => statement("PRAGMA schema_version").get() as number;
  let lastHlc = 0;

  const install = (): void => {
    forget();
    const role = sync.role ?? "server";
    if (raw.inTransaction) stepSync(connection, sync.installHere(role));
    else void sync.install(role);
  };
  const close = (before?: number): boolean => {
    if (before !== undefined && totalChanges() === before) return false;
    // A transaction whose triggers were gone is found out before it commits.
    if (schemaVersion() !== sync.schemaVersion) install();
    const last = statement(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`).get();
    if (last === undefined || last === MARKER) return false;
    if (sync.role === "device") {
      stepSync(connection, closeDeviceTransaction(sync));
    } else {
      lastHlc = hlcNow(lastHlc, sync.now());
      statement(`INSERT INTO ${LOG}(stamp, t, kind, mask) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?)`).run(BigInt(lastHlc));
    }
    return true;
  };
  const mend = (cause: InstallCause): void => {
    forget();
    stepSync(connection, sync.installHere(sync.role ?? "server", cause));
  };
  // Immediate: the schema is read before it is written, and must not change in between.
  const inOneTransaction = <T>(body: () => T): T => {
    if (raw.inTransaction) return body();
    capture.control("BEGIN IMMEDIATE");
    try {
      const result = body();
      capture.control("COMMIT");
      return result;
    } catch (error) {
      if (raw.inTransaction) capture.control("ROLLBACK");
      throw error;
    }
  };
  const capture: Capture = {
    ready() {
      if (isReady) return;
      // A read-only connection cannot write, and needs no capture. Whoever wants a device installs before the first write.
      if (!raw.readonly && sync.role === undefined) install();
      isReady = true;
    },
    begin: totalChanges,
    close,
    closeApart(before) {
      if (totalChanges() === before) return;
      capture.control("BEGIN");
      try {
        close(before);
        capture.control("COMMIT");
      } catch (error) {
        if (raw.inTransaction) capture.control("ROLLBACK");
        throw error;
      }
      capture.committed();
    },
    committed() {
      if (sync.isWatched) void sync.lookForCommits();
    },
    checkSchema() {
      if (schemaVersion() !== sync.schemaVersion) install();
    },
    mending(body) {
      try {
        return body();
      } catch (error) {
        // A tool may have dropped our log and left our triggers: that must not fail the app's write.
        if (!isMissingTable(error) || schemaVersion() === sync.schemaVersion) throw error;
        install();
        return body();
      }
    },
    reshaping(body) {
      return inOneTransaction(() => {
        capture.checkSchema();
        const result = body();
        if (schemaVersion() !== sync.schemaVersion) mend({ isSeen: true });
        return result;
      });
    },
    withoutTriggers(body) {
      return inOneTransaction(() => {
        capture.checkSchema();
        stepSync(connection, liftTriggers());
        try {
          return body();
        } finally {
          if (raw.inTransaction) mend({ isLifted: true });
        }
      });
    },
    unseen(body) {
      stepSync(connection, liftTriggers());
      return body();
    },
    control(sql) {
      statement(sql).run();
    },
  };
  return capture;
}

function wrapStatement(
  statement: BetterStatement,
  kind: StatementKind,
  raw: BetterDatabase,
  capture: Capture,
): BetterStatement {
  const execute = executions[kind];
  if (execute === undefined) return statement;
  // Native methods need the real statement as `this`, so its own properties stand in their way.
  const target = statement as unknown as Record<string, Method>;
  for (const name of ["run", "get", "all"]) {
    const method = target[name];
    if (method === undefined) continue;
    target[name] = function (...args: unknown[]) {
      return execute(statement, method, args, raw, capture);
    };
  }
  const iterate = target["iterate"];
  if (kind === "write" && iterate !== undefined) {
    // Rows may be asked for long after: what such a statement wrote is closed with the next transaction.
    target["iterate"] = function (...args: unknown[]) {
      capture.ready();
      return iterate.apply(statement, args);
    };
  }
  return statement;
}

type Execution = (
  statement: BetterStatement,
  method: Method,
  args: unknown[],
  raw: BetterDatabase,
  capture: Capture,
) => unknown;

/** The transaction that a `BEGIN` in SQL opened on a client: what was changed before it. */
const openedAt = new WeakMap<BetterDatabase, number>();

const executions: { readonly [K in StatementKind]?: Execution } = {
  write(statement, method, args, raw, capture) {
    capture.ready();
    if (raw.inTransaction) return capture.mending(() => method.apply(statement, args));
    capture.control("BEGIN");
    let result: unknown;
    let wrote = false;
    try {
      result = capture.mending(() => method.apply(statement, args));
      // A statement that can write has taken the lock, whether it changed anything or not: the log itself tells what there is.
      if (!statement.readonly) wrote = capture.close();
      capture.control("COMMIT");
    } catch (error) {
      if (raw.inTransaction) capture.control("ROLLBACK");
      throw error;
    }
    if (wrote) capture.committed();
    return result;
  },
  schema(statement, method, args, _raw, capture) {
    capture.ready();
    return capture.reshaping(() => method.apply(statement, args));
  },
  "drop-column"(statement, method, args, _raw, capture) {
    capture.ready();
    return capture.withoutTriggers(() => method.apply(statement, args));
  },
  begin(statement, method, args, raw, capture) {
    capture.ready();
    openedAt.set(raw, capture.begin());
    return method.apply(statement, args);
  },
  commit(statement, method, args, raw, capture) {
    const before = openedAt.get(raw) ?? -1;
    const wrote = raw.inTransaction && capture.close(before);
    const result = method.apply(statement, args);
    openedAt.delete(raw);
    if (wrote) capture.committed();
    return result;
  },
};

function wrapTransaction(
  body: (...args: never[]) => unknown,
  raw: BetterDatabase,
  capture: Capture,
): BetterTransaction {
  let inner: BetterTransaction | undefined;
  let outer: BetterTransaction | undefined;
  let before = 0;
  let wrote = false;
  const run = (variant: "deferred" | "immediate" | "exclusive"): Method =>
    function (this: unknown, ...args) {
      if (raw.inTransaction) {
        inner ??= raw.transaction(body);
        return inner[variant].apply(this, args);
      }
      capture.ready();
      outer ??= raw.transaction(function (this: unknown, ...inside: never[]) {
        const result = body.apply(this, inside);
        // A promise is refused by the driver, which then rolls back.
        if (!isPromise(result)) wrote = capture.close(before);
        return result;
      });
      before = capture.begin();
      wrote = false;
      const result = outer[variant].apply(this, args);
      if (wrote) capture.committed();
      return result;
    };
  const deferred = run("deferred") as BetterTransaction;
  return Object.assign(deferred, {
    deferred,
    default: deferred,
    immediate: run("immediate"),
    exclusive: run("exclusive"),
    database: raw,
  });
}

function isPromise(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}
