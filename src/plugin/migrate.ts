/**
 * `db.$sync.migrate(folder)`: Drizzle's migrations, run so that nothing is lost. Drizzle's own migrator runs inside a
 * transaction, where switching foreign keys off does nothing: a table that is rebuilt is dropped, its children cascade away,
 * and the deletes would be synced. Here keys are off before the transaction opens and are checked before it commits;
 * triggers that are in the way of a statement are lifted for it, and those that a statement took along are mended at once.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { all, first, run, transact, type Core } from "./core.ts";
import { closeDeviceTransaction } from "./device-log.ts";
import { hlcNow } from "../protocol/hlc.ts";
import { closeTransaction } from "./oplog.ts";
import { liftTriggers } from "./sqlite/install.ts";
import { requireDeclared } from "./newer-file.ts";
import { identifier } from "./sqlite/quote.ts";
import { compareRows, copyRows, dropCopy, findDropped, isCaptured, type TableCopy } from "./sqlite/rebuilt-table.ts";
import { statementKind } from "./sqlite/statement-kind.ts";
import type { SyncDatabase } from "./sync-database.ts";
import { renamedColumn, renameWritten } from "./written-schema.ts";

/** One migration, as `drizzle-kit generate` writes it. */
export interface Migration {
  readonly statements: readonly string[];
  /** Milliseconds since 1970, from the journal; orders migrations. */
  readonly when: number;
  /** SHA-256 of the file. */
  readonly hash: string;
}

/** How `$sync.migrate` runs. */
export interface MigrateOptions {
  /**
   * The table in which Drizzle's migrators keep what they have run, if the app gave it a name of its own.
   *
   * @default "__drizzle_migrations"
   */
  readonly migrationsTable?: string;
}

/** Runs the migrations of a folder that have not been run, and tells subscribers of what they changed. */
export function migrateDatabase(
  sync: SyncDatabase,
  folder: string,
  options: MigrateOptions = {},
): void | Promise<void> {
  const migrations = readMigrations(folder);
  const applied = transact(sync.connection, "apply", () => applyMigrations(sync, migrations, options));
  if (applied === undefined) return void sync.lookForCommits();
  return applied.then(() => sync.lookForCommits());
}

/** Runs migrations that have not been run. In a transaction with foreign keys off (mode `apply`). */
export function* applyMigrations(
  sync: SyncDatabase,
  migrations: readonly Migration[],
  options: MigrateOptions = {},
): Core<void> {
  const migrationsTable = identifier(options.migrationsTable ?? "__drizzle_migrations");
  const role = sync.role ?? "server";
  yield* sync.installHere(role);
  yield* run(
    `CREATE TABLE IF NOT EXISTS ${migrationsTable} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric)`,
  );
  const done = Number((yield* first(`SELECT max(created_at) FROM ${migrationsTable}`))?.[0] ?? -1);
  if (sync.role === "device" && migrations.length > 0 && migrations.every(({ when }) => when < done))
    yield* requireDeclared(sync);
  const broken = new Set((yield* all("PRAGMA foreign_key_check")).map(String));
  const copies: TableCopy[] = [];
  for (const { statements, when, hash } of migrations) {
    if (when <= done) continue;
    for (const sql of statements) yield* runStatement(sync, sql, copies);
    yield* run(`INSERT INTO ${migrationsTable}(hash, created_at) VALUES (?, ?)`, [hash, when]);
  }
  // Tables that are gone for good.
  for (const copy of copies) yield* dropCopy(copy);
  const violation = (yield* all("PRAGMA foreign_key_check")).find((row) => !broken.has(String(row)));
  if (violation !== undefined) {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: `A migration leaves rows of \`${String(violation[0])}\` that reference missing rows of \`${String(violation[2])}\`. It was rolled back.`,
    });
  }
  if (sync.role === "device") yield* closeDeviceTransaction(sync);
  else yield* closeTransaction(sync, hlcNow(0, sync.now()));
}

/** Reads a folder of migrations. Needs Node's file system. */
export function readMigrations(folder: string): readonly Migration[] {
  // Asked for at run time, so that bundles for browsers hold no trace of it.
  const { process } = globalThis as { readonly process?: { getBuiltinModule?(name: string): unknown } };
  const fs = process?.getBuiltinModule?.("fs") as { readFileSync(path: string, encoding: "utf8"): string } | undefined;
  const crypto = process?.getBuiltinModule?.("crypto") as
    | { createHash(name: string): { update(text: string): { digest(form: "hex"): string } } }
    | undefined;
  if (fs === undefined || crypto === undefined) {
    throw new SyncError({
      code: "UNSUPPORTED_DATABASE",
      message:
        "Migrations are read from a folder in Node only. In a browser, bundle them with `drizzle-sync bundle-migrations`.",
    });
  }
  const journal = JSON.parse(fs.readFileSync(`${folder}/meta/_journal.json`, "utf8")) as {
    readonly entries: readonly { readonly tag: string; readonly when: number }[];
  };
  return journal.entries.map(({ tag, when }) => {
    const text = fs.readFileSync(`${folder}/${tag}.sql`, "utf8");
    return {
      statements: text.split("--> statement-breakpoint"),
      when,
      hash: crypto.createHash("sha256").update(text).digest("hex"),
    };
  });
}

/** `copies`: rows of tables that are being rebuilt. */
function* runStatement(sync: SyncDatabase, sql: string, copies: TableCopy[]): Core<void> {
  if (sql.trim() === "") return;
  const kind = statementKind(sql);
  const role = sync.role ?? "server";
  if (kind === "drop-column") yield* liftTriggers();
  const dropped = role === "server" && kind === "schema" ? yield* findDropped(sync, sql) : [];
  for (const table of dropped) {
    const copy = yield* copyRows(table, sync.tables.indexOf(table));
    if (copy !== undefined) copies.push(copy);
  }
  yield* run(sql);
  const renamed = role === "device" ? renamedColumn(sql) : undefined;
  if (renamed !== undefined) yield* renameWritten(renamed.table, renamed.from, renamed.to);
  if (kind === "drop-column") yield* sync.installHere(role, { isLifted: true });
  else if (kind === "schema" && Number((yield* first("PRAGMA schema_version"))?.[0]) !== sync.schemaVersion)
    yield* sync.installHere(role, { isSeen: true, compared: new Set(copies.map(({ table }) => table.name)) });
  for (const [i, rebuilt] of [...copies.entries()].reverse()) {
    if (!(yield* isCaptured(rebuilt.table))) continue;
    yield* compareRows(sync, rebuilt);
    copies.splice(i, 1);
  }
}
