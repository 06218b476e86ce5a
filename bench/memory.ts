/** `memory`: what server and device need above idle while a million rows travel. */
import { round, type BenchOptions, type Result } from "./measure.ts";
import { inScene } from "./scene.ts";
import { fillServer } from "./sides/database.ts";

export const defaults = { rows: 1_000_000, runs: 1 };

const barMb = 150;

export const run = ({ rows, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    await fillServer(scene.file("server"), "ours", rows, seed);
    return scene.turn({ variant: "ours", server: "server" }, async ({ server, device }) => {
      const idle = { server: await server.call("memory"), device: await device.call("memory") };
      const { ms } = await device.call("sync", true);
      const peak = { server: await server.call("memory"), device: await device.call("memory") };
      const { rows: held } = await device.call("digest");
      if (held !== rows) throw new Error(`The device has ${held} rows of ${rows}.`);
      const line = (side: "server" | "device") => {
        const ratio = round((peak[side].peak - idle[side].now) / barMb);
        return { what: side, ratio, bar: 1, spread: [ratio, ratio] as const, against: `${barMb} MB above idle` };
      };
      return {
        name: "memory",
        rows: [line("server"), line("device")],
        figures: {
          "server, MB above idle": round(peak.server.peak - idle.server.now),
          "device, MB above idle": round(peak.device.peak - idle.device.now),
          "server, MB idle": round(idle.server.now),
          "device, MB idle": round(idle.device.now),
          "rows a second": Math.round((rows / ms) * 1000),
        },
      };
    });
  });
