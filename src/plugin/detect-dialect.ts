/**
 * Which driver a Drizzle database has, by Drizzle's own entity symbol: no driver is imported, and two copies of Drizzle are
 * no trouble.
 *
 * @module
 */

import { entityKind } from "drizzle-orm";
import { SyncError } from "../protocol/errors.ts";
import { connectionOf } from "./sync-database.ts";

/** How a database is hooked. `connection`: it brings its own connection and captures by itself. */
export type Driver = "better-sqlite3" | "libsql" | "connection";

/** Finds the driver of a database; throws for one that is not supported. */
export function detectDriver(db: object): Driver {
  if (connectionOf(db) !== undefined) return "connection";
  const kinds = entityKinds(db);
  if (kinds.includes("BetterSQLite3Database")) return "better-sqlite3";
  if (kinds.includes("LibSQLDatabase")) return "libsql";
  throw new SyncError({
    code: "UNSUPPORTED_DATABASE",
    message: `\`withSync\` does not know this database (${kinds[0] ?? typeof db}). It takes Drizzle databases over better-sqlite3 and libSQL, and \`openBrowserDatabase\` in the browser.`,
  });
}

function entityKinds(db: object): readonly string[] {
  const kinds: string[] = [];
  let type = (Object.getPrototypeOf(db) as { readonly constructor?: unknown } | null)?.constructor;
  while (typeof type === "function") {
    if (Object.hasOwn(type, entityKind)) kinds.push(String((type as unknown as Record<symbol, unknown>)[entityKind]));
    type = Object.getPrototypeOf(type) as unknown;
  }
  return kinds;
}
