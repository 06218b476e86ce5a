/**
 * What the engine knows between two requests and may forget with the process: what was agreed, how far the queue is
 * uploaded, what came of the last requests.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import type { TxRef } from "../protocol/ids.ts";
import type { ResetReason } from "../protocol/pull.ts";
import type { PushAhead } from "./push-ahead.ts";
import type { Agreement, SentAs } from "./written-schemas.ts";

/** The volatile side of the engine. */
export interface Session {
  agreement: Agreement | undefined;
  /** Hash of the tables and columns that were agreed upon. */
  agreed: string | undefined;
  /** How transactions are sent that were written before a migration, by the hash of their schema (rule V3). */
  written: ReadonlyMap<string, SentAs>;
  /** The last transaction that the server said it has. */
  uploaded: TxRef;
  /** Whether its record ends before what is handled (I3): a pull tells what that means, before anything is pushed. */
  isBehind: boolean;
  /** Whether it spoke of somebody else under our name, which may be what was discarded here (I4): a pull tells that, too. */
  isDoubted: boolean;
  /** Where the record ends, when the last pull found that only numbers are missing: where the next push begins. */
  recordEnd: TxRef | undefined;
  /** How often in a row what the server was known to have was sent again. */
  resent: number;
  /** Transactions wanted with whole rows (rule P6). */
  readonly needed: Set<number>;
  /** How many are taken to be wanted when one is: doubled each time, until a push goes through. */
  needAhead: number;
  /** Whether the server asked for the list of held scopes (rule U4). */
  sendsHeldList: boolean;
  /** Bytes and rows that a message may have; halved when one was too large. */
  maxRequestBytes: number;
  /** Transactions in a push: halved when one was too large, doubled with each that was taken. */
  maxPushTransactions: number;
  pageRows: number;
  /** The push after the one under way, if it is built already. */
  ahead: PushAhead | undefined;
  /** How often the clocks of the queue's transactions were put right. */
  clockMoves: number;
  /** Answers in a row that brought nothing. */
  fruitless: number;
  /** Why a fresh snapshot is asked for that the server did not ask us to take; the server counts it. */
  because: ResetReason | undefined;
  /** Rows received in the round in progress. */
  received: number;
  remaining: number | undefined;
}

/** How many answers in a row may bring nothing before the back-off is waited for. */
const MAX_FRUITLESS = 5;

/** A session that knows nothing. */
export function newSession(pageRows: number): Session {
  return {
    agreement: undefined,
    agreed: undefined,
    written: new Map(),
    uploaded: { number: 0, stamp: 0 },
    isBehind: false,
    isDoubted: false,
    recordEnd: undefined,
    resent: 0,
    needed: new Set(),
    needAhead: 1,
    sendsHeldList: false,
    maxRequestBytes: Number.MAX_SAFE_INTEGER,
    maxPushTransactions: Number.MAX_SAFE_INTEGER,
    pageRows,
    ahead: undefined,
    clockMoves: 0,
    fruitless: 0,
    because: undefined,
    received: 0,
    remaining: undefined,
  };
}

/** The device has a fresh id, or its queue was emptied: the server has a record of it that ends nowhere near `handled`. */
export function forgetQueue(session: Session, handled: TxRef): void {
  session.uploaded = handled;
  session.isBehind = handled.number > 0;
  session.recordEnd = undefined;
  session.needed.clear();
}

/** Counts an answer that brought nothing; throws when there were too many, so that no loop runs at the speed of the network. */
export function noteFruitless(session: Session, what: string): void {
  session.fruitless += 1;
  if (session.fruitless <= MAX_FRUITLESS) return;
  session.fruitless = 0;
  throw new SyncError({
    code: "UNAVAILABLE",
    message: `The server keeps answering without getting anywhere (${what}).`,
  });
}
