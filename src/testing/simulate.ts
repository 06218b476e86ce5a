/**
 * `npm run simulate -- --runs N --seed S`: runs the corpus of past failures, then that many random histories, in as many
 * processes as there are cores (`--jobs N`). A failing one is made small and printed with its seed, and the exit code is 1.
 * `--only SEED` repeats one; `--stop N` goes on until so many have failed in one process.
 *
 * @module
 */

import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { corpus } from "./simulation/corpus.ts";
import { explain, totalsOrFailure } from "./simulation/failure.ts";
import { makePlan, type Plan } from "./simulation/plan.ts";
import { addTotals, describeTotals, type Totals } from "./simulation/totals.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    jobs: { type: "string", default: String(availableParallelism()) },
    stop: { type: "string", default: "1" },
  },
});

/** What the processes of one call tell each other. */
interface Report {
  readonly runs: number;
  readonly failures: readonly string[];
  readonly totals: Totals;
}

const first = Number(values.seed);
const runs = Number(values.runs);
const started = performance.now();

if (process.send) {
  process.send(await simulate(seeds(first, runs)));
  process.disconnect();
} else {
  const report = values.only === undefined ? await simulateAll() : await simulate(seeds(Number(values.only), 1));
  const seconds = (performance.now() - started) / 1000;
  const from = values.only ?? values.seed;
  console.log(`${report.runs} runs from seed ${from} in ${seconds.toFixed(1)} s: ${report.failures.length} failed.`);
  console.log(describeTotals(report.totals));
  for (const failure of report.failures) console.log(failure);
  process.exitCode = report.failures.length > 0 ? 1 : 0;
}

type Named = { readonly name: string; readonly plan: Plan };

function* seeds(from: number, count: number): Generator<Named> {
  for (let seed = from; seed < from + count; seed++) yield { name: `seed ${seed}`, plan: makePlan(seed) };
}

async function simulate(plans: Iterable<Named>): Promise<Report> {
  const failures: string[] = [];
  let totals: Totals = {};
  let done = 0;
  for (const { name, plan } of plans) {
    done++;
    const found = await totalsOrFailure(plan);
    if (!(found instanceof Error)) {
      totals = addTotals(totals, found);
      continue;
    }
    failures.push(`${name}: ${await explain(plan, found)}`);
    if (failures.length >= Number(values.stop)) break;
  }
  return { runs: done, failures, totals };
}

async function simulateAll(): Promise<Report> {
  const past = await simulate(corpus.map(({ shows, plan }) => ({ name: `corpus (${shows})`, plan })));
  if (past.failures.length > 0) return past;
  const jobs = Math.min(Number(values.jobs), runs);
  const share = Math.ceil(runs / jobs);
  const reports = await Promise.all(
    Array.from({ length: jobs }, (_, job) => {
      const from = first + job * share;
      return inProcess(from, Math.max(0, Math.min(share, first + runs - from)));
    }),
  );
  return {
    runs: reports.reduce((sum, report) => sum + report.runs, 0),
    failures: reports.flatMap(({ failures }) => failures),
    totals: reports.reduce<Totals>((totals, next) => addTotals(totals, next.totals), {}),
  };
}

function inProcess(from: number, count: number): Promise<Report> {
  return new Promise((resolve, reject) => {
    const args = ["--runs", String(count), "--seed", String(from), "--stop", values.stop];
    const child = fork(new URL(import.meta.url), args, { execArgv: process.execArgv });
    child.once("message", (message) => resolve(message as Report));
    child.once("exit", (code) => reject(new Error(`A simulating process ended with exit code ${code}.`)));
  });
}
