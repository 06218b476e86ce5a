/**
 * Puts capture beneath a Drizzle database over libSQL. Its client keeps private state, so the derived client passes every call
 * on to the caller's; what it adds is the marker that closes each transaction, as one more statement of the same batch,
 * and a look at the schema's version, so that a migration made elsewhere is noticed.
 *
 * @module
 */

import { stepAsync } from "../core.ts";
import type { SyncDatabase } from "../sync-database.ts";
import { closingStatement } from "./closing-statement.ts";
import { liftTriggers } from "./install.ts";
import {
  inTransaction,
  libsqlExecutor,
  type LibsqlClient,
  type LibsqlResult,
  type LibsqlStatement,
  type LibsqlTransaction,
  type Turns,
} from "./libsql.ts";
import { isMissingTable } from "./missing-table.ts";
import { mayMeetTriggers, statementKind, type StatementKind } from "./statement-kind.ts";

type AnyStatement = string | LibsqlStatement | readonly [sql: string, args?: unknown];

/** What `hookLibsql` returns. */
export interface HookedLibsql {
  readonly db: object;
  /** Whether a transaction of the app is open (a database in memory has no other connection), or the client is closed. */
  readonly isBusy: () => boolean;
}

/** Makes the derived database. */
export function hookLibsql(db: object, sync: SyncDatabase, writers: Turns): HookedLibsql {
  // What `detectDriver` found it to be; Drizzle declares these members as internal.
  const { session, $client: raw } = db as { readonly session: object; readonly $client: LibsqlClient };
  let open = 0;
  const client = Object.create(raw) as { -readonly [K in keyof LibsqlClient]: LibsqlClient[K] };
  client.execute = async (statement, args) => {
    const kind = statementKind(sqlOf(statement));
    if (kind === "read" || kind === "other" || kind === "begin" || kind === "commit" || kind === "rollback")
      return await raw.execute(statement, args);
    const [result] = await runBatch([
      typeof statement === "string" && args !== undefined ? { sql: statement, args } : statement,
    ]);
    if (result === undefined) throw new Error("libSQL gave no result for a statement.");
    return result;
  };
  client.batch = async (statements, mode) => {
    // A read-only batch stays one.
    if (statements.every((statement) => statementKind(sqlOf(statement as AnyStatement)) === "read"))
      return await raw.batch(statements, mode);
    return await runBatch(statements as readonly AnyStatement[], mode);
  };
  client.migrate = async (statements) => {
    await ready();
    const results = await inTransaction(raw, writers, "apply", (transaction) =>
      runEach(transaction, sync, statements as readonly AnyStatement[]),
    );
    await committed();
    return results;
  };
  client.transaction = async (mode) => {
    await ready();
    // Without a mode, libSQL's transactions are for writing.
    const done = mode === "read" || mode === "deferred" ? () => {} : await writers.take();
    let transaction: LibsqlTransaction;
    try {
      transaction = await raw.transaction(mode);
    } catch (error) {
      done();
      throw error;
    }
    open++;
    return wrapTransaction(transaction, sync, (wrote) => {
      open--;
      done();
      return wrote ? committed() : Promise.resolve();
    });
  };
  client.executeMultiple = async (sql) => {
    await ready();
    await sync.install(role());
    // Without triggers what they name can be renamed; what then goes by unseen is answered with a reset.
    if (mayMeetTriggers(sql)) await inTransaction(raw, writers, "write", lifted);
    try {
      await inTurn(() => raw.executeMultiple(sql));
    } finally {
      await sync.install(role());
    }
    // It may hold anything, several transactions too: what it left open is closed apart, what it dropped was mended.
    await inTurn(() => raw.batch([closingStatement(sync)], "write"));
    await committed();
  };
  client.sync = () => raw.sync();
  client.reconnect = () => raw.reconnect?.();
  client.close = () => raw.close();
  Object.defineProperty(client, "closed", { get: () => raw.closed });

  const role = (): "server" | "device" => sync.role ?? "server";
  const ready = async (): Promise<void> => {
    if (sync.role === undefined) await sync.install("server");
  };
  const inTurn = async <T>(body: () => Promise<T>): Promise<T> => {
    const done = await writers.take();
    try {
      return await body();
    } finally {
      done();
    }
  };
  const committed = async (): Promise<void> => {
    if (sync.isWatched) await sync.lookForCommits();
  };
  const runBatch = async (statements: readonly AnyStatement[], mode?: string): Promise<LibsqlResult[]> => {
    await ready();
    const kinds = statements.map((statement) => statementKind(sqlOf(statement)));
    if (kinds.some(isSchemaChange)) {
      const results = await inTransaction(raw, writers, "write", (transaction) =>
        runEach(transaction, sync, statements),
      );
      await committed();
      return results;
    }
    const all = (): Promise<LibsqlResult[]> =>
      inTurn(() =>
        raw.batch([...statements, closingStatement(sync), "PRAGMA schema_version"], mode === "read" ? mode : "write"),
      );
    let results: LibsqlResult[];
    try {
      results = await all();
    } catch (error) {
      // A tool may have dropped our log and left our triggers: that must not fail the app's write.
      if (!isMissingTable(error)) throw error;
      await sync.install(role());
      results = await all();
    }
    if (Number(results[statements.length + 1]?.rows[0]?.[0]) !== sync.schemaVersion) await sync.install(role());
    await committed();
    return results.slice(0, statements.length);
  };

  const derivedSession = Object.create(session) as Record<string, unknown>;
  derivedSession["client"] = client;
  const derived = Object.create(db) as Record<string, unknown>;
  derived["session"] = derivedSession;
  derived["$client"] = client;
  return { db: derived, isBusy: () => open > 0 || raw.closed };
}

