import fc from "fast-check";
import { Encoder } from "cbor-x";
import { describe, expect, test } from "vitest";
import { arbitraryValue, awkwardNumbers, awkwardTexts } from "../testing/arbitrary-values.ts";
import { checkProperty } from "../testing/check-property.ts";
import { hostileDocuments, largeDocuments } from "../testing/hostile-cbor.ts";
import { decodeCbor, defaultCborLimits, encodeCbor, isWellFormed } from "./cbor.ts";
import { fieldNames } from "./field-names.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const refused = expect.objectContaining({ code: "INVALID_MESSAGE" });

const arbitraryMessage = fc.letrec<{ node: unknown }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 5 },
    arbitraryValue,
    fc.boolean(),
    fc.array(tie("node"), { maxLength: 6 }),
    fc.dictionary(
      fc.oneof(
        fc.string({ unit: "grapheme" }).filter((key) => key !== "__proto__"),
        fc.constantFrom(...fieldNames, ...Object.keys(fieldNames)),
      ),
      tie("node"),
      { maxKeys: 30, noNullPrototype: true },
    ),
  ),
})).node;

describe("round trips", () => {
  test("every message comes back exactly as it was", () => {
    checkProperty(
      fc.property(arbitraryMessage, (message) => {
        expect(decodeCbor(encodeCbor(message))).toStrictEqual(message);
      }),
      1000,
    );
  });

  test.each([...awkwardNumbers, ...awkwardTexts].map((value) => [value]))(
    "%s comes back with its class and its bits",
    (value) => {
      expect(Object.is(decodeCbor(encodeCbor(value)), value)).toBe(true);
      expect(Object.is((decodeCbor(encodeCbor({ a: [value] })) as { a: unknown[] }).a[0], value)).toBe(true);
    },
  );

  test("a small bigint is a number on the wire, also when another encoder sent eight bytes", () => {
    expect(decodeCbor(encodeCbor(5n))).toBe(5);
    const other = new Encoder({ useRecords: false });
    for (const value of [5n, -5n, 2n ** 53n - 1n, 1n - 2n ** 53n])
      expect(decodeCbor(new Uint8Array(other.encode([value])))).toEqual([Number(value)]);
    for (const value of [2n ** 53n, -(2n ** 53n)])
      expect(decodeCbor(new Uint8Array(other.encode([value])))).toEqual([value]);
  });

  test("a field's name travels as its number, and any other key as it is", () => {
    expect(hex(encodeCbor({ kind: 1 }))).toBe("a10001");
    expect(hex(encodeCbor({ columns: { kinds: 1 } }))).toBe("a11818a1656b696e647301");
    expect(decodeCbor(encodeCbor({ 0: "zero", kind: 1 }))).toEqual({ 0: "zero", kind: 1 });
    expect(new Set(fieldNames).size).toBe(fieldNames.length);
  });

  test("fields that are undefined are left out", () => {
    expect(hex(encodeCbor({ a: undefined, b: 1 }))).toBe(hex(encodeCbor({ b: 1 })));
  });

  test("the bytes are the caller's own, and the caller's bytes are not marked", () => {
    const first = encodeCbor({ a: "first" });
    const copy = hex(first);
    encodeCbor({ a: "second" });
    expect(hex(first)).toBe(copy);
    decodeCbor(first);
    expect(Object.keys(first).every((key) => /^\d+$/.test(key))).toBe(true);
  });

  test("byte strings come back as plain arrays of their own, also from a Buffer", () => {
    const encoded = Buffer.from(encodeCbor(new Uint8Array([1, 2, 3])));
    const decoded = decodeCbor(encoded) as Uint8Array;
    expect(decoded.constructor).toBe(Uint8Array);
    expect(decoded.buffer).not.toBe(encoded.buffer);
  });

  test("what no message holds is not encoded", () => {
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    for (const value of [
      new Date(),
      new Map(),
      Symbol("x"),
      () => 1,
      [undefined],
      2n ** 63n,
      -(2n ** 63n) - 1n,
      cyclic,
      JSON.parse('{"__proto__":1}'),
      { "\ud800": 1 },
    ]) {
      expect(() => encodeCbor(value)).toThrow(TypeError);
    }
  });
});

