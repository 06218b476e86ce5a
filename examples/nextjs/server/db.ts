// Look at: `withSync` around an ordinary Drizzle database. Every write through it, or through raw SQL, reaches the devices.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { withSync } from "drizzle-sync";
import * as schema from "@/shared/schema";
import { sync } from "@/shared/sync";

export const databasePath = process.env["DATABASE_PATH"] ?? "./data/app.db";

function open() {
  mkdirSync(dirname(databasePath), { recursive: true });
  const connection = new Database(databasePath);
  connection.pragma("journal_mode = WAL");
  connection.pragma("synchronous = NORMAL");

  // Streams stay open for hours. They are told when the process is to end, or it would wait for them.
  const ending = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => ending.abort());

  return { db: withSync(drizzle(connection, { schema }), sync), shutdown: ending.signal };
}

// Next.js evaluates a module once per bundle, and again on hot reload: one connection serves them all.
const shared = globalThis as { example?: ReturnType<typeof open> };
export const { db, shutdown } = (shared.example ??= open());
