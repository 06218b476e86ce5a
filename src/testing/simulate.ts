/**
 * `npm run simulate -- --runs N --seed S`: runs histories one after the other. A failing one is made small and printed
 * with its seed, and the exit code is 1. `--only SEED` repeats one; `--jobs N` uses several processes.
 *
 * @module
 */

import { fork } from "node:child_process";
import { parseArgs } from "node:util";
import { minimize } from "./simulation/minimize.ts";
import { makePlan, type Plan } from "./simulation/plan.ts";
import { addTotals, runPlan, type Totals } from "./simulation/run.ts";
import { Violation } from "./simulation/violation.ts";

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    jobs: { type: "string", default: "1" },
    stop: { type: "string", default: "1" },
    trace: { type: "boolean", default: false },
  },
});

interface Failure {
  readonly seed: number;
  readonly kind: string;
  readonly message: string;
}

/** What the processes of one call tell each other. */
interface Report {
  readonly runs: number;
  readonly failures: readonly Failure[];
  readonly totals: Totals;
}

const first = Number(values.seed);
const runs = values.only === undefined ? Number(values.runs) : 1;
const jobs = Math.min(Number(values.jobs), runs);
const started = performance.now();

const report =
  jobs > 1 && values.only === undefined
    ? await inProcesses()
    : await inThisProcess(values.only === undefined ? first : Number(values.only), runs);

if (process.send) {
  process.send(report);
  process.disconnect();
} else {
  const seconds = (performance.now() - started) / 1000;
  console.log(`${report.runs} runs from seed ${first} in ${seconds.toFixed(1)} s: ${report.failures.length} failed.`);
  console.log(
    Object.entries(report.totals)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([what, count]) => `${what} ${count}`)
      .join(", "),
  );
  for (const failure of report.failures) console.log(`seed ${failure.seed}: ${failure.message}`);
  process.exitCode = report.failures.length > 0 ? 1 : 0;
}

async function inThisProcess(from: number, count: number): Promise<Report> {
  const failures: Failure[] = [];
  let totals: Totals = {};
  let done = 0;
  for (let seed = from; seed < from + count; seed++) {
    done++;
    const plan = makePlan(seed);
    const failure = await failureOf(plan);
    if (failure instanceof Error) {
      failures.push({ seed, kind: kindOf(failure), message: await explain(plan, failure) });
      if (failures.length >= Number(values.stop)) break;
    } else totals = addTotals(totals, failure);
  }
  return { runs: done, failures, totals };
}

async function inProcesses(): Promise<Report> {
  const share = Math.ceil(runs / jobs);
  const reports = await Promise.all(
    Array.from({ length: jobs }, (_, job) => {
      const from = first + job * share;
      const count = Math.max(0, Math.min(share, first + runs - from));
      return new Promise<Report>((resolve, reject) => {
        const args = ["--runs", String(count), "--seed", String(from), "--stop", values.stop];
        const child = fork(new URL(import.meta.url), args, { execArgv: process.execArgv });
        child.once("message", (message) => resolve(message as Report));
        child.once("exit", (code) => reject(new Error(`A simulating process ended with exit code ${code}.`)));
      });
    }),
  );
  return {
    runs: reports.reduce((sum, { runs: count }) => sum + count, 0),
    failures: reports.flatMap(({ failures }) => failures),
    totals: reports.reduce<Totals>((totals, next) => addTotals(totals, next.totals), {}),
  };
}

async function failureOf(plan: Plan, trace?: (line: string) => void): Promise<Totals | Error> {
  try {
    return await runPlan(plan, trace);
  } catch (error) {
    return rootOf(error instanceof Error ? error : new Error(String(error)));
  }
}

function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\n  caused by ${stackOf(error.cause)}` : own;
}

/** What an oracle threw inside the library's own transaction comes back wrapped. */
function rootOf(error: Error): Error {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof Violation) return cause;
  return error;
}

/** Failures of one kind are the same failure, as far as making one small is concerned. */
function kindOf(error: Error): string {
  return error instanceof Violation
    ? error.oracle
    : `${error.name}: ${error.message.replaceAll(/\d+/g, "#").slice(0, 60)}`;
}

async function explain(plan: Plan, failure: Error): Promise<string> {
  const kind = kindOf(failure);
  const small = await minimize(plan, async (candidate) => {
    const found = await failureOf(candidate);
    return found instanceof Error && kindOf(found) === kind;
  });
  const lines: string[] = [];
  const last = await failureOf(small, (line) => lines.push(line));
  const text = last instanceof Violation ? last.message : last instanceof Error ? stackOf(last) : failure.message;
  return `${text}\n  ${JSON.stringify(small.circumstances)}\n  ${lines.join("\n  ")}\n`;
}
