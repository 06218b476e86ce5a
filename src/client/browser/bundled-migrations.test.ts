/** Migrations that were bundled, on the WASM engine; and migrations cut short, on files. */

import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { expect, test } from "vitest";
import { transact, type Core, type Rows, type SyncConnection } from "../../plugin/core.ts";
import { createSyncDatabase } from "../../plugin/create-sync-database.ts";
import { readTransactions } from "../../plugin/device-log.ts";
import { applyMigrations, type Migration } from "../../plugin/migrate.ts";
import { syncOf, type SyncDatabase } from "../../plugin/sync-database.ts";
import { withSync } from "../../plugin/with-sync.ts";
import { SyncError } from "../../protocol/errors.ts";
import { openMemoryConnection } from "../../testing/browser/memory-connection.ts";
import { rebuild, version, type TableSpec, type Version } from "../../testing/schema-versions/version.ts";
import { runBundledMigrations, type BundledMigration } from "./bundled-migrations.ts";
import { readDefinition } from "./definition-tables.ts";
import { asOutdated, fromPortError, toPortError } from "./port-error.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";

const v1 = version({ todos: { columns: ["title"] } });
const todos2: TableSpec = { columns: ["title", "stars=3"] };
const v2 = version({ todos: todos2, tags: { columns: ["name"] } });
const bundle = (...parts: readonly (readonly string[])[]): readonly BundledMigration[] =>
  parts.map((statements, i) => ({ tag: `000${i}`, when: 1000 + i, hash: `hash ${i}`, statements }));
const one = bundle(v1.ddl);
const two = bundle(v1.ddl, [
  "ALTER TABLE todos ADD stars INTEGER NOT NULL DEFAULT 3",
  "CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT)",
]);

/** A start of the app: its code, and the migrations that it brings along. */
function start(
  connection: WorkerConnection,
  { definition }: Version,
  migrations: readonly BundledMigration[],
): SyncDatabase {
  const sync = createSyncDatabase({ tables: readDefinition(definition, undefined), connection, isBusy: () => true });
  runBundledMigrations(connection, sync, migrations);
  void sync.install("device");
  return sync;
}

test("V3: a release that was taken back goes on with a file that has more migrations, while all that it knows is there", async () => {
  const connection = await openMemoryConnection();
  start(connection, v2, two);
  const old = start(connection, v1, one);
  connection.transaction("write", () => connection.run("INSERT INTO todos (id, title) VALUES ('a', 'one')", []));
  start(connection, v2, two);
  expect(connection.all("SELECT * FROM todos", [])).toEqual([["a", "one", 3]]);
  expect(connection.all("SELECT count(*) FROM __drizzle_migrations", [])).toEqual([[2]]);
  expect(transact(connection, "read", () => readTransactions(old, { after: 0, limit: 9 }))).toHaveLength(1);
  connection.close();
});

test("V3: a release that lacks what a newer one has taken away says so, and leaves the file alone", async () => {
  const connection = await openMemoryConnection();
  start(connection, v1, one);
  const v3 = version({ todos: { columns: ["name"] } });
  const three = bundle(v1.ddl, ["ALTER TABLE todos RENAME COLUMN title TO name"]);
  start(connection, v3, three);
  const before = connection.all("SELECT name, sql FROM sqlite_master ORDER BY name", []);
  expect(() => start(connection, v1, one)).toThrow(
    expect.objectContaining({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "todos", column: "title" },
    }) as Error,
  );
  // The same from a folder, in Node.
  const sync = createSyncDatabase({ tables: readDefinition(v1.definition, undefined), connection, isBusy: () => true });
  expect(() => transact(connection, "apply", () => applyMigrations(sync, one))).toThrow(
    "column `title` of table `todos`",
  );
  const withTags = version({ todos: { columns: ["name"] }, tags: { columns: ["name"] } });
  expect(() => start(connection, withTags, one)).toThrow("table `tags` is not there");
  expect(connection.all("SELECT name, sql FROM sqlite_master ORDER BY name", [])).toEqual(before);
  // An app without bundled migrations makes its tables itself.
  start(connection, version({ todos: { columns: ["other"] } }), []);
  connection.close();
});

