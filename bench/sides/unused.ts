/** One turn of `unused`: transactions of one row, through Drizzle, on a database with or without something of ours beside it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { initTRPC } from "@trpc/server";
import type Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { withSync } from "drizzle-sync";
import { createSyncClient } from "drizzle-sync/client";
import { createSyncHandler, createSyncRouter } from "drizzle-sync/server";
import { syncOf } from "../../src/plugin/sync-database.ts";
import { generateTodos, todos, toTodo, type Todo } from "../data.ts";
import { serve } from "../remote.ts";
import { closeFile, openFile, sync } from "./database.ts";

/**
 * `plain`: no library; `other-table`: with it, and the table is none of its own. `captured`: its own table; `served`: and a
 * router over it that has answered a request. `device`: a device's table; `paused`: and a client that does nothing.
 */
export type UnusedCase = "plain" | "other-table" | "captured" | "served" | "device" | "paused";

export interface UnusedTurn {
  readonly ms: number;
  readonly count: number;
}

const others = sqliteTable("others", {
  id: text().primaryKey(),
  title: text().notNull(),
  notes: text().notNull(),
  priority: integer().notNull(),
});
const createOthers =
  "CREATE TABLE others (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, notes TEXT NOT NULL, priority INTEGER NOT NULL)";

async function turn(which: UnusedCase, file: string, rows: readonly Todo[]): Promise<UnusedTurn> {
  const sqlite: Database.Database = openFile(file);
  sqlite.exec(createOthers);
  const plain = drizzle(sqlite, { schema: { todos } });
  const db = which === "plain" ? plain : withSync(plain, sync);
  let close = async (): Promise<void> => undefined;
  if ("$sync" in db) {
    await syncOf(db).install(which === "device" || which === "paused" ? "device" : "server");
    if (which === "served") {
      const t = initTRPC.create();
      const router = t.router({
        sync: createSyncRouter({
          db,
          procedure: t.procedure,
          subject: () => "nobody",
          scopes: () => ({ read: [], write: [] }),
        }),
      });
      const handler = createSyncHandler({ router, procedures: "sync", createContext: () => ({}) });
      await handler(new Request("http://localhost/v1/stats"));
    }
    if (which === "paused") {
      const nowhere = (): Promise<never> => Promise.reject(new Error("Nobody is there."));
      const client = createSyncClient({ db, transport: { handshake: nowhere, pull: nowhere, push: nowhere } });
      client.pause();
      close = () => client.close();
    }
  }
  const isOther = which === "plain" || which === "other-table";
  const started = performance.now();
  for (const row of rows) {
    if (isOther) {
      const { id, title, notes, priority } = row;
      db.insert(others).values({ id, title, notes, priority }).run();
    } else db.insert(todos).values(row).run();
    // An app has other things to do as well.
    await Promise.resolve();
  }
  const ms = performance.now() - started;
  const count = Number(
    sqlite
      .prepare(`SELECT count(*) FROM ${isOther ? "others" : "todos"}`)
      .pluck()
      .get(),
  );
  await close();
  closeFile(sqlite);
  return { ms, count };
}

const commands = {
  async turn(which: UnusedCase, rows: number, seed: number): Promise<UnusedTurn> {
    const all = [...generateTodos(rows, seed)].map(toTodo);
    const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-bench-"));
    await turn(which, join(folder, "warm.db"), all.slice(0, 1000));
    const result = await turn(which, join(folder, "turn.db"), all);
    rmSync(folder, { recursive: true });
    return result;
  },
};
export type UnusedCommands = typeof commands;

serve(commands);
