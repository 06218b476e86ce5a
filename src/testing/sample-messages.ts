/**
 * Messages that hold every kind of value there is, for tests of what carries them.
 *
 * @module
 */

import type { HandshakeAnswer, HandshakeRequest } from "../protocol/handshake.ts";
import type { Cursor, DeviceId, Epoch, Value } from "../protocol/ids.ts";
import type { Page, PullRequest } from "../protocol/pull.ts";
import type { PushAnswer, PushRequest } from "../protocol/push.ts";

export const deviceId = "0123456789abcdef0123456789abcdef" as DeviceId;
export const epoch = "fedcba9876543210fedcba9876543210" as Epoch;
export const schemaHash = "00112233445566ff";

/** One value of each kind, and those that break easily. */
export const awkwardValues: readonly Value[] = [
  null,
  0,
  -0,
  1.5,
  -7,
  Number.MAX_SAFE_INTEGER,
  9_223_372_036_854_775_807n,
  -9_223_372_036_854_775_808n,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  "",
  "text, ünïcode, 漢字, 🙂, \u0000",
  "lone surrogate \ud800",
  "0192f3a4-5b6c-7d8e-9f01-23456789abcd",
  "$int",
  new Uint8Array(0),
  new Uint8Array([0, 1, 127, 128, 255]),
];

export const handshakeRequest: HandshakeRequest = {
  deviceId,
  protocol: [1],
  schema: { hash: schemaHash, tables: { todos: ["id", "title"], "odd table": ["a:b", "$c"] } },
  time: 1_750_000_000_000,
};

export const handshakeAnswer: HandshakeAnswer = {
  epoch,
  protocol: 1,
  tables: { todos: ["id", "title"] },
  declaration: "ffeeddccbbaa9988",
  limits: { maxRequestBytes: 8_000_000, maxPushTransactions: 1000, maxPageRows: 1000 },
  time: 1_750_000_000_123,
};

export const pullRequest: PullRequest = {
  deviceId,
  epoch,
  cursor: "17.123456789012345" as Cursor,
  held: ["everyone", "list:1"],
  schema: schemaHash,
  baseSchema: schemaHash,
  ackedTx: 3,
  limit: 1000,
  round: {
    phase: "snapshot",
    scopes: ["everyone"],
    added: [],
    held: [],
    fresh: false,
    s0: 12,
    head: "19.1" as Cursor,
    next: 12,
    table: "todos",
    after: awkwardValues,
    baseSchema: schemaHash,
  },
};

export const page: Page = {
  kind: "page",
  epoch,
  from: "17.123456789012345" as Cursor,
  to: "21.42" as Cursor,
  scopes: ["everyone", "list:1"],
  schema: schemaHash,
  changes: [
    {
      table: "todos",
      kind: "row",
      columns: ["id", "value"],
      values: [awkwardValues.map((_, at) => `key ${at}`), awkwardValues],
    },
    { table: "todos", kind: "removal", columns: ["id"], values: [["gone", "gone too"]] },
  ],
  lastTx: { number: 5, stamp: 99 },
  ackedTx: 3,
  outcomes: [
    {
      status: "merged",
      number: 4,
      stamp: 98,
      conflicts: [
        {
          table: "todos",
          key: ["a"],
          kind: "update",
          columns: ["value"],
          winner: "server",
          client: { id: "a", value: 9_007_199_254_740_993n },
          server: null,
        },
      ],
    },
  ],
};

/** A page of so many rows, with text that does not compress to nothing. */
export function largePage(rows: number): Page {
  const keys = Array.from({ length: rows }, (_, at) => `key ${at}`);
  const titles = keys.map(
    (key, at) =>
      `${key}: ${Math.imul(at + 1, 2_654_435_761)
        .toString(36)
        .repeat(8)}`,
  );
  return { ...page, changes: [{ table: "todos", kind: "row", columns: ["id", "title"], values: [keys, titles] }] };
}

export const pushRequest: PushRequest = {
  deviceId,
  epoch,
  previous: { number: 5, stamp: 99 },
  shapes: [
    { table: "todos", kind: "insert", columns: ["value"] },
    { table: "todos", kind: "update", columns: ["value"] },
    { table: "todos", kind: "delete", columns: [] },
  ],
  txs: [
    {
      number: 6,
      stamp: 100,
      hlc: 1024,
      schema: schemaHash,
      ops: [
        ...awkwardValues.map((value, at) => [0, [`key ${at}`], [value], []] as const),
        ...awkwardValues.map((value, at) => [1, [`key ${at}`], ["new"], [value]] as const),
        [2, ["gone"], [], [["0011223344556677"]]],
      ],
    },
  ],
};

export const pushAnswer: PushAnswer = { kind: "ok", epoch, lastTx: { number: 6, stamp: 100 }, ackedTx: 3 };