/** A transaction that closes what it wrote as its last statement. `settled` is told once, after it has ended. */
function wrapTransaction(
  raw: LibsqlTransaction,
  sync: SyncDatabase,
  settled: (wrote: boolean) => Promise<void> = () => Promise.resolve(),
): LibsqlTransaction {
  let wrote = false;
  let isSettled = false;
  const settle = async (committed: boolean): Promise<void> => {
    if (isSettled) return;
    isSettled = true;
    await settled(committed && wrote);
  };
  const role = (): "server" | "device" => sync.role ?? "server";
  const inner = { ...libsqlExecutor(raw), transaction: () => Promise.reject(new Error("Not inside a transaction.")) };
  const version = async (): Promise<number> => Number((await raw.execute("PRAGMA schema_version")).rows[0]?.[0]);
  const around = async <T>(kind: StatementKind, body: () => Promise<T>): Promise<T> => {
    if (kind === "write" || isSchemaChange(kind)) wrote = true;
    if (isSchemaChange(kind) && (await version()) !== sync.schemaVersion)
      await stepAsync(inner, sync.installHere(role()));
    if (kind === "drop-column") await stepAsync(inner, liftTriggers());
    const result = await body();
    if (kind === "drop-column") await stepAsync(inner, sync.installHere(role(), { isLifted: true }));
    else if (kind === "schema" && (await version()) !== sync.schemaVersion)
      await stepAsync(inner, sync.installHere(role(), { isSeen: true }));
    return result;
  };
  const transaction: LibsqlTransaction = {
    execute: (statement, args) => around(statementKind(sqlOf(statement)), () => raw.execute(statement, args)),
    batch: async (statements) => {
      const results: LibsqlResult[] = [];
      for (const statement of statements as readonly AnyStatement[])
        results.push(await transaction.execute(normalized(statement)));
      return results;
    },
    async executeMultiple(sql) {
      wrote = true;
      if (mayMeetTriggers(sql)) await stepAsync(inner, liftTriggers());
      await raw.executeMultiple(sql);
      if ((await version()) !== sync.schemaVersion) await stepAsync(inner, sync.installHere(role()));
    },
    async commit() {
      if (wrote) {
        if ((await version()) !== sync.schemaVersion) await stepAsync(inner, sync.installHere(role()));
        await raw.execute(closingStatement(sync));
      }
      await raw.commit();
      await settle(true);
    },
    async rollback() {
      await raw.rollback();
      await settle(false);
    },
    close() {
      raw.close();
      void settle(false);
    },
    get closed() {
      return raw.closed;
    },
  };
  return transaction;
}

function lifted(transaction: LibsqlTransaction): Promise<void> {
  const inner = { ...libsqlExecutor(transaction), transaction: () => Promise.reject(new Error("Not inside one.")) };
  return stepAsync(inner, liftTriggers());
}

// In a transaction that the caller commits: closed here, as its last statement.
async function runEach(
  transaction: LibsqlTransaction,
  sync: SyncDatabase,
  statements: readonly AnyStatement[],
): Promise<LibsqlResult[]> {
  const wrapped = wrapTransaction(transaction, sync);
  const results: LibsqlResult[] = [];
  for (const statement of statements) results.push(await wrapped.execute(normalized(statement)));
  await transaction.execute(closingStatement(sync));
  return results;
}

function isSchemaChange(kind: StatementKind): boolean {
  return kind === "schema" || kind === "drop-column";
}

function sqlOf(statement: AnyStatement): string {
  if (typeof statement === "string") return statement;
  return "sql" in statement ? statement.sql : statement[0];
}

function normalized(statement: AnyStatement): LibsqlStatement | string {
  if (typeof statement === "string" || "sql" in statement) return statement;
  return { sql: statement[0], args: statement[1] ?? [] };
}
