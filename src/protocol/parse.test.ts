import { describe, expect, test } from "vitest";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { toJsonValues } from "./json-values.ts";
import {
  parseHandshakeAnswer,
  parseHandshakeRequest,
  parseLiveFrame,
  parsePullAnswer,
  parsePullRequest,
  parsePushAnswer,
  parsePushRequest,
  parseRoundState,
} from "./parse.ts";

type Message = Readonly<Record<string, unknown>>;
type Edit = readonly [what: string, message: Message];

const id = "0123456789abcdef0123456789abcdef";
const hash = "00000000000000aa";
const refused = expect.objectContaining({ code: "INVALID_MESSAGE" });

const wideTables = (tables: number, columns: number): Message =>
  Object.fromEntries(
    Array.from({ length: tables }, (_, i) => [
      `table${i}`,
      Array.from({ length: columns }, (__, j) => `a_column_${j}`),
    ]),
  );
const handshake: Message = {
  deviceId: id,
  protocol: [1],
  schema: { hash, tables: { todos: ["id", "title"] } },
  time: 1_700_000_000_000,
};
const round: Message = {
  phase: "snapshot",
  scopes: ["a"],
  added: ["a"],
  held: [],
  fresh: true,
  s0: 4,
  head: "4.9",
  next: 0,
  table: "todos",
  after: ["k", 1, 2n ** 60n],
  baseSchema: "",
};
const pull: Message = {
  deviceId: id,
  epoch: id,
  cursor: "5.77",
  held: hash,
  wanted: ["a"],
  schema: hash,
  baseSchema: hash,
  ackedTx: 3,
  limit: 500,
  round,
  check: ["a"],
  format: "json",
};
const insert = [0, ["k"], ["title", null], []];
const update = [1, ["k", 1], [2n ** 60n], [[hash]]];
const remove = [2, [Uint8Array.of(1)], [], [[hash]], ["row", null]];
const tx: Message = { number: 8, stamp: 1, hlc: 5, schema: hash, ops: [insert, update, remove] };
const push: Message = {
  deviceId: id,
  epoch: id,
  previous: { number: 4, stamp: 2 },
  shapes: [
    { table: "todos", kind: "insert", columns: ["title", "done"] },
    { table: "todos", kind: "update", columns: ["done"] },
    { table: "todos", kind: "delete", columns: [] },
  ],
  txs: [{ number: 7, from: 5, stamp: 0, hlc: 0, schema: hash, ops: [] }, tx],
};
const page: Message = {
  kind: "page",
  epoch: id,
  from: "1.1",
  to: "2.2",
  scopes: ["a"],
  schema: hash,
  lastTx: { number: 1, stamp: 2 },
  ackedTx: 1,
  remaining: 5,
  checksums: { a: hash },
  changes: [
    {
      table: "todos",
      kind: "row",
      columns: ["id", "title"],
      values: [
        ["a", "b"],
        [null, 2n ** 60n],
      ],
    },
  ],
  outcomes: [
    {
      status: "merged",
      number: 1,
      stamp: 2,
      conflicts: [
        {
          table: "todos",
          key: ["a"],
          kind: "update",
          columns: ["title"],
          winner: "server",
          client: { title: 1 },
          server: null,
        },
      ],
    },
    {
      status: "rejected",
      number: 2,
      stamp: 3,
      code: "UNDONE",
      message: "No.",
      operation: { index: 0, kind: "insert", table: "todos", key: ["a"], server: { id: "a" } },
      cause: 1,
    },
  ],
};

const withTx = (fields: Message): Message => ({ ...push, txs: [{ ...tx, from: 5, ...fields }] });
const withOp = (operation: unknown): Message => ({ ...push, txs: [{ ...tx, number: 5, ops: [operation] }] });

const overJson = (message: Message): unknown =>
  JSON.parse(JSON.stringify(toJsonValues({ ...message, format: "json" })));

const messageOf = (message: Message): string => {
  try {
    parsePushRequest(message);
    return "";
  } catch (error) {
    return `${(error as Error).message} ${JSON.stringify((error as { details?: unknown }).details)}`;
  }
};

