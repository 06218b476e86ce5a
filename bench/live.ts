/** `live`: from a write on one device to the row being visible on another, against the leanest way that is as durable. */
import { generateTodos } from "./data.ts";
import { compareAt, interleave, percentile, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene } from "./scene.ts";
import { fillServer, type Variant } from "./sides/database.ts";

/** Rows written, and how often all of it is done. */
export const defaults = { rows: 300, runs: 3 };

const everyMs = 50;

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const written = [...generateTodos(rows, seed + 2)];
    for (const variant of ["ours", "lean"] as const) await fillServer(scene.file(variant), variant, 1000, seed);
    const turn = (variant: Variant) => (): Promise<number[]> =>
      scene.turn({ variant, server: variant, deviceOptions: { isLive: true } }, async ({ device: reader, url }) => {
        const writer = await scene.device(variant, `writer-${Math.random()}`, url, { isLive: true });
        await reader.call("follow");
        await writer.call("live");
        const begun = await writer.call("write", written, everyMs);
        await new Promise((resolve) => setTimeout(resolve, 500));
        const arrived = new Map(await reader.call("arrivals"));
        await writer.call("close");
        await writer.stop();
        return begun.map(([id, at]) => {
          const seen = arrived.get(id);
          if (seen === undefined) throw new Error("A row never came.");
          return seen - at;
        });
      });
    const [ours, lean] = await interleave(runs, turn("ours"), turn("lean"));
    const at = (share: number, what: string, bar: number) =>
      compareAt(what, ours, lean, share, bar, "plain commits and a bare stream");
    return {
      name: "live",
      rows: [at(0.5, "median", 2), at(0.99, "99th percentile", 3)],
      figures: {
        "median, ms": round(percentile(ours.flat(), 0.5)),
        "99th percentile, ms": round(percentile(ours.flat(), 0.99)),
        "median, ms, leanest program": round(percentile(lean.flat(), 0.5)),
        "99th percentile, ms, leanest program": round(percentile(lean.flat(), 0.99)),
      },
    };
  });
