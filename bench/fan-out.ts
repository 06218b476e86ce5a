/** `fan-out`: what a delivery costs the server when many devices listen to one scope, against writing the bytes to as many sockets. */
import { generateTodos } from "./data.ts";
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { runRemote } from "./remote.ts";
import { inScene } from "./scene.ts";
import type { AudienceCommands } from "./sides/audience.ts";
import { fillServer, type Variant } from "./sides/database.ts";

/** Devices that listen. */
export const defaults = { rows: 1000, runs: 3 };

const writes = 40;
const everyMs = 150;

export const run = ({ rows: devices, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const written = [...generateTodos(writes, seed + 3)];
    await fillServer(scene.file("ours"), "ours", 10, seed);
    await fillServer(scene.file("lean"), "lean", 10, seed);
    let turns = 0;
    let frame = 250;
    const turn = (variant: Variant) => async () => {
      const name = scene.copy(variant, `${variant}-${turns++}`);
      const { server, url } = await scene.server(variant, name);
      const found = await runRemote<AudienceCommands, { cpuMs: number; bytes: number }>(
        "sides/audience.ts",
        async (audience) => {
          await audience.call("listen", variant, scene.file(`${name}-listener`), url, devices);
          const before = await server.call("cpu");
          if (variant === "ours") await server.call("trickle", written, everyMs);
          else await server.call("broadcast", frame, writes, everyMs);
          const cpuMs = (await server.call("cpu")) - before;
          await new Promise((resolve) => setTimeout(resolve, 500));
          const received = await audience.call("received");
          if (received.some((bytes) => bytes !== received[0] || bytes === 0))
            throw new Error("Not all devices got the same.");
          return { cpuMs, bytes: received[0] ?? 0 };
        },
      );
      await server.call("close");
      await server.stop();
      if (variant === "ours") frame = Math.round(found.bytes / writes);
      return found;
    };
    const [ours, lean] = await interleave(runs, turn("ours"), turn("lean"));
    const micros = (turns: typeof ours): number[] => turns.map(({ cpuMs }) => (cpuMs * 1000) / (writes * devices));
    return {
      name: "fan-out",
      rows: [compare(`${devices} devices, CPU a delivery`, micros(ours), micros(lean), 1.25, "bare response.write")],
      figures: {
        "server CPU, µs a delivery": round(median(micros(ours))),
        "bare response.write, µs": round(median(micros(lean))),
        "bytes a frame": frame,
      },
    };
  });
