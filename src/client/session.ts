/**
 * What the engine knows between two requests and may forget with the process: what was agreed, how far the queue is
 * uploaded, what went wrong with which transaction.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import type { HandshakeAnswer } from "../protocol/handshake.ts";
import type { TxRef } from "../protocol/ids.ts";

/** A transaction's failures so far. */
export interface Attempts {
  readonly count: number;
  readonly lastError?: SyncError;
  readonly nextTryAt?: number;
}

/** The volatile side of the engine. */
export interface Session {
  agreement: HandshakeAnswer | undefined;
  /** The last transaction that the server said it has. */
  uploaded: TxRef;
  /** Transactions wanted with whole rows (rule P6). */
  readonly needed: Set<number>;
  /** Whether the server asked for the list of held scopes (rule U4). */
  sendsHeldList: boolean;
  /** Bytes and rows that a message may have; halved when one was too large. */
  maxRequestBytes: number;
  /** Transactions in a push: halved when one was too large, doubled with each that was taken. */
  maxPushTransactions: number;
  pageRows: number;
  /** By transaction number. */
  readonly attempts: Map<number, Attempts>;
  /** Answers in a row that brought nothing. */
  fruitless: number;
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
    uploaded: { number: 0, stamp: 0 },
    needed: new Set(),
    sendsHeldList: false,
    maxRequestBytes: Number.MAX_SAFE_INTEGER,
    maxPushTransactions: Number.MAX_SAFE_INTEGER,
    pageRows,
    attempts: new Map(),
    fruitless: 0,
    received: 0,
    remaining: undefined,
  };
}

/** The numbers of the queue mean something else from here on: the device has a fresh id. */
export function forgetQueue(session: Session): void {
  session.uploaded = { number: 0, stamp: 0 };
  session.needed.clear();
  session.attempts.clear();
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
