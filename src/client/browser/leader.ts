/**
 * The one place that uses the file: executes what the pages of all tabs ask, one at a time. Inside it SQLite is plain and
 * synchronous; an interactive transaction holds the gate until it ends, its tab dies or it was idle for too long.
 *
 * A write of another tab leaves its answer in the same transaction, under the tab's id and the request's number. Should the
 * leader die before the answer arrives, the next one finds it there instead of writing twice. The leader's own page needs
 * none of that: it lives and dies with this worker.
 *
 * @module
 */

import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import type { Gate } from "./gate.ts";
import { createLiveQueries, shapeRows } from "./live-queries.ts";
import type { Watcher } from "./live-queries.ts";
import { storageError } from "../storage-error.ts";
import { leaderLost } from "./port-error.ts";
import type { StatementResult, WorkerConnection } from "./sqlite/connection.ts";
import type { SyncCall } from "./sync-calls.ts";
import type { LeaderRequest, StatementAnswer, StatementText } from "./worker-messages.ts";

export interface LeaderOptions {
  readonly connection: WorkerConnection;
  readonly gate: Gate;
  /** Closes the captured transaction; called inside it, before its commit, when it wrote something. */
  readonly closeTransaction: () => void;
  /** Told of each commit of a page: the tables written, by their names in SQL. */
  readonly onCommit: (tables: ReadonlySet<string>) => void;
  /** Answers what concerns the sync engine. */
  readonly callSync: (client: string, call: SyncCall) => Promise<unknown>;
  /**
   * After so long without a statement an interactive transaction is rolled back, so that a sleeping tab stops nobody.
   *
   * @default 5000
   */
  readonly idleTransactionMs?: number;
}

/** Who asks, and what is known about the request. */
export interface Asker {
  readonly client: string;
  /** Another tab: its writes leave their answers behind. */
  readonly isRemote: boolean;
  readonly id: number;
  readonly oldestWrite: number;
  readonly isRepeat: boolean;
  readonly watcher: Watcher;
}

export interface Leader {
  readonly handle: (request: LeaderRequest, asker: Asker) => Promise<unknown>;
  /** A tab is gone: its transaction is rolled back, its live queries end, its answers are dropped. */
  readonly clientGone: (client: string) => void;
  /** Tells live queries of a commit that no page made. */
  readonly committed: (tables: ReadonlySet<string>) => void;
  /** Rolls back what is open and stops; the connection is the caller's to close. */
  readonly close: () => void;
}

/** @default 5000 */
const IDLE_TRANSACTION_MS = 5000;

interface OpenTransaction {
  readonly name: string;
  readonly release: () => void;
  timer: ReturnType<typeof setTimeout>;
}

/** Statements that would end or open a transaction behind the leader's back. */
const FORBIDDEN_INSIDE = /^\s*(?:begin|commit|end|rollback(?!\s+(?:transaction\s+)?to\b)|attach|detach|vacuum)\b/i;
const FORBIDDEN_OUTSIDE = /^\s*(?:begin|commit|end|rollback|savepoint|release|attach|detach)\b/i;
const UNWRAPPED = /^\s*(?:pragma|vacuum)\b/i;

