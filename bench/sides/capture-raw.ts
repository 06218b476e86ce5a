/** One turn of `capture-raw`: prepared statements on a table with the server's triggers, or on one without. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
// The log's index is made by the server when it falls due; here at the end, so that its cost counts.
import { transact } from "../../src/plugin/core.ts";
import { indexTail } from "../../src/plugin/oplog.ts";
import { defineSync } from "../../src/plugin/define-sync.ts";
import { tailLimits } from "../../src/server/limits.ts";
import { syncOf } from "../../src/plugin/sync-database.ts";
import { withSync } from "../../src/plugin/with-sync.ts";
import { createTables, generateTodos, insertSql, todos, type StoredTodo } from "../data.ts";
import { serve } from "../remote.ts";

/** Entries that the server indexes at a time. */
const batch = tailLimits.batch;

export type RawVariant = "triggers" | "none";

/** Milliseconds by part, and how many entries the log had. */
export interface RawTurn {
  readonly times: Readonly<Record<string, number>>;
  readonly entries: number;
}

async function turn(variant: RawVariant, file: string, rows: readonly StoredTodo[]): Promise<RawTurn> {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = NORMAL");
  sqlite.exec(createTables);
  let index = async (): Promise<void> => undefined;
  if (variant === "triggers") {
    const db = withSync(
      drizzle(sqlite, { schema: { todos } }),
      defineSync({ todos }, { todos: { scope: { list: "listId" } } }),
    );
    await db.$sync.ready;
    const sync = syncOf(db);
    index = async () => {
      while ((await transact(sync.connection, "write", () => indexTail(sync, batch))) === batch);
    };
  }
  const times: Record<string, number> = {};
  const time = async (
    what: string,
    sql: string,
    parameters: (row: StoredTodo) => readonly unknown[],
  ): Promise<void> => {
    const statement = sqlite.prepare(sql);
    const started = performance.now();
    sqlite.transaction(() => {
      for (const row of rows) statement.run(...parameters(row));
    })();
    await index();
    times[what] = performance.now() - started;
  };
  await time("insert", insertSql, (row) => row);
  await time("update of one column", "UPDATE todos SET priority = priority + 1 WHERE id = ?", ([id]) => [id]);
  await time("delete", "DELETE FROM todos WHERE id = ?", ([id]) => [id]);
  const entries = variant === "none" ? 0 : sqlite.prepare("SELECT count(*) FROM _sync_log WHERE t <> 0").pluck().get();
  sqlite.close();
  return { times, entries: Number(entries) };
}

const commands = {
  async turn(variant: RawVariant, rows: number, seed: number): Promise<RawTurn> {
    const all = [...generateTodos(rows, seed)];
    const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-bench-"));
    await turn(variant, join(folder, "warm.db"), all.slice(0, 1000));
    const result = await turn(variant, join(folder, "turn.db"), all);
    rmSync(folder, { recursive: true });
    return result;
  },
};
export type CaptureRawCommands = typeof commands;

serve(commands);