describe("requests are strict", () => {
  test.each<readonly [string, (message: unknown) => unknown, Message]>([
    ["handshake", parseHandshakeRequest, handshake],
    ["pull", parsePullRequest, pull],
    ["push", parsePushRequest, push],
    ["round", parseRoundState, round],
  ])("a %s request parses to itself, also after CBOR", (_, parse, message) => {
    expect(parse(message)).toStrictEqual(message);
    expect(parse(decodeCbor(encodeCbor(message)))).toStrictEqual(message);
  });

  test("R3: a device keeps what a newer server put into the state of a round", () => {
    expect(parseRoundState({ ...round, newer: 1 })).toStrictEqual({ ...round, newer: 1 });
    expect(() => parseRoundState({ ...round, s0: -1 })).toThrow(refused);
  });

  test("a first pull names no epoch, cursor or round", () => {
    const first = { deviceId: id, held: [], schema: hash, baseSchema: "", ackedTx: 0, limit: 1 };
    expect(parsePullRequest(first)).toStrictEqual(first);
  });

  test("a request over JSON says so and is unwrapped", () => {
    expect(parsePullRequest(overJson(pull))).toStrictEqual(pull);
    expect(parsePushRequest(overJson(push))).toStrictEqual({ ...push, format: "json" });
    expect(() => parsePushRequest(toJsonValues(push))).toThrow(refused);
  });

  test.each<Edit>([
    ["an unknown field", { ...handshake, extra: 1 }],
    ["an unknown field within", { ...handshake, schema: { hash, tables: {}, extra: 1 } }],
    ["a device id in capitals", { ...handshake, deviceId: id.toUpperCase() }],
    ["no versions", { ...handshake, protocol: [] }],
    ["too many versions", { ...handshake, protocol: new Array(65).fill(1) }],
    ["a negative version", { ...handshake, protocol: [-1] }],
    ["a hash that is none", { ...handshake, schema: { hash: "x", tables: {} } }],
    ["a column twice", { ...handshake, schema: { hash, tables: { todos: ["id", "id"] } } }],
    ["an empty column", { ...handshake, schema: { hash, tables: { todos: [""] } } }],
    ["a table that is no list", { ...handshake, schema: { hash, tables: { todos: "id" } } }],
    ["a long table name", { ...handshake, schema: { hash, tables: { ["x".repeat(257)]: ["id"] } } }],
    ["more names than a server keeps", { ...handshake, schema: { hash, tables: wideTables(100, 2000) } }],
    ["tables that are a list", { ...handshake, schema: { hash, tables: [] } }],
    ["a time that is not safe", { ...handshake, time: 2 ** 53 }],
    ["a fraction of time", { ...handshake, time: 1.5 }],
    ["a time as bigint", { ...handshake, time: 1n }],
  ])("INVALID_MESSAGE: a handshake with %s", (_, message) => {
    expect(() => parseHandshakeRequest(message)).toThrow(refused);
  });

  test.each<Edit>([
    ["an unknown field", { ...pull, extra: 1 }],
    ["an undefined field", { ...pull, epoch: undefined }],
    ["a cursor that is none", { ...pull, cursor: "5" }],
    ["held scopes of the wrong type", { ...pull, held: [1] }],
    ["a scope without bounds", { ...pull, wanted: ["x".repeat(2049)] }],
    ["a limit of nothing", { ...pull, limit: 0 }],
    ["a negative acknowledgement", { ...pull, ackedTx: -1 }],
    ["another format", { ...pull, format: "xml" }],
    ["an unknown phase", { ...pull, round: { ...round, phase: "end" } }],
    ["an unknown field of its round", { ...pull, round: { ...round, extra: 1 } }],
    ["a round without its head", { ...pull, round: { ...round, head: undefined } }],
    ["a round after no key", { ...pull, round: { ...round, after: [] } }],
    ["a round after an object", { ...pull, round: { ...round, after: [{}] } }],
  ])("INVALID_MESSAGE: a pull with %s", (_, message) => {
    expect(() => parsePullRequest(message)).toThrow(refused);
  });

  test.each<Edit>([
    ["an unknown field", { ...push, extra: 1 }],
    ["no epoch", { ...push, epoch: undefined }],
    ["a stamp beyond 48 bits", { ...push, previous: { number: 4, stamp: 2 ** 48 } }],
    ["a shape of an unknown kind", { ...push, shapes: [{ table: "todos", kind: "upsert", columns: [] }] }],
    ["a shape with a column twice", { ...push, shapes: [{ table: "todos", kind: "insert", columns: ["a", "a"] }] }],
    ["a transaction without number", withTx({ number: 0 })],
    ["an unknown field of a transaction", withTx({ ops: [], extra: 1 })],
    ["operations that are no list", withTx({ ops: {} })],
    ["an empty range with operations", withTx({ from: 5, number: 8 })],
    ["an empty range that ends before it begins", withTx({ from: 9, number: 8, ops: [] })],
    ["numbers that do not follow", { ...push, txs: [{ ...tx, number: 6 }] }],
    [
      "numbers that repeat",
      {
        ...push,
        txs: [
          { ...tx, number: 5 },
          { ...tx, number: 5 },
        ],
      },
    ],
    ["an operation of three", withOp([0, ["k"], ["a", null]])],
    ["an operation of six", withOp([...remove, 1])],
    ["an operation that is a map", withOp({ shape: 0 })],
    ["an operation of no shape", withOp([3, ["k"], [], []])],
    ["an operation of half a shape", withOp([0.5, ["k"], [], []])],
    ["an operation without key", withOp([0, [], ["a", null], []])],
    ["a value that is no value", withOp([0, ["k"], ["a", { b: 1 }], []])],
    ["a value that is undefined", withOp([0, ["k"], ["a", undefined], []])],
    ["a value that is a boolean", withOp([0, ["k"], ["a", true], []])],
    ["an integer beyond 64 bits", withOp([0, ["k"], ["a", 2n ** 63n], []])],
    ["fewer values than columns", withOp([0, ["k"], ["a"], []])],
    ["an insert with before-values", withOp([0, ["k"], ["a", null], [1]])],
    ["an update without before-values", withOp([1, ["k"], [1], []])],
    ["a before-value that is no hash", withOp([1, ["k"], [1], [["x"]]])],
    ["a before-value of two hashes", withOp([1, ["k"], [1], [[hash, hash]]])],
    ["a delete without hash", withOp([2, ["k"], [], []])],
    ["a delete with a value for a hash", withOp([2, ["k"], [], [1]])],
    ["a row that is no list", withOp([2, ["k"], [], [[hash]], {}])],
    ["a row of objects", withOp([2, ["k"], [], [[hash]], [{}]])],
  ])("INVALID_MESSAGE: a push with %s", (_, message) => {
    expect(() => parsePushRequest(message)).toThrow(refused);
  });

  test("INVALID_MESSAGE: the error names the place and never the value", () => {
    const secret = "correct horse battery staple";
    for (const message of [
      withOp([0, [secret], [{ secret }], []]),
      { ...push, epoch: secret },
      withTx({ hlc: secret }),
      withOp([1, [secret], [secret], []]),
    ]) {
      expect(messageOf(message)).not.toBe("");
      expect(messageOf(message)).not.toContain("horse");
    }
    expect(messageOf({ ...push, previous: { number: -1, stamp: 2 } })).toContain("previous.number");
  });
});

