/**
 * Storage values for property tests, with the awkward ones often: borders of the number classes, broken texts, UUIDs.
 *
 * @module
 */

import fc from "fast-check";
import type { Value } from "../protocol/ids.ts";

/** Numbers and bigints at the borders of their classes. */
export const awkwardNumbers: readonly (number | bigint)[] = [
  0,
  -0,
  1,
  -1,
  23,
  24,
  255,
  256,
  65535,
  65536,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  -(2 ** 31),
  -(2 ** 32),
  -(2 ** 32) - 1,
  2 ** 53 - 1,
  -(2 ** 53) + 1,
  2 ** 53,
  1.5,
  -0.1,
  1e300,
  5e-324,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2n ** 53n,
  2n ** 53n + 1n,
  -(2n ** 53n),
  2n ** 63n - 1n,
  -(2n ** 63n),
];

/** Texts that are not valid UTF-16, or look like something else. */
export const awkwardTexts: readonly string[] = [
  "",
  "\0",
  "\ud800",
  "\udc00",
  "a\ud83dz",
  "\ude00\ud83d",
  "😀",
  "é",
  "x".repeat(63) + "\ud800",
  "x".repeat(100) + "\udfff" + "y".repeat(50),
  "00000000-0000-0000-0000-000000000000",
  "F47AC10B-58CC-4372-A567-0E02B2C3D479",
  "f47ac10b-58cc-4372-a567-0e02b2c3d47g",
  "__proto__",
  "$int",
];

/** A canonical lowercase UUID. */
export const arbitraryUuid: fc.Arbitrary<string> = fc.uuid();

/** A text: ordinary, of arbitrary UTF-16 units, awkward, or a UUID. */
export const arbitraryText: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: "grapheme" }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 80 }).map((units) => String.fromCharCode(...units)),
  fc.constantFrom(...awkwardTexts),
  arbitraryUuid,
);

/** A bigint beyond the safe integers, within 64 bits. */
export const arbitraryBigint: fc.Arbitrary<bigint> = fc
  .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  .filter((value) => value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER);

/** Any storage value. */
export const arbitraryValue: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.double(),
  fc.maxSafeInteger(),
  fc.constantFrom(...awkwardNumbers),
  arbitraryBigint,
  arbitraryText,
  fc.uint8Array({ maxLength: 80 }),
);
