/**
 * Runs a server and devices as processes of their own and kills them, with no warning, at moments that a seed chooses:
 * right after a commit, between two statements, at a request, an answer or an open transaction, or while they start. In
 * the end all are left alone until they are in step, and what they left behind is judged.
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
import { createRandom } from "../random.ts";
import { bundlePrograms } from "./bundle.ts";
import { createKeeper, type Keeper } from "./keeper.ts";
import { killAtRandom, type KillPlan } from "./killing.ts";
import { databaseOf, findLagging, logOf, readRun, SERVER } from "./read-run.ts";
import { createServerTables } from "./schema.ts";

/** Options of {@link runKillTest}. */
export interface KillTestOptions extends KillPlan {
  readonly seed: number;
  /** @default 3 */
  readonly devices?: number;
  /** The mean time between two transactions of one process, in milliseconds. @default 15 */
  readonly pauseMs?: number;
  /** How many entries the server's log keeps. @default 300 */
  readonly maxEntries?: number;
  /** How long everything may take to get in step at the end, in milliseconds. @default 60_000 */
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
  const { seed, folder, devices: count = 3, settleMs = 60_000 } = options;
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
    late = await awaitRows(folder, names, settleMs);
    await within(settleMs, Promise.all(devices.map((device) => device.order("finish"))));
    await within(settleMs, server.order("finish"));
  } catch (error) {
    late = [...late, { property: "failed", message: error instanceof Error ? error.message : String(error) }];
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

/** Waits until the devices have the server's rows, without asking for them. */
async function awaitRows(folder: string, names: readonly string[], ms: number): Promise<readonly HistoryViolation[]> {
  for (const until = performance.now() + ms; ; await wait(100)) {
    const lagging = findLagging(folder, names);
    if (lagging.length === 0) return [];
    if (performance.now() > until)
      return lagging.map((name) => ({ property: "live", message: `${name} did not get the server's rows by itself` }));
  }
}

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
