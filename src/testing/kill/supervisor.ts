/**
 * Runs a server and devices as processes of their own and kills them, with no warning, at moments that a seed chooses:
 * some milliseconds after a request, an answer, an open transaction, a new cursor, between two statements, or while they start. In the end all are
 * left alone until they are in step, and what they left behind is judged.
 *
 * What is random in a process follows from the seed and its name; when things happen does not, so that a seed repeats the
 * load and the choice of kills, and not the run.
 *
 * @module
 */

import { createServer, type AddressInfo } from "node:net";
import Database from "better-sqlite3";
import { checkHistory } from "../history/check-history.ts";
import type { HistoryViolation } from "../history/recorded-run.ts";
import { createRandom, type Random } from "../random.ts";
import { bundlePrograms } from "./bundle.ts";
import { createCopies } from "./copies.ts";
import { createKeeper, type Keeper } from "./keeper.ts";
import { databaseOf, logOf, readRun, SERVER } from "./read-run.ts";
import { createServerTables } from "./schema.ts";

/** Options of {@link runKillTest}. */
export interface KillTestOptions {
  readonly seed: number;
  /** How many processes are killed. */
  readonly kills: number;
  /** No more kills after this long, in seconds. @default no bound */
  readonly seconds?: number;
  /** @default 3 */
  readonly devices?: number;
  /** Where histories and databases go; it exists and is empty. */
  readonly folder: string;
  /** The mean time between two transactions of one process, in milliseconds. @default 15 */
  readonly pauseMs?: number;
  /** How many entries the server's log keeps. @default 300 */
  readonly maxEntries?: number;
  /** Whether the server's database is put back now and then as an earlier copy had it. @default false */
  readonly restores?: boolean;
  /** How long everything may take to get in step at the end, in milliseconds. @default 120_000 */
  readonly settleMs?: number;
}

/** What came of a run. */
export interface KillTestReport {
  readonly violations: readonly HistoryViolation[];
  /** Kills by moment. */
  readonly kills: Readonly<Record<string, number>>;
  /** How many transactions of devices and server took effect, and how many have outcomes, by status. */
  readonly transactions: Readonly<Record<string, number>>;
  /** How often a device had to fetch its rows anew. */
  readonly resets: number;
  readonly seconds: number;
}

/** Runs the test. */
export async function runKillTest(options: KillTestOptions): Promise<KillTestReport> {
  const started = performance.now();
  const { seed, folder, devices: count = 3, settleMs = 120_000 } = options;
  const random = createRandom(seed);
  const names = Array.from({ length: count }, (_, i) => `d${i}`);
  const programs = await bundlePrograms();
  const database = new Database(databaseOf(folder, SERVER));
  database.pragma("journal_mode = WAL");
  createServerTables(database, names);
  database.close();

  const port = await freePort();
  const keepers = [SERVER, ...names].map((name) =>
    createKeeper(name === SERVER ? programs.server : programs.device, {
      name,
      file: databaseOf(folder, name),
      log: logOf(folder, name),
      port,
      seed,
      pauseMs: options.pauseMs ?? 15,
      maxEntries: options.maxEntries ?? 300,
    }),
  );
  const [server, ...devices] = keepers as [Keeper, ...Keeper[]];
  let late: readonly HistoryViolation[] = [];
  let kills: Record<string, number> = {};
  try {
    for (const keeper of keepers) keeper.start();
    kills = await killAtRandom(keepers, random, options);
    // The server's own writes end first: after that what devices have is all there is.
    await within(settleMs, server.order("settle"));
    await within(settleMs, Promise.all(devices.map((device) => device.order("settle"))));
    await within(settleMs, Promise.all(devices.map((device) => device.order("finish"))));
    await within(settleMs, server.order("finish"));
  } catch (error) {
    late = [{ property: "failed", message: error instanceof Error ? error.message : String(error) }];
  } finally {
    await Promise.all(keepers.map((keeper) => keeper.end()));
    programs.remove();
  }
  const run = readRun(folder, names);
  const outcomes = run.devices.flatMap(({ events }) =>
    events.flatMap((event) => (event.kind === "end" ? event.outcomes : [])),
  );
  const statuses = outcomes.map(({ status }) => status);
  return {
    violations: [...late, ...checkHistory(run)],
    kills,
    transactions: {
      effective: run.audit.filter(({ table }) => table === "ops").length,
      merged: statuses.filter((status) => status === "merged").length,
      rejected: statuses.filter((status) => status === "rejected").length,
    },
    resets: run.devices.flatMap(({ events }) => events.filter(({ kind }) => kind === "reset")).length,
    seconds: (performance.now() - started) / 1000,
  };
}

/** The moments, each as often as it is chosen. `any`: now. `statement`: between two statements. */
const moments = [
  ...(["any", "any", "start", "begin", "apply"] as const),
  ...(["request", "request", "answer", "answer"] as const),
  ...(["statement", "statement", "statement", "statement"] as const),
];

async function killAtRandom(
  keepers: readonly Keeper[],
  random: Random,
  { kills, seconds = Number.POSITIVE_INFINITY, folder, restores = false }: KillTestOptions,
): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const copies = createCopies(folder);
  const until = performance.now() + seconds * 1000;
  await Promise.all(keepers.map((keeper) => keeper.at("ready", 20_000)));
  for (let i = 0; i < kills && performance.now() < until; i++) {
    await wait(exponential(random, 40));
    // The server is what all devices meet; it dies as often as any two of them.
    const keeper = random.chance(2 / (keepers.length + 1)) ? (keepers[0] as Keeper) : random.pick(keepers.slice(1));
    const moment = random.pick(moments);
    const delayMs = exponential(random, 3);
    const isLongOutage = random.chance(0.05);
    if (moment === "start") {
      // It dies, and dies again while it comes back.
      await keeper.kill();
      keeper.start();
      await wait(random.next() * 400);
    } else {
      if (!keeper.isReady) await keeper.at("ready", 20_000);
      // Counted in what it got done, and not in time, so that a slow machine gets on, too.
      const answers = Math.floor(exponential(random, 8));
      if (answers > 0) await keeper.at("answer", 1000, answers);
      if (moment === "statement") await keeper.killWithin(1 + Math.floor(exponential(random, 40)));
      else {
        if (moment !== "any") await keeper.at(moment, 300);
        await wait(delayMs);
      }
    }
    await keeper.kill();
    if (restores && keeper.name === SERVER && random.chance(0.4)) copies.next(random);
    if (isLongOutage) await wait(1000);
    keeper.start();
    const label = `${keeper.name === SERVER ? "server" : "device"} ${moment}`;
    counts[label] = (counts[label] ?? 0) + 1;
  }
  await Promise.all(keepers.filter(({ isReady }) => !isReady).map((keeper) => keeper.at("ready", 20_000)));
  return counts;
}

const exponential = (random: Random, mean: number): number => -Math.log(1 - random.next()) * mean;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Not everything was in step after ${ms / 1000} s.`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A port that nobody listens on; the server comes back on the same one. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
