/** The ratios that a short run found before, and what got worse since. */
import { readFileSync, writeFileSync } from "node:fs";
import type { Result } from "./measure.ts";

/** Ratios by benchmark and line. */
export type Baseline = Readonly<Record<string, Readonly<Record<string, number>>>>;

const file = new URL("baseline.json", import.meta.url);

/** How much worse a ratio may be than it was. */
const tolerance = 1.25;

export const readBaseline = (): Baseline => JSON.parse(readFileSync(file, "utf8")) as Baseline;

export function writeBaseline(results: readonly Result[]): void {
  const baseline = Object.fromEntries(
    results.map(({ name, rows }) => [name, Object.fromEntries(rows.map(({ what, ratio }) => [what, ratio]))]),
  );
  writeFileSync(file, `${JSON.stringify(baseline, null, 2)}\n`);
}

/** The lines of a result that are more than a quarter worse than they were. */
export function worseThanBaseline(
  baseline: Baseline,
  { name, rows }: Result,
): readonly { readonly what: string; readonly ratio: number; readonly was: number }[] {
  return rows.flatMap(({ what, ratio }) => {
    const was = baseline[name]?.[what];
    if (was === undefined) throw new Error(`The baseline knows nothing of ${name}, ${what}: write it anew.`);
    return ratio > was * tolerance ? [{ what, ratio, was }] : [];
  });
}
