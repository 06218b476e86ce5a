import fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryValue } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { fromJsonValues, toJsonValues } from "./json-values.ts";

const overJson = (message: unknown): unknown => fromJsonValues(JSON.parse(JSON.stringify(toJsonValues(message))));

test("every value survives JSON, anywhere in a message", () => {
  const message = fc.letrec<{ node: unknown }>((tie) => ({
    node: fc.oneof(
      { maxDepth: 4 },
      arbitraryValue,
      fc.boolean(),
      fc.array(tie("node"), { maxLength: 4 }),
      fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("$", "$int", "$bytes", "$float", "$x")), tie("node"), {
        maxKeys: 3,
        noNullPrototype: true,
      }),
    ),
  })).node;
  checkProperty(
    fc.property(message, (value) => {
      expect(overJson(value)).toStrictEqual(value);
    }),
    1000,
  );
});

test("special values are wrapped as documented", () => {
  expect(
    toJsonValues([2n ** 53n, Uint8Array.of(1, 2), Number.NaN, Number.NEGATIVE_INFINITY, -0, 1, "a", null]),
  ).toEqual([
    { $int: "9007199254740992" },
    { $bytes: "AQI=" },
    { $float: "NaN" },
    { $float: "-Infinity" },
    { $float: "-0" },
    1,
    "a",
    null,
  ]);
  expect(toJsonValues({ $int: "5" })).toEqual({ $: { $int: "5" } });
});

test("a message without special values is not copied", () => {
  const message = { a: [1, "x", { b: null }] };
  expect(toJsonValues(message)).toBe(message);
  expect(fromJsonValues(message)).toBe(message);
});

test("INVALID_MESSAGE: a broken wrapper is refused", () => {
  for (const broken of [
    { $int: "1e9" },
    { $int: "9".repeat(21) },
    { $int: 5 },
    { $float: "1" },
    { $float: "toString" },
    { $bytes: "%%%" },
    { $x: 1 },
    { $: 1 },
  ]) {
    expect(() => fromJsonValues({ a: [broken] })).toThrow(expect.objectContaining({ code: "INVALID_MESSAGE" }));
  }
});

test("INVALID_MESSAGE: a message that is nested without end is refused", () => {
  const deep: unknown = JSON.parse("[".repeat(5000) + "]".repeat(5000));
  expect(() => fromJsonValues(deep)).toThrow(expect.objectContaining({ code: "INVALID_MESSAGE" }));
});

test("a key `__proto__` stays a key", () => {
  const message: unknown = JSON.parse('{"__proto__":{"$int":"9007199254740993"},"a":1}');
  const read = fromJsonValues(message) as object;
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  expect(Object.keys(read)).toEqual(["__proto__", "a"]);
});
