/**
 * Histories that once showed a mistake, of the library or planted in it, made small. They run before anything else. Plans are
 * kept, not seeds: what a seed stands for shifts with every change of the generator.
 *
 * @module
 */

import type { Circumstances, Plan, StepKind } from "./plan.ts";

/** A plan as it is written down, and what it showed. */
interface Kept {
  /** What went wrong in it. */
  readonly shows: string;
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly steps: readonly (readonly [kind: StepKind, seed: number])[];
}

const kept: readonly Kept[] = [];

/** The plans, each with what it once showed. */
export const corpus: readonly { readonly shows: string; readonly plan: Plan }[] = kept.map(
  ({ shows, seed, circumstances, steps }) => ({
    shows,
    plan: { seed, circumstances, steps: steps.map(([kind, stepSeed]) => ({ kind, seed: stepSeed })) },
  }),
);

/** A plan as it is written down above. */
export function planText({ seed, circumstances, steps }: Plan): string {
  return JSON.stringify({ seed, circumstances, steps: steps.map(({ kind, seed: stepSeed }) => [kind, stepSeed]) });
}
