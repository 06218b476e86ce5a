/**
 * When which process is killed, as a seed chooses.
 *
 * @module
 */

import type { Random } from "../random.ts";
import { createCopies } from "./copies.ts";
import type { Keeper } from "./keeper.ts";
import { SERVER } from "./read-run.ts";

/** How long to kill, and what else to do to the server. */
export interface KillPlan {
  /** How many processes are killed. */
  readonly kills: number;
  /** No more kills after this long, in seconds. @default no bound */
  readonly seconds?: number;
  /** Where histories and databases go; it exists and is empty. */
  readonly folder: string;
  /** Whether the server's database is put back now and then as an earlier copy had it. @default false */
  readonly restores?: boolean;
}

/** When a process is killed, each as often as it is chosen. `any`: now. `seam`: inside what must be one transaction. */
const moments = [
  ...(["any", "start", "start", "begin", "request", "answer", "answer"] as const),
  ...(["statement", "seam", "seam", "seam"] as const),
  ...(["commit", "commit", "commit", "commit"] as const),
];

/** Where a torn transaction would hurt: the statements that are in the middle of it. */
const seams = {
  server: {
    trim: "^DELETE FROM _sync_log",
    outcome: "^INSERT INTO _sync_outcomes",
    acknowledgement: "^DELETE FROM _sync_outcomes",
    record: "^(INSERT INTO|UPDATE) _sync_devices",
  },
  device: {
    queue: "_sync_sent",
    outcome: "^INSERT INTO _sync_outcomes",
    stage: "^(INSERT INTO|DELETE FROM) _sync_stage",
    images: "^(INSERT INTO|DELETE FROM) _sync_base",
  },
} as const;

/** Kills processes, the server first among them, and starts them again. Gives the kills by moment. */
export async function killAtRandom(
  keepers: readonly Keeper[],
  random: Random,
  { kills, seconds = Number.POSITIVE_INFINITY, folder, restores = false }: KillPlan,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const copies = createCopies(folder);
  const until = performance.now() + seconds * 1000;
  await allReady(keepers);
  for (let i = 0; i < kills && performance.now() < until; i++) {
    await wait(exponential(random, 40));
    // The server is what all devices meet; it dies as often as any two of them.
    const keeper = random.chance(2 / (keepers.length + 1)) ? (keepers[0] as Keeper) : random.pick(keepers.slice(1));
    const isLongOutage = random.chance(0.05);
    const label = await killOne(keeper, random);
    await keeper.kill();
    if (restores && keeper.name === SERVER && random.chance(0.4)) copies.next(random);
    if (isLongOutage) await wait(1000);
    keeper.start();
    counts[label] = (counts[label] ?? 0) + 1;
  }
  await allReady(keepers);
  return counts;
}

/** Kills one process, and says when. */
async function killOne(keeper: Keeper, random: Random): Promise<string> {
  const role = keeper.name === SERVER ? "server" : "device";
  const moment = random.pick(moments);
  if (moment === "start") {
    // It dies, and dies again while it comes back.
    await keeper.kill();
    const unit = random.pick(["statement", "commit", "request", "answer"] as const);
    const count = unit === "statement" ? Math.floor(exponential(random, 60)) : random.int(8);
    keeper.start({ unit, count: 1 + count });
    await keeper.killed();
    return `${role} start`;
  }
  if (!keeper.isReady) await keeper.at("ready", READY_MS);
  // Counted in what it got done, and not in time, so that a slow machine gets on, too.
  const answers = Math.floor(exponential(random, 4));
  if (answers > 0) await keeper.at("answer", 400, answers);
  switch (moment) {
    case "any":
      await wait(exponential(random, 3));
      break;
    case "statement":
      await keeper.killAt({ unit: moment, count: 1 + Math.floor(exponential(random, 40)) });
      break;
    case "seam": {
      const [seam, after] = random.pick(Object.entries(seams[role]));
      const unit = random.pick(["statement", "commit", "commit"] as const);
      await keeper.killAt({ unit, after, count: unit === "commit" ? 1 : 1 + random.int(10) });
      return `${role} ${seam}`;
    }
    default:
      await keeper.killAt({ unit: moment, count: 1 + random.int(moment === "commit" ? 8 : 3) });
  }
  return `${role} ${moment}`;
}

/** How long a process may take to start, in milliseconds. */
const READY_MS = 20_000;

async function allReady(keepers: readonly Keeper[]): Promise<void> {
  await Promise.all(keepers.filter(({ isReady }) => !isReady).map((keeper) => keeper.at("ready", READY_MS)));
}

const exponential = (random: Random, mean: number): number => -Math.log(1 - random.next()) * mean;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
