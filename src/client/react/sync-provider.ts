"use client";
/**
 * Gives the components below it a client.
 *
 * @module
 */

import { createContext, createElement, useContext, type ReactElement, type ReactNode } from "react";
import type { SyncClient } from "../client.ts";

/** The client of the nearest provider. */
export const SyncContext = createContext<SyncClient | undefined>(undefined);

export interface SyncProviderProps {
  /** What `createSyncClient` returned. */
  readonly client: SyncClient;
  readonly children?: ReactNode;
}

/**
 * Provides a client to the hooks.
 *
 * @example
 * <SyncProvider client={client}>…</SyncProvider>
 */
export function SyncProvider({ client, children }: SyncProviderProps): ReactElement {
  return createElement(SyncContext.Provider, { value: client }, children);
}

/** The client of the nearest {@link SyncProvider}. */
export function useSyncClient(): SyncClient {
  const client = useContext(SyncContext);
  if (!client) throw new Error("There is no <SyncProvider> above this component.");
  return client;
}
