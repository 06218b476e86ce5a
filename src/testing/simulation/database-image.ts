/**
 * Databases of the simulation, installed once for each role and policy and copied from then on.
 *
 * @module
 */

import { drizzle } from "drizzle-orm/better-sqlite3";
import { syncOf, type Role } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { openCrashDatabase } from "../crash-database.ts";
import { ddl, schema, syncOfPolicy, type Policy } from "./schema.ts";

const images = new Map<`${Role}:${Policy}`, Promise<Buffer>>();

/** A database with the app's tables and the library's, as bytes. */
export function imageOf(role: Role, policy: Policy): Promise<Buffer> {
  let image = images.get(`${role}:${policy}`);
  if (image === undefined) {
    image = (async () => {
      const database = openCrashDatabase();
      database.raw.exec(ddl);
      await syncOf(openSync(drizzle(database.handle, { schema }), syncOfPolicy(policy))).install(role);
      return database.raw.serialize();
    })();
    images.set(`${role}:${policy}`, image);
  }
  return image;
}
