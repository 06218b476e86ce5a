import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arbitraryText, arbitraryUuid, arbitraryValue, awkwardNumbers } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { packColumn, unpackColumn, weightOf } from "./column-codec.ts";
import type { Value } from "./ids.ts";

const overWire = (values: readonly Value[]): readonly Value[] =>
  unpackColumn(decodeCbor(encodeCbor(packColumn(values))), values.length);
const bytes = (...list: readonly number[]): Uint8Array => Uint8Array.from(list);
const many = { minLength: 0, maxLength: 60 };
const uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479";
const broken = expect.objectContaining({ code: "INVALID_MESSAGE" });

const arbitraryColumn: fc.Arbitrary<readonly Value[]> = fc.oneof(
  fc.array(arbitraryValue, many),
  fc.array(arbitraryText, many),
  fc.array(arbitraryUuid, many),
  fc.array(fc.oneof(arbitraryUuid, fc.constant(null)), many),
  fc.array(fc.oneof({ weight: 20, arbitrary: arbitraryUuid }, { weight: 1, arbitrary: arbitraryText }), many),
  fc.array(fc.constantFrom("open", "closed", "later", "\ud800"), many),
  fc.array(fc.constantFrom<Value>("open", "closed", null), many),
  fc
    .tuple(fc.array(arbitraryText, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(2), many))
    .map(([few, picks]) => picks.map((pick) => few[pick % few.length] as string)),
  fc.array(fc.maxSafeInteger(), many),
  fc.array(fc.constantFrom(...awkwardNumbers), many),
  fc.array(fc.constantFrom(0, 1), many),
  fc.array(fc.double(), many),
  fc
    .tuple(fc.maxSafeInteger(), fc.array(fc.nat(1000), many))
    .map(([first, steps]) =>
      steps.map((_, i) => steps.slice(0, i + 1).reduce((sum, step) => sum + step, first)).filter(Number.isSafeInteger),
    ),
  fc.array(fc.uint8Array({ maxLength: 20 }), many),
  fc.tuple(arbitraryValue, fc.nat(50)).map(([value, count]) => new Array<Value>(count).fill(value)),
);

test("every column comes back exactly as it was", () => {
  checkProperty(
    fc.property(arbitraryColumn, (values) => {
      expect(overWire(values)).toStrictEqual([...values]);
    }),
    3000,
  );
});

const rows = Array.from({ length: 300 }, (_, i) => i);

test.each<readonly [string, number, readonly Value[]]>([
  ["any values", 0, rows.map((i) => (i % 2 === 0 ? i : String(i)))],
  ["a handful of values", 0, [1, 2, 3]],
  ["blobs", 0, rows.map((i) => Uint8Array.of(i & 255, i >> 8))],
  ["bigints", 0, rows.map((i) => 2n ** 60n + BigInt(i))],
  ["broken texts", 0, rows.map((i) => `\ud800${i}`)],
  ["one value", 1, rows.map(() => "the same")],
  ["nulls", 1, rows.map(() => null)],
  ["UUIDs", 2, rows.map((i) => uuid.slice(0, 33) + String(i).padStart(3, "0"))],
  ["small whole numbers", 3, rows.map((i) => (i * 7) % 5)],
  ["whole numbers within a range", 3, rows.map((i) => 1_700_000_000_000 + ((i * 7919) % 300))],
  ["rising whole numbers", 4, rows.map((i) => 1_700_000_000_000 + i * 1000)],
  ["numbers with fractions", 5, rows.map((i) => i / 4)],
  ["whole numbers and -0", 5, rows.map((i) => (i === 7 ? -0 : i))],
  ["texts", 6, rows.map((i) => `text ${i}`)],
  [
    "UUIDs with an uppercase one",
    6,
    rows.map((i) => (i === 7 ? uuid.toUpperCase() : uuid.slice(0, 33) + String(i).padStart(3, "0"))),
  ],
  [
    "texts with halves of a pair at their borders",
    6,
    rows.map((i) => `${i === 0 ? "" : "\ude00"}${i}${i === 299 ? "" : "\ud83d"}`),
  ],
  ["some nulls", 7, rows.map((i) => (i % 3 === 0 ? null : i))],
  ["few different texts", 8, rows.map((i) => `status ${i % 5}`)],
  ["few different UUIDs", 8, rows.map((i) => uuid.slice(0, 35) + String(i % 5))],
])("%s are packed as code %i, and come back", (_, code, values) => {
  expect(packColumn(values)[0]).toBe(code);
  expect(overWire(values)).toStrictEqual([...values]);
});

