/**
 * One turn of `capture`: the same Drizzle statements on one database, plain or through `withSync`. Answers
 * the milliseconds of each part, and what the database holds at the end.
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { defineSync, withSync } from "drizzle-sync";
import { createTables, generateTodos, todos, toTodo, type Todo } from "../data.ts";
import { serve } from "../remote.ts";

async function open(variant: CaptureVariant, file: string) {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = NORMAL");
  sqlite.exec(createTables);
  const plain = drizzle(sqlite, { schema: { todos } });
  if (variant === "plain") return { db: plain, sqlite };
  const db = withSync(plain, defineSync({ todos }, { todos: { scope: { list: "listId" } } }));
  await db.$sync.ready;
  return { db, sqlite };
}

export type CaptureVariant = "sync" | "plain";

/** What a turn found. */
export interface CaptureTurn {
  /** Milliseconds by part. */
  readonly times: Readonly<Record<string, number>>;
  /** Of all rows before the last part. */
  readonly digest: string;
  readonly left: unknown;
  /** Changes in the log, and the changes there were. */
  readonly entries: unknown;
  readonly writes: number;
}

async function turn(variant: CaptureVariant, file: string, few: readonly Todo[]): Promise<CaptureTurn> {
  const times: Record<string, number> = {};
  const time = (what: string, work: () => void): void => {
    const started = performance.now();
    work();
    times[what] = performance.now() - started;
  };
  const { db, sqlite } = await open(variant, file);
  const keys = few.map((row) => row.id);
  const single = few.slice(0, Math.ceil(few.length / 5)).map((row) => ({ ...row, id: `${row.id}-b` }));
  const singleKeys = single.map((row) => row.id);

  time("insert, one transaction", () =>
    db.transaction((tx) => {
      for (const row of few) tx.insert(todos).values(row).run();
    }),
  );
  time("update, one transaction", () =>
    db.transaction((tx) => {
      for (const id of keys) tx.update(todos).set({ priority: 9 }).where(eq(todos.id, id)).run();
    }),
  );
  time("select, one transaction", () =>
    db.transaction((tx) => {
      for (const id of keys) tx.select().from(todos).where(eq(todos.id, id)).get();
    }),
  );
  time("insert, one each", () => {
    for (const row of single) db.insert(todos).values(row).run();
  });
  time("update, one each", () => {
    for (const id of singleKeys) db.update(todos).set({ priority: 9 }).where(eq(todos.id, id)).run();
  });
  time("select, one each", () => {
    for (const id of singleKeys) db.select().from(todos).where(eq(todos.id, id)).get();
  });
  time("delete, one each", () => {
    for (const id of singleKeys) db.delete(todos).where(eq(todos.id, id)).run();
  });
  const digest = createHash("sha256");
  for (const row of sqlite.prepare("SELECT * FROM todos ORDER BY id").raw().iterate())
    digest.update(JSON.stringify(row));
  time("delete, one transaction", () =>
    db.transaction((tx) => {
      for (const id of keys) tx.delete(todos).where(eq(todos.id, id)).run();
    }),
  );

  const left = sqlite.prepare("SELECT count(*) FROM todos").pluck().get();
  const entries = variant === "plain" ? 0 : sqlite.prepare("SELECT count(*) FROM _sync_log WHERE t <> 0").pluck().get();
  sqlite.close();
  return { times, digest: digest.digest("hex"), left, entries, writes: 3 * few.length + 3 * single.length };
}

const commands = {
  async turn(variant: CaptureVariant, rows: number, seed: number): Promise<CaptureTurn> {
    const all = [...generateTodos(rows, seed)].map(toTodo);
    const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-bench-"));
    // The first turn warms the process up.
    await turn(variant, join(folder, "warm.db"), all.slice(0, 1000));
    const result = await turn(variant, join(folder, "turn.db"), all);
    rmSync(folder, { recursive: true });
    return result;
  },
};
export type CaptureCommands = typeof commands;

serve(commands);
