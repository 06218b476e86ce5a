import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createClient, type Client } from "@libsql/client";
import Database from "better-sqlite3";
import { eq, is, sql } from "drizzle-orm";
import { drizzle, LibSQLDatabase } from "drizzle-orm/libsql";
import { migrate } from "drizzle-orm/libsql/migrator";
import { expect, test, vi } from "vitest";
import { ddl, lists, schema, sync, temporaryFile, todos } from "../testing/capture-fixture.ts";
import { firstRows } from "../testing/capture-writes.ts";
import { stepAsync, type AsyncConnection } from "./core.ts";
import { readHead } from "./oplog.ts";
import { readRows } from "./rows.ts";
import { splitScopes } from "./scope-text.ts";
import { syncOf, type SyncDatabase } from "./sync-database.ts";
import { withSync } from "./with-sync.ts";

interface Opened extends Disposable {
  readonly client: Client;
  readonly db: ReturnType<typeof openDb>;
  readonly sync: SyncDatabase;
  readonly connection: AsyncConnection;
  readonly path: string;
  /** Reads beside libSQL, through another driver. */
  readonly raw: Database.Database;
  log(): readonly string[];
}

function openDb(client: Client) {
  return withSync(drizzle(client, { schema }), sync);
}

function open(more = ""): Opened {
  const file = temporaryFile();
  const raw = new Database(file.path);
  raw.pragma("journal_mode = WAL");
  raw.exec(ddl + more);
  const client = createClient({ url: `file:${file.path}` });
  const db = openDb(client);
  const internal = syncOf(db);
  if (internal.connection.kind !== "async") throw new Error("libSQL is asynchronous.");
  let position = 1;
  return {
    client,
    db,
    sync: internal,
    connection: internal.connection,
    path: file.path,
    raw,
    log() {
      const rows = raw
        .prepare("SELECT seq, t, kind, k0, sa FROM _sync_log WHERE seq > ? ORDER BY seq")
        .all(position) as { seq: number; t: number; kind: number; k0: string; sa: string | null }[];
      position = rows.at(-1)?.seq ?? position;
      return rows.map((row) =>
        row.t === 0
          ? "—"
          : `${["", "insert", "update", "delete", "moved"][row.kind] ?? ""} ${internal.layouts.get(row.t)?.name ?? ""}(${row.k0}) ${splitScopes(row.sa).join("\n")}`.trim(),
      );
    },
    [Symbol.dispose]() {
      client.close();
      raw.close();
      file[Symbol.dispose]();
    },
  };
}

test("C1: over libSQL every statement, batch and transaction is captured and closed; the database keeps its type", async () => {
  using it = open();
  expect(is(it.db, LibSQLDatabase)).toBe(true);
  await it.db.insert(lists).values({ id: "a", owner: "u1" });
  expect(await it.db.insert(todos).values({ id: "t", listId: "a", done: true }).returning()).toEqual([
    { id: "t", listId: "a", title: null, done: true, place: null },
  ]);
  const [updated, selected] = await it.db.batch([
    it.db.update(lists).set({ title: "x" }).where(eq(lists.id, "a")),
    it.db.select().from(lists),
  ]);
  expect(updated.rowsAffected).toBe(1);
  expect(selected).toHaveLength(1);
  await it.db.transaction(async (tx) => {
    await tx.insert(lists).values({ id: "b" });
    await tx.transaction(async (inner) => void (await inner.insert(lists).values({ id: "c" })));
    await expect(
      tx.transaction(async (inner) => {
        await inner.insert(lists).values({ id: "d" });
        inner.rollback();
      }),
    ).rejects.toThrow();
  });
  await expect(
    it.db.transaction(async (tx) => {
      await tx.insert(lists).values({ id: "n" });
      throw new Error("no");
    }),
  ).rejects.toThrow("no");
  await it.db.$client.execute({ sql: "DELETE FROM lists WHERE id = ?", args: ["b"] });
  await it.db.$client.executeMultiple("INSERT INTO lists(id) VALUES('e'); INSERT INTO lists(id) VALUES('f')");
  expect(it.log()).toEqual([
    "insert lists(a) list:a\nowner:u1",
    "—",
    "insert todos(t) list:a",
    "—",
    "update lists(a) list:a\nowner:u1",
    "—",
    "insert lists(b) list:b",
    "insert lists(c) list:c",
    "—",
    "delete lists(b)",
    "—",
    "insert lists(e) list:e",
    "insert lists(f) list:f",
    "—",
  ]);
});

