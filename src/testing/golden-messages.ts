/**
 * The messages behind the golden vectors: one of each kind, with every class of value and every way of packing a column.
 * Changing one of them, or what it encodes to, changes the protocol.
 *
 * @module
 */

import type { Cursor, DeviceId, Epoch } from "../protocol/ids.ts";
import type { HandshakeAnswer, HandshakeRequest } from "../protocol/handshake.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { Operation, PushAnswer, PushRequest } from "../protocol/push.ts";

// Brands of fixed examples, made by hand.
const deviceId = "00112233445566778899aabbccddeeff" as DeviceId;
const epoch = "ffeeddccbbaa99887766554433221100" as Epoch;
const from = "41.140737488355327" as Cursor;
const to = "57.281474976710655" as Cursor;
const schema = "8f14e45fceea167a";
const rows = Array.from({ length: 8 }, (_, i) => i);
const uuids = rows.map((i) => `f47ac10b-58cc-4372-a567-0e02b2c3d4${(i * 36).toString(16).padStart(2, "0")}`);

export const handshakeRequests: Readonly<Record<string, HandshakeRequest>> = {
  "a device that knows two tables": {
    deviceId,
    protocol: [1],
    schema: { hash: schema, tables: { lists: ["id", "name"], todos: ["id", "listId", "title", "done"] } },
    time: 1_767_225_600_000,
  },
};

export const handshakeAnswers: Readonly<Record<string, HandshakeAnswer>> = {
  "what the server sends of them, and what the device lacks": {
    epoch,
    protocol: 1,
    tables: { lists: ["id", "name"], todos: ["id", "listId", "title"] },
    outdated: { todos: ["done"] },
    declaration: "1f0e3dad99908345",
    limits: { maxRequestBytes: 8_388_608, maxPushTransactions: 500, maxPageRows: 5000 },
    time: 1_767_225_600_123,
  },
  "the server knows all of them": {
    epoch,
    protocol: 1,
    declaration: "1f0e3dad99908345",
    limits: { maxRequestBytes: 8_388_608, maxPushTransactions: 500, maxPageRows: 5000 },
    time: 1_767_225_600_123,
  },
};

export const pullRequests: Readonly<Record<string, PullRequest>> = {
  "the first pull of an empty device": { deviceId, held: [], schema, baseSchema: "", ackedTx: 0, limit: 2000 },
  "a pull from a cursor": {
    deviceId,
    epoch,
    cursor: from,
    held: "e4da3b7fbbce2345",
    wanted: ["everyone", "list:42"],
    schema,
    baseSchema: schema,
    ackedTx: 7,
    limit: 2000,
  },
  "a pull within a round": {
    deviceId,
    epoch,
    cursor: from,
    held: ["everyone"],
    schema,
    baseSchema: schema,
    ackedTx: 7,
    limit: 2000,
    round: {
      phase: "snapshot",
      scopes: ["everyone", "list:42"],
      added: ["list:42"],
      held: ["everyone"],
      fresh: false,
      s0: 57,
      head: to,
      next: 0,
      table: "todos",
      after: ["k", 5, 9_007_199_254_740_993n],
      baseSchema: schema,
    },
    check: ["everyone"],
  },
};

export const pullAnswers: Readonly<Record<string, PullAnswer>> = {
  "the last page of a round, with every way of packing": {
    kind: "page",
    epoch,
    from,
    to,
    scopes: ["everyone", "list:42"],
    schema,
    changes: [
      {
        table: "todos",
        kind: "row",
        columns: [
          "id",
          "listId",
          "title",
          "done",
          "priority",
          "createdAt",
          "weight",
          "notes",
          "list",
          "due",
          "price",
          "anything",
        ],
        values: [
          uuids,
          rows.map(() => "list:42"),
          rows.map((i) => `Title ${i} \u{1f600}`),
          rows.map((i) => i % 2),
          rows.map((i) => 1_000_000 + ((i * 5) % 8)),
          rows.map((i) => (i === 0 ? 0 : 1_767_225_600_000 + i * 10)),
          [0, -0, 0.5, -1.25, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e300],
          rows.map((i) => (i % 3 === 0 ? null : `note ${i}`)),
          rows.map((i) => `list:${i % 2}`),
          rows.map((i) => `2026-01-0${i + 1}`),
          rows.map((i) => 10 + i / 4),
          [null, 1, "1", Uint8Array.of(1, 255), 9_007_199_254_740_993n, -9_223_372_036_854_775_808n, -0, 1.5],
        ],
      },
      { table: "todos", kind: "update", columns: ["id", "title"], values: [["a"], ["lone \ud800 surrogate"]] },
      { table: "lists", kind: "removal", columns: ["id"], values: [["x", "y"]] },
    ],
    lastTx: { number: 9, stamp: 281_474_976_710_655 },
    ackedTx: 7,
    outcomes: [
      {
        status: "merged",
        number: 8,
        stamp: 5,
        conflicts: [
          {
            table: "todos",
            key: ["a"],
            kind: "update",
            columns: ["title"],
            winner: "server",
            client: { title: "mine" },
            server: { id: "a", title: "theirs" },
          },
        ],
      },
      {
        status: "rejected",
        number: 9,
        stamp: 6,
        code: "CONSTRAINT",
        message: "Column `title` must not be null.",
        operation: { index: 0, kind: "insert", table: "todos", key: ["b"], server: null },
      },
    ],
    checksums: { everyone: "00000000000000ff" },
  },
  "a page within a round": {
    kind: "page",
    epoch,
    round: {
      phase: "log",
      scopes: ["everyone"],
      added: [],
      held: ["everyone"],
      fresh: true,
      s0: 57,
      head: to,
      next: 60,
      baseSchema: "",
    },
    scopes: ["everyone"],
    schema,
    changes: [],
    remaining: 1200,
  },
  "a page for the scopes that the device holds": {
    kind: "page",
    epoch,
    from,
    to,
    schema,
    changes: [{ table: "todos", kind: "update", columns: ["id", "done"], values: [[uuids[0] ?? ""], [1]] }],
    lastTx: { number: 0, stamp: 0 },
    ackedTx: 0,
    outcomes: [],
  },
  "a reset": { kind: "reset", epoch, reason: "CURSOR_EXPIRED" },
  "a restart": { kind: "restart", epoch },
  "need-held": { kind: "need-held", epoch },
  "need-schema": { kind: "need-schema", epoch },
};

