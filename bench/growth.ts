/**
 * `growth`: a pull and a push of a hundred rows with a large log and table against the same with a small one, divided by
 * what raw SQLite loses between the two.
 */
import { generateTodos } from "./data.ts";
import { median, round, type BenchOptions, type Result } from "./measure.ts";
import { inScene, type Pair, type Scene } from "./scene.ts";
import { fillServer } from "./sides/database.ts";

export const defaults = { rows: 1_000_000, runs: 40 };

const few = 100;
/** Turns before the first that counts: what is compiled on the way is no growth. */
const warmups = 5;

/** Milliseconds, turn by turn. */
interface Times {
  readonly pull: number[];
  readonly push: number[];
  readonly rawRead: number[];
  readonly rawUpdate: number[];
}

/** One server with one device, and what they took. */
interface Side extends Pair {
  readonly rows: number;
  readonly times: Times;
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

/** Opens a server with so many rows, and a device that has them. */
async function withSide<T>(scene: Scene, rows: number, seed: number, work: (side: Side) => Promise<T>): Promise<T> {
  const name = (what: string): string => `${what}-${rows}`;
  await fillServer(scene.file(name("server")), "ours", rows, seed);
  const keep = { server: name("warm"), device: name("device") };
  await scene.turn({ variant: "ours", server: name("server"), keep }, (pair) => pair.device.call("sync", true));
  return scene.turn({ variant: "ours", server: name("warm"), device: name("device") }, async (pair) => {
    await pair.device.call("sync", false);
    await untilIdle(pair.server);
    return work({ ...pair, rows, times: { pull: [], push: [], rawRead: [], rawUpdate: [] } });
  });
}

/** One pull, one push, and the same keys without anything of ours. */
async function takeTurn({ server, device, rows, times }: Side, turn: number, seed: number): Promise<void> {
  await server.call("change", few, rows, seed, turn + 1);
  const pull = await device.call("sync", false);
  await device.call("insert", [...generateTodos(few, seed + 100 + turn)]);
  const push = await device.call("sync", false);
  const raw = await server.call("raw", few, rows, seed, 5);
  if (turn < warmups) return;
  times.pull.push(pull.ms);
  times.push.push(push.ms);
  times.rawRead.push(raw.read);
  times.rawUpdate.push(raw.update);
}

export const run = ({ rows, runs, seed }: BenchOptions): Promise<Result> =>
  inScene((scene) =>
    withSide(scene, Math.max(few, Math.ceil(rows / 100)), seed, (small) =>
      withSide(scene, rows, seed, async (large) => {
        for (let turn = 0; turn < warmups + runs; turn++)
          for (const side of turn % 2 === 0 ? [small, large] : [large, small]) await takeTurn(side, turn, seed);
        const grown = (what: keyof Times): number => median(large.times[what]) / median(small.times[what]);
        const line = (what: "pull" | "push", raw: "rawRead" | "rawUpdate") => {
          const ratios = large.times[what].map((ms, i) => ms / (small.times[what][i] ?? Number.NaN) / grown(raw));
          return {
            what: `${what} of ${few}`,
            ratio: round(grown(what) / grown(raw)),
            bar: 1.2,
            spread: [round(Math.min(...ratios)), round(Math.max(...ratios))] as const,
            against: "the growth of raw SQLite",
          };
        };
        return {
          name: "growth",
          rows: [line("pull", "rawRead"), line("push", "rawUpdate")],
          figures: {
            "pull, ms, small": round(median(small.times.pull)),
            "pull, ms, large": round(median(large.times.pull)),
            "push, ms, small": round(median(small.times.push)),
            "push, ms, large": round(median(large.times.push)),
            "growth of raw reads": round(grown("rawRead")),
            "growth of raw updates": round(grown("rawUpdate")),
          },
        };
      }),
    ),
  );
