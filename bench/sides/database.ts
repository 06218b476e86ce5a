/**
 * The databases of both sides: the same table, WAL and durability; ours with the library on it, or plain.
 */
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { defineSync, withSync } from "drizzle-sync";
import { createTables, generateTodos, insertSql, todos } from "../data.ts";

/** Ours, or the leanest program that does the same. */
export type Variant = "ours" | "lean";

export const sync = defineSync({ todos }, { todos: { scope: "everyone" } });

/** Opens a file, with the table if it is new. */
export function openFile(file: string): Database.Database {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.pragma("synchronous = NORMAL");
  if (sqlite.prepare("SELECT 1 FROM sqlite_master WHERE name = 'todos'").get() === undefined) sqlite.exec(createTables);
  return sqlite;
}

/** Drizzle over it, captured. */
export const openOurs = (sqlite: Database.Database) => withSync(drizzle(sqlite, { schema: { todos } }), sync);

/** A server's database with rows in it. Ours captures them as they are written. */
export async function fillServer(file: string, variant: Variant, rows: number, seed: number): Promise<void> {
  const sqlite = openFile(file);
  if (variant === "ours") await openOurs(sqlite).$sync.ready;
  const insert = sqlite.prepare(insertSql);
  sqlite.transaction(() => {
    for (const row of generateTodos(rows, seed)) insert.run(...row);
  })();
  closeFile(sqlite);
}

/** Closes a file, with everything in it and nothing beside it. */
export function closeFile(sqlite: Database.Database): void {
  sqlite.pragma("wal_checkpoint(TRUNCATE)");
  sqlite.close();
}
