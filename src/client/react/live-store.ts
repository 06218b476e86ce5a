/**
 * The live queries of a page, shared between components: one store for each source, SQL and parameters. A store outlives its
 * last component for a moment, since React mounts twice in development, and drops everything that suspended.
 *
 * @module
 */

import { queryKey } from "../query-key.ts";
import type { LiveQuery, LiveSource } from "../live-source.ts";
import type { LiveState } from "./use-live-query.ts";

/** A watched query, in the form of `useSyncExternalStore`. */
export interface LiveStore {
  /** What identifies the query. */
  readonly key: string;
  read(): LiveState<unknown>;
  subscribe(onChange: () => void): () => void;
  /** Starts watching without a subscriber; resolves when there are rows or an error. */
  load(): Promise<void>;
}

/** The state of a query that nobody has answered yet. One object, so that it never looks like a change. */
export const PENDING: LiveState<unknown> = { status: "pending", data: undefined };

const KEEP_MS = 1000;
const KEEP_SUSPENDED_MS = 30_000;

const storesBySource = new WeakMap<LiveSource, Map<string, LiveStore>>();

/** The store of a query. Making one watches nothing yet: rendering must not start anything. */
export function liveStore(source: LiveSource, query: LiveQuery<unknown>): LiveStore {
  const key = queryKey(query.toSQL());
  // A server renders for many; what it rendered for one is of no use to the next.
  if (typeof window === "undefined")
    return createLiveStore(
      key,
      source,
      query,
      () => {},
      () => {},
    );
  let stores = storesBySource.get(source);
  if (!stores) storesBySource.set(source, (stores = new Map()));
  const all = stores;
  const known = all.get(key);
  if (known) return known;
  const store: LiveStore = createLiveStore(
    key,
    source,
    query,
    () => void all.set(key, store),
    () => void (all.get(key) === store && all.delete(key)),
  );
  all.set(key, store);
  return store;
}

function createLiveStore(
  key: string,
  source: LiveSource,
  query: LiveQuery<unknown>,
  remember: () => void,
  forget: () => void,
): LiveStore {
  let state = PENDING;
  let stop: (() => void) | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let loaded: Promise<void> | undefined;
  let onLoaded: (() => void) | undefined;
  const listeners = new Set<() => void>();

  function start(): void {
    remember();
    stop ??= source.watch(
      query,
      (data) => update({ status: "ready", data }),
      (error) => update({ status: "error", data: state.data, error }),
    );
  }

  function update(next: LiveState<unknown>): void {
    state = next;
    onLoaded?.();
    onLoaded = undefined;
    for (const listener of listeners) listener();
  }

  function endLater(ms: number): void {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (listeners.size > 0) return;
      stop?.();
      stop = undefined;
      state = PENDING;
      loaded = undefined;
      // Who still waits renders again, and begins anew.
      onLoaded?.();
      onLoaded = undefined;
      forget();
    }, ms);
  }

  // A render that React gave up subscribes never.
  if (typeof window !== "undefined") endLater(KEEP_SUSPENDED_MS);

  return {
    key,
    read: () => state,
    subscribe: (onChange) => {
      listeners.add(onChange);
      clearTimeout(timer);
      start();
      return () => {
        listeners.delete(onChange);
        if (listeners.size === 0) endLater(KEEP_MS);
      };
    },
    load: () => {
      loaded ??= state === PENDING ? new Promise((resolve) => (onLoaded = resolve)) : fulfilled();
      start();
      if (listeners.size === 0) endLater(KEEP_SUSPENDED_MS);
      return loaded;
    },
  };
}

/** A promise that `use` reads without suspending: React looks at these fields. */
function fulfilled(): Promise<void> {
  return Object.assign(Promise.resolve(), { status: "fulfilled", value: undefined });
}
