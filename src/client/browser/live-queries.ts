/**
 * Live queries, in the worker that owns the file: each distinct query runs once, however many tabs watch it, again after a
 * commit that wrote to a table it reads, and is sent on only when its rows changed.
 *
 * @module
 */

import { queryKey } from "../query-key.ts";
import type { StatementAnswer, StatementText } from "./worker-messages.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";

/** Where a watcher's rows go, or the error of a query that ran before and fails now. */
export interface Watcher {
  rows(watch: string, answer: StatementAnswer): void;
  failed(watch: string, error: unknown): void;
}

/** The live queries of all tabs. All of it runs while nobody is in a transaction. */
export interface LiveQueries {
  /** Starts watching; returns the rows now. */
  watch(client: string, watch: string, statement: StatementText, watcher: Watcher): StatementAnswer;
  unwatch(client: string, watch: string): void;
  /** Forgets all watches of a tab. */
  dropClient(client: string): void;
  /** Runs the queries that read one of these tables (names in SQL). */
  refresh(tables: ReadonlySet<string>): void;
}

interface LiveQuery {
  readonly statement: StatementText;
  readonly tables: ReadonlySet<string>;
  readonly watchers: Map<string, { readonly watch: string; readonly watcher: Watcher }>;
  /** Undefined after an error: whatever comes next is news. */
  rows: readonly (readonly unknown[])[] | undefined;
}

/** Makes the registry over a connection. */
export function createLiveQueries(connection: WorkerConnection): LiveQueries {
  const queries = new Map<string, LiveQuery>();
  const keyByWatcher = new Map<string, string>();

  function drop(name: string): void {
    const key = keyByWatcher.get(name);
    if (key === undefined) return;
    keyByWatcher.delete(name);
    const query = queries.get(key);
    query?.watchers.delete(name);
    if (query?.watchers.size === 0) queries.delete(key);
  }

  function tell(query: LiveQuery, rows: readonly (readonly unknown[])[]): void {
    if (query.rows && isSame(query.rows, rows)) return;
    query.rows = rows;
    const answer = shapeRows(query.statement, rows, 0);
    for (const { watch, watcher } of query.watchers.values()) watcher.rows(watch, answer);
  }

  return {
    watch: (client, watch, statement, watcher) => {
      const name = `${client} ${watch}`;
      drop(name);
      const key = queryKey(statement);
      let query = queries.get(key);
      const { rows, changes } = connection.execute(statement.sql, statement.params);
      if (!query) {
        query = { statement, tables: connection.tablesRead(statement.sql), watchers: new Map(), rows };
        queries.set(key, query);
      } else {
        // A commit whose refresh is still to come: the other watchers hear of it now.
        tell(query, rows);
      }
      query.watchers.set(name, { watch, watcher });
      keyByWatcher.set(name, key);
      return shapeRows(statement, rows, changes);
    },
    unwatch: (client, watch) => drop(`${client} ${watch}`),
    dropClient: (client) => {
      for (const name of keyByWatcher.keys()) if (name.startsWith(`${client} `)) drop(name);
    },
    refresh: (tables) => {
      for (const query of queries.values()) {
        if (!meets(query.tables, tables)) continue;
        try {
          tell(query, connection.execute(query.statement.sql, query.statement.params).rows);
        } catch (error) {
          // One query whose rows cannot be computed (malformed JSON in a row, say) does not silence the others.
          query.rows = undefined;
          for (const { watch, watcher } of query.watchers.values()) watcher.failed(watch, error);
        }
      }
    },
  };
}

/** The rows in the form that sqlite-proxy expects for the method. `get` without a row answers undefined. */
export function shapeRows(
  statement: StatementText,
  rows: readonly (readonly unknown[])[],
  changes: number,
): StatementAnswer {
  return { rows: statement.method === "get" ? rows[0] : rows, changes };
}

function meets(some: ReadonlySet<string>, others: ReadonlySet<string>): boolean {
  for (const table of some) if (others.has(table)) return true;
  return false;
}

function isSame(a: readonly (readonly unknown[])[], b: readonly (readonly unknown[])[]): boolean {
  if (a.length !== b.length) return false;
  for (let row = 0; row < a.length; row++) {
    const left = a[row] as readonly unknown[];
    const right = b[row] as readonly unknown[];
    if (left.length !== right.length) return false;
    for (let column = 0; column < left.length; column++) {
      if (!isSameValue(left[column], right[column])) return false;
    }
  }
  return true;
}

function isSameValue(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (!(a instanceof Uint8Array && b instanceof Uint8Array) || a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false;
  return true;
}
