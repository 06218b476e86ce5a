/**
 * Live queries over a database in the same process (better-sqlite3 in Electron or in tests, libSQL): which tables a query
 * reads is asked of SQLite itself, since Drizzle does not know all of them; after a commit that touched one the query is
 * run again, and its result compared before anybody hears of it.
 *
 * @module
 */

import type { Connection } from "../plugin/core.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { Value } from "../protocol/ids.ts";
import type { LiveQuery, LiveSource } from "./live-source.ts";

/** Builds the source of a database made by `withSync`. Commits to tables that are not synced are not noticed. */
export function createLocalLiveSource(sync: SyncDatabase): LiveSource {
  const keyByName = new Map(sync.tables.map((table) => [table.name, table.key]));
  return {
    watch: (query, onData, onError) => {
      let isEnded = false;
      let isRunning = false;
      let isStale = false;
      let tables: ReadonlySet<string> | undefined;
      let last: { readonly data: unknown } | undefined;

      const fail = (error: unknown): void => {
        last = undefined;
        if (!isEnded) onError(error instanceof Error ? error : new Error(String(error)));
      };

      async function run(): Promise<void> {
        if (isRunning) {
          isStale = true;
          return;
        }
        isRunning = true;
        do {
          isStale = false;
          try {
            tables ??= await tablesRead(sync.connection, query, keyByName);
            const data = await query;
            if (isEnded) return;
            if (last && isSameResult(last.data, data)) continue;
            last = { data };
            onData(data);
          } catch (error) {
            fail(error);
          }
          // Another commit may have come while the query ran.
        } while (isStale);
        isRunning = false;
      }

      const stop = sync.onCommit((committed) => {
        if (!tables || committed.size === 0 || [...committed].some((table) => tables?.has(table)))
          void Promise.resolve().then(run);
      });
      void Promise.resolve().then(run);
      return () => {
        isEnded = true;
        stop();
      };
    },
  };
}

/** The synced tables that a query reads, by their keys: those that its program opens. */
async function tablesRead(
  connection: Connection,
  query: LiveQuery<unknown>,
  keyByName: ReadonlyMap<string, string>,
): Promise<ReadonlySet<string>> {
  const roots = new Map<unknown, string>();
  for (const [page, name] of await connection.all(
    "SELECT rootpage, tbl_name FROM sqlite_master WHERE rootpage > 0",
    [],
  ))
    roots.set(page, String(name));
  const { sql, params } = query.toSQL();
  const tables = new Set<string>();
  // Columns of EXPLAIN: addr, opcode, p1, p2 (the root page), …
  for (const [, opcode, , root] of await connection.all(`EXPLAIN ${sql}`, params as readonly Value[])) {
    if (opcode !== "OpenRead" && opcode !== "ReopenIdx") continue;
    const key = keyByName.get(roots.get(root) ?? "");
    if (key !== undefined) tables.add(key);
  }
  return tables;
}

/** Compares results: plain objects, arrays, dates, bytes and values. */
export function isSameResult(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return (
      Array.isArray(a) &&
      Array.isArray(b) &&
      a.length === b.length &&
      a.every((value, index) => isSameResult(value, b[index]))
    );
  }
  if (a instanceof Date || b instanceof Date)
    return a instanceof Date && b instanceof Date && Object.is(a.getTime(), b.getTime());
  if (ArrayBuffer.isView(a) || ArrayBuffer.isView(b)) {
    if (!(a instanceof Uint8Array && b instanceof Uint8Array)) return false;
    return a.length === b.length && a.every((byte, index) => byte === b[index]);
  }
  const left = Object.keys(a);
  return (
    left.length === Object.keys(b).length &&
    left.every(
      (key) =>
        Object.hasOwn(b, key) && isSameResult((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key]),
    )
  );
}
