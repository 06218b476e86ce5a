import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runKillTest } from "./supervisor.ts";

test("P10, A2: server and devices are killed under load, and nothing is lost, doubled or torn", async () => {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-kill-"));
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const report = await runKillTest({ folder, seed, kills: 6, seconds: 8, devices: 2 });

  expect(report.violations, `seed ${seed}, histories and databases in ${folder}`).toEqual([]);
  expect(Object.keys(report.kills)).not.toEqual([]);
  expect(report.transactions["effective"]).toBeGreaterThan(1);
  // What failed is kept.
  rmSync(folder, { recursive: true });
}, 120_000);
