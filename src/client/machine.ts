/**
 * What the state machine of the engine speaks of: its state, what happens to it, and what it wants done. The decisions are
 * in `state.ts`.
 *
 * @module
 */

import type { SyncErrorPolicy } from "../protocol/errors.ts";
import type { LiveEnd } from "../protocol/live.ts";

/** What the engine is doing, as the app sees it. */
export const syncStatuses = [
  "idle",
  "connecting",
  "bootstrapping",
  "pulling",
  "pushing",
  "synced",
  "offline",
  "paused",
  "signed-out",
  "update-needed",
  "error",
] as const;
export type SyncStatus = (typeof syncStatuses)[number];

/**
 * What to do about an error: its policy, or `hold` for one that only keeps transactions from being pushed (a server too
 * old for them, rule V3).
 */
export type MachinePolicy = SyncErrorPolicy | "hold";

/** The machine's state. `status` is public; the rest is what a decision needs. */
export interface Machine {
  readonly status: SyncStatus;
  /** Whether the device has no whole base yet: its pulls are the first sync. */
  readonly isEmpty: boolean;
  readonly isOnline: boolean;
  /**
   * Transactions not yet uploaded: none, to be pushed next, to be pushed when a timer fires, or held until `resume` or the
   * next handshake.
   */
  readonly queue: "empty" | "waiting" | "backing-off" | "held";
  /** Whether the watch (stream, or polling) stands. */
  readonly isWatching: boolean;
  /** Whether the stream carries pages, so that no pull is needed while it stands. */
  readonly streamsPages: boolean;
  /** Whether the app has started the engine, and neither paused nor signed out since. */
  readonly isStarted: boolean;
  /** Whether one cycle was asked for without `start`: it ends in `idle`. */
  readonly once: boolean;
  /** Whether another pull was asked for while one was under way. */
  readonly again: boolean;
  /** Failures in a row of handshakes and pulls. */
  readonly attempt: number;
  /** Failures in a row of pushes. */
  readonly pushAttempt: number;
  /** Failures in a row of the stream. */
  readonly liveAttempt: number;
  /** Whether an access was refused, and is tried once more with a fresh token. */
  readonly isRefused: boolean;
}

/** An event of each of these types. */
type Plain<TType extends string> = TType extends string ? { readonly type: TType } : never;

/** What happened. */
export type MachineEvent =
  /** The app called. */
  | Plain<"start" | "pause" | "resume" | "sign-out" | "close" | "sync">
  /** The network came or went, as far as the platform knows. */
  | Plain<"online" | "offline">
  | { readonly type: "connected"; readonly hasQueue: boolean; readonly isEmpty: boolean }
  /** One push was answered; `more`: there are further transactions. */
  | { readonly type: "pushed"; readonly more: boolean }
  /** One pull was answered; `more`: the round goes on, or another one is due. */
  /** `isFruitless`: the answer brought nothing that could be gone on from. */
  | { readonly type: "pulled"; readonly more: boolean; readonly isEmpty: boolean; readonly isFruitless?: boolean }
  /** A handshake or pull failed, or the local database did. */
  | { readonly type: "failed"; readonly policy: MachinePolicy }
  | { readonly type: "push-failed"; readonly policy: MachinePolicy }
  | { readonly type: "live-failed"; readonly policy: MachinePolicy }
  | { readonly type: "live-ended"; readonly reason: LiveEnd }
  /** The stream delivered a page or a poke; a heartbeat alone proves nothing. */
  | { readonly type: "alive" }
  /** Something is to be pulled: a poke, a changed wish, a cursor that is waited for. */
  | { readonly type: "poke" }
  /** The app committed a transaction. */
  | { readonly type: "committed" }
  /** What was agreed in the handshake does not hold any more. */
  | { readonly type: "renegotiate" }
  | Plain<"retry-due" | "push-due" | "poll-due">;
export type MachineEventType = MachineEvent["type"];

/** What the engine is to do. */
export type Effect =
  | { readonly kind: "handshake" | "push" | "pull" }
  /** Abort the request under way; its answer is not wanted any more. */
  | { readonly kind: "abort" }
  /** Open the live stream, after a delay when it failed `attempt` times; poll while it is not open. */
  | { readonly kind: "watch"; readonly attempt: number }
  /** A pull follows: close a stream of pages, stop polling; a stream of pokes may stay. */
  | { readonly kind: "suspend-watch" }
  | { readonly kind: "unwatch" }
  /** Fire `retry-due` (or `push-due`) after the back-off for this attempt. */
  | { readonly kind: "retry" | "push-retry"; readonly attempt: number }
  | { readonly kind: "cancel-timers" };

/** A decision. */
export interface Transition {
  readonly state: Machine;
  readonly effects: readonly Effect[];
}

/** How a machine begins. */
export interface MachineOptions {
  readonly isOnline: boolean;
  readonly streamsPages: boolean;
}

/** The machine before `start`. */
export function initialMachine(options: MachineOptions): Machine {
  return {
    status: "idle",
    isEmpty: true,
    isOnline: options.isOnline,
    queue: "empty",
    isWatching: false,
    streamsPages: options.streamsPages,
    isStarted: false,
    once: false,
    again: false,
    attempt: 0,
    pushAttempt: 0,
    liveAttempt: 0,
    isRefused: false,
  };
}