const longQueue: readonly (readonly Operation[])[] = [
  [[0, ["00000000-0000-4000-8000-00000000000a"], ["one", 0], []]],
  [[0, ["00000000-0000-4000-8000-00000000000b"], ["two", 1], []]],
  [
    [1, ["00000000-0000-4000-8000-00000000000a"], ["three"], ["one"]],
    [2, ["00000000-0000-4000-8000-00000000000c"], [], [["aab3238922bcc25a"]], ["as it was", 1]],
  ],
  [],
  [[1, ["00000000-0000-4000-8000-00000000000d"], [null], [["c51ce410c124a10e"]]]],
  ...["e", "f", "g", "h"].map((key): readonly Operation[] => [[0, [key], [`more ${key}`, 0], []]]),
];

export const pushRequests: Readonly<Record<string, PushRequest>> = {
  "operations of every kind, after a discarded range": {
    deviceId,
    epoch,
    previous: { number: 9, stamp: 281_474_976_710_655 },
    shapes: [
      { table: "todos", kind: "insert", columns: ["title", "done"] },
      { table: "todos", kind: "update", columns: ["title"] },
      { table: "todos", kind: "delete", columns: [] },
    ],
    txs: [
      { number: 12, from: 10, stamp: 0, hlc: 0, schema, ops: [] },
      {
        number: 13,
        stamp: 77,
        hlc: 1_809_638_998_016_000,
        schema,
        ops: [
          [0, ["a"], ["new", 0], []],
          [1, ["b"], ["newer"], ["old"]],
          [1, ["c"], ["newest"], [["c51ce410c124a10e"]]],
          [2, ["d"], [], [["aab3238922bcc25a"]], ["as it was", 1]],
        ],
      },
    ],
  },
  "numbers that were handled, to a server that has lost its record of them": {
    deviceId,
    epoch,
    cursor: "42.99" as Cursor,
    previous: { number: 0, stamp: 0 },
    shapes: [],
    txs: [{ number: 8, from: 1, stamp: 77, hlc: 0, schema, ops: [] }],
  },
  "a long queue, which travels by columns": {
    deviceId,
    epoch,
    previous: { number: 4, stamp: 3 },
    shapes: [
      { table: "todos", kind: "insert", columns: ["title", "done"] },
      { table: "todos", kind: "update", columns: ["title"] },
      { table: "todos", kind: "delete", columns: [] },
    ],
    txs: Array.from({ length: 10 }, (_, i) => ({
      ...(i === 3 ? { from: 8 } : {}),
      number: i < 3 ? 5 + i : 6 + i,
      stamp: 1000 - i,
      hlc: 1_809_638_998_016_000 + i * 65_536,
      schema,
      ops: longQueue[i] ?? [],
    })),
  },
};

export const pushAnswers: Readonly<Record<string, PushAnswer>> = {
  ok: { kind: "ok", epoch, lastTx: { number: 13, stamp: 77 }, ackedTx: 7 },
  "ok, with the time": { kind: "ok", epoch, lastTx: { number: 13, stamp: 77 }, ackedTx: 7, time: 1_700_000_000_000 },
  "a gap": { kind: "gap", epoch, lastTx: { number: 3, stamp: 1 }, ackedTx: 3 },
  need: { kind: "need", epoch, lastTx: { number: 12, stamp: 0 }, ackedTx: 7, number: 13 },
  forked: { kind: "forked", epoch },
  "a reset": { kind: "reset", epoch, reason: "EPOCH_CHANGED" },
  "need-schema": { kind: "need-schema", epoch },
};

export const liveFrames: Readonly<Record<string, LiveFrame>> = {
  "a heartbeat": { kind: "heartbeat" },
  "a poke": { kind: "poke" },
  "an end": { kind: "end", reason: "upgrade" },
};
