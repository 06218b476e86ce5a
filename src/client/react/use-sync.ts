"use client";
/**
 * `useSync`: the state of the sync.
 *
 * @module
 */

import { useCallback, useSyncExternalStore } from "react";
import type { SyncState } from "../sync-engine.ts";
import { useSyncClient } from "./sync-provider.ts";

/** On a server, and while React hydrates, nothing is known yet. */
const UNKNOWN: SyncState = { status: "idle", pending: 0 };

/**
 * The state of the sync: status, how many transactions are pending, progress, the last error.
 *
 * @example
 * const { status, pending } = useSync();
 */
export function useSync(): SyncState {
  const client = useSyncClient();
  const subscribe = useCallback((onChange: () => void) => client.subscribe(onChange), [client]);
  const read = useCallback(() => client.state, [client]);
  return useSyncExternalStore(subscribe, read, () => UNKNOWN);
}
