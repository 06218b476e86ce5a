/** `catch-up`: a tenth of the rows changed in three columns while the device was away, against the leanest program. */
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene, requireSame } from "./scene.ts";
import { fillServer, type Variant } from "./sides/database.ts";

export const defaults = { rows: 100_000, runs: 5 };
export const short = { rows: 50_000, runs: 3 };

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const changed = Math.ceil(rows / 10);
    for (const variant of ["ours", "lean"] as const) {
      await fillServer(scene.file(`${variant}-before`), variant, rows, seed);
      const keep = { server: `${variant}-after`, device: `${variant}-device` };
      await scene.turn({ variant, server: `${variant}-before`, keep }, async ({ server, device }) => {
        await device.call("sync", true);
        await server.call("change", changed, rows, seed);
      });
    }
    const turn = (variant: Variant) => () =>
      scene.turn({ variant, server: `${variant}-after`, device: `${variant}-device` }, async ({ device }) => ({
        ...(await device.call("sync", false)),
        ...(await device.call("digest")),
      }));
    const [ours, lean] = await interleave(runs, turn("ours"), turn("lean"));
    requireSame([...ours, ...lean]);
    const ms = (turns: typeof ours): number[] => turns.map((each) => each.ms);
    return {
      name: "catch-up",
      rows: [compare(`${changed} of ${rows} rows`, ms(ours), ms(lean), 2, "the leanest program")],
      figures: {
        "rows a second": Math.round((changed / median(ms(ours))) * 1000),
        "rows a second, leanest program": Math.round((changed / median(ms(lean))) * 1000),
        "device CPU seconds": round(median(ours.map((each) => each.cpuMs)) / 1000),
        "device CPU seconds, leanest program": round(median(lean.map((each) => each.cpuMs)) / 1000),
      },
    };
  });
