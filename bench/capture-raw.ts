/** `capture-raw`: what the triggers cost a prepared statement, the index of the log included. */
import { compare, interleave, median, type BenchOptions, type Result } from "./measure.ts";
import { runRemote } from "./remote.ts";
import type { CaptureRawCommands, RawTurn, RawVariant } from "./sides/capture-raw.ts";

export const defaults = { rows: 50_000, runs: 7 };
export const short = { rows: 20_000, runs: 5 };

export async function run({ rows, runs, seed }: BenchOptions): Promise<Result> {
  const turn = (variant: RawVariant) => () =>
    runRemote<CaptureRawCommands, RawTurn>("sides/capture-raw.ts", (remote) =>
      remote.call("turn", variant, rows, seed),
    );
  const [ours, plain] = await interleave(runs, turn("triggers"), turn("none"));
  if (ours.some(({ entries }) => entries !== 3 * rows))
    throw new Error("The log does not have an entry for each write.");
  const timesOf = (turns: readonly RawTurn[], part: string) => turns.map(({ times }) => times[part] ?? Number.NaN);
  const parts = Object.keys(ours[0]?.times ?? {});
  return {
    name: "capture-raw",
    rows: parts.map((part) => compare(part, timesOf(ours, part), timesOf(plain, part), 1.5, "no triggers")),
    figures: Object.fromEntries(
      parts.map((part) => [`${part}, statements a second`, Math.round((rows / median(timesOf(ours, part))) * 1000)]),
    ),
  };
}
