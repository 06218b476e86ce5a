/**
 * `npm run bench -- [NAME…] [--rows N] [--runs N] [--seed S] [--json]`: takes ratios, prints them as a table, or as one
 * JSON object a benchmark, the last one on the last line. Ends with exit code 1 when a ratio is over its bar, unless
 * `--no-bar` says that only the correctness checks count.
 *
 * `--short` runs a few minutes' worth of it and compares with `baseline.json`: exit code 1 when a ratio got more than a
 * quarter worse, four times in a row. `--write-baseline` stores what it finds instead.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { readBaseline, worseThanBaseline, writeBaseline, type Baseline } from "./baseline.ts";
import * as bootstrap from "./bootstrap.ts";
import * as browser from "./browser.ts";
import * as captureRaw from "./capture-raw.ts";
import * as capture from "./capture.ts";
import * as catchUp from "./catch-up.ts";
import * as fanOut from "./fan-out.ts";
import * as growth from "./growth.ts";
import * as live from "./live.ts";
import type { Benchmark, Result } from "./measure.ts";
import * as memory from "./memory.ts";
import * as push from "./push.ts";
import * as rebase from "./rebase.ts";
import * as unused from "./unused.ts";
import { bytes, hotRow } from "./weights.ts";

const benchmarks: Readonly<Record<string, Benchmark>> = {
  capture,
  "capture-raw": captureRaw,
  bootstrap,
  "catch-up": catchUp,
  push,
  live,
  "fan-out": fanOut,
  "hot-row": hotRow,
  bytes,
  growth,
  memory,
  rebase,
  browser,
  unused,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string" },
    runs: { type: "string" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    "no-bar": { type: "boolean", default: false },
    short: { type: "boolean", default: false },
    "write-baseline": { type: "boolean", default: false },
  },
});

/** How often a ratio is taken before it counts as worse than the baseline. */
const tries = 4;
const isShort = values.short || values["write-baseline"];
const names = positionals.length > 0 ? positionals : Object.keys(benchmarks).filter((name) => !isShort || short(name));
const results: Result[] = [];
for (const name of names) {
  const result = await runOne(name);
  results.push(result);
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
}
if (values["write-baseline"]) writeBaseline(results);
else if (isShort) process.exitCode = (await isWorse(readBaseline(), results)) ? 1 : 0;
else if (!values["no-bar"] && results.some(({ rows }) => rows.some((row) => row.ratio > row.bar))) process.exitCode = 1;

function runOne(name: string): Promise<Result> {
  const benchmark = benchmarks[name];
  if (benchmark === undefined)
    throw new Error(`No benchmark is called ${name}. There are: ${Object.keys(benchmarks).join(", ")}.`);
  const sizes = isShort ? (benchmark.short ?? benchmark.defaults) : benchmark.defaults;
  return benchmark.run({
    rows: positive(values.rows, sizes.rows),
    runs: positive(values.runs, sizes.runs),
    seed: positive(values.seed, 1),
  });
}

function short(name: string): boolean {
  return benchmarks[name]?.short !== undefined;
}

/** A machine that was busy for a moment is no reason to fail: what got worse is run again, and must be worse each time. */
async function isWorse(baseline: Baseline, first: readonly Result[]): Promise<boolean> {
  let found = false;
  for (const result of first) {
    let worse = worseThanBaseline(baseline, result);
    for (let again = 0; worse.length > 0 && again < tries - 1; again++) {
      const still = worseThanBaseline(baseline, await runOne(result.name));
      worse = still.filter(({ what }) => worse.some((before) => before.what === what));
    }
    for (const { what, ratio, was } of worse) {
      found = true;
      console.error(`${result.name}, ${what}: the ratio was ${was}, and is ${ratio}.`);
    }
  }
  return found;
}

function positive(text: string | undefined, fallback: number): number {
  const number = text === undefined ? fallback : Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`Not a positive whole number: ${text}.`);
  return number;
}

function print(result: Result): void {
  console.log(`\n${result.name} (node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown"})`);
  const width = Math.max(...result.rows.map((row) => row.what.length));
  for (const row of result.rows) {
    const mark = row.ratio > row.bar ? "over" : "ok";
    console.log(
      `  ${row.what.padEnd(width)}  ${row.ratio.toFixed(2)} of ${row.against}  (${row.spread.map((ratio) => ratio.toFixed(2)).join(" to ")}, bar ${row.bar}: ${mark})`,
    );
  }
  for (const [what, figure] of Object.entries(result.figures)) console.log(`  ${what}: ${String(figure)}`);
}
