/**
 * Databases of the simulation: installed once for each kind, and used again in later runs, emptied to what they held when
 * they were new. A database whose schema has changed meanwhile is not used again.
 *
 * @module
 */

import type Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { syncOf, type Role } from "../../plugin/sync-database.ts";
import { openSync } from "../../plugin/with-sync.ts";
import { openCrashDatabase, reopen, type CrashDatabase } from "../crash-database.ts";
import { readContents, writeContents, type Contents } from "./contents.ts";
import { ddlOf, deviceSyncOf, schemaOf, type Policy, type Version } from "./schema.ts";

/** What a new database of one kind is. */
interface Image {
  readonly bytes: Buffer;
  readonly schemaVersion: number;
  readonly contents: Contents;
  /** Databases of this schema that no run uses now; kinds that differ in what a new database holds share them. */
  readonly free: CrashDatabase[];
}

/** What a database is made for. */
export interface Kind {
  readonly role: Role;
  readonly policy: Policy;
  readonly version: Version;
}

const images = new Map<string, Promise<Image>>();
const imageOf = new WeakMap<Database.Database, Image>();
const freeBySchema = new Map<string, CrashDatabase[]>();

/** A new database with the app's tables and the library's; with `contents`, one that holds what another one held. */
export async function openInstalled(kind: Kind, contents?: Contents): Promise<CrashDatabase> {
  const name = `${kind.role}:${kind.policy}:${kind.version}`;
  let made = images.get(name);
  if (made === undefined) images.set(name, (made = makeImage(kind)));
  const image = await made;
  const used = image.free.pop();
  if (used === undefined) {
    const fresh = openCrashDatabase(image.bytes);
    imageOf.set(fresh.raw, image);
    if (contents === undefined) return fresh;
    writeContents(fresh.raw, contents);
    return reopen(fresh);
  }
  writeContents(used.raw, contents ?? image.contents);
  return reopen(used);
}

/** The end of a run: its database is free for another one. The handle is dead from then on. */
export function giveBack(database: CrashDatabase): void {
  database.onSettled = undefined;
  database.crash();
  const image = imageOf.get(database.raw);
  if (image?.schemaVersion === schemaVersionOf(database.raw)) image.free.push(database);
  else database.raw.close();
}

async function makeImage({ role, policy, version }: Kind): Promise<Image> {
  const database = openCrashDatabase();
  const { raw } = database;
  raw.exec(ddlOf(version));
  await syncOf(
    openSync(drizzle(database.handle, { schema: schemaOf(version) }), deviceSyncOf(policy, version)),
  ).install(role);
  const schemaVersion = schemaVersionOf(raw);
  const schema = raw.prepare("SELECT sql FROM sqlite_master ORDER BY rowid").pluck().all().join(";");
  const name = `${schemaVersion}:${schema}`;
  const free = freeBySchema.get(name) ?? [];
  freeBySchema.set(name, free);
  const image: Image = { bytes: raw.serialize(), schemaVersion, contents: readContents(raw), free };
  raw.close();
  return image;
}

const schemaVersionOf = (raw: Database.Database): number => raw.pragma("schema_version", { simple: true }) as number;
