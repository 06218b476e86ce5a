/**
 * Makes a failing run small: leaves steps out as long as what is left still fails.
 *
 * @module
 */

import type { Plan, Step } from "./plan.ts";

/** The shortest failing plan that leaving out steps leads to. `fails` tells whether a plan still fails in the same way. */
export async function minimize(plan: Plan, fails: (plan: Plan) => Promise<boolean>): Promise<Plan> {
  let steps: readonly Step[] = plan.steps;
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let start = 0; start < steps.length;) {
      const fewer = [...steps.slice(0, start), ...steps.slice(start + size)];
      if (await fails({ ...plan, steps: fewer })) steps = fewer;
      else start += size;
    }
  }
  // One more pass one by one: later cuts may have made earlier steps needless.
  for (let start = 0; start < steps.length;) {
    const fewer = [...steps.slice(0, start), ...steps.slice(start + 1)];
    if (await fails({ ...plan, steps: fewer })) steps = fewer;
    else start++;
  }
  return { ...plan, steps };
}
