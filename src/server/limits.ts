/**
 * What a server accepts and gives at once.
 *
 * @module
 */

import type { Limits } from "../protocol/handshake.ts";

/** Told to devices at the handshake; a device keeps below it. */
export const defaultLimits: Limits = {
  // The same as the handler's, which enforces it.
  maxRequestBytes: 8 * 1024 * 1024,
  maxPushTransactions: 1000,
  maxPageRows: 5000,
};

/** Bytes of a page's changes, roughly, at which it ends. */
export const maxPageBytes = 4 * 1024 * 1024;

/** Bytes of one outcome beyond which rows are left out of it, and of the outcomes of one page. */
export const outcomeLimits = { bytes: 16 * 1024, pageBytes: 2 * 1024 * 1024 } as const;

/**
 * Scopes of one answer that are summed, at most, and about how many of their rows are read before some are left out: on a
 * synchronous driver nobody else is answered meanwhile.
 */
export const checkLimits = { scopes: 1000, rows: 10_000 } as const;

/**
 * Consecutive transactions of a push that share one database transaction, and operations in it, at most: some ten milliseconds of
 * work, during which nobody else writes. One that is applied by itself counts as several.
 */
export const groupLimits = { transactions: 500, operations: 2000, alone: 5 } as const;

/** Entries of the log's tail that may stay unindexed, and how many are indexed in one transaction. */
export const tailLimits = { entries: 4000, batch: 8000 } as const;

/**
 * Entries that one step of trimming removes: it holds the write lock for a few milliseconds. Between two steps the trimmer
 * waits some times as long as a step took, so that writers of other processes, which sleep between two tries, get their turn.
 */
export const trimLimits = { batch: 500, restFactor: 4 } as const;
