/**
 * Runs a property. A failure prints its seed and path; `SEED=…` replays with that seed, `PROPERTY_RUNS=…` runs more.
 *
 * @module
 */

import fc from "fast-check";

/** Checks a property, by default two hundred times. */
export function checkProperty<T>(property: fc.IProperty<T>, runs = 200): void {
  const seed = process.env["SEED"];
  const wanted = process.env["PROPERTY_RUNS"];
  fc.assert(property, {
    numRuns: wanted === undefined ? runs : Number(wanted),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
  });
}

/** Checks an asynchronous property, by default a hundred times. */
export async function checkAsyncProperty<T>(property: fc.IAsyncProperty<T>, runs = 100): Promise<void> {
  const seed = process.env["SEED"];
  const wanted = process.env["PROPERTY_RUNS"];
  await fc.assert(property, {
    numRuns: wanted === undefined ? runs : Number(wanted),
    ...(seed === undefined ? {} : { seed: Number(seed) }),
  });
}