describe("answers are lenient to unknown fields", () => {
  const newer = { newer: { more: 1 } };

  test("a handshake answer", () => {
    const answer = {
      epoch: id,
      protocol: 1,
      tables: { todos: ["id"] },
      declaration: hash,
      limits: { maxRequestBytes: 1, maxPushTransactions: 2, maxPageRows: 3 },
      time: 5,
    };
    expect(parseHandshakeAnswer({ ...answer, ...newer, limits: { ...answer.limits, ...newer } })).toStrictEqual(answer);
    expect(() => parseHandshakeAnswer({ ...answer, limits: {} })).toThrow(refused);
  });

  test.each<Message>([
    page,
    { ...page, to: "3.3", changes: [], outcomes: [] },
    { kind: "reset", epoch: id, reason: "CHECKSUM_MISMATCH" },
    { kind: "restart", epoch: id },
    { kind: "need-held", epoch: id },
    { kind: "need-schema", epoch: id },
  ])("a pull answer of kind $kind", (answer) => {
    expect(parsePullAnswer({ ...answer, ...newer })).toStrictEqual(answer);
    expect(parseLiveFrame({ ...answer, ...newer })).toStrictEqual(answer);
  });

  test.each<Message>([
    { kind: "ok", epoch: id, lastTx: { number: 1, stamp: 2 }, ackedTx: 0 },
    { kind: "gap", epoch: id, lastTx: { number: 1, stamp: 2 }, ackedTx: 0 },
    { kind: "need", epoch: id, lastTx: { number: 1, stamp: 2 }, ackedTx: 0, number: 2 },
    { kind: "forked", epoch: id },
    { kind: "reset", epoch: id, reason: "EPOCH_CHANGED" },
    { kind: "need-schema", epoch: id },
  ])("a push answer of kind $kind", (answer) => {
    expect(parsePushAnswer({ ...answer, ...newer })).toStrictEqual(answer);
  });

  test.each<Message>([{ kind: "heartbeat" }, { kind: "poke" }, { kind: "end", reason: "auth" }])(
    "L1: a live frame of kind $kind",
    (frame) => {
      expect(parseLiveFrame({ ...frame, ...newer })).toStrictEqual(frame);
      expect(() => parsePullAnswer(frame)).toThrow(refused);
    },
  );

  test.each<Edit>([
    [
      "columns of different lengths",
      { ...page, changes: [{ table: "t", kind: "row", columns: ["a", "b"], values: [[1], [1, 2]] }] },
    ],
    [
      "fewer columns of values than names",
      { ...page, changes: [{ table: "t", kind: "row", columns: ["a", "b"], values: [[1]] }] },
    ],
    [
      "an unknown kind of change",
      { ...page, changes: [{ table: "t", kind: "delete", columns: ["a"], values: [[1]] }] },
    ],
    ["a value that is none", { ...page, changes: [{ table: "t", kind: "row", columns: ["a"], values: [[true]] }] }],
    ["a column that is no list", { ...page, changes: [{ table: "t", kind: "row", columns: ["a"], values: ["x"] }] }],
    ["changes that are none", { ...page, changes: [null] }],
    [
      "an unknown rejection code",
      { ...page, outcomes: [{ status: "rejected", number: 2, stamp: 3, code: "WHY", message: "No." }] },
    ],
    ["an outcome of another status", { ...page, outcomes: [{ status: "applied", number: 2, stamp: 3 }] }],
    [
      "a report with a row that is a list",
      {
        ...page,
        outcomes: [
          {
            status: "merged",
            number: 1,
            stamp: 2,
            conflicts: [{ table: "t", key: ["a"], kind: "update", columns: [], winner: "server", client: [] }],
          },
        ],
      },
    ],
    ["a reset without reason", { kind: "reset", epoch: id }],
    ["another kind", { kind: "other", epoch: id }],
  ])("INVALID_MESSAGE: a pull answer with %s", (_, message) => {
    expect(() => parsePullAnswer(message)).toThrow(refused);
  });
});

test("a schema of hundreds of wide tables is taken", () => {
  const message = { ...handshake, schema: { hash, tables: wideTables(400, 60) } };
  expect(parseHandshakeRequest(message)).toStrictEqual(message);
});

test("P10: an outcome may have a conflict for each operation that a push may have", () => {
  const conflict = { table: "t", key: ["a"], kind: "delete", columns: [], winner: "server", client: null };
  const conflicts = Array.from({ length: 200_001 }, () => conflict);
  const outcomes = [{ status: "merged", number: 1, stamp: 2, conflicts }];
  expect(parsePullAnswer({ ...page, outcomes })).toMatchObject({ kind: "page", outcomes: [{ number: 1 }] });
});

test("a push of ten thousand operations is checked in a fraction of the time it takes to apply", () => {
  const ops = Array.from({ length: 10_000 }, (_, i) => [1, [`key ${i}`], [i], [i - 1]]);
  const big = { ...push, txs: ops.map((op, i) => ({ ...tx, number: 5 + i, ops: [op] })) };
  parsePushRequest(big);
  const started = performance.now();
  parsePushRequest(big);
  expect(performance.now() - started).toBeLessThan(500);
});