/** Makes the leader over an open, migrated connection. */
export function createLeader(options: LeaderOptions): Leader {
  const { connection, gate } = options;
  const live = createLiveQueries(connection);
  const ended = new Map<string, string>();
  let open: OpenTransaction | undefined;
  let stale = new Set<string>();
  let refreshing = false;
  let lastRefreshMs = 0;
  let closed = false;
  connection.run(ANSWERS_TABLE, []);

  async function handle(request: LeaderRequest, asker: Asker): Promise<unknown> {
    try {
      return await answer(request, asker);
    } catch (error) {
      throw isStorageFailure(error) ? storageError(error) : error;
    }
  }

  async function answer(request: LeaderRequest, asker: Asker): Promise<unknown> {
    const name = "tx" in request && request.tx !== undefined ? `${asker.client} ${request.tx}` : undefined;
    const reason = name === undefined ? undefined : ended.get(name);
    if (name !== undefined && reason !== undefined) {
      if (request.op === "end") ended.delete(name);
      throw new Error(reason);
    }
    switch (request.op) {
      case "begin":
        await begin(name ?? "", request.behavior);
        break;
      case "end":
        end(name ?? "", request.commit, asker);
        break;
      case "statement":
      case "batch": {
        const statements = request.op === "batch" ? request.statements : [request.statement];
        const answers = name === undefined ? await outside(statements, asker) : inside(name, statements);
        return request.op === "batch" ? answers : answers[0];
      }
      case "watch":
        return gate.run(() => live.watch(asker.client, request.watch, request.statement, asker.watcher));
      case "unwatch":
        live.unwatch(asker.client, request.watch);
        break;
      case "sync":
        return options.callSync(asker.client, request.call);
    }
    return undefined;
  }

  async function begin(name: string, behavior = "deferred"): Promise<void> {
    const release = await gate.take();
    try {
      if (closed) throw leaderLost();
      connection.run(BEGIN[behavior as keyof typeof BEGIN] ?? BEGIN.deferred, []);
    } catch (error) {
      release();
      throw error;
    }
    open = { name, release, timer: idleTimer(name) };
  }

  function end(name: string, commit: boolean, asker: Asker): void {
    if (open?.name !== name) {
      if (commit && asker.isRepeat && keptAnswer(asker)) return;
      // A rollback of what is gone has nothing left to do.
      if (!commit) return;
      throw leaderLost();
    }
    try {
      if (commit) commitOpen(asker, []);
      else rollback();
    } finally {
      leave();
    }
  }

  function inside(name: string, statements: readonly StatementText[]): StatementAnswer[] {
    if (open?.name !== name) throw leaderLost();
    clearTimeout(open.timer);
    open.timer = idleTimer(name);
    for (const { sql } of statements) refuse(sql, FORBIDDEN_INSIDE);
    return shape(statements, executeAll(statements));
  }

  async function outside(statements: readonly StatementText[], asker: Asker): Promise<StatementAnswer[]> {
    for (const { sql } of statements) refuse(sql, FORBIDDEN_OUTSIDE);
    return gate.run(() => {
      if (closed) throw leaderLost();
      const [only] = statements;
      if (statements.length === 1 && only && (UNWRAPPED.test(only.sql) || connection.isReader(only.sql))) {
        return shape(statements, executeAll(statements));
      }
      const kept = asker.isRepeat ? keptAnswer(asker) : undefined;
      if (kept) return shape(statements, kept);
      connection.run(BEGIN.immediate, []);
      try {
        const results = executeAll(statements);
        commitOpen(asker, results);
        return shape(statements, results);
      } catch (error) {
        rollback();
        throw error;
      }
    });
  }

  function executeAll(statements: readonly StatementText[]): StatementResult[] {
    return statements.map(({ sql, params }) => connection.execute(sql, params));
  }

  /** Closes the captured transaction, leaves the answer for a repeat, commits, tells. */
  function commitOpen(asker: Asker, results: readonly StatementResult[]): void {
    const wrote = connection.hasWritten;
    try {
      if (wrote) options.closeTransaction();
      if (wrote && asker.isRemote) keepAnswer(asker, results);
      connection.run("COMMIT", []);
    } catch (error) {
      rollback();
      throw error;
    }
    if (wrote) {
      const tables = connection.takeWritten();
      options.onCommit(tables);
      committed(tables);
    }
  }

  function rollback(): void {
    if (connection.inTransaction) connection.run("ROLLBACK", []);
    connection.dropWritten();
  }

  function leave(): void {
    if (!open) return;
    clearTimeout(open.timer);
    const { release } = open;
    open = undefined;
    release();
  }

  function abort(reason: string): void {
    if (!open) return;
    ended.set(open.name, reason);
    rollback();
    leave();
  }

  function idleTimer(name: string): ReturnType<typeof setTimeout> {
    const ms = options.idleTransactionMs ?? IDLE_TRANSACTION_MS;
    return setTimeout(() => {
      if (open?.name !== name) return;
      abort(
        `The transaction was idle for ${ms} ms and was rolled back. ` +
          "Inside `db.transaction((tx) => …)` use `tx`: a statement on `db` waits for the transaction itself.",
      );
    }, ms);
  }

  function keepAnswer(asker: Asker, results: readonly StatementResult[]): void {
    connection.run("DELETE FROM _sync_answers WHERE client = ? AND id < ?", [asker.client, asker.oldestWrite]);
    const body = encodeCbor(results.map(({ rows, changes }) => [rows, changes]));
    connection.run("INSERT OR REPLACE INTO _sync_answers (client, id, body) VALUES (?, ?, ?)", [
      asker.client,
      asker.id,
      body,
    ]);
  }

  function keptAnswer(asker: Asker): StatementResult[] | undefined {
    const [row] = connection.all("SELECT body FROM _sync_answers WHERE client = ? AND id = ?", [
      asker.client,
      asker.id,
    ]);
    if (!row) return undefined;
    // Written by `keepAnswer` alone.
    const results = decodeCbor(row[0] as Uint8Array) as readonly [StatementResult["rows"], number][];
    return results.map(([rows, changes]) => ({ rows, changes }));
  }

  function committed(tables: ReadonlySet<string>): void {
    for (const table of tables) stale.add(table);
    if (refreshing || closed || stale.size === 0) return;
    refreshing = true;
    // Writes in quick succession share a refresh, and refreshing takes half of the time at most.
    setTimeout(() => void refresh(), Math.min(MAX_REFRESH_DELAY_MS, lastRefreshMs));
  }

  async function refresh(): Promise<void> {
    const release = await gate.take();
    try {
      refreshing = false;
      if (closed) return;
      const tables = stale;
      stale = new Set();
      const start = performance.now();
      live.refresh(tables);
      lastRefreshMs = performance.now() - start;
    } finally {
      release();
    }
  }

  return {
    handle,
    clientGone: (client) => {
      if (open?.name.startsWith(`${client} `)) abort("The tab of this transaction is gone.");
      for (const name of ended.keys()) if (name.startsWith(`${client} `)) ended.delete(name);
      live.dropClient(client);
      void gate.run(() => {
        if (!closed) connection.run("DELETE FROM _sync_answers WHERE client = ?", [client]);
      });
    },
    committed,
    close: () => {
      closed = true;
      abort(leaderLost().message);
    },
  };
}

const MAX_REFRESH_DELAY_MS = 250;

const BEGIN = { deferred: "BEGIN", immediate: "BEGIN IMMEDIATE", exclusive: "BEGIN EXCLUSIVE" } as const;

const ANSWERS_TABLE =
  "CREATE TABLE IF NOT EXISTS _sync_answers (\n" +
  "  -- What writes of other tabs were answered, until those tabs have the answers.\n" +
  "  client TEXT NOT NULL, id INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (client, id)\n) WITHOUT ROWID";

function shape(statements: readonly StatementText[], results: readonly StatementResult[]): StatementAnswer[] {
  return statements.map((statement, index) =>
    shapeRows(statement, results[index]?.rows ?? [], results[index]?.changes ?? 0),
  );
}

/** Not what the statement did wrong, but a disk that is full or a file that cannot be read. */
function isStorageFailure(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && /^SQLITE_(?:FULL|IOERR|CORRUPT|NOTADB|CANTOPEN)/.test(code);
}

function refuse(sql: string, forbidden: RegExp): void {
  if (forbidden.test(sql)) {
    throw new Error(
      "Transactions are opened with `db.transaction(…)` or `db.batch([…])`: all tabs share one connection.",
    );
  }
}
