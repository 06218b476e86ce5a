"use client";
/**
 * `useLiveQuery`: a Drizzle query whose rows stay current. A query is identified by its SQL and parameters, so there is no
 * list of dependencies to keep, and components that show the same query share one watch.
 *
 * While rendering on a server, and in the first render of the browser, it shows `initial`; local rows take over after that,
 * so nothing differs while React hydrates.
 *
 * @module
 */

import { use, useCallback, useContext, useMemo, useState, useSyncExternalStore } from "react";
import { internalsOf } from "../client-internals.ts";
import { liveSourceOfQuery, type LiveQuery, type LiveSource } from "../live-source.ts";
import { liveStore, PENDING, type LiveStore } from "./live-store.ts";
import { SyncContext } from "./sync-provider.ts";

/** What a live query shows: nothing yet (or `initial`), rows, or an error beside the rows it had. */
export type LiveState<T> =
  | { readonly status: "pending"; readonly data: T | undefined }
  | { readonly status: "ready"; readonly data: T }
  | { readonly status: "error"; readonly data: T | undefined; readonly error: Error };

export interface LiveQueryOptions<T> {
  /**
   * Shown until the local rows are there: rows that the server rendered, say. It belongs to the first query of the
   * component; when the query becomes another one, nothing is shown until its rows are there. @default undefined
   */
  readonly initial?: NoInfer<T>;
  /** Suspends until there are rows, and throws errors to the error boundary. @default false */
  readonly suspense?: boolean;
}

/**
 * Watches a query. Nothing is watched while `query` is null, undefined or false.
 *
 * @example
 * const { data, status } = useLiveQuery(db.select().from(todos).where(eq(todos.listId, id)), { initial });
 */
export function useLiveQuery<T>(
  query: LiveQuery<T> | null | undefined | false,
  options: LiveQueryOptions<T> = {},
): LiveState<T> {
  const client = useContext(SyncContext);
  const source = query
    ? (liveSourceOfQuery(query) ?? (client ? internalsOf(client)?.liveSource : undefined))
    : undefined;
  if (query && !source) {
    throw new Error(
      "The database of this query is not known. Render it under `<SyncProvider client={client}>`, with a client of the query's database.",
    );
  }
  const store = useStore(source, query);
  const isFirst = useIsFirst(store?.key);
  const { suspense = false } = options;
  const initial = isFirst ? options.initial : undefined;
  const subscribe = useCallback((onChange: () => void) => store?.subscribe(onChange) ?? (() => {}), [store]);
  const read = useCallback(() => store?.read() ?? PENDING, [store]);
  // The key stands for a query of this type.
  const state = useSyncExternalStore(subscribe, read, () => PENDING) as LiveState<T>;
  const isWaiting = state.status === "pending" && state.data === undefined;
  if (suspense && store && initial === undefined) {
    if (typeof window === "undefined") {
      throw new Error(
        "Local rows are not there while rendering on the server: give `initial`, or put a <Suspense> boundary around it.",
      );
    }
    // Also once the rows are there: React wants a component that suspended to call it again.
    use(store.load());
    if (state.status === "error") throw state.error;
  }
  return useMemo(
    () => (isWaiting && initial !== undefined ? { status: "pending", data: initial } : state),
    [isWaiting, initial, state],
  );
}

/** Whether the component still shows its first query. */
function useIsFirst(key: string | undefined): boolean {
  const [first, setFirst] = useState(key);
  if (first !== undefined) return key === first;
  if (key !== undefined) setFirst(key);
  return true;
}

function useStore<T>(
  source: LiveSource | undefined,
  query: LiveQuery<T> | null | undefined | false,
): LiveStore | undefined {
  // Looked up in each render: the same text and parameters give the same store.
  return source && query ? liveStore(source, query) : undefined;
}
