import fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryValue } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import {
  addRow,
  emptyRowSum,
  hashSchema,
  hashScopes,
  hashValues,
  isHashed,
  matchesSeen,
  rowHash,
  rowSumText,
  seenValue,
  sumHashes,
} from "./hash.ts";
import type { CanonicalForm } from "./value.ts";
import { equalValues } from "./value.ts";

const forms: readonly CanonicalForm[] = ["text", "integer", "real", "boolean", "time", "json", "blob", "any"];

test("a hash is sixteen hexadecimal digits, whatever was hashed", () => {
  checkProperty(
    fc.property(fc.array(arbitraryValue), (values) => {
      expect(hashValues(values)).toMatch(/^[0-9a-f]{16}$/);
    }),
  );
});

test("values that differ in class, place or length hash differently", () => {
  const lists = [
    [],
    [null],
    [null, null],
    [0],
    [-0],
    [""],
    ["a", "b"],
    ["ab"],
    ["ab", ""],
    [1],
    ["1"],
    [Uint8Array.of(0x31)],
    [1.5],
    [-1],
    [2n ** 53n],
    ["\ud800"],
    ["\ud801"],
    ["\ufffd"],
  ];
  expect(new Set(lists.map(hashValues)).size).toBe(lists.length);
});

test("half a million similar rows have no two hashes in common", () => {
  const hashes = new Set<string>();
  for (let i = 0; i < 250_000; i++) {
    hashes.add(hashValues([i]));
    hashes.add(hashValues([`row ${i}`, i % 7, "the same text in every row, longer than a word"]));
  }
  expect(hashes.size).toBe(500_000);
});

test("one flipped bit changes about half of the hash", () => {
  let flipped = 0;
  const rounds = 2000;
  for (let i = 0; i < rounds; i++) {
    const bytes = Uint8Array.from({ length: 40 }, (_, j) => (i * 31 + j * 17) & 255);
    const before = BigInt(`0x${hashValues([bytes])}`);
    const at = i % 320;
    (bytes[at >> 3] as number) ^= 1 << (at & 7);
    flipped += (before ^ BigInt(`0x${hashValues([bytes])}`)).toString(2).replaceAll("0", "").length;
  }
  expect(flipped / rounds).toBeGreaterThan(31);
  expect(flipped / rounds).toBeLessThan(33);
});

test("P1: a value seen matches itself and what is equal to it, and nothing else", () => {
  checkProperty(
    fc.property(
      fc.constantFrom(...forms),
      fc.oneof(arbitraryValue, fc.json()),
      fc.oneof(arbitraryValue, fc.json()),
      (form, a, b) => {
        expect(matchesSeen(a, seenValue(a, form), form)).toBe(true);
        expect(matchesSeen(b, seenValue(a, form), form)).toBe(equalValues(a, b, form));
      },
    ),
    1000,
  );
});

test("P1: a value seen travels as a hash when its canonical form is longer than 32 bytes", () => {
  expect(seenValue("x".repeat(30), "text")).toBe("x".repeat(30));
  expect(isHashed(seenValue("x".repeat(31), "text"))).toBe(true);
  expect(isHashed(seenValue("é".repeat(16), "text"))).toBe(true);
  expect(isHashed(seenValue(new Uint8Array(40), "blob"))).toBe(true);
  expect(seenValue(2n ** 62n, "integer")).toBe(2n ** 62n);
  expect(seenValue('{ "b": 1,                              "a": 2 }', "json")).toBe('{"a":2,"b":1}');
});

test("P1: a row hash is the same for values that are equal in their columns' forms", () => {
  expect(rowHash([1n, '{"a":1,"b":2}', "x"], ["integer", "json", "text"])).toBe(
    rowHash([1, '{"b":2,"a":1}', "x"], ["integer", "json", "text"]),
  );
  expect(rowHash([1, null], ["integer", "text"])).not.toBe(rowHash([null, 1], ["integer", "text"]));
});

test("U4: the hash of scopes is of the set, not of the list", () => {
  expect(hashScopes(["b", "a", "b"])).toBe(hashScopes(["a", "b"]));
  expect(hashScopes(["a"])).not.toBe(hashScopes(["a", "b"]));
  expect(hashScopes([])).toMatch(/^[0-9a-f]{16}$/);
});

test("V1: the hash of a schema follows columns in their order and tables in any", () => {
  expect(hashSchema({ a: ["id", "x"], b: ["id"] })).toBe(hashSchema({ b: ["id"], a: ["id", "x"] }));
  expect(hashSchema({ a: ["id", "x", "y"] })).not.toBe(hashSchema({ a: ["id", "y", "x"] }));
  expect(hashSchema({ a: ["id"], b: [] })).not.toBe(hashSchema({ a: ["id", "b"] }));
});

test("a sum of hashes is the 64-bit sum, in any order", () => {
  checkProperty(
    fc.property(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })), (numbers) => {
      const hashes = numbers.map((number) => number.toString(16).padStart(16, "0"));
      const sum = numbers.reduce((total, number) => (total + number) & (2n ** 64n - 1n), 0n);
      expect(sumHashes(hashes)).toBe(sum.toString(16).padStart(16, "0"));
      expect(sumHashes([...hashes].reverse())).toBe(sumHashes(hashes));
    }),
  );
});

test("a running sum over rows is the sum of their hashes, also in several sums at once", () => {
  const value = fc.oneof(
    fc.string(),
    fc.double(),
    fc.constant(null),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  );
  checkProperty(
    fc.property(fc.array(fc.tuple(value, value)), (rows) => {
      const forms = ["any", "real"] as const;
      const first = emptyRowSum();
      const second = emptyRowSum();
      // What stands behind the forms, the scopes for instance, is not a part of the row.
      for (const row of rows) addRow([first, second], [...row, "scope"], forms);
      const sum = sumHashes(rows.map((row) => rowHash(row, forms)));
      expect([rowSumText(first), rowSumText(second)]).toEqual([sum, sum]);
    }),
  );
});

test("one huge value does not disturb the next hash", () => {
  const small = hashValues(["a"]);
  hashValues(["x".repeat(3_000_000)]);
  expect(hashValues(["a"])).toBe(small);
});
