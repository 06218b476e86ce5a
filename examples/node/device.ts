/** A device: a SQLite file of its own, read and written with Drizzle, and a client that keeps it in step. */
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { withSync } from "drizzle-sync";
import { createSyncClient, httpTransport } from "drizzle-sync/client";
import { createTables, lists, sync, tasks } from "./schema.ts";

export function openDevice(file: string, url: string, user: string) {
  const sqlite = new Database(file);
  sqlite.pragma("journal_mode = WAL");
  sqlite.exec(createTables);
  const db = withSync(drizzle(sqlite, { schema: { lists, tasks } }), sync);
  const client = createSyncClient({ db, transport: httpTransport({ url, token: () => user }) });
  return { db, client, close: async () => (await client.close(), sqlite.close()) };
}
