/**
 * What the cases of the dialect suite stand on: an implementation as they see it, and short words for what they all do.
 *
 * @module
 */

import assert from "node:assert/strict";
import {
  stepAsync,
  stepSync,
  transact,
  type Connection,
  type Core,
  type Rows,
  type TransactionMode,
} from "../../plugin/core.ts";
import { splitScopes } from "../../plugin/scope-text.ts";
import type { SyncDatabase } from "../../plugin/sync-database.ts";
import type { Value } from "../../protocol/ids.ts";

/** A database with the schema of `capture-fixture.ts`, nothing of ours installed. */
export interface OpenedDialect {
  readonly connection: Connection;
  readonly sync: SyncDatabase;
  /** Another connection to the same database, with a wrapper of its own. Absent where a database has one connection. */
  readonly another?: () => Promise<OpenedDialect>;
  /** The file, where there is one that another process can open. */
  readonly path?: string;
  /** The app's own way in, which closes transactions by itself. Absent where the driver is not hooked. */
  readonly app?: AppDoor;
  /** What this driver is known not to do. */
  readonly limits?: ReadonlySet<DialectLimit>;
  /** Closes this connection and those that {@link another} opened. */
  close(): Promise<void>;
}

/** The app's way in: statements that pass the wrapper. */
export interface AppDoor {
  /** Executes a statement, which is a transaction of its own. */
  execute(sql: string): Promise<void>;
  /** Executes statements in one transaction; fails at the end if it is told to. */
  transaction(statements: readonly string[], failure?: Error): Promise<void>;
}

/** Opens a fresh database. */
export type OpenDialect = () => Promise<OpenedDialect>;

/** What a driver is known not to do, which nothing of ours can mend. */
export type DialectLimit = "nul-in-text" | "busy-until-collected";

/** One thing that every implementation does. */
export interface DialectCase {
  readonly name: string;
  /** The limit of a driver because of which this cannot be asked of it. */
  readonly limit?: DialectLimit;
  /** What it cannot be shown without. */
  readonly needs?: readonly ("another" | "app" | "path")[];
  readonly run: (it: OpenedDialect) => Promise<void>;
}

/** Runs a core in a transaction. */
export async function inside<T>(it: OpenedDialect, mode: TransactionMode, core: () => Core<T>): Promise<T> {
  return await transact(it.connection, mode, core);
}

/** Runs a core outside a transaction. */
export async function step<T>(it: OpenedDialect, core: Core<T>): Promise<T> {
  return it.connection.kind === "sync" ? stepSync(it.connection, core) : await stepAsync(it.connection, core);
}

/** Reads rows. */
export async function read(it: OpenedDialect, sql: string, params: readonly Value[] = []): Promise<Rows> {
  return await it.connection.all(sql, params);
}

/** Executes statements one by one, past the wrapper: as a stranger would. */
export async function write(it: OpenedDialect, ...statements: readonly string[]): Promise<void> {
  for (const sql of statements) await it.connection.run(sql, []);
}

/** What was thrown. */
export async function thrownBy(body: () => unknown): Promise<Error> {
  try {
    await body();
  } catch (error) {
    assert.ok(error instanceof Error, `no error: ${String(error)}`);
    return error;
  }
  assert.fail("nothing was thrown");
}

const kinds = ["", "insert", "update", "delete", "moved"];

/** The server's log above a position: `insert todos(t1) →list:a`, and a dash for a marker. */
export async function logOf(it: OpenedDialect, after = 0): Promise<readonly string[]> {
  const rows = await read(it, "SELECT t, kind, k0, sb, sa FROM _sync_log WHERE seq > ? AND t >= 0 ORDER BY seq", [
    after,
  ]);
  return rows.map(([t, kind, key, before, since]) => {
    if (t === 0) return "—";
    const name = it.sync.layouts.get(Number(t))?.name ?? "?";
    return `${kinds[Number(kind)] ?? "?"} ${name}(${String(key)}) ${scopes(before === 0 ? since : before)}→${scopes(since)}`;
  });
}

/** Where the log stands. */
export async function headOf(it: OpenedDialect): Promise<number> {
  return Number((await read(it, "SELECT max(seq) FROM _sync_log"))[0]?.[0] ?? 0);
}

function scopes(text: Value | undefined): string {
  return splitScopes(text).join("+");
}
