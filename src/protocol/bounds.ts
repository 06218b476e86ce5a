/**
 * How large the parts of a message may be. They bound what a request can make a server allocate or compute before its
 * rights are known; real applications stay far below. Bytes of a whole message are bounded by the codec (`cbor.ts`).
 *
 * @module
 */

/** Bounds of every list and text in a message. */
export const bounds = {
  /** UTF-16 units of a table or column key. */
  name: 256,
  /** UTF-16 units of a scope. */
  scope: 2048,
  /** Scopes in one list. */
  scopes: 100_000,
  /** Tables of a schema. */
  tables: 2000,
  /** UTF-16 units of all names of a schema: a server keeps them, some in memory. About 20,000 columns. */
  schema: 500_000,
  /** Columns of a table, and of a group or shape; SQLite's own limit. */
  columns: 2000,
  /** Columns of a primary key. */
  keyColumns: 64,
  /** Shapes of one push. */
  shapes: 20_000,
  /** Transactions of one push. */
  transactions: 20_000,
  /** Operations of one push. */
  operations: 2_000_000,
  /** Change groups of one page. */
  groups: 200_000,
  /** Rows of one change group. */
  rows: 2_000_000,
  /** Outcomes of one page. An outcome has as many conflicts as its transaction had operations. */
  outcomes: 200_000,
  /** Protocol versions offered. */
  versions: 64,
  /** UTF-16 units of a message for people. */
  message: 2000,
} as const;

/** Stamps are random integers of 48 bits. */
export const maxStamp = 2 ** 48 - 1;
