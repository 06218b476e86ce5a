/**
 * Bundles what `drizzle-kit generate` wrote into one module that any bundler takes: no file system, no loader for `.sql`
 * files. Hashes and times are those of Drizzle's own migrator, which therefore goes on where a bundled one stopped.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";

/** One migration in the module that is written. */
export interface MigrationModuleEntry {
  readonly tag: string;
  readonly when: number;
  readonly hash: string;
  readonly statements: readonly string[];
}

interface Journal {
  readonly entries: readonly { readonly tag: string; readonly when: number }[];
}

/** Writes the module. Returns the number of migrations; throws when the folder is none that drizzle-kit wrote. */
export async function bundleMigrations(folder: string, out: string): Promise<number> {
  const migrations = await readMigrations(folder);
  await mkdir(path.dirname(out), { recursive: true });
  await writeFile(out, migrationsModule(folder, migrations));
  return migrations.length;
}

/** Reads a folder of drizzle-kit, in the order of its journal. */
export async function readMigrations(folder: string): Promise<MigrationModuleEntry[]> {
  const journalPath = path.join(folder, "meta/_journal.json");
  let journal: Journal;
  try {
    journal = JSON.parse(await readFile(journalPath, "utf8")) as Journal;
  } catch (cause) {
    throw new Error(
      `\`${journalPath}\` cannot be read. Run \`drizzle-kit generate\` first, or name its output folder.`,
      { cause },
    );
  }
  return Promise.all(
    journal.entries.map(async ({ tag, when }) => {
      const text = await readFile(path.join(folder, `${tag}.sql`), "utf8");
      const statements = text
        .split("--> statement-breakpoint")
        .map((statement) => statement.trim())
        .filter((statement) => statement !== "");
      return { tag, when, hash: createHash("sha256").update(text).digest("hex"), statements };
    }),
  );
}

function migrationsModule(folder: string, migrations: readonly MigrationModuleEntry[]): string {
  return (
    `// Written by \`drizzle-sync bundle-migrations\` from ${folder.split(path.sep).join("/")}: do not edit.\n` +
    `export const migrations = ${JSON.stringify(migrations, null, 2)};\n`
  );
}
