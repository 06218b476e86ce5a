import fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryValue } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { keyText, rowText } from "./key.ts";
import { equalValues } from "./value.ts";

test("keys of different values have different texts", () => {
  const keys = [
    ["a"],
    ["a", "b"],
    ["ab"],
    ["a", "", "b"],
    [1],
    ["1"],
    [1, 2],
    [12],
    [1n << 60n],
    [new Uint8Array([1])],
    ["01"],
    [null],
    ["n1;"],
    ["t1:a", "b"],
    [new Uint8Array([0x74])],
  ];
  expect(new Set(keys.map(keyText)).size).toBe(keys.length);
});

test("two keys have the same text exactly when their values are equal", () => {
  const key = fc.array(fc.oneof(arbitraryValue, fc.constantFrom("a", "1", 1, "t1:a", "n1;")), {
    minLength: 1,
    maxLength: 3,
  });
  checkProperty(
    fc.property(key, key, (a, b) => {
      const isEqual = a.length === b.length && a.every((value, i) => equalValues(value, b[i] ?? null, "integer"));
      expect(keyText(a) === keyText(b)).toBe(isEqual);
    }),
    1000,
  );
});

test("rows of different tables have different texts", () => {
  expect(rowText("a", ["b"])).not.toBe(rowText("as", ["b"]));
  expect(rowText("todos", ["1"])).toBe(rowText("todos", ["1"]));
});
