/** `capture`: what a write costs through `withSync`, against the same write through plain Drizzle. */
import { compare, interleave, median, type BenchOptions, type Result } from "./measure.ts";
import { runRemote } from "./remote.ts";
import type { CaptureCommands, CaptureTurn, CaptureVariant } from "./sides/capture.ts";

export const defaults = { rows: 20_000, runs: 7 };
export const short = { rows: 5000, runs: 5 };

export async function run({ rows, runs, seed }: BenchOptions): Promise<Result> {
  const turn = (variant: CaptureVariant) => () =>
    runRemote<CaptureCommands, CaptureTurn>("sides/capture.ts", (remote) => remote.call("turn", variant, rows, seed));
  const [ours, plain] = await interleave(runs, turn("sync"), turn("plain"));
  for (const [index, result] of ours.entries()) {
    if (result.digest !== plain[index]?.digest) throw new Error("The two databases do not hold the same rows.");
    if (result.entries !== result.writes) {
      throw new Error(`The log has ${String(result.entries)} entries for ${result.writes} writes.`);
    }
  }
  const parts = Object.keys(ours[0]?.times ?? {});
  const timesOf = (turns: readonly CaptureTurn[], part: string) =>
    turns.map((result) => result.times[part] ?? Number.NaN);
  return {
    name: "capture",
    rows: parts.map((part) =>
      compare(part, timesOf(ours, part), timesOf(plain, part), part.endsWith("one each") ? 1.15 : 1, "plain Drizzle"),
    ),
    figures: Object.fromEntries(
      parts.map((part) => {
        const count = part.endsWith("one each") ? Math.ceil(rows / 5) : rows;
        return [`${part}, statements a second`, Math.round((count / median(timesOf(ours, part))) * 1000)];
      }),
    ),
  };
}
