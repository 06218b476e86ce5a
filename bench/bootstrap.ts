/** `bootstrap`: all rows over HTTP into an empty device file, against the leanest program that does only that. */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { defineSync, withSync } from "drizzle-sync";
import type { BootstrapTurn } from "./bootstrap-device.ts";
import { createTables, generateTodos, insertSql, todos } from "./data.ts";
import { compare, interleave, median, nextMessage, round, runProcess, startProcess } from "./measure.ts";
import type { BenchOptions, Result } from "./measure.ts";

export const defaults = { rows: 100_000, runs: 5 };

interface Turn {
  readonly device: BootstrapTurn;
  readonly serverCpuMs: number;
}

/** A server's database with all rows in it. Ours captures them as they are written. */
async function fill(file: string, isOurs: boolean, rows: number, seed: number): Promise<void> {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = NORMAL");
  sqlite.exec(createTables);
  if (isOurs) {
    const db = withSync(
      drizzle(sqlite, { schema: { todos } }),
      defineSync({ todos }, { todos: { scope: "everyone" } }),
    );
    await db.$sync.ready;
  }
  const insert = sqlite.prepare(insertSql);
  sqlite.transaction(() => {
    for (const row of generateTodos(rows, seed)) insert.run(...row);
  })();
  sqlite.pragma("wal_checkpoint(TRUNCATE)");
  sqlite.close();
}

export async function run({ rows, runs, seed }: BenchOptions): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-bench-"));
  try {
    await fill(join(folder, "ours.db"), true, rows, seed);
    await fill(join(folder, "lean.db"), false, rows, seed);
    let turns = 0;
    const turn = (variant: "ours" | "lean") => async (): Promise<Turn> => {
      const name = `${variant}-${turns++}`;
      const serverFile = join(folder, `${name}-server.db`);
      cpSync(join(folder, `${variant}.db`), serverFile);
      const server = startProcess("bootstrap-server.ts", [variant, serverFile]);
      const { url } = await nextMessage<{ url: string }>(server);
      const device = await runProcess<BootstrapTurn>("bootstrap-device.ts", [
        variant,
        join(folder, `${name}-device.db`),
        url,
      ]);
      const stopped = nextMessage<{ cpuMs: number }>(server);
      server.send("stop");
      const { cpuMs } = await stopped;
      if (device.rows !== rows) throw new Error(`The device of ${variant} has ${String(device.rows)} rows of ${rows}.`);
      return { device, serverCpuMs: cpuMs };
    };
    const [ours, lean] = await interleave(runs, turn("ours"), turn("lean"));
    const digests = new Set([...ours, ...lean].map(({ device }) => device.digest));
    if (digests.size !== 1) throw new Error("The devices do not hold the same rows.");
    const ms = (turns: readonly Turn[]) => turns.map(({ device }) => device.ms);
    return {
      name: "bootstrap",
      rows: [compare(`${rows} rows`, ms(ours), ms(lean), 1.5, "the leanest program")],
      figures: {
        "rows a second": Math.round((rows / median(ms(ours))) * 1000),
        "rows a second, leanest program": Math.round((rows / median(ms(lean))) * 1000),
        "device CPU seconds": round(median(ours.map(({ device }) => device.cpuMs)) / 1000),
        "device CPU seconds, leanest program": round(median(lean.map(({ device }) => device.cpuMs)) / 1000),
        "server CPU seconds, start included": round(median(ours.map(({ serverCpuMs }) => serverCpuMs)) / 1000),
        "server CPU seconds, start included, leanest program": round(
          median(lean.map(({ serverCpuMs }) => serverCpuMs)) / 1000,
        ),
      },
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
