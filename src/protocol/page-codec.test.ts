import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arbitraryValue, arbitraryUuid } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import type { ChangeGroup } from "./change.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import type { Cursor, Epoch } from "./ids.ts";
import type { LiveFrame } from "./live.ts";
import {
  bytesToKeep,
  decodeLiveFrame,
  decodePullAnswer,
  encodeChanges,
  encodeLiveFrame,
  encodePullAnswer,
} from "./page-codec.ts";
import type { Page, PullAnswer } from "./pull.ts";

// Tests make brands by hand.
const epoch = "0123456789abcdef0123456789abcdef" as Epoch;
const cursor = (text: string): Cursor => text as Cursor;
const schema = "00000000000000aa";
const refused = expect.objectContaining({ code: "INVALID_MESSAGE" });

const todos: ChangeGroup = {
  table: "todos",
  kind: "row",
  columns: ["id", "title", "done"],
  values: [
    ["a", "b", "c", "d", "e"],
    ["one", "two", null, "four", "five"],
    [0, 1, 0, 0, 1],
  ],
};
const page: Page = {
  kind: "page",
  epoch,
  from: cursor("5.77"),
  to: cursor("9.78"),
  scopes: ["everyone", "list:1"],
  schema,
  changes: [todos, { table: "todos", kind: "removal", columns: ["id"], values: [["z"]] }],
  lastTx: { number: 3, stamp: 99 },
  ackedTx: 2,
  outcomes: [
    {
      status: "merged",
      number: 3,
      stamp: 99,
      conflicts: [
        {
          table: "todos",
          key: ["a"],
          kind: "update",
          columns: ["title"],
          winner: "server",
          client: { title: "mine" },
          server: { title: "theirs", big: 2n ** 60n },
        },
      ],
    },
  ],
  checksums: { everyone: "00000000000000ff" },
  remaining: 12,
};

const arbitraryGroup: fc.Arbitrary<ChangeGroup> = fc
  .tuple(
    fc.constantFrom("row" as const, "update" as const, "removal" as const),
    fc.integer({ min: 1, max: 5 }),
    fc.integer({ min: 0, max: 40 }),
  )
  .chain(([kind, columns, rows]) =>
    fc.tuple(
      fc.constant(kind),
      fc.array(
        fc.oneof(
          fc.array(arbitraryValue, { minLength: rows, maxLength: rows }),
          fc.array(arbitraryUuid, { minLength: rows, maxLength: rows }),
          arbitraryValue.map((value) => new Array(rows).fill(value)),
        ),
        { minLength: columns, maxLength: columns },
      ),
    ),
  )
  .map(([kind, values]) => ({ table: "todos", kind, columns: values.map((_, i) => `c${i}`), values }));

describe("round trips", () => {
  test("a page comes back exactly as it was", () => {
    expect(decodePullAnswer(encodePullAnswer(page))).toStrictEqual(page);
  });

  test("any groups of any values come back exactly as they were", () => {
    checkProperty(
      fc.property(fc.array(arbitraryGroup, { maxLength: 4 }), (changes) => {
        expect(decodePullAnswer(encodePullAnswer({ ...page, changes }))).toStrictEqual({ ...page, changes });
      }),
      500,
    );
  });

  test.each<PullAnswer>([
    { kind: "reset", epoch, reason: "CURSOR_EXPIRED" },
    { kind: "restart", epoch },
    { kind: "need-held", epoch },
    { kind: "need-schema", epoch },
  ])("a pull answer of kind $kind comes back", (answer) => {
    expect(decodePullAnswer(encodePullAnswer(answer))).toStrictEqual(answer);
  });

  test.each<LiveFrame>([
    { kind: "heartbeat" },
    { kind: "poke" },
    { kind: "end", reason: "pull" },
    { kind: "end", reason: "shutdown" },
    page,
  ])("L1: a live frame of kind $kind comes back", (frame) => {
    expect(decodeLiveFrame(encodeLiveFrame(frame))).toStrictEqual(frame);
  });

  test("a very wide group of one value comes back, though it is not packed then", () => {
    const columns = Array.from({ length: 400 }, (_, i) => `c${i}`);
    const values = columns.map((_, i) => Array.from({ length: 20 }, (__, row) => (i === 0 ? row : "x")));
    const wide: Page = { ...page, changes: [{ table: "wide", kind: "row", columns, values }] };
    expect(decodePullAnswer(encodePullAnswer(wide))).toStrictEqual(wide);
  });

  test("unknown fields of a newer server are ignored, in a page's round they are kept", () => {
    const round = {
      phase: "log",
      scopes: [],
      added: [],
      held: [],
      fresh: false,
      s0: 4,
      head: "9.1",
      next: 5,
      baseSchema: schema,
      newer: 1,
    };
    const message = { ...(decodeCbor(encodePullAnswer(page)) as object), newer: true, round };
    expect(decodePullAnswer(encodeCbor(message))).toStrictEqual({ ...page, round });
  });
});

