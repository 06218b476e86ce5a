/**
 * What a device asks for and gets: rounds of pages (rules U1–U4, R1–R4).
 *
 * @module
 */

import type { ChangeGroup } from "./change.ts";
import type { Cursor, DeviceId, Epoch, TxRef, Value } from "./ids.ts";
import type { Outcome } from "./outcome.ts";

/**
 * The state of a round of several pages (rule R3). The server writes it, the device stores it and sends it back
 * unread; the server checks it like any input. It grants nothing: rights are asked for again with each page.
 */
export interface RoundState {
  /** `log0`: log up to `s0`, judged with the new target; `snapshot`: rows of what was added; `log`: log from `s0` on. */
  readonly phase: "log0" | "snapshot" | "log";
  /** The target, fixed when the round began (rule U1), sorted. */
  readonly scopes: readonly string[];
  /** The scopes that the snapshot phase must bring, sorted. */
  readonly added: readonly string[];
  /** What the device held when the round began, sorted; the target once the snapshot is complete. */
  readonly held: readonly string[];
  /** Whether the round replaces the device's base. */
  readonly fresh: boolean;
  /** The head when the round began. */
  readonly s0: number;
  /** The head at which the last page was read; checked by rule I2. */
  readonly head: Cursor;
  /** In the log phases: the seq up to which pages were sent. */
  readonly next: number;
  /** In the snapshot phase: the table (schema key), index into `added`-independent scan order, and key to go on after. */
  readonly table?: string;
  readonly after?: readonly Value[];
  /** Columns and tables that the device gains with this round: hash of the schema its base was computed with. */
  readonly baseSchema: string;
  /** What the round's pages are computed over, as in {@link Page}: a server that was upgraded meanwhile restarts it. */
  readonly shared?: string;
}

export interface PullRequest {
  readonly deviceId: DeviceId;
  /** The epoch the device's base belongs to; absent on a first sync. */
  readonly epoch?: Epoch;
  /** Absent: a fresh snapshot is wanted (first sync, or after `reset`). */
  readonly cursor?: Cursor;
  /** The scopes of the device's base: their hash ({@link hashScopes}), or the list after `need-held` (rule U4). */
  readonly held: string | readonly string[];
  /** Scopes asked for; absent for all readable ones. */
  readonly wanted?: readonly string[];
  /** Hash of the device's schema, and of the one its base was computed with (rule V2). */
  readonly schema: string;
  readonly baseSchema: string;
  /** All outcomes up to this transaction are stored on the device (rule I5). */
  readonly ackedTx: number;
  /** Rows and entries wanted in a page, at most. The server may give fewer. */
  readonly limit: number;
  readonly round?: RoundState;
  /** Scopes whose checksum is wanted with the last page. The server may leave some out; they are asked for again. */
  readonly check?: readonly string[];
  /** Why a device asks for a fresh snapshot that nobody told it to take. It changes no answer; the server counts it. */
  readonly because?: ResetReason;
  readonly format?: "json";
}

/** Why a device must take a fresh snapshot. Data, never thrown. */
export type ResetReason =
  | "EPOCH_CHANGED"
  | "CURSOR_EXPIRED"
  | "CURSOR_UNKNOWN"
  | "DECLARATION_CHANGED"
  | "CHECKSUM_MISMATCH";

/** One page. With `to` it is the last of its round; with `round` there is more. */
export interface Page {
  readonly kind: "page";
  readonly epoch: Epoch;
  /** The cursor this answer was computed from; absent when the base is replaced (rule A1). */
  readonly from?: Cursor;
  /** The cursor after it; in the last page of a round only. */
  readonly to?: Cursor;
  readonly round?: RoundState;
  /**
   * The target: what the device holds once the round is applied, sorted. Absent where that is what it holds already, by the
   * hash in its request (rule U4).
   */
  readonly scopes?: readonly string[];
  /** The schema hash it was computed for. */
  readonly schema: string;
  /**
   * Hash of the tables and columns that both sides know, where the server does not know all of the device's (rule V2): the
   * base lacks the others. Absent: all of `schema`.
   */
  readonly shared?: string;
  readonly changes: readonly ChangeGroup[];
  /** The three below are as of the page's end, and come with `to` only (rule U3). */
  readonly lastTx?: TxRef;
  readonly ackedTx?: number;
  readonly outcomes?: readonly Outcome[];
  /** Sum of row hashes per scope asked for. */
  readonly checksums?: Readonly<Record<string, string>>;
  /** Estimate of rows still to come in this round, for progress display. */
  readonly remaining?: number;
}

export type PullAnswer =
  | Page
  | { readonly kind: "reset"; readonly epoch: Epoch; readonly reason: ResetReason }
  | { readonly kind: "restart"; readonly epoch: Epoch }
  | { readonly kind: "need-held"; readonly epoch: Epoch }
  | { readonly kind: "need-schema"; readonly epoch: Epoch };
