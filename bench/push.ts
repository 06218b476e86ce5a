/** `push`: transactions of one row each, written offline, until the last has left the queue; against plain commits on the server. */
import { generateTodos } from "./data.ts";
import { compare, interleave, median, round, type BenchOptions, type Result } from "./measure.ts";
import { runRemote } from "./remote.ts";
import { inScene } from "./scene.ts";
import type { CommitCommands } from "./sides/commits.ts";
import { fillServer } from "./sides/database.ts";
import type { Took } from "./sides/device.ts";

export const defaults = { rows: 10_000, runs: 5 };
export const short = { rows: 3000, runs: 3 };

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const offline = [...generateTodos(rows, seed + 1)];
    await fillServer(scene.file("server"), "ours", 1000, seed);
    const keep = { server: "after", device: "device" };
    await scene.turn({ variant: "ours", server: "server", keep }, async ({ device }) => {
      await device.call("sync", true);
      await device.call("insert", offline);
    });
    const push = () =>
      scene.turn({ variant: "ours", server: "after", device: "device" }, async ({ server, device }) => {
        const before = await server.call("cpu");
        const took = await device.call("sync", false);
        const serverCpuMs = (await server.call("cpu")) - before;
        const count = await server.call("count");
        if (count !== rows + 1000) throw new Error(`The server has ${count} rows of ${rows + 1000}.`);
        return { ...took, serverCpuMs };
      });
    let plains = 0;
    const plain = async () => {
      const file = scene.file(`plain-${plains++}`);
      const took = await runRemote<CommitCommands, Took>("sides/commits.ts", (remote) =>
        remote.call("commit", file, offline),
      );
      return { ...took, serverCpuMs: took.cpuMs };
    };
    const [ours, theirs] = await interleave(runs, push, plain);
    const ms = (turns: typeof ours): number[] => turns.map((each) => each.ms);
    const micros = (times: readonly number[]): number => round((median(times) / rows) * 1000);
    return {
      name: "push",
      rows: [compare(`${rows} transactions`, ms(ours), ms(theirs), 1.5, "plain commits on the server's database")],
      figures: {
        "transactions a second": Math.round((rows / median(ms(ours))) * 1000),
        "plain commits a second": Math.round((rows / median(ms(theirs))) * 1000),
        "device CPU, µs a transaction": micros(ours.map((each) => each.cpuMs)),
        "server CPU, µs a transaction": micros(ours.map((each) => each.serverCpuMs)),
        "plain commit, µs": micros(ms(theirs)),
      },
    };
  });
