/**
 * `drizzle-sync/client`: keeps a device's database in step with its server.
 *
 * @module
 */

export {
  createSyncClient,
  type Hold,
  type Outcome,
  type OutcomeConflict,
  type PendingOperation,
  type PendingTransaction,
  type Settled,
  type SyncClient,
  type SyncClientOptions,
} from "./client.ts";
export type { EngineOptions } from "./engine-options.ts";
export type { HoldOptions, SignOutOptions, SyncState, WaitOptions } from "./sync-engine.ts";
export type { VerifyResult } from "./verification.ts";
export type { SyncStatus } from "./machine.ts";
export { httpTransport, type HttpTransportOptions } from "./http-transport.ts";
export { trpcTransport, type TrpcSubscriptionHandlers, type TrpcSyncClient } from "./trpc-transport.ts";
export { withToken } from "./with-token.ts";
export type { CallOptions, Transport } from "./transport.ts";
export type { Clock } from "./clock.ts";
export { platformOnline, type OnlineChange, type OnlineSource } from "./online.ts";
export { defaultRetry, type RetryOptions } from "./backoff.ts";
export type { WatchOptions } from "./watch.ts";
export {
  openBrowserDatabase,
  type BrowserConnection,
  type BrowserDatabase,
  type BrowserDatabaseOptions,
} from "./browser/open-browser-database.ts";
export { isSyncError, SyncError, type SyncErrorCode } from "../protocol/errors.ts";