test("an older tab that asks a newer one for what is gone is told to reload", () => {
  const error = Object.assign(new Error("no such column: title"), { code: "SQLITE_ERROR" });
  expect(fromPortError(asOutdated(toPortError(error)))).toMatchObject({
    code: "SCHEMA_MISMATCH",
    details: { tooOld: "device" },
    cause: { message: "no such column: title" },
  });
  const wrapped = toPortError(new Error("Failed query", { cause: new Error("table todos has no column named title") }));
  expect(asOutdated(wrapped).sync?.code).toBe("SCHEMA_MISMATCH");
  const other = toPortError(new SyncError({ code: "CLOSED", message: "Closed." }));
  expect(asOutdated(other)).toBe(other);
});

test("a migration that was cut short before any of its steps is as if it had never begun, and begins again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sync-migrations-"));
  const path = join(folder, "app.db");
  const raw = new Database(path);
  raw.pragma("journal_mode = WAL");
  raw.pragma("foreign_keys = ON");
  const opened = (database: Database.Database, { schema, definition }: Version): SyncDatabase =>
    syncOf(withSync(drizzle(database, { schema }), definition));
  const migrations: readonly Migration[] = bundle(v1.ddl, [
    ...rebuild("todos", todos2, [["title", "upper(title)"]]),
    "CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT)",
    "UPDATE todos SET stars = 4",
  ]);
  const first = opened(raw, v1);
  void first.install("device");
  await transact(first.connection, "apply", () => applyMigrations(first, migrations.slice(0, 1)));
  const db = withSync(drizzle(raw, { schema: v1.schema }), v1.definition);
  db.run("INSERT INTO todos VALUES ('a', 'one'), ('b', 'two')");
  db.run("DELETE FROM todos WHERE id = 'b'");
  // All of it is in the file, as it is when a process ends.
  raw.close();

  const again = new Database(path);
  again.pragma("cache_size = 1");
  const second = opened(again, v2);
  const copies: string[] = [];
  stepping(
    second.connection as SyncConnection,
    () => applyMigrations(second, migrations),
    () => {
      const copy = join(folder, `copy${copies.length}.db`);
      for (const suffix of ["", "-wal"]) if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
      copies.push(copy);
    },
  );
  again.close();
  expect(copies.length).toBeGreaterThan(20);
  for (const copy of [...copies, path]) {
    const killed = new Database(copy);
    if (copy !== path) {
      expect(killed.prepare("SELECT title FROM todos").pluck().all()).toEqual(["one"]);
      expect(killed.prepare("SELECT count(*) FROM __drizzle_migrations").pluck().get()).toBe(1);
    }
    const sync = opened(killed, v2);
    await transact(sync.connection, "apply", () => applyMigrations(sync, migrations));
    expect(killed.prepare("SELECT * FROM todos").raw().all()).toEqual([["a", "ONE", 4]]);
    const queue = await transact(sync.connection, "read", () => readTransactions(sync, { after: 0, limit: 9 }));
    // What the migration itself wrote is one transaction more.
    expect(queue.map(({ entries }) => entries.map(({ kind }) => kind))).toEqual([
      ["insert", "insert"],
      ["delete"],
      ["update"],
    ]);
    expect(killed.pragma("integrity_check", { simple: true })).toBe("ok");
    killed.close();
  }
  rmSync(folder, { recursive: true });
});

/** Runs a core in one transaction, with a look before each of its steps. */
function stepping(connection: SyncConnection, core: () => Core<void>, look: () => void): void {
  connection.transaction("apply", () => {
    const steps = core();
    for (let result = steps.next(); result.done !== true;) {
      look();
      const { value } = result;
      const answer: Rows | number =
        value.kind === "each"
          ? connection.each(value.sql, value.rows)
          : value.kind === "all"
            ? connection.all(value.sql, value.params)
            : connection.run(value.sql, value.params);
      result = steps.next(answer);
    }
    look();
  });
}
