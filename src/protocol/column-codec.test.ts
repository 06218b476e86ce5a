import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arbitraryText, arbitraryUuid, arbitraryValue, awkwardNumbers } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { decodeCbor, encodeCbor } from "./cbor.ts";
import { packColumn, unpackColumn, weightOf } from "./column-codec.ts";
import type { Value } from "./ids.ts";
import { packUuids } from "./uuid-codec.ts";

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
    .tuple(fc.nat(10), fc.array(fc.oneof(fc.integer(), fc.maxSafeInteger()), many))
    .map(([digits, wholes]) => wholes.map((whole) => whole / 10 ** digits)),
  fc.array(fc.oneof({ weight: 20, arbitrary: fc.integer() }, { weight: 1, arbitrary: fc.maxSafeInteger() }), many),
  fc.array(fc.string({ minLength: 8, maxLength: 8 }), many),
  fc.array(fc.date({ noInvalidDate: true }), many).map((dates) => dates.map((date) => date.toISOString())),
  fc.array(fc.oneof(fc.string(), fc.constantFrom("\0", "a\0b", "\x1e", "\0\x1e\x1f")), many),
  fc.array(
    arbitraryUuid.map((id) => id.toUpperCase()),
    many,
  ),
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
  ["a handful of UUIDs", 2, [uuid]],
  ["blobs", 0, rows.map((i) => Uint8Array.of(i & 255, i >> 8))],
  ["bigints", 0, rows.map((i) => 2n ** 60n + BigInt(i))],
  ["broken texts", 0, rows.map((i) => `\ud800${i}`)],
  ["one value", 1, rows.map(() => "the same")],
  ["nulls", 1, rows.map(() => null)],
  ["UUIDs", 2, rows.map((i) => uuid.slice(0, 33) + String(i).padStart(3, "0"))],
  ["small whole numbers", 3, rows.map((i) => (i * 7) % 5)],
  ["whole numbers within a range", 3, rows.map((i) => 1_700_000_000_000 + ((i * 7919) % 300))],
  ["rising whole numbers", 4, rows.map((i) => 1_700_000_000_000 + i * 1000)],
  ["whole numbers among which one lies far off", 3, rows.map((i) => (i === 150 ? 1e12 : (i * 7919) % 300))],
  ["numbers with fractions of two", 10, rows.map((i) => i / 4)],
  ["prices", 10, rows.map((i) => Number(`${i % 90}.${i % 97}`))],
  ["places on earth", 10, rows.map((i) => Number(`-13.${100_000 + i * 2999}`))],
  ["numbers with any fractions", 5, rows.map((i) => i / 3)],
  ["fractions of ten and -0", 5, rows.map((i) => (i === 7 ? -0 : i / 10))],
  ["whole numbers and -0", 5, rows.map((i) => (i === 7 ? -0 : i))],
  ["whole numbers and NaN", 5, rows.map((i) => (i === 7 ? Number.NaN : i))],
  ["texts", 6, rows.map((i) => `text ${i}`)],
  ["texts of which one has a zero character", 6, rows.map((i) => (i === 7 ? "\0" : `text ${i}`))],
  ["texts in which no separator is free", 0, rows.map((i) => (i === 7 ? "\0\x1e\x1f" : `text ${i}`))],
  ["times as texts", 9, rows.map((i) => new Date(1_700_000_000_000 + i * 77_777).toISOString())],
  [
    "UUIDs with an uppercase one",
    9,
    rows.map((i) => (i === 7 ? uuid.toUpperCase() : uuid.slice(0, 33) + String(i).padStart(3, "0"))),
  ],
  ["texts of one length that are not all ASCII", 6, rows.map((i) => (i === 7 ? "é" : "e") + String(1000 + i))],
  ["long texts of one length", 6, rows.map((i) => "long ".repeat(20) + String(1000 + i))],
  [
    "texts with halves of a pair at their borders",
    0,
    rows.map((i) => `${i === 0 ? "" : "\ude00"}${i}${i === 299 ? "" : "\ud83d"}`),
  ],
  ["some nulls", 7, rows.map((i) => (i % 3 === 0 ? null : i))],
  ["few different texts", 8, rows.map((i) => `status ${i % 5}`)],
  [
    "few different texts among which one is broken",
    8,
    rows.map((i) => `status ${i % 5}${i % 5 === 3 ? "\ud800" : ""}`),
  ],
  ["few different UUIDs", 8, rows.map((i) => uuid.slice(0, 35) + String(i % 5))],
])("%s are packed as code %i, and come back", (_, code, values) => {
  expect(packColumn(values)[0]).toBe(code);
  expect(overWire(values)).toStrictEqual([...values]);
});

test.each([
  [2, 1],
  [4, 2],
  [10, 4],
  [16, 4],
  [17, 8],
  [256, 8],
  [257, 16],
])("whole numbers of which %i differ take %i bits each", (different, bits) => {
  const [code, , width, packed] = packColumn(
    rows.map((i) => (i * i * 31 + (i % 7) * 97) % different),
  ) as readonly unknown[];
  expect([code, width, (packed as Uint8Array).length]).toEqual([3, bits, Math.ceil((rows.length * bits) / 8)]);
});

test("rising times take about as many bytes as their differences", () => {
  const packed = encodeCbor(packColumn(rows.map((i) => 1_700_000_000_000 + i * 50)));
  expect(packed.length).toBeLessThan(rows.length * 1.2);
});