describe("sharing", () => {
  test("L3: the changes of devices at the same cursor are encoded once, with what is each device's own beside them", () => {
    const changes = [todos];
    expect(encodeChanges(changes)).toBe(encodeChanges(changes));
    const mine = decodePullAnswer(encodePullAnswer({ ...page, changes, lastTx: { number: 1, stamp: 1 } }));
    const theirs = decodePullAnswer(encodePullAnswer({ ...page, changes, lastTx: { number: 2, stamp: 2 } }));
    expect(mine).toStrictEqual({ ...page, changes, lastTx: { number: 1, stamp: 1 } });
    expect(theirs).toStrictEqual({ ...page, changes, lastTx: { number: 2, stamp: 2 } });
  });
});

describe("keeping", () => {
  const again = (kept: Page): unknown => {
    const answer = decodePullAnswer(bytesToKeep(kept));
    return answer.kind === "page" ? answer.changes : answer;
  };

  test("R1: a page is kept as the bytes that it came in, whatever was made of it since", () => {
    const bytes = encodePullAnswer(page);
    const answer = decodePullAnswer(bytes);
    if (answer.kind !== "page") throw new Error("It is a page.");
    expect(bytesToKeep(answer)).toBe(bytes);
    expect(again({ ...answer, outcomes: [] })).toStrictEqual(page.changes);
  });

  test("R1: a page that came in no bytes is kept with any values that it has", () => {
    checkProperty(
      fc.property(fc.array(arbitraryGroup, { maxLength: 4 }), (changes) => {
        expect(again({ ...page, changes })).toStrictEqual(changes);
      }),
    );
  });
});

describe("hostile pages", () => {
  const { changes: _, ...envelope } = page;
  const withChanges = (changes: unknown): Uint8Array => encodeCbor({ ...envelope, changes });

  test.each<readonly [string, unknown]>([
    ["no changes", undefined],
    ["changes that are no list", {}],
    ["a group that is a map", [{ table: "todos" }]],
    ["a group of four", [["todos", 0, ["id"], 1]]],
    ["a group of an unknown kind", [["todos", 3, ["id"], 1, [[0, ["a"]]]]]],
    ["a group of a kind by name", [["todos", "row", ["id"], 1, [[0, ["a"]]]]]],
    ["a group of a kind like a property", [["todos", "length", ["id"], 1, [[0, ["a"]]]]]],
    ["a group without a table", [["", 0, ["id"], 1, [[0, ["a"]]]]]],
    ["a group without columns", [["todos", 0, [], 1, []]]],
    [
      "a group with a column twice",
      [
        [
          "todos",
          0,
          ["id", "id"],
          1,
          [
            [0, ["a"]],
            [0, ["a"]],
          ],
        ],
      ],
    ],
    ["more columns than packed ones", [["todos", 0, ["id", "title"], 1, [[0, ["a"]]]]]],
    ["a negative number of rows", [["todos", 0, ["id"], -1, [[0, []]]]]],
    ["half a row", [["todos", 0, ["id"], 0.5, [[0, []]]]]],
    ["a value that is none", [["todos", 0, ["id"], 1, [[0, [{}]]]]]],
    ["a billion rows of a constant", [["todos", 0, ["id"], 1e9, [[1, "x"]]]]],
    ["a million rows of a constant", [["todos", 0, ["id"], 1e6, [[1, "x"]]]]],
    [
      "a million rows, of nothing but nulls and a constant",
      [
        [
          "todos",
          0,
          ["id", "a"],
          8e5,
          [
            [7, new Uint8Array(1e5), [0, []]],
            [1, null],
          ],
        ],
      ],
    ],
  ])("INVALID_MESSAGE: %s", (__, changes) => {
    expect(() => decodePullAnswer(withChanges(changes))).toThrow(refused);
  });

  test("INVALID_MESSAGE: an envelope that is none is refused, and a live frame is no pull answer", () => {
    for (const message of [
      null,
      1,
      [],
      {},
      { kind: "page" },
      { ...envelope, epoch: "x", changes: [] },
      { ...envelope, from: "1", changes: [] },
      { kind: "other", epoch },
    ]) {
      expect(() => decodeLiveFrame(encodeCbor(message))).toThrow(refused);
    }
    for (const frame of [{ kind: "heartbeat" }, { kind: "poke" }, { kind: "end", reason: "pull" }] as const) {
      expect(() => decodePullAnswer(encodeLiveFrame(frame))).toThrow(refused);
    }
  });

  test("a page with changed bytes is refused, or is a page", () => {
    const rows = Array.from({ length: 50 }, (__, i) => i);
    const big: Page = {
      ...page,
      changes: [
        {
          ...todos,
          columns: ["id", "title", "createdAt", "done", "price", "due", "status", "weight"],
          values: [
            rows.map((i) => `f47ac10b-58cc-4372-a567-0e02b2c3d4${String(i).padStart(2, "0")}`),
            rows.map((i) => (i % 4 === 0 ? null : `text ${i}`)),
            rows.map((i) => i * 1000),
            rows.map((i) => i % 2),
            rows.map((i) => i / 4),
            rows.map((i) => `2026-01-${10 + i}`),
            rows.map((i) => `status ${i % 3}`),
            rows.map((i) => i / 3),
          ],
        },
      ],
    };
    const original = encodePullAnswer(big);
    checkProperty(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (edits) => {
        const bytes = original.slice();
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        try {
          const answer = decodePullAnswer(bytes);
          if (answer.kind === "page")
            for (const group of answer.changes)
              for (const column of group.values) expect(column.length).toBe(group.values[0]?.length);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_MESSAGE" });
        }
      }),
      3000,
    );
  });
});
