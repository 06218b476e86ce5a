/** `rebase`: applying pulled rows while transactions are pending, against none pending. */
import { generateTodos } from "./data.ts";
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene } from "./scene.ts";
import { fillServer } from "./sides/database.ts";

/** Rows that are pulled; a tenth as many transactions are pending. */
export const defaults = { rows: 10_000, runs: 5 };
export const short = { rows: 5000, runs: 3 };

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const all = rows * 2;
    const pending = Math.ceil(rows / 10);
    await fillServer(scene.file("server"), "ours", all, seed);
    const ids = [...generateTodos(all, seed)].map(([id]) => id);
    // Every other row changes on the server.
    const changed = ids.filter((_, i) => i % 2 === 0);
    const others = ids.filter((_, i) => i % 2 === 1);
    await scene.turn({ variant: "ours", server: "server", keep: { server: "after", device: "none" } }, async (pair) => {
      await pair.device.call("sync", true);
      await pair.server.call("change", rows, all, seed);
    });
    const queued = { none: [], elsewhere: others.slice(0, pending), concerned: changed.slice(0, pending) };
    for (const name of ["elsewhere", "concerned"] as const) {
      await scene.turn({ variant: "ours", server: "server", device: "none", keep: { device: name } }, (pair) =>
        pair.device.call("update", queued[name]),
      );
    }
    const turn = (name: keyof typeof queued) => () =>
      scene.turn(
        { variant: "ours", server: "after", device: name, deviceOptions: { refusesPushes: true } },
        async ({ device }) => {
          const ms = await device.call("pull");
          if ((await device.call("pending", queued[name])) !== queued[name].length)
            throw new Error("What was pending is not shown.");
          return ms;
        },
      );
    const against = "nothing pending";
    const [elsewhere, none] = await interleave(runs, turn("elsewhere"), turn("none"));
    const [concerned, noneAgain] = await interleave(runs, turn("concerned"), turn("none"));
    return {
      name: "rebase",
      rows: [
        compare(`${pending} pending, no row concerned`, elsewhere, none, 1.2, against),
        compare(`${pending} pending, a tenth of the rows concerned`, concerned, noneAgain, 1.5, against),
      ],
      figures: {
        "nothing pending, ms": round(median([...none, ...noneAgain])),
        "no row concerned, ms": round(median(elsewhere)),
        "a tenth concerned, ms": round(median(concerned)),
      },
    };
  });
