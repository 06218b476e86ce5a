import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { readMigrationFiles } from "drizzle-orm/migrator";
import { expect, test } from "vitest";
import { bundleMigrations, readMigrations } from "./bundle-migrations.ts";
import { main } from "./drizzle-sync.ts";

const FIRST =
  "CREATE TABLE `todos` (\n\t`id` text PRIMARY KEY NOT NULL\n);\n--> statement-breakpoint\nCREATE INDEX `i` ON `todos` (`id`);\n";
const SECOND = "ALTER TABLE `todos` ADD `title` text DEFAULT 'über';";

async function withFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), "drizzle-sync-"));
  try {
    await mkdir(path.join(folder, "meta"));
    const entries = [
      { idx: 0, version: "6", when: 1700000000000, tag: "0000_first", breakpoints: true },
      { idx: 1, version: "6", when: 1700000001000, tag: "0001_second", breakpoints: true },
    ];
    await writeFile(
      path.join(folder, "meta/_journal.json"),
      JSON.stringify({ version: "7", dialect: "sqlite", entries }),
    );
    await writeFile(path.join(folder, "0000_first.sql"), FIRST);
    await writeFile(path.join(folder, "0001_second.sql"), SECOND);
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

test("bundled migrations have the hashes, times and order of Drizzle's migrator", async () => {
  await withFolder(async (folder) => {
    const drizzle = readMigrationFiles({ migrationsFolder: folder });
    const ours = await readMigrations(folder);
    expect(ours.map(({ hash, when }) => ({ hash, when }))).toEqual(
      drizzle.map(({ hash, folderMillis }) => ({ hash, when: folderMillis })),
    );
    expect(ours.map(({ statements }) => statements.length)).toEqual([2, 1]);
  });
});

test("the written module exports the migrations", async () => {
  await withFolder(async (folder) => {
    const out = path.join(folder, "deep/migrations.mjs");
    expect(await bundleMigrations(folder, out)).toBe(2);
    const module = (await import(out)) as { readonly migrations: unknown };
    expect(module.migrations).toEqual(await readMigrations(folder));
    expect(await readFile(out, "utf8")).toContain("do not edit");
  });
});

test("the command says what is wrong and exits with a code", async () => {
  const written: string[] = [];
  const original = process.stderr.write.bind(process.stderr);
  process.stderr.write = (text: string | Uint8Array): boolean => written.push(String(text)) > 0;
  try {
    expect(await main([])).toBe(2);
    expect(await main(["bundle-migrations", "only-one"])).toBe(2);
    expect(await main(["bundle-migrations", "/nowhere", "/tmp/out.ts"])).toBe(1);
  } finally {
    process.stderr.write = original;
  }
  expect(written.join("")).toContain("drizzle-kit generate");
});
