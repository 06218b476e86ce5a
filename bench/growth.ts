/**
 * `growth`: a pull and a push of a hundred rows with a large log and table against the same with a small one, divided by
 * what raw SQLite loses between the two.
 */
import { generateTodos } from "./data.ts";
import { median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene, type Pair, type Scene } from "./scene.ts";
import { fillServer } from "./sides/database.ts";

export const defaults = { rows: 1_000_000, runs: 9 };

const few = 100;

interface Sample {
  readonly pull: readonly number[];
  readonly push: readonly number[];
  readonly rawRead: number;
  readonly rawUpdate: number;
}

/** Waits until the server has nothing to do any more: it indexes in the background what was imported in bulk. */
async function untilIdle(server: Pair["server"]): Promise<void> {
  for (let before = -100; ;) {
    const now = await server.call("cpu");
    if (now - before < 5) return;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function sample(scene: Scene, rows: number, runs: number, seed: number): Promise<Sample> {
  await fillServer(scene.file(`server-${rows}`), "ours", rows, seed);
  // The keys that are pulled, spread over the table.
  const step = Math.floor(rows / few);
  const ids = [...generateTodos(rows, seed)].filter((_, i) => i % step === 0).map(([id]) => id);
  await scene.turn({ variant: "ours", server: `server-${rows}`, keep: { server: "warm", device: "device" } }, (pair) =>
    pair.device.call("sync", true),
  );
  return scene.turn({ variant: "ours", server: "warm", device: "device" }, async ({ server, device }) => {
    const pull: number[] = [];
    const push: number[] = [];
    await device.call("sync", false);
    await untilIdle(server);
    for (let turn = 0; turn < runs; turn++) {
      await server.call("change", few, rows, seed, turn + 1);
      pull.push((await device.call("sync", false)).ms);
      await device.call("insert", [...generateTodos(few, seed + 100 + turn)]);
      push.push((await device.call("sync", false)).ms);
    }
    const raw = await server.call("raw", ids.slice(0, few), 50);
    return { pull, push, rawRead: raw.read, rawUpdate: raw.update };
  });
}

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene(async (scene) => {
    const small = await sample(scene, Math.max(few, Math.ceil(rows / 100)), runs, seed);
    const large = await sample(scene, rows, runs, seed);
    const line = (what: "pull" | "push", raw: "rawRead" | "rawUpdate") => {
      const grown = large[raw] / small[raw];
      const ratio = (a: number, b: number): number => round(a / b / grown);
      const middle = median(small[what]);
      return {
        what: `${what} of ${few}`,
        ratio: ratio(median(large[what]), middle),
        bar: 1.2,
        spread: [ratio(Math.min(...large[what]), middle), ratio(Math.max(...large[what]), middle)] as const,
        against: "the growth of raw SQLite",
      };
    };
    return {
      name: "growth",
      rows: [line("pull", "rawRead"), line("push", "rawUpdate")],
      figures: {
        "pull, ms, small": round(median(small.pull)),
        "pull, ms, large": round(median(large.pull)),
        "push, ms, small": round(median(small.push)),
        "push, ms, large": round(median(large.push)),
        "growth of raw reads": round(large.rawRead / small.rawRead),
        "growth of raw updates": round(large.rawUpdate / small.rawUpdate),
      },
    };
  });
