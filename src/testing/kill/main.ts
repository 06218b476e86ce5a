/**
 * `npm run test:kill -- --kills N --seed S`: kills a server and devices under load, and judges what they left. When
 * something is wrong it prints the seed and the folder with histories and databases, which stays, and the exit code is 1.
 * `--seconds T` bounds the time of killing, `--devices D` says how many there are, `--entries E` how
 * many entries the server's log keeps, `--restores` puts earlier copies of the server's database back, `--keep` keeps
 * the folder in any case.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runKillTest } from "./supervisor.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    seconds: { type: "string" },
    devices: { type: "string", default: "3" },
    entries: { type: "string", default: "300" },
    restores: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
  },
});

const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-kill-"));
const report = await runKillTest({
  folder,
  seed: Number(values.seed),
  kills: Number(values.kills),
  devices: Number(values.devices),
  maxEntries: Number(values.entries),
  restores: values.restores,
  ...(values.seconds === undefined ? {} : { seconds: Number(values.seconds) }),
});

const list = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, count]) => `${what} ${count}`)
    .join(", ");
const killed = Object.values(report.kills).reduce((sum, count) => sum + count, 0);
console.log(`${killed} kills from seed ${values.seed} in ${report.seconds.toFixed(1)} s: ${list(report.kills)}.`);
console.log(`Transactions: ${list(report.transactions)}. Resets: ${report.resets}.`);
if (report.violations.length > 0) {
  console.log(`${report.violations.length} violations. Seed ${values.seed}, histories and databases in ${folder}:`);
  for (const { property, message } of report.violations.slice(0, 30)) console.log(`${property}: ${message}`);
  process.exitCode = 1;
} else {
  console.log("Nothing was lost, doubled, torn or overwritten unseen.");
  if (values.keep) console.log(folder);
  else rmSync(folder, { recursive: true });
}
