import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arbitraryUuid, arbitraryValue } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import type { DeviceId, Epoch, Key, Value } from "./ids.ts";
import { parsePushRequest } from "./parse.ts";
import type { Operation, OperationShape, PushRequest, PushTransaction, SeenValue } from "./push.ts";
import { decodePushRequest, encodePushRequest } from "./push-codec.ts";

// Tests make brands by hand.
const deviceId = "0123456789abcdef0123456789abcdef" as DeviceId;
const epoch = "fedcba9876543210fedcba9876543210" as Epoch;
const hash = "00000000000000aa";
const refused = expect.objectContaining({ code: "INVALID_MESSAGE" });

const shapes: readonly OperationShape[] = [
  { table: "todos", kind: "insert", columns: ["title", "done"] },
  { table: "todos", kind: "update", columns: ["title", "notes"] },
  { table: "todos", kind: "delete", columns: [] },
  { table: "pairs", kind: "insert", columns: [] },
];

const arbitrarySeen: fc.Arbitrary<SeenValue> = fc.oneof(arbitraryValue, fc.constant([hash] as const));
const arbitraryOperation: fc.Arbitrary<Operation> = fc
  .tuple(
    fc.nat(3),
    fc.oneof(arbitraryUuid, arbitraryValue),
    fc.tuple(arbitraryValue, arbitraryValue),
    fc.tuple(arbitrarySeen, arbitrarySeen),
    fc.option(fc.array(arbitraryValue, { maxLength: 3 })),
  )
  .map(([shape, part, values, seen, row]): Operation => {
    const key: Key = shape === 3 ? [part, 1] : [part];
    const before = shape === 1 ? seen : shape === 2 ? ([[hash]] as const) : [];
    const operation = [shape, key, shape < 2 ? values : [], before] as const;
    return row === null ? operation : [...operation, row];
  });

const requestOf = (operations: readonly (readonly Operation[])[]): PushRequest => {
  let number = 4;
  const txs = operations.map((ops, i): PushTransaction => {
    const from = number + 1;
    // An empty transaction may stand for several numbers.
    number += ops.length === 0 && i % 2 === 0 ? 3 : 1;
    return {
      number,
      ...(number === from ? {} : { from }),
      stamp: (i * 7919 + 1) % 2 ** 48,
      hlc: 2 ** 52 + i,
      schema: i % 5 === 0 ? hash : "00000000000000ab",
      ops,
    };
  });
  return { deviceId, epoch, previous: { number: 4, stamp: 9 }, shapes, txs };
};
const insert = (i: number): Operation => [0, [`00000000-0000-4000-8000-${String(i).padStart(12, "0")}`], ["t", i], []];
const many = requestOf(Array.from({ length: 40 }, (_, i) => [insert(i)]));

describe("round trips", () => {
  test("P1: any transactions come back exactly as they were", () => {
    checkProperty(
      fc.property(fc.array(fc.array(arbitraryOperation, { maxLength: 4 }), { maxLength: 30 }), (operations) => {
        const request = requestOf(operations);
        const decoded = decodePushRequest(encodePushRequest(request));
        expect(decoded).toStrictEqual(request);
        expect(parsePushRequest(decoded)).toStrictEqual(request);
      }),
      500,
    );
  });

  test("a long queue takes less than half the bytes of its plain list, a short one is that list", () => {
    expect(encodePushRequest(many).length).toBeLessThan(encodeCbor(many).length / 2);
    const short = { ...many, txs: many.txs.slice(0, 3) };
    expect(decodeCbor(encodePushRequest(short))).toStrictEqual(short);
  });

  test("the plain list is taken too, however long", () => {
    expect(decodePushRequest(encodeCbor(many))).toStrictEqual(many);
  });
});

describe("hostile bytes", () => {
  const { txs: _txs, ...head } = many;
  const packed = (decodeCbor(encodePushRequest(many)) as { readonly packed: readonly unknown[] }).packed;
  const withPart = (at: number, part: unknown): Uint8Array =>
    encodeCbor({ ...head, packed: packed.map((each, i) => (i === at ? part : each)) });
  const constant = (value: Value): readonly unknown[] => [1, value];

  test.each<[what: string, bytes: Uint8Array]>([
    ["no list", encodeCbor({ ...head, packed: {} })],
    ["a part too few", encodeCbor({ ...head, packed: packed.slice(1) })],
    ["a plain list beside it", encodeCbor({ ...many, packed })],
    ["no shapes", encodeCbor({ ...head, shapes: undefined, packed })],
    ["shapes that are none", encodeCbor({ ...head, shapes: [1, 2, 3, 4], packed })],
    ["more transactions than a push may have", withPart(0, 20_001)],
    ["half a transaction", withPart(0, 0.5)],
    ["a column of the head too few", withPart(1, (packed[1] as unknown[]).slice(1))],
    [
      "columns that cost nothing",
      withPart(
        1,
        Array.from({ length: 5 }, () => constant(1)),
      ),
    ],
    ["sizes that are no counts", withPart(1, [...(packed[1] as unknown[]).slice(0, 4), constant("a")])],
    ["sizes without end", withPart(1, [...(packed[1] as unknown[]).slice(0, 4), constant(2 ** 40)])],
    ["a range of no transaction's", withPart(2, [[1]])],
    ["shapes that cost nothing", withPart(3, constant(0))],
    ["operations of a shape that is not there", withPart(3, [0, Array.from({ length: 40 }, () => 9)])],
    ["fewer operations of a shape than it has", withPart(3, [0, Array.from({ length: 40 }, (_, i) => (i ? 0 : 2))])],
    ["a group too few", withPart(4, (packed[4] as unknown[]).slice(1))],
    ["a group that is none", withPart(4, [1, 2, 3, 4])],
    [
      "a group that costs nothing",
      withPart(4, [
        [40, 1, [constant("k"), constant("t"), constant(1)]],
        [0, 0, []],
        [0, 0, []],
        [0, 0, []],
      ]),
    ],
    ["a row of no operation", withPart(5, [[99, []]])],
    ["a row that is none", withPart(5, [[0, {}]])],
  ])("INVALID_MESSAGE: a packed push with %s", (_, bytes) => {
    expect(() => decodePushRequest(bytes)).toThrow(refused);
  });

  test("INVALID_MESSAGE: what unpacks is parsed like anything else", () => {
    const bad = decodePushRequest(withPart(1, [constant("one"), ...(packed[1] as unknown[]).slice(1)]));
    expect(() => parsePushRequest(bad)).toThrow(refused);
  });

  test("a push with changed bytes is refused, or is a push", () => {
    const original = encodePushRequest(many);
    checkProperty(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (edits) => {
        const bytes = original.slice();
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte;
        try {
          parsePushRequest(decodePushRequest(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_MESSAGE" });
        }
      }),
      3000,
    );
  });
});
