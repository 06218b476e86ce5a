"use client";
export { SyncProvider, useSyncClient, type SyncProviderProps } from "./sync-provider.ts";
export { useLiveQuery, type LiveQueryOptions, type LiveState } from "./use-live-query.ts";
export type { LiveQuery } from "../live-source.ts";
export { useSync } from "./use-sync.ts";
export { usePending } from "./use-pending.ts";
export { useOutcomes } from "./use-outcomes.ts";
