/**
 * Installing, mending, and migrating.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readTransactions } from "../../plugin/device-log.ts";
import { migrateDatabase } from "../../plugin/migrate.ts";
import { isSyncError } from "../../protocol/errors.ts";
import { headOf, logOf, read, step, thrownBy, write, type DialectCase, type OpenedDialect } from "./dialect.ts";

const schemaVersion = "PRAGMA schema_version";

/** Runs migrations as `$sync.migrate` does. */
async function migrate(it: OpenedDialect, files: readonly (readonly string[])[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
  try {
    mkdirSync(join(folder, "meta"));
    const entries = files.map((_, idx) => ({
      idx,
      version: "6",
      when: idx + 1,
      tag: `000${idx}_m`,
      breakpoints: true,
    }));
    writeFileSync(join(folder, "meta/_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
    for (const [i, statements] of files.entries())
      writeFileSync(join(folder, `000${i}_m.sql`), statements.join(";\n--> statement-breakpoint\n"));
    await migrateDatabase(it.sync, folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A parent made anew, as Drizzle's migrations do where SQLite cannot alter a table. */
const rebuild = [
  "CREATE TABLE __new_lists(id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title TEXT, slug TEXT, color TEXT)",
  "INSERT INTO __new_lists(id, owner_id, title, slug) SELECT id, owner_id, title, slug FROM lists",
  "DROP TABLE lists",
  "ALTER TABLE __new_lists RENAME TO lists",
];

export const installationCases: readonly DialectCase[] = [
  ...(["server", "device"] as const).map((role) => ({
    name: `installing a ${role} twice changes nothing the second time`,
    run: async (it: OpenedDialect) => {
      await it.sync.install(role);
      assert.equal(it.sync.role, role);
      const before = [await read(it, schemaVersion), await headOf(it), await read(it, "SELECT * FROM _sync_meta")];
      await it.sync.install(role);
      await it.sync.install("server");
      assert.equal(it.sync.role, role);
      assert.deepEqual(
        [await read(it, schemaVersion), await headOf(it), await read(it, "SELECT * FROM _sync_meta")],
        before,
      );
    },
  })),
  {
    name: "a server that nobody pulled from becomes a device, and its rows the device's first transaction, parents first",
    run: async (it) => {
      await write(it, "INSERT INTO lists(id) VALUES ('a')", "INSERT INTO todos(id, list_id) VALUES ('t', 'a')");
      await it.sync.install("server");
      await it.sync.install("device");
      const [first, ...others] = await step(it, readTransactions(it.sync, { after: 0, limit: 10 }));
      assert.deepEqual(others, []);
      assert.deepEqual(
        first?.entries.map(({ kind, table, key }) => `${kind} ${table.key} ${key.join()}`),
        ["insert lists a", "insert todos t"],
      );
    },
  },
  {
    name: "a server that devices sync with does not become a device",
    run: async (it) => {
      await it.sync.install("server");
      await write(
        it,
        "INSERT INTO _sync_devices(device_id, subject, schema, registered_at, seen_at) VALUES ('d', 's', '', 0, 0)",
      );
      assert.match((await thrownBy(() => it.sync.install("device"))).message, /cannot become a device/);
      assert.equal(it.sync.role, "server");
      const before = await headOf(it);
      await write(it, "INSERT INTO lists(id) VALUES ('a')");
      assert.deepEqual(await logOf(it, before), ["insert lists(a) →list:a"]);
    },
  },
  {
    name: "a connection that may not write is told that nothing is installed, and may read once it is",
    run: async (it) => {
      await write(it, "PRAGMA query_only = ON");
      const error = await thrownBy(() => it.sync.install("server"));
      assert.ok(isSyncError(error, "NOT_INSTALLED"), String(error));
      await write(it, "PRAGMA query_only = OFF");
      await it.sync.install("server");
      await write(it, "PRAGMA query_only = ON");
      await it.sync.install("server");
      assert.equal(it.sync.role, "server");
      await write(it, "PRAGMA query_only = OFF");
    },
  },
  {
    name: "triggers that somebody dropped come back, and what went by without them resets every cursor from before",
    run: async (it) => {
      await it.sync.install("server");
      await write(
        it,
        "INSERT INTO lists(id) VALUES ('a')",
        "DROP TRIGGER _sync_u_lists",
        "UPDATE lists SET title = 'unseen'",
      );
      const before = await headOf(it);
      await it.sync.install("server");
      const [since] = await read(it, "SELECT CAST(v AS INTEGER) FROM _sync_meta WHERE k = 'declared_since'");
      assert.ok(Number(since?.[0]) > before, String(since));
      const mended = await headOf(it);
      await write(it, "UPDATE lists SET title = 'seen'");
      assert.deepEqual(await logOf(it, mended), ["update lists(a) list:a→list:a"]);
    },
  },
  {
    name: "a migration rebuilds a parent without its children, once, and what it wrote is captured",
    run: async (it) => {
      await write(
        it,
        "INSERT INTO lists(id) VALUES ('a')",
        "INSERT INTO todos(id, list_id, done) VALUES ('t', 'a', 1)",
      );
      await it.sync.install("server");
      const before = await headOf(it);
      await migrate(it, [
        ["UPDATE lists SET title = 'by a migration'"],
        rebuild,
        ["ALTER TABLE todos DROP COLUMN done"],
      ]);
      assert.deepEqual(await read(it, "SELECT id, title FROM lists"), [["a", "by a migration"]]);
      assert.deepEqual(await read(it, "SELECT id FROM todos"), [["t"]]);
      assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      const told = await logOf(it, before);
      assert.ok(told.includes("update lists(a) list:a→list:a"), told.join());
      assert.deepEqual(
        told.filter((entry) => entry.startsWith("delete")),
        [],
      );
      const after = await headOf(it);
      await migrate(it, [
        ["UPDATE lists SET title = 'by a migration'"],
        rebuild,
        ["ALTER TABLE todos DROP COLUMN done"],
      ]);
      assert.deepEqual(await logOf(it, after), []);
      await write(it, "UPDATE lists SET title = 'later'", "DELETE FROM todos");
      assert.deepEqual(await logOf(it, after), ["update lists(a) list:a→list:a", "delete todos(t) list:a→"]);
    },
  },
  {
    name: "a migration that fails, or leaves rows without their parents, is rolled back whole",
    run: async (it) => {
      await write(it, "INSERT INTO lists(id) VALUES ('a')", "INSERT INTO todos(id, list_id) VALUES ('t', 'a')");
      await it.sync.install("server");
      const messages = {
        "DELETE FROM lists": /reference missing rows/,
        "INSERT INTO nowhere VALUES (1)": /no such table/,
      };
      for (const [last, message] of Object.entries(messages)) {
        const error = await thrownBy(() =>
          migrate(it, [["ALTER TABLE nodes ADD COLUMN more", "UPDATE lists SET title = 'x'", last]]),
        );
        assert.match(error.message, message);
        assert.deepEqual(await read(it, "SELECT title FROM lists"), [[null]]);
        assert.deepEqual(await read(it, "SELECT count(*) FROM pragma_table_info('nodes')"), [[3]]);
        assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      }
    },
  },
];