test("writers over one libSQL client wait for each other, where the driver alone would fail them", async () => {
  using it = open();
  const slow = it.db.transaction(async (tx) => {
    await tx.insert(lists).values({ id: "slow" });
    await new Promise((resolve) => setTimeout(resolve, 30));
    await tx.insert(lists).values({ id: "slower" });
  });
  await Promise.all([
    slow,
    it.db.$sync.ready,
    it.db.insert(lists).values({ id: "a" }),
    it.db.batch([it.db.insert(lists).values({ id: "b" })]),
  ]);
  const told = it.log();
  expect(told.filter((entry) => entry === "—")).toHaveLength(3);
  expect(told.indexOf("insert lists(slower) list:slower")).toBe(told.indexOf("insert lists(slow) list:slow") + 1);
  expect(told).toHaveLength(7);
});

test("over libSQL migrations are followed, through Drizzle's migrator and through `$sync.migrate`", async () => {
  using it = open(firstRows);
  const folder = join(dirname(it.path), "m");
  mkdirSync(join(folder, "meta"), { recursive: true });
  const statements = [
    "ALTER TABLE lists ADD note text",
    "ALTER TABLE todos DROP COLUMN done",
    "DROP INDEX todos_list",
    "CREATE INDEX todos_list ON todos(list_id)",
  ];
  const rebuild = [
    "CREATE TABLE __new_lists(id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title TEXT, slug TEXT)",
    "INSERT INTO __new_lists SELECT id, owner_id, title, slug FROM lists",
    "DROP TABLE lists",
    "ALTER TABLE __new_lists RENAME TO lists",
  ];
  const write = (files: readonly (readonly string[])[]): void => {
    writeFileSync(
      join(folder, "meta/_journal.json"),
      JSON.stringify({
        version: "7",
        dialect: "sqlite",
        entries: files.map((_, idx) => ({ idx, version: "6", when: idx + 1, tag: `000${idx}_m`, breakpoints: true })),
      }),
    );
    for (const [i, file] of files.entries())
      writeFileSync(join(folder, `000${i}_m.sql`), file.join(";\n--> statement-breakpoint\n"));
  };
  write([statements]);
  await it.db.$sync.ready;
  await migrate(it.db, { migrationsFolder: folder });
  await it.db.run(sql`UPDATE todos SET title = 'x' WHERE id = 't0'`);
  expect(it.log()).toContain("update todos(t0) list:l1");
  write([statements, rebuild]);
  await it.db.$sync.migrate(folder);
  expect(it.raw.prepare("SELECT count(*) FROM todos").pluck().get()).toBe(2);
  expect(it.log().filter((entry) => entry.startsWith("delete"))).toEqual([]);
  await it.db.insert(lists).values({ id: "new" });
  expect(it.log()).toEqual(["insert lists(new) list:new", "—"]);
});

test("triggers that another process dropped are noticed by the next write over libSQL", async () => {
  using it = open(firstRows);
  await it.db.$sync.ready;
  it.raw.exec("DROP TRIGGER _sync_u_members; UPDATE members SET name = 'unseen'");
  await it.db.insert(lists).values({ id: "x" });
  const [since] = it.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'declared_since'").pluck().all();
  const [of] = it.raw.prepare("SELECT seq FROM _sync_log WHERE t > 0 ORDER BY seq DESC").pluck().all();
  expect(Number(since)).toBeGreaterThan(Number(of));
  it.raw.exec("DROP TABLE _sync_log");
  await it.db.insert(lists).values({ id: "y" });
  expect(it.raw.prepare("SELECT count(*) FROM lists").pluck().get()).toBe(4);
});

test("`onChange`, `cursor` and row reads work over libSQL", async () => {
  using it = open();
  await it.db.$sync.ready;
  const told = vi.fn();
  const heard = new Promise<void>((resolve) => {
    it.db.$sync.onChange(["lists"], (changes) => {
      told(changes);
      resolve();
    });
  });
  await it.db.insert(lists).values({ id: "a", title: "A" });
  await heard;
  expect(told.mock.calls).toEqual([
    [[{ table: "lists", kind: "insert", row: { id: "a", title: "A", owner: null, slug: null } }]],
  ]);
  expect(await it.db.$sync.cursor()).toBe(
    await stepAsync(it.connection, readHead()).then(({ seq, stamp }) => `${seq}.${stamp}`),
  );
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  expect(await stepAsync(it.connection, readRows(table, [], [["a"]]))).toEqual([
    { key: ["a"], values: [], scopes: ["list:a"] },
  ]);
});

test("a database in memory works over libSQL, although it has one connection alone", async () => {
  const client = createClient({ url: ":memory:" });
  await client.executeMultiple(ddl);
  const db = openDb(client);
  await db.insert(lists).values({ id: "a" });
  await db.transaction(async (tx) => void (await tx.insert(lists).values({ id: "b" })));
  expect((await client.execute("SELECT count(*) FROM _sync_log WHERE t > 0")).rows[0]?.[0]).toBe(2);
  client.close();
});
