/**
 * `drizzle-orm/sqlite-proxy` over a tab, with transactions that are isolated. sqlite-proxy sends `begin`, the statements
 * and `commit` through one callback that does not know which flow a statement belongs to, so two flows of a page would
 * write into one transaction. Here each transaction has a session of its own whose statements carry its name, and the
 * owner of the file lets everybody else wait.
 *
 * @module
 */

import {
  drizzle,
  SQLiteProxyTransaction,
  SQLiteRemoteSession,
  type AsyncBatchRemoteCallback,
  type AsyncRemoteCallback,
  type SqliteRemoteDatabase,
} from "drizzle-orm/sqlite-proxy";
import type { DrizzleConfig } from "drizzle-orm";
import type { SQLiteTransactionConfig } from "drizzle-orm/sqlite-core";
import { liveSourceOf, type LiveSource } from "../live-source.ts";
import type { Tab } from "./tab.ts";
import type { QueryMethod, StatementAnswer } from "./worker-messages.ts";

/** What we use of a session beyond its declared type: Drizzle marks these members as private. */
interface SessionParts {
  readonly dialect: never;
  readonly schema: never;
  readonly logger: never;
  readonly cache: never;
  transaction: (body: (tx: unknown) => Promise<unknown>, config?: SQLiteTransactionConfig) => Promise<unknown>;
  [liveSourceOf]?: LiveSource;
}

/** The database of a page, and where its live queries get their rows. */
export interface PageDatabase<TSchema extends Record<string, unknown>> {
  readonly db: SqliteRemoteDatabase<TSchema>;
  readonly liveSource: LiveSource;
}

/** Builds the database of a page. */
export function createPageDatabase<TSchema extends Record<string, unknown>>(
  tab: Tab,
  config: DrizzleConfig<TSchema>,
): PageDatabase<TSchema> {
  const db = drizzle<TSchema>(executor(tab), batchExecutor(tab), config);
  const { session } = db as unknown as { readonly session: SessionParts };
  const liveSource = tabLiveSource(tab);
  session[liveSourceOf] = liveSource;
  session.transaction = (body, transactionConfig) =>
    tab.transaction(transactionConfig?.behavior, (tx) => {
      const { dialect, schema, logger, cache } = session;
      const inner = new SQLiteRemoteSession(executor(tab, tx), dialect, schema, batchExecutor(tab, tx), {
        logger,
        cache,
      });
      return body(new ProxyTransaction("async", dialect, inner, schema));
    });
  return { db, liveSource };
}

// Drizzle declares the constructor's second parameter for synchronous dialects as well; ours is always asynchronous.
const ProxyTransaction = SQLiteProxyTransaction as new (...args: readonly unknown[]) => unknown;

function executor(tab: Tab, tx?: string): AsyncRemoteCallback {
  // sqlite-proxy's types want an array; `get` without a row must answer undefined, or Drizzle makes a row of nothing.
  return (sql, params: unknown[], method) => tab.execute({ sql, params, method }, tx) as Promise<{ rows: unknown[] }>;
}

function batchExecutor(tab: Tab, tx?: string): AsyncBatchRemoteCallback {
  return (statements) => tab.batch(statements, tx) as Promise<{ rows: unknown[] }[]>;
}

/** What a prepared query of sqlite-proxy offers beside executing itself. */
interface PreparedProxyQuery {
  getQuery(): { readonly sql: string; readonly params: readonly unknown[]; readonly method: QueryMethod };
  mapResult(answer: unknown, isFromBatch: boolean): unknown;
}

function tabLiveSource(tab: Tab): LiveSource {
  return {
    watch: (query, onData, onError) => {
      const prepared = (query as unknown as { prepare(): PreparedProxyQuery }).prepare();
      const { sql, params, method } = prepared.getQuery();
      return tab.watch(
        { sql, params, method },
        (answer: StatementAnswer) => {
          let data: unknown;
          try {
            // In the form of a batch's answer, which is mapped to rows as an executed query's is.
            data = prepared.mapResult(answer, true);
          } catch (error) {
            return onError(error instanceof Error ? error : new Error(String(error)));
          }
          onData(data);
        },
        onError,
      );
    },
  };
}
