"use client";
/**
 * `usePending`: what waits to be synced.
 *
 * @module
 */

import type { Table } from "drizzle-orm";
import { useCallback, useMemo } from "react";
import { internalsOf } from "../client-internals.ts";
import type { PendingTransaction, SyncClient } from "../client.ts";
import { useSyncClient } from "./sync-provider.ts";
import { useList } from "./use-list.ts";

/**
 * The transactions of the offline queue that change a table, oldest first; all of them without a table.
 *
 * @example
 * const waiting = usePending(todos);
 */
export function usePending(table?: Table): readonly PendingTransaction[] {
  const client = useSyncClient();
  const key = table && internalsOf(client)?.keyOfTable(table);
  if (table && key === undefined) throw new Error("This table is not in the definition that the client syncs by.");
  const read = useCallback(() => client.pending.list(), [client]);
  const subscribe = useCallback((onChange: () => void) => subscribeToQueue(client, onChange), [client]);
  const all = useList(read, subscribe);
  return useMemo(
    () =>
      key === undefined ? all : all.filter(({ operations }) => operations.some((operation) => operation.table === key)),
    [all, key],
  );
}

/** Calls back when the queue may be another one: not for every step of the engine, since listing it reads all of it. */
export function subscribeToQueue(client: Pick<SyncClient, "state" | "subscribe">, onChange: () => void): () => void {
  let last = client.state;
  return client.subscribe((state) => {
    const before = last;
    last = state;
    if (state.pending === before.pending && state.error === before.error) {
      // With as many as before, some may have left and others come, or a page may have withheld one.
      if (state.pending === 0 || state.cursor === before.cursor) return;
    }
    onChange();
  });
}
