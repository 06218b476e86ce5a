import fc from "fast-check";
import { expect, test } from "vitest";
import { checkProperty } from "../testing/check-property.ts";
import { backoffDelay, defaultRetry } from "./backoff.ts";

test("delays double with each failure, up to a bound", () => {
  const delays = [1, 2, 3, 4, 20, 400].map((attempt) => backoffDelay(attempt, () => 1));
  expect(delays).toEqual([1000, 2000, 4000, 8000, 60_000, 60_000]);
});

test("jitter never takes more than half of a delay away", () => {
  checkProperty(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempt, random) => {
        const delay = backoffDelay(attempt, () => random);
        const ceiling = Math.min(defaultRetry.maxMs, defaultRetry.baseMs * 2 ** Math.min(attempt, 30));
        expect(delay).toBeGreaterThanOrEqual(ceiling / 2 - 1);
        expect(delay).toBeLessThanOrEqual(ceiling);
      },
    ),
  );
});

test("what the server asks for is the least that is waited", () => {
  expect(backoffDelay(1, () => 0, {}, 30_000)).toBe(30_000);
  expect(backoffDelay(1, () => 0, { baseMs: 100_000, maxMs: 200_000 }, 30_000)).toBe(100_000);
});
