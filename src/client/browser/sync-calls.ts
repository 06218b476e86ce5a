/**
 * The sync engine through ports: what a page asks of the engine in the leading worker, and what that tells. The page's side is
 * `remote-engine.ts`, the worker's `device-engine.ts`.
 *
 * @module
 */

import type { Cursor } from "../../protocol/ids.ts";
import type { EngineOptions } from "../engine-options.ts";
import type { LocalOperation, StoredOutcome } from "../outcomes.ts";
import type { HoldOptions, QueuedTransaction, SignOutOptions, SyncState } from "../sync-engine.ts";
import { fromPortError, toPortError, type PortError } from "./port-error.ts";

/** The engine's options that are plain data. */
export type EngineWishes = Pick<
  EngineOptions,
  "hold" | "retry" | "pageRows" | "echoMs" | "pollMs" | "silenceMs" | "verifyRate" | "keepSentMs"
>;

/** What every call carries along, since a new leader knows nothing of the pages. */
export interface PageWishes {
  /** Whether pages can be asked for tokens. */
  readonly hasToken: boolean;
  /** Options of `createSyncClient` that the engine must have from its beginning. */
  readonly engine: EngineWishes;
}

/** One call. Holds have names that pages make, so that a release finds them. */
export type SyncCall = { readonly wishes: PageWishes } & (
  | {
      readonly verb:
        | "attach"
        | "start"
        | "pause"
        | "resume"
        | "sync"
        | "reset"
        | "pending"
        | "outcomes"
        | "listen-to-outcomes";
    }
  | { readonly verb: "hold"; readonly hold: string; readonly scope: string; readonly options: HoldOptions }
  | { readonly verb: "hold-ready" | "release"; readonly hold: string }
  | { readonly verb: "reached"; readonly cursor: Cursor }
  | { readonly verb: "settled" | "discard-pending"; readonly id: string }
  | { readonly verb: "verify"; readonly scopes?: readonly string[] }
  | {
      readonly verb: "resolve";
      readonly id: string;
      readonly resolution: { readonly retry: readonly LocalOperation[] } | "discard";
    }
  | { readonly verb: "sign-out"; readonly options: SignOutOptions }
);

/** What the engine tells all pages. */
export type SyncEvent =
  | { readonly kind: "state"; readonly state: PortState }
  | { readonly kind: "outcome"; readonly outcome: StoredOutcome }
  /** The list of outcomes is another one. */
  | { readonly kind: "outcomes-changed" }
  | { readonly kind: "error"; readonly error: PortError };

/** A state whose error can be cloned. */
export type PortState = Omit<SyncState, "error"> & { readonly error?: PortError };

/** A queued transaction whose error can be cloned. */
export type PortQueued = Omit<QueuedTransaction, "lastError"> & { readonly lastError?: PortError };

/** Takes a state apart for a port. */
export function toPortState(state: SyncState): PortState {
  const { error, ...rest } = state;
  return error === undefined ? rest : { ...rest, error: toPortError(error) };
}

/** Rebuilds a state. */
export function fromPortState(state: PortState): SyncState {
  const { error, ...rest } = state;
  // The engine puts nothing but a `SyncError` there, and `fromPortError` rebuilds it as one.
  return error === undefined ? rest : { ...rest, error: fromPortError(error) as NonNullable<SyncState["error"]> };
}

/** Takes a queued transaction apart for a port. */
export function toPortQueued(transaction: QueuedTransaction): PortQueued {
  const { lastError, ...rest } = transaction;
  return lastError === undefined ? rest : { ...rest, lastError: toPortError(lastError) };
}

/** Rebuilds a queued transaction. */
export function fromPortQueued(transaction: PortQueued): QueuedTransaction {
  const { lastError, ...rest } = transaction;
  return lastError === undefined
    ? rest
    : { ...rest, lastError: fromPortError(lastError) as NonNullable<QueuedTransaction["lastError"]> };
}
