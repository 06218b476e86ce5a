/**
 * What happened how often, to see that a run is worth something.
 *
 * @module
 */

export type Totals = Readonly<Record<string, number>>;

export function addTotals(a: Totals, b: Totals): Totals {
  const sum: Record<string, number> = { ...a };
  for (const [what, count] of Object.entries(b)) sum[what] = (sum[what] ?? 0) + count;
  return sum;
}

/** The totals as text, sorted by name. */
export function describeTotals(totals: Totals): string {
  return Object.entries(totals)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${what} ${count}`)
    .join(", ");
}
