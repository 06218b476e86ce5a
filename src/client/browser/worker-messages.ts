/**
 * What crosses between a page and its worker, and between the workers of all tabs. Everything is plain data that can be
 * cloned; errors travel in the form of `port-error.ts`.
 *
 * @module
 */

import type { PortError } from "./port-error.ts";
import type { SyncCall, SyncEvent } from "./sync-calls.ts";

/** How Drizzle wants the rows: `get` the first one alone, the others all. */
export type QueryMethod = "run" | "all" | "values" | "get";

/** A statement as sqlite-proxy hands it over. */
export interface StatementText {
  readonly sql: string;
  readonly params: readonly unknown[];
  readonly method: QueryMethod;
}

/** What a page asks of the worker that owns the file. `tx` names an open transaction of that page. */
export type LeaderRequest =
  | { readonly op: "statement"; readonly statement: StatementText; readonly tx?: string }
  /** One atomic step. */
  | { readonly op: "batch"; readonly statements: readonly StatementText[]; readonly tx?: string }
  | { readonly op: "begin"; readonly tx: string; readonly behavior?: string }
  | { readonly op: "end"; readonly tx: string; readonly commit: boolean }
  /** Answered with the rows now; later ones are pushed under the same name. */
  | { readonly op: "watch"; readonly watch: string; readonly statement: StatementText }
  | { readonly op: "unwatch"; readonly watch: string }
  | { readonly op: "sync"; readonly call: SyncCall };

/** Rows of a statement: one row (or none) for `get`, else a list of rows. */
export interface StatementAnswer {
  readonly rows: unknown;
  readonly changes: number;
}

/** What the owner sends without being asked. */
export type LeaderEvent =
  | { readonly kind: "rows"; readonly watch: string; readonly answer: StatementAnswer }
  | { readonly kind: "rows-failed"; readonly watch: string; readonly error: PortError }
  | { readonly kind: "sync"; readonly event: SyncEvent };

/** The life of the page that a worker belongs to; workers do not see it themselves. */
export type PageLife = "visible" | "hidden" | "freeze" | "resume" | "pagehide" | "online" | "offline";

/** From a page to its own worker. */
export type PageMessage =
  | { readonly kind: "open"; readonly name: string }
  | { readonly kind: "life"; readonly life: PageLife }
  | { readonly kind: "request"; readonly id: number; readonly request: LeaderRequest }
  | { readonly kind: "token"; readonly id: number; readonly token: string | null }
  | { readonly kind: "token-failed"; readonly id: number; readonly error: PortError }
  | { readonly kind: "close" };

/** From a worker to its own page. */
export type WorkerMessage =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly error: PortError }
  | { readonly kind: "event"; readonly event: LeaderEvent }
  /** Another owner is at work from here on; `leads` when it is this page's worker. */
  | { readonly kind: "leader"; readonly epoch: string; readonly leads: boolean }
  /** The file could not be opened; it is tried again. */
  | { readonly kind: "open-failed"; readonly error: PortError }
  /** The page is asked for a token. */
  | { readonly kind: "ask-token"; readonly id: number }
  | { readonly kind: "closed" };

/** Between workers, to all of them. */
export type TabMessage =
  /** A tab looks for the leader. */
  | { readonly kind: "hello"; readonly from: string }
  | { readonly kind: "leader"; readonly epoch: string; readonly release: number }
  | {
      readonly kind: "request";
      readonly from: string;
      readonly epoch: string;
      readonly id: number;
      readonly request: LeaderRequest;
      /** Its oldest write without an answer: answers kept for older ones are no longer needed. */
      readonly oldestWrite: number;
      /** It was sent to an earlier leader, which may have done it. */
      readonly isRepeat: boolean;
    }
  /** The leader is in the background; a visible tab may take over. */
  | { readonly kind: "in-background" }
  /** A tab would rather lead itself: the leader is in the background, or of an older release of the app. */
  | { readonly kind: "want"; readonly from: string; readonly release: number }
  /** The leader steps down in favor of one tab; the others queue a little later. */
  | { readonly kind: "yield"; readonly to: string }
  | { readonly kind: "event"; readonly event: LeaderEvent }
  | { readonly kind: "token"; readonly from: string; readonly id: number; readonly token: string | null };

/** From the leader to one tab, on that tab's own channel: a shared one would have every tab decode every answer. */
export type DirectMessage =
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "failure"; readonly id: number; readonly error: PortError }
  | { readonly kind: "event"; readonly event: LeaderEvent }
  | { readonly kind: "ask-token"; readonly id: number };

/** Whether an answer to it may have been kept by an earlier leader. */
export function isWrite(request: LeaderRequest): boolean {
  return request.op === "statement" || request.op === "batch" || request.op === "end";
}

/** Whether it means something only to the leader that opened its transaction. The commit's repeat may be answered by the next one. */
export function isInsideTransaction(request: LeaderRequest): boolean {
  return request.op === "end" || ((request.op === "statement" || request.op === "batch") && request.tx !== undefined);
}
