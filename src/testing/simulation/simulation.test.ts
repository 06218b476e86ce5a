/**
 * A few random histories with every run of the tests; `npm run simulate` runs as many as one likes.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { checkAsyncProperty } from "../check-property.ts";
import { makePlan } from "./plan.ts";
import { minimize } from "./minimize.ts";
import { runPlan } from "./run.ts";

test(
  "promises 1 to 4: whatever is lost, repeated, late or dies, devices show states that the server had, and every transaction has one outcome",
  { timeout: 120_000 },
  async () => {
    await checkAsyncProperty(
      // Leaving out steps makes a failing history small, not a smaller seed: `npm run simulate -- --only SEED` does that.
      fc.asyncProperty(fc.noShrink(fc.nat(2 ** 31 - 1)), async (planSeed) => {
        await runPlan(makePlan(planSeed));
      }),
      20,
    );
  },
);

test("a plan is the same for the same seed", () => {
  expect(makePlan(42)).toEqual(makePlan(42));
  expect(makePlan(42)).not.toEqual(makePlan(43));
});

test("a failing plan is made as short as what fails in it", async () => {
  const plan = makePlan(7);
  const needed = new Set([plan.steps[3], plan.steps[40], plan.steps[77]]);
  const small = await minimize(plan, (candidate) =>
    Promise.resolve([...needed].every((step) => candidate.steps.some((kept) => kept === step))),
  );
  expect(small.steps).toEqual([plan.steps[3], plan.steps[40], plan.steps[77]]);
});