describe("hostile bytes", () => {
  test.each(Object.entries(hostileDocuments))("INVALID_MESSAGE: %s is refused", (_, document) => {
    expect(() => decodeCbor(document)).toThrow(refused);
  });

  test("keys like those of objects are ordinary keys", () => {
    const message = { constructor: 1, hasOwnProperty: 2, toString: 3 };
    expect(decodeCbor(encodeCbor(message))).toEqual(message);
  });

  test("TOO_LARGE: a document over the limit is refused before it is read", () => {
    expect(() => decodeCbor(new Uint8Array(11), { ...defaultCborLimits, maxBytes: 10 })).toThrow(
      expect.objectContaining({ code: "TOO_LARGE", details: { limit: 10 } }),
    );
  });

  test("each limit holds exactly", () => {
    const limits = { maxBytes: 1000, maxItems: 4, maxDepth: 2, maxMapEntries: 2, maxKeyBytes: 3 };
    for (const message of [[1, 2, 3], [[1, 2]], { a: 1 }, { abc: 1 }])
      expect(decodeCbor(encodeCbor(message), limits)).toEqual(message);
    for (const message of [[1, 2, 3, 4], [[[]]], { abcd: 1 }])
      expect(() => decodeCbor(encodeCbor(message), limits)).toThrow(refused);
    expect(() => decodeCbor(encodeCbor({ a: 1, b: 2, c: 3 }), { ...limits, maxItems: 100 })).toThrow(refused);
  });

  test.each(Object.entries(largeDocuments(300_000)))(
    "%s takes no more than a moment and a small multiple of its size",
    (_, document) => {
      const started = performance.now();
      try {
        decodeCbor(document);
      } catch (error) {
        expect(error).toMatchObject({ code: "INVALID_MESSAGE" });
      }
      expect(performance.now() - started).toBeLessThan(1000);
    },
  );

  test("what passes the guard decodes to plain values, whatever was done to the bytes", () => {
    const isPlain = (value: unknown): boolean => {
      if (value === null || ["string", "number", "bigint", "boolean"].includes(typeof value)) return true;
      if (value instanceof Uint8Array) return value.constructor === Uint8Array;
      if (Array.isArray(value)) return value.every(isPlain);
      return (
        typeof value === "object" &&
        Object.getPrototypeOf(value) === Object.prototype &&
        Object.values(value).every(isPlain)
      );
    };
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 5 });
    checkProperty(
      fc.property(arbitraryMessage, edits, (message, changes) => {
        const bytes = encodeCbor(message);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        let decoded: unknown;
        try {
          decoded = decodeCbor(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_MESSAGE" });
          return;
        }
        expect(isPlain(decoded)).toBe(true);
        // What was understood can be said again.
        expect(decodeCbor(encodeCbor(decoded))).toStrictEqual(decoded);
      }),
      3000,
    );
  });

  test("random bytes are refused or decoded, never anything else", () => {
    checkProperty(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decodeCbor(bytes);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_MESSAGE" });
        }
      }),
      3000,
    );
  });

  test("a refused message leaves nothing behind for the next one", () => {
    for (const document of Object.values(hostileDocuments)) expect(() => decodeCbor(document)).toThrow(refused);
    expect(decodeCbor(encodeCbor({ a: [1, { b: "c" }] }))).toEqual({ a: [1, { b: "c" }] });
  });
});

test("a text is well formed when no surrogate stands alone", () => {
  expect(isWellFormed("a😀é")).toBe(true);
  for (const text of ["\ud800", "a\udc00", "\ude00\ud83d"]) expect(isWellFormed(text)).toBe(false);
});