test("rising times take about as many bytes as their differences", () => {
  const packed = encodeCbor(packColumn(rows.map((i) => 1_700_000_000_000 + i * 50)));
  expect(packed.length).toBeLessThan(rows.length * 1.2);
});

describe("hostile packed columns", () => {
  test.each<readonly [string, unknown, number]>([
    ["no list", 1, 1],
    ["an empty list", [], 1],
    ["too many parts", [1, 1, 1, 1], 1],
    ["an unknown code", [9, 1], 1],
    ["a code that is no number", ["1", 1], 1],
    ["plain values that are no list", [0, "ab"], 2],
    ["plain values that are too few", [0, [1]], 2],
    ["plain values that are none", [0, [{}]], 1],
    ["a constant that is no value", [1, [1]], 4],
    ["UUIDs of the wrong length", [2, new Uint8Array(17)], 1],
    ["UUIDs that are no bytes", [2, "x".repeat(16)], 1],
    ["distances of the wrong number", [3, 0, bytes(1, 2, 3)], 2],
    ["distances that end too early", [3, 0, bytes(1, 0x81)], 2],
    ["distances beyond safe integers", [3, Number.MAX_SAFE_INTEGER, bytes(1)], 1],
    ["a distance of nine bytes", [3, 0, bytes(255, 255, 255, 255, 255, 255, 255, 255, 1)], 1],
    ["a distance of eight bytes that is not safe", [3, 0, bytes(255, 255, 255, 255, 255, 255, 255, 127)], 1],
    ["a base that is no whole number", [3, 1.5, bytes(1)], 1],
    ["a base -0", [3, -0, bytes(1)], 1],
    ["a base that is no number", [3, "1", bytes(1)], 1],
    ["differences of no rows", [4, 1, bytes()], 0],
    ["differences beyond safe integers", [4, Number.MAX_SAFE_INTEGER, bytes(2)], 2],
    ["differences below safe integers", [4, Number.MIN_SAFE_INTEGER, bytes(1)], 2],
    ["doubles of the wrong length", [5, new Uint8Array(15)], 2],
    ["texts that do not fill their lengths", [6, "abc", bytes(1, 1)], 2],
    ["texts beyond their lengths", [6, "a", bytes(1, 1)], 2],
    ["texts that are no text", [6, 5, bytes(1)], 1],
    ["bits of the wrong length", [7, bytes(1, 0), [0, [1]]], 4],
    ["bits beyond the last row", [7, bytes(0b10000), [0, [1]]], 4],
    ["more bits than rows", [7, bytes(255), [0, [1, 1, 1, 1, 1, 1, 1, 1]]], 4],
    ["nulls within nulls", [7, bytes(1), [7, bytes(1), [0, [1]]]], 4],
    ["a place beyond the different texts", [8, [0, ["a"]], bytes(0, 1)], 2],
    ["more different texts than places", [8, [0, ["a", "b"]], bytes(0, 0)], 2],
    ["different texts that cost nothing", [8, [1, "a"], bytes(0, 5)], 2],
    ["different texts within different texts", [8, [8, [0, ["a"]], bytes(0)], bytes(0)], 1],
  ])("INVALID_MESSAGE: %s", (_, packed, count) => {
    expect(() => unpackColumn(packed, count)).toThrow(broken);
  });

  test("INVALID_MESSAGE: a column nested without end is refused before it is unpacked", () => {
    let packed: unknown = [0, [1]];
    for (let i = 0; i < 20; i++) packed = [7, bytes(1), packed];
    expect(() => weightOf(packed)).toThrow(broken);
  });

  test("the weight of a column is never more than a few times its bytes, nor less than an eighth of its values unless they are all the same", () => {
    checkProperty(
      fc.property(arbitraryColumn, (values) => {
        const packed = packColumn(values);
        const weight = weightOf(packed);
        expect(weight).toBeLessThanOrEqual(encodeCbor(packed).length * 2);
        if (packed[0] !== 1) expect(weight * 8).toBeGreaterThanOrEqual(values.length);
      }),
    );
  });
});
