/**
 * Runs Drizzle's migrations, bundled into a module, before anything else touches the file. Drizzle's own book-keeping table
 * is kept, so that a file moved to Node or Electron goes on with the ordinary migrator.
 *
 * @module
 */

import { transact } from "../../plugin/core.ts";
import { applyMigrations, type Migration } from "../../plugin/migrate.ts";
import { requireDeclared } from "../../plugin/newer-file.ts";
import type { SyncDatabase } from "../../plugin/sync-database.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";

/** One migration, as `drizzle-sync bundle-migrations` writes it. */
export interface BundledMigration extends Migration {
  /** The file's name. */
  readonly tag: string;
}

/**
 * Applies what the file has not had yet, all or nothing. Foreign keys are off meanwhile (see `plugin/migrate.ts`). Throws
 * `SCHEMA_MISMATCH` when a newer version of the app has taken away what this one needs.
 */
export function runBundledMigrations(
  connection: WorkerConnection,
  sync: SyncDatabase,
  migrations: readonly BundledMigration[],
): void {
  const [hasRun] = connection.all("SELECT 1 FROM sqlite_schema WHERE name = '__drizzle_migrations'", []);
  const last = hasRun
    ? Number(connection.all("SELECT max(created_at) FROM __drizzle_migrations", [])[0]?.[0] ?? -1)
    : -1;
  // Without one that is due, the whole file need not be checked for broken references.
  if (!migrations.some(({ when }) => when > last)) {
    if (migrations.length > 0 && migrations.every(({ when }) => when < last))
      transact(connection, "read", () => requireDeclared(sync));
    return;
  }
  transact(connection, "apply", function* () {
    yield* sync.installHere("device");
    yield* applyMigrations(sync, migrations);
  });
}