describe("hostile packed columns", () => {
  test.each<readonly [string, unknown, number]>([
    ["no list", 1, 1],
    ["an empty list", [], 1],
    ["too many parts", [1, 1, 1, 1, 1], 1],
    ["an unknown code", [11, 1], 1],
    ["a code that is no number", ["1", 1], 1],
    ["plain values that are no list", [0, "ab"], 2],
    ["plain values that are too few", [0, [1]], 2],
    ["plain values that are none", [0, [{}]], 1],
    ["a constant that is no value", [1, [1]], 4],
    ["UUIDs of the wrong length", [2, new Uint8Array(17)], 1],
    ["UUIDs that are no bytes", [2, "x".repeat(16)], 1],
    ["distances of the wrong number", [3, 0, 8, bytes(1, 2, 3)], 2],
    ["distances of too few bytes", [3, 0, 16, bytes(1, 2, 3)], 2],
    ["small distances of too many bytes", [3, 0, 1, bytes(1, 2)], 8],
    ["distances that are no bytes", [3, 0, 8, "ab"], 2],
    ["distances of no bits", [3, 0, 0, bytes()], 2],
    ["distances of three bits", [3, 0, 3, bytes(1)], 2],
    ["distances of half a bit", [3, 0, 0.5, bytes(1)], 2],
    ["distances of NaN bits", [3, 0, Number.NaN, bytes()], 2],
    ["distances of negative bits", [3, 0, -8, bytes()], 2],
    ["distances of eight bytes", [3, 0, 64, new Uint8Array(8)], 1],
    ["distances whose width is a text", [3, 0, "8", bytes(1)], 1],
    ["distances beyond safe integers", [3, Number.MAX_SAFE_INTEGER, 8, bytes(1)], 1],
    ["a distance of seven bytes that is not safe", [3, 0, 56, bytes(0x20, 0, 0, 0, 0, 0, 0)], 1],
    ["a base that is no whole number", [3, 1.5, 8, bytes(1)], 1],
    ["a base -0", [3, -0, 8, bytes(1)], 1],
    ["a base that is no number", [3, "1", 8, bytes(1)], 1],
    ["differences of no rows", [4, 1, 8, bytes()], 0],
    ["differences of the wrong number", [4, 1, 8, bytes(1, 2)], 2],
    ["differences beyond safe integers", [4, Number.MAX_SAFE_INTEGER, 8, bytes(2)], 2],
    ["differences below safe integers", [4, Number.MIN_SAFE_INTEGER, 8, bytes(1)], 2],
    ["doubles of the wrong length", [5, new Uint8Array(15)], 2],
    ["texts that are too few", [6, "-", "a-b"], 3],
    ["texts that are too many", [6, "-", "a-b-c"], 2],
    ["many texts more than rows", [6, "-", "-".repeat(100_000)], 2],
    ["texts that are no text", [6, "-", 5], 1],
    ["texts without a separator", [6, "", "ab"], 2],
    ["texts with a long separator", [6, "--", "a--b"], 2],
    ["texts whose separator is no text", [6, null, "a"], 1],
    ["bits of the wrong length", [7, bytes(1, 0), [0, [1]]], 4],
    ["bits beyond the last row", [7, bytes(0b10000), [0, [1]]], 4],
    ["more bits than rows", [7, bytes(255), [0, [1, 1, 1, 1, 1, 1, 1, 1]]], 4],
    ["nulls within nulls", [7, bytes(1), [7, bytes(1), [0, [1]]]], 4],
    ["a place beyond the different texts", [8, [0, ["a"]], 8, bytes(0, 1)], 2],
    ["more different texts than places", [8, [0, ["a", "b"]], 8, bytes(0, 0)], 2],
    ["different texts that cost nothing", [8, [1, "a"], 8, bytes(0, 5)], 2],
    ["different texts that are no values", [8, [0, [{}]], 8, bytes(0)], 1],
    ["different texts within different texts", [8, [8, [0, ["a"]], 8, bytes(0)], 8, bytes(0)], 1],
    ["texts of one length that do not fill their planes", [9, bytes(97, 97, 97)], 2],
    ["texts of one length, which is none", [9, bytes()], 2],
    ["texts of one length of no rows", [9, bytes()], 0],
    ["texts of one length beyond ASCII", [9, bytes(97, 0xc3)], 2],
    ["texts of one length that are no bytes", [9, "ab"], 2],
    ["decimals of no digits", [10, 0, [3, 0, 8, bytes(1)]], 1],
    ["decimals of too many digits", [10, 10, [3, 0, 8, bytes(1)]], 1],
    ["decimals of half a digit", [10, 1.5, [3, 0, 8, bytes(1)]], 1],
    ["decimals of doubles", [10, 1, [5, new Uint8Array(8)]], 1],
    ["decimals of decimals", [10, 1, [10, 1, [3, 0, 8, bytes(1)]]], 1],
  ])("INVALID_MESSAGE: %s", (_, packed, count) => {
    expect(() => unpackColumn(packed, count)).toThrow(broken);
  });

  test("INVALID_MESSAGE: a column nested without end is refused before it is unpacked", () => {
    let packed: unknown = [0, [1]];
    for (let i = 0; i < 20; i++) packed = [7, bytes(1), packed];
    expect(() => weightOf(packed)).toThrow(broken);
  });

  test("any bytes of the right number are UUIDs, which pack to the same bytes", () => {
    checkProperty(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 16, maxLength: 16 }), { minLength: 1, maxLength: 20 }),
        (parts) => {
          const planes = Uint8Array.from(parts.flatMap((part) => [...part]));
          const ids = unpackColumn([2, planes], parts.length);
          for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
          expect(packUuids(ids)).toStrictEqual(planes);
        },
      ),
    );
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
