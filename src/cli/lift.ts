/**
 * Takes the library's triggers out of a server's database, for tools that change its schema on a connection of their own:
 * SQLite refuses to rename or drop what a trigger names, and `drizzle-kit push` then stops with a table dropped and its
 * new form not yet renamed.
 *
 * The app puts the triggers back at its next start or commit. It sees that they were missing for a while, so devices that
 * synced before fetch their scopes anew.
 *
 * @module
 */

import { existsSync } from "node:fs";
import type BetterSqlite3 from "better-sqlite3";
import { META, PREFIX, metaKeys } from "../plugin/names.ts";
import { identifier } from "../plugin/sqlite/quote.ts";

/** Drops all triggers of the library and returns how many there were. */
export async function liftFile(file: string): Promise<number> {
  if (!existsSync(file)) throw new Error(`\`${file}\` does not exist.`);
  const Database = await loadDriver();
  const database = new Database(file);
  try {
    return database
      .transaction((): number => {
        const hasMeta = database.prepare("SELECT 1 FROM sqlite_master WHERE name = ?").get(META) !== undefined;
        const role = hasMeta
          ? database.prepare(`SELECT v FROM ${META} WHERE k = ?`).pluck().get(metaKeys.role)
          : undefined;
        // What a device writes without them would never reach the server.
        if (role === "device") throw new Error(`\`${file}\` is a device's database. Migrate it through its client.`);
        const names = database
          .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?) = ?")
          .pluck()
          .all(PREFIX.length, PREFIX);
        for (const name of names) database.exec(`DROP TRIGGER ${identifier(String(name))}`);
        return names.length;
      })
      .immediate();
  } finally {
    database.close();
  }
}

async function loadDriver(): Promise<typeof BetterSqlite3> {
  try {
    return (await import("better-sqlite3")).default;
  } catch (cause) {
    throw new Error("`drizzle-sync lift` opens the file with better-sqlite3. Run `npm install better-sqlite3`.", {
      cause,
    });
  }
}
