/**
 * The engine as those see it who drive it: the client in the same process, or, through a port, a page whose worker owns
 * the database. Everything that goes in and out is plain data that can be cloned; values are storage values, and only
 * the client turns them into what Drizzle's columns give.
 *
 * @module
 */

import type { SyncError } from "../protocol/errors.ts";
import type { Cursor } from "../protocol/ids.ts";
import type { LocalOperation, StoredOutcome } from "./outcomes.ts";
import type { SyncStatus } from "./machine.ts";
import type { VerifyResult } from "./verification.ts";

/** What is going on, for an app to show. A new object with every change. */
export interface SyncState {
  readonly status: SyncStatus;
  /** Local transactions that the server's state on this device does not contain yet. */
  readonly pending: number;
  /** Up to where the device has everything; absent before the first sync is complete. */
  readonly cursor?: Cursor;
  /** When the device last had everything, in milliseconds since 1970. */
  readonly lastSyncedAt?: number;
  /** The round in progress. `remaining` is an estimate, where the server gives one. */
  readonly progress?: { readonly received: number; readonly remaining?: number };
  /** How often rows on this device were found not to be the server's, and were fetched anew; absent while never. */
  readonly mismatches?: number;
  /** What went wrong last; gone once the device is in step again. */
  readonly error?: SyncError;
}

/** One transaction of the offline queue. */
export interface QueuedTransaction {
  readonly id: string;
  /** Its place in the order in which transactions are pushed. */
  readonly number: number;
  /** When it was written, in milliseconds since 1970, by the server's clock as far as it is known. */
  readonly writtenAt: number;
  readonly operations: readonly LocalOperation[];
  /** Whether it is kept back from the tables, because together with the server's rows it breaks a local constraint. */
  readonly isWithheld: boolean;
  /** Whether the server has it; it leaves the queue with the next page. */
  readonly isUploaded: boolean;
  /** Whether the app has discarded it: it is undone, and its number goes to the server with nothing in it. */
  readonly isDiscarded: boolean;
  /** How often it was sent in vain, in earlier processes too. */
  readonly attempts: number;
  /** What was said to it last, or what keeps it from being sent; absent once the server has it. */
  readonly lastError?: SyncError;
  /** When it is sent again, in milliseconds since 1970; absent while no attempt is planned: held, paused, without a network. */
  readonly nextTryAt?: number;
}

/** How a transaction left the queue. */
export type SettledTransaction =
  /** `unknown`: nothing of it is kept. It was settled long ago, or never written here. */
  | { readonly status: "applied" | "discarded" | "unknown" }
  | { readonly status: "merged" | "rejected" | "lost"; readonly outcome: StoredOutcome };

/** Options of {@link SyncEngine.hold}. */
export interface HoldOptions {
  /** Scopes with a higher one are fetched before others. @default 0 */
  readonly priority?: number;
  /** How long the scope is kept after the release, in milliseconds. @default 3_600_000 */
  readonly ttlMs?: number;
}

/** Options of {@link SyncEngine.signOut}. */
export interface SignOutOptions {
  /**
   * What becomes of transactions that the server does not have: `flush` pushes them first and fails when it cannot, `keep`
   * leaves them in the queue for the same subject's return, `discard` undoes them, and gives up what is kept for a server that
   * is restored from a backup.
   */
  readonly pending: "flush" | "keep" | "discard";
  /** Whether the synced rows, the queue and the outcomes are deleted from the device. Not with `keep`. @default false */
  readonly wipe?: boolean;
}

/** Options of everything that waits. */
export interface WaitOptions {
  readonly signal?: AbortSignal;
}

/** Drives one device database. */
export interface SyncEngine {
  start(): void;
  pause(): void;
  resume(): void;
  readonly state: SyncState;
  /** Subscribes to changes of {@link SyncEngine.state}; returns the unsubscribe function. */
  subscribe(listener: (state: SyncState) => void): () => void;
  /** One full cycle now; resolves when the server has everything, rejects when that cannot be reached now. */
  sync(options?: WaitOptions): Promise<void>;
  /** Wants a scope. Returns at once; `ready` resolves when the device holds it. */
  hold(scope: string, options?: HoldOptions): EngineHold;
  /** Resolves when the device has everything up to a cursor. */
  reached(cursor: Cursor, options?: WaitOptions): Promise<void>;
  /** The offline queue, oldest first. */
  pending(): Promise<readonly QueuedTransaction[]>;
  /** Resolves when a transaction has left the queue; at once for one that is not in it. */
  settled(id: string, options?: WaitOptions): Promise<SettledTransaction>;
  /** Gives up a transaction that the server does not have: undoes it here, and uses its number up. */
  discard(id: string): Promise<void>;
  /** Outcomes that the app has not dealt with, oldest first. */
  outcomes(): Promise<readonly StoredOutcome[]>;
  /** Tells of each outcome once: those not told of yet, then new ones. Returns the unsubscribe function. */
  onOutcome(listener: (outcome: StoredOutcome) => void): () => void;
  /** Tells that the list of outcomes may be another one, where others than this caller can resolve them (tabs). */
  onOutcomesChanged?(listener: () => void): () => void;
  /** Removes an outcome; with `retry`, writes these operations as a new local transaction in the same step. */
  resolve(id: string, resolution: { readonly retry: readonly LocalOperation[] } | "discard"): Promise<void>;
  /** Compares the base with the server's rows, in these scopes as far as they are held, or in all; heals what differs. */
  verify(scopes?: readonly string[], options?: WaitOptions): Promise<VerifyResult>;
  signOut(options: SignOutOptions): Promise<void>;
  /** Asks for a fresh snapshot; the queue stays. Resolves when that is recorded. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** A wish for a scope. */
export interface EngineHold {
  readonly ready: Promise<void>;
  release(): void;
}
