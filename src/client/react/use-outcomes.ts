"use client";
/**
 * `useOutcomes`: what became of transactions that were not applied as written.
 *
 * @module
 */

import { useCallback } from "react";
import { internalsOf } from "../client-internals.ts";
import type { Outcome } from "../client.ts";
import { useSyncClient } from "./sync-provider.ts";
import { useList } from "./use-list.ts";

/**
 * Merged and rejected transactions that the app has not dealt with, oldest first, with both versions. Deal with one by
 * `client.outcomes.resolve(id, …)`.
 *
 * @example
 * const outcomes = useOutcomes();
 */
export function useOutcomes(): readonly Outcome[] {
  const client = useSyncClient();
  const read = useCallback(() => client.outcomes.list(), [client]);
  const subscribe = useCallback(
    (onChange: () => void) => internalsOf(client)?.onOutcomesChanged(onChange) ?? client.subscribe(onChange),
    [client],
  );
  return useList(read, subscribe);
}
