/**
 * Where live queries get their rows from: the worker that owns a browser database, or a database in the same process. A
 * Drizzle session carries its source, so that a query alone is enough to watch it.
 *
 * @module
 */

/** Anything of Drizzle that can be awaited and printed: selects, set operations, relational queries. */
export interface LiveQuery<T> extends PromiseLike<T> {
  toSQL(): { readonly sql: string; readonly params: readonly unknown[] };
}

/** Watches queries. */
export interface LiveSource {
  /**
   * Calls back with the query's result now, and again whenever it changed. Returns the function that ends it. Callbacks are
   * never called before `watch` has returned, nor after it was ended.
   */
  watch(query: LiveQuery<unknown>, onData: (data: unknown) => void, onError: (error: Error) => void): () => void;
}

/** The property of a Drizzle session that holds its {@link LiveSource}. */
export const liveSourceOf: unique symbol = Symbol.for("drizzle-sync.live-source");

/** The source of the session that a query was built on, if it carries one. */
export function liveSourceOfQuery(query: LiveQuery<unknown>): LiveSource | undefined {
  const { session } = query as { readonly session?: { readonly [liveSourceOf]?: LiveSource } };
  return session?.[liveSourceOf];
}
