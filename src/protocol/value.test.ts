import fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryValue } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import type { Value } from "./ids.ts";
import { canonicalize, equalValues, isValue, type CanonicalForm } from "./value.ts";

const bytes = (...list: number[]): Uint8Array => Uint8Array.from(list);
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const forms: readonly CanonicalForm[] = ["text", "integer", "real", "boolean", "time", "json", "blob", "any"];

const equal: readonly (readonly [CanonicalForm, Value, Value])[] = [
  ["integer", 1, 1n],
  ["integer", -0, 0],
  ["integer", 2 ** 60, 2n ** 60n],
  ["boolean", 1, 1n],
  ["time", 1_700_000_000_000, 1_700_000_000_000n],
  ["real", 1, 1n],
  ["real", -0, 0],
  ["real", Number.NaN, Number.NaN],
  ["json", '{"a":1,"b":[2,{"c":3,"d":4}]}', '{ "b": [2, {"d": 4.0, "c": 3}], "a": 1 }'],
  ["json", '"\\u0061"', '"a"'],
  ["json", '{"__proto__":1,"a":2}', '{"a":2,"__proto__":1}'],
  ["json", utf8('{"a":1,"b":2}'), utf8('{"b":2,"a":1}')],
  ["json", "not json", "not json"],
  ["blob", bytes(1, 2), bytes(1, 2)],
  ["any", 5, 5n],
];

const different: readonly (readonly [CanonicalForm, Value, Value])[] = [
  ["integer", 2n ** 53n, 2n ** 53n + 1n],
  ["integer", 1, null],
  ["integer", 1, "1"],
  ["text", "a", "A"],
  ["text", "e\u0301", "\u00e9"],
  ["text", "", null],
  ["json", "[1,2]", "[2,1]"],
  ["json", '{"a":1}', '{"a":1,"b":null}'],
  ["json", "9007199254740993", "9007199254740992"],
  ["json", '{"id":0.12345678901234567890}', '{"id":0.12345678901234567891}'],
  ["json", "1e400", "null"],
  ["json", "not json", "not  json"],
  ["json", "null", null],
  ["json", '{"__proto__":1}', "{}"],
  ["blob", bytes(1), bytes(1, 0)],
  ["blob", bytes(97), "a"],
  ["any", 0, -0],
  ["any", 1, "1"],
  ["any", 2n ** 60n, 2 ** 60],
];

test.each(equal)("P1: in the form %s, two spellings of one value are equal (%#)", (form, a, b) => {
  expect(equalValues(a, b, form)).toBe(true);
  expect(equalValues(b, a, form)).toBe(true);
});

test.each(different)("P1: in the form %s, two values differ (%#)", (form, a, b) => {
  expect(equalValues(a, b, form)).toBe(false);
  expect(equalValues(b, a, form)).toBe(false);
});

test("P1: JSON too deep to compare is compared as text", () => {
  const deep = "[".repeat(100_000) + "]".repeat(100_000);
  expect(canonicalize(deep, "json")).toBe(deep);
  expect(equalValues(deep, ` ${deep}`, "json")).toBe(false);
});

test("P1: bringing a value into its form twice changes nothing more, and equality is the same before and after", () => {
  checkProperty(
    fc.property(
      fc.constantFrom(...forms),
      fc.oneof(arbitraryValue, fc.json()),
      fc.oneof(arbitraryValue, fc.json()),
      (form, a, b) => {
        const once = canonicalize(a, form);
        expect(canonicalize(once, form)).toStrictEqual(once);
        expect(equalValues(a, once, form)).toBe(true);
        expect(equalValues(a, a, form)).toBe(true);
        expect(equalValues(once, canonicalize(b, form), form)).toBe(equalValues(a, b, form));
      },
    ),
    1000,
  );
});

test("P1: JSON with shuffled keys and other spacing is equal", () => {
  checkProperty(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 })), (value) => {
      const shuffled = Object.fromEntries(Object.entries(value).reverse());
      expect(equalValues(JSON.stringify(value), JSON.stringify(shuffled, null, 2), "json")).toBe(true);
    }),
  );
});

test("only SQLite's classes are values", () => {
  for (const value of [null, 1, 1n, "", bytes()]) expect(isValue(value)).toBe(true);
  for (const value of [undefined, true, [], {}, new Date(), Symbol("x"), new ArrayBuffer(1)])
    expect(isValue(value)).toBe(false);
});
