/** `unused`: what the library costs where it has nothing to do, against the same statements without it. */
import { compare, interleave, median, type BenchOptions, type Result } from "./measure.ts";
import { runRemote } from "./remote.ts";
import type { UnusedCase, UnusedCommands, UnusedTurn } from "./sides/unused.ts";

export const defaults = { rows: 5000, runs: 7 };
export const short = { rows: 3000, runs: 5 };

const cases: readonly {
  readonly what: string;
  readonly with: UnusedCase;
  readonly without: UnusedCase;
  readonly against: string;
}[] = [
  { what: "a table that is not synced", with: "other-table", without: "plain", against: "plain Drizzle" },
  { what: "a server without live devices", with: "served", without: "captured", against: "the database alone" },
  { what: "a client that is paused", with: "paused", without: "device", against: "the database alone" },
];

export async function run({ rows, runs, seed }: BenchOptions): Promise<Result> {
  const turn = (which: UnusedCase) => () =>
    runRemote<UnusedCommands, UnusedTurn>("sides/unused.ts", (remote) => remote.call("turn", which, rows, seed));
  const lines = [];
  const figures: Record<string, number> = {};
  for (const { what, with: ours, without, against } of cases) {
    const [all, base] = await interleave(runs, turn(ours), turn(without));
    for (const { count } of [...all, ...base])
      if (count !== rows) throw new Error(`${count} rows were written of ${rows}.`);
    const ms = (turns: readonly UnusedTurn[]): number[] => turns.map((each) => each.ms);
    lines.push(compare(what, ms(all), ms(base), 1.05, against));
    figures[`${what}, µs a transaction`] = Math.round((median(ms(all)) / rows) * 10_000) / 10;
  }
  return { name: "unused", rows: lines, figures };
}
