/**
 * What an app may say about an engine: the options of `createSyncClient` that do not depend on where it runs.
 *
 * @module
 */

import type { SyncError } from "../protocol/errors.ts";
import type { RandomBytes } from "../protocol/ids.ts";
import type { RetryOptions } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import type { OnlineSource } from "./online.ts";
import type { WatchOptions } from "./watch.ts";

/** Options of an engine that do not depend on where it runs. */
export interface EngineOptions extends WatchOptions {
  /**
   * `"all"`: everything that the subject may read is synced. `"on-demand"`: only the scopes that are held.
   * @default "all"
   */
  readonly hold?: "all" | "on-demand";
  /** Told of every error, those that heal themselves included. @default nothing */
  readonly onError?: (error: SyncError) => void;
  /** @default the system's clock */
  readonly clock?: Clock;
  /** Numbers in [0, 1), for jitter. @default Math.random */
  readonly random?: () => number;
  /** Bytes for ids. @default crypto.getRandomValues */
  readonly randomBytes?: RandomBytes;
  /** @default the platform's own events */
  readonly online?: OnlineSource;
  /** Delays of retries. @default { baseMs: 500, maxMs: 60_000 } */
  readonly retry?: RetryOptions;
  /** Rows wanted in a page, at most. The server may give fewer. @default 5_000 */
  readonly pageRows?: number;
  /** How long a pushed transaction may take to come back on the stream, in milliseconds. @default 10_000 */
  readonly echoMs?: number;
  /**
   * How long transactions that the server has handled are kept on the device, in milliseconds. A server that is restored from
   * a backup younger than that gets again what the backup lacks; what is older is reported as `lost`. However long the
   * time, no more than about 100,000 changed rows are kept.
   * @default 604_800_000 (seven days)
   */
  readonly keepSentMs?: number;
  /**
   * The share of pulls, from 0 to 1, that also compare checksums of the device's rows with the server's. Each reads every row of
   * up to a hundred scopes on both sides, in one transaction: for 100,000 rows about a third of a second here, in which
   * nothing else is written, and twice that on the server, whose other requests wait where its driver is synchronous.
   * While a live stream stands there are few pulls.
   * @default 0
   */
  readonly verifyRate?: number;
}

/** The recommended sizes and times. */
export const defaultEngine = { pageRows: 5000, echoMs: 10_000 } as const;
