/**
 * `npm run bench -- NAME [--rows N] [--runs N] [--seed S] [--json]`: takes ratios, prints them as a table, or as one
 * JSON object on the last line. Ends with exit code 1 when a ratio is over its bar, unless `--no-bar` says that only
 * the correctness checks count.
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import * as bootstrap from "./bootstrap.ts";
import * as capture from "./capture.ts";
import * as captureRaw from "./capture-raw.ts";
import * as catchUp from "./catch-up.ts";
import * as fanOut from "./fan-out.ts";
import * as growth from "./growth.ts";
import * as live from "./live.ts";
import type { Result } from "./measure.ts";
import * as memory from "./memory.ts";
import * as push from "./push.ts";
import * as rebase from "./rebase.ts";
import { bytes, hotRow } from "./weights.ts";

const benchmarks = {
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
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string" },
    runs: { type: "string" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    /** Only looks whether the benchmarks run and their correctness checks pass. */
    "no-bar": { type: "boolean", default: false },
  },
});

function positive(text: string | undefined, fallback: number): number {
  const number = text === undefined ? fallback : Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`Not a positive whole number: ${text}.`);
  return number;
}

const names = positionals.length > 0 ? positionals : Object.keys(benchmarks);
let isOverBar = false;
for (const name of names) {
  if (!(name in benchmarks))
    throw new Error(`No benchmark is called ${name}. There are: ${Object.keys(benchmarks).join(", ")}.`);
  const benchmark = benchmarks[name as keyof typeof benchmarks];
  const result = await benchmark.run({
    rows: positive(values.rows, benchmark.defaults.rows),
    runs: positive(values.runs, benchmark.defaults.runs),
    seed: positive(values.seed, 1),
  });
  if (result.rows.some((row) => row.ratio > row.bar)) isOverBar = true;
  if (values.json) console.log(JSON.stringify(result));
  else print(result);
}
process.exitCode = isOverBar && !values["no-bar"] ? 1 : 0;

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
