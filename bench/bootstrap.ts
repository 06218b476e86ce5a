/** `bootstrap`: all rows over HTTP into an empty device file, against the leanest program that does only that. */
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene, requireSame } from "./scene.ts";
import { fillServer, type Variant } from "./sides/database.ts";

export const defaults = { rows: 100_000, runs: 5 };
export const short = { rows: 30_000, runs: 3 };

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    await fillServer(scene.file("ours"), "ours", rows, seed);
    await fillServer(scene.file("lean"), "lean", rows, seed);
    const turn = (variant: Variant) => () =>
      scene.turn({ variant, server: variant }, async ({ server, device }) => {
        const before = await server.call("cpu");
        const took = await device.call("sync", true);
        return { ...took, serverCpuMs: (await server.call("cpu")) - before, ...(await device.call("digest")) };
      });
    const [ours, lean] = await interleave(runs, turn("ours"), turn("lean"));
    requireSame([...ours, ...lean]);
    if (ours.some((each) => each.rows !== rows)) throw new Error("A device does not hold all rows.");
    const ms = (turns: typeof ours): number[] => turns.map((each) => each.ms);
    const seconds = (turns: typeof ours, key: "cpuMs" | "serverCpuMs"): number =>
      round(median(turns.map((each) => each[key])) / 1000);
    return {
      name: "bootstrap",
      rows: [compare(`${rows} rows`, ms(ours), ms(lean), 1.5, "the leanest program")],
      figures: {
        "rows a second": Math.round((rows / median(ms(ours))) * 1000),
        "rows a second, leanest program": Math.round((rows / median(ms(lean))) * 1000),
        "device CPU seconds": seconds(ours, "cpuMs"),
        "device CPU seconds, leanest program": seconds(lean, "cpuMs"),
        "server CPU seconds": seconds(ours, "serverCpuMs"),
        "server CPU seconds, leanest program": seconds(lean, "serverCpuMs"),
      },
    };
  });
