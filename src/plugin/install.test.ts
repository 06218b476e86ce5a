import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { migrate } from "drizzle-orm/better-sqlite3/migrator";
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import {
  capture,
  captureOf,
  comments,
  ddl,
  lists,
  schema,
  sync,
  temporaryFile,
  todos,
  type Captured,
} from "../testing/capture-fixture.ts";
import { firstRows } from "../testing/capture-writes.ts";
import { defineSync } from "./define-sync.ts";
import { closeStrangers, readTransactions } from "./device-log.ts";
import { indexTail, readEntries, readHead } from "./oplog.ts";
import { syncOf } from "./sync-database.ts";
import { withSync } from "./with-sync.ts";

const declaredSince = (raw: Database.Database): unknown =>
  raw.prepare("SELECT v FROM _sync_meta WHERE k = 'declared_since'").pluck().get();
const triggers = (raw: Database.Database): readonly unknown[] =>
  raw
    .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '\\_sync%' ESCAPE '\\' ORDER BY 1")
    .pluck()
    .all();

function migrations(folder: string, files: readonly (readonly string[])[]): string {
  mkdirSync(join(folder, "meta"), { recursive: true });
  const entries = files.map((_, idx) => ({ idx, version: "6", when: idx + 1, tag: `000${idx}_m`, breakpoints: true }));
  writeFileSync(join(folder, "meta/_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
  for (const [i, statements] of files.entries())
    writeFileSync(join(folder, `000${i}_m.sql`), statements.join(";\n--> statement-breakpoint\n"));
  return folder;
}

test("a table that appears after the start is captured from its first row on", () => {
  using it = capture({ ddl: ddl.replace(/CREATE TABLE members[^;]*;/, "") });
  expect(it.raw.prepare("SELECT 1 FROM sqlite_master WHERE name = '_sync_i_members'").get()).toBeUndefined();
  it.db.run(
    sql`CREATE TABLE members(list_id TEXT NOT NULL, rank INTEGER NOT NULL, name TEXT, PRIMARY KEY(list_id, rank)) WITHOUT ROWID`,
  );
  it.db.run(sql`INSERT INTO members VALUES('a', 1, 'x')`);
  expect(it.log()).toContain("insert members(a,1) →member:a:1");
});

test("C1: triggers that somebody dropped come back, and what went by without them resets every cursor from before", () => {
  using it = capture({ ddl: ddl + firstRows });
  it.raw.exec("DROP TRIGGER _sync_d_todos; DELETE FROM todos WHERE id = 't0'");
  it.log();
  it.db.insert(lists).values({ id: "l9" }).run();
  expect(it.log()).toEqual(["insert lists(l9) →list:l9", "—"]);
  expect(triggers(it.raw)).toContain("_sync_d_todos");
  expect(declaredSince(it.raw)).toBe(it.raw.prepare("SELECT max(seq) FROM _sync_log").pluck().get());
});

test("a table that was never captured before resets nobody", () => {
  using it = capture({ ddl: ddl.replace(/CREATE TABLE members[^;]*;/, "") });
  it.raw.exec(
    "CREATE TABLE more(x); CREATE INDEX more_x ON more(x); CREATE UNIQUE INDEX lists_title ON lists(title, slug)",
  );
  it.log();
  expect(declaredSince(it.raw)).toBeUndefined();
});

test("a schema change through the database that leaves triggers where they were resets nobody", () => {
  using it = capture({ ddl: ddl + firstRows });
  it.db.run(sql`ALTER TABLE todos ADD COLUMN note TEXT`);
  it.db.run(sql`CREATE UNIQUE INDEX members_name ON members(name)`);
  it.db.run(sql`ALTER TABLE comments RENAME COLUMN body TO text`);
  it.db.run(sql`ALTER TABLE todos DROP COLUMN done`);
  expect(declaredSince(it.raw)).toBeUndefined();
});

test("C3: a column that another tool added resets nobody: an update from before we knew it sends the whole row", () => {
  const things = sqliteTable("things", { id: text("id").primaryKey(), a: text("a"), b: text("b") });
  const definition = defineSync({ things }, { things: { scope: "everyone" } });
  using it = captureOf(definition, {
    ddl: "CREATE TABLE things(id TEXT PRIMARY KEY NOT NULL, a TEXT); INSERT INTO things VALUES('1', 'a')",
  });
  const { seq } = it.run(readHead());
  it.raw.exec("ALTER TABLE things ADD COLUMN b TEXT; UPDATE things SET a = 'x', b = 'y'");
  it.db.update(things).set({ b: "z" }).run();
  expect(declaredSince(it.raw)).toBeUndefined();
  const { entries } = it.run(
    readEntries(it.sync, { after: seq, upTo: seq + 100, scopes: new Set(["everyone"]), limit: 100 }),
  );
  // The second write found the triggers without the column, too.
  expect(entries.map((entry) => entry.kind)).toEqual(["moved", "moved"]);
  it.db.update(things).set({ b: "w" }).run();
  expect(it.log().at(-2)).toBe("update things(1)[b] everyone→everyone");
});

test("a primary key that may be NULL is refused, and the message says what to write", () => {
  const things = sqliteTable("things", { id: text("id").primaryKey() });
  const definition = defineSync({ things }, { things: { scope: "everyone" } });
  expect(() => captureOf(definition, { ddl: "CREATE TABLE things(id TEXT PRIMARY KEY)" })).toThrow(
    "Table `things`: `id` is part of the primary key and may be NULL",
  );
  for (const able of [
    "id TEXT PRIMARY KEY NOT NULL",
    "id TEXT PRIMARY KEY) WITHOUT ROWID --",
    "id TEXT NOT NULL UNIQUE, PRIMARY KEY(id)",
  ])
    captureOf(definition, { ddl: `CREATE TABLE things(${able}\n${able.includes("--") ? "" : ")"}` })[Symbol.dispose]();
});

test("`drizzle-kit push --force` that dropped our log but left our triggers does not fail the next write", () => {
  using it = capture({ ddl: ddl + firstRows });
  const before = it.db.$sync.cursor();
  it.raw.exec("DROP TABLE _sync_log; DROP TABLE _sync_evict");
  it.db.insert(lists).values({ id: "new" }).run();
  expect(it.raw.prepare("SELECT count(*) FROM lists").pluck().get()).toBe(3);
  const after = it.db.$sync.cursor();
  // Positions of the lost log lie behind, not ahead.
  expect(Number(after.split(".")[0])).toBeGreaterThan(Number(before.split(".")[0]) + 1_000_000);
});

test("C1: what an earlier version left is replaced: its triggers, and its index of the log", () => {
  using file = temporaryFile();
  const triggersOf = (raw: Database.Database): readonly unknown[] =>
    raw.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name").raw().all();
  let wanted: readonly unknown[];
  {
    using it = capture({ path: file.path, ddl: ddl + firstRows });
    wanted = triggersOf(it.raw);
    it.raw.exec(`
      DROP TRIGGER _sync_d_todos; DROP TABLE _sync_scope_runs;
      CREATE TRIGGER _sync_d_todos AFTER DELETE ON todos BEGIN INSERT INTO _sync_log(stamp, t, kind, k0) VALUES (1, 1, 3, OLD.id); END;
      CREATE TRIGGER _sync_p_todos AFTER DELETE ON todos BEGIN DELETE FROM _sync_evict WHERE k0 IS OLD.id; END;
      CREATE TABLE _sync_scope_index(scope TEXT, seq INTEGER, PRIMARY KEY(scope, seq)) WITHOUT ROWID;
      INSERT OR REPLACE INTO _sync_meta(k, v) SELECT 'indexed', max(seq) FROM _sync_log;
      INSERT INTO lists(id) VALUES('z')`);
  }
  using it = capture({ path: file.path, ddl: "" });
  expect(triggersOf(it.raw)).toEqual(wanted);
  expect(it.raw.prepare("SELECT name FROM sqlite_master WHERE name LIKE '%scope_index'").get()).toBeUndefined();
  const read = (): number =>
    it.run(readEntries(it.sync, { after: 0, upTo: 1e9, scopes: new Set(["list:z"]), limit: 9 })).entries.length;
  expect(read()).toBe(1);
  expect(it.connection.transaction("write", () => it.run(indexTail(it.sync, 1000)))).toBeGreaterThan(1);
  expect(read()).toBe(1);
});

test("a log that was dropped together with everything of ours starts anew", () => {
  using it = capture({ ddl: ddl + firstRows });
  for (const name of it.raw
    .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '\\_sync%' ESCAPE '\\'")
    .pluck()
    .all())
    it.raw.exec(`DROP TABLE ${String(name)}`);
  it.db.insert(lists).values({ id: "new" }).run();
  expect(it.raw.prepare("SELECT count(*) FROM lists").pluck().get()).toBe(3);
  expect(it.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'epoch'").pluck().get()).toMatch(/^[0-9a-f]{32}$/);
});

test("an app's trigger made later through the database fires after ours", () => {
  using it = capture();
  it.db.run(
    sql`CREATE TRIGGER app_reap AFTER INSERT ON nodes WHEN NEW.label = 'die' BEGIN DELETE FROM nodes WHERE id = NEW.id; END`,
  );
  it.db.run(sql`INSERT INTO nodes VALUES(1, NULL, 'die')`);
  expect(it.log().slice(0, 2)).toEqual(["insert nodes(1) →everyone", "delete nodes(1) everyone→"]);
});

test("columns that are added, renamed and dropped through the database are followed", () => {
  const things = sqliteTable("things", { id: text("id").primaryKey(), a: text("a"), b: text("b") });
  const definition = defineSync({ things }, { things: { scope: "everyone" } });
  using it = captureOf(definition, { ddl: "CREATE TABLE things(id TEXT PRIMARY KEY NOT NULL, a TEXT)" });
  it.db.run(sql`INSERT INTO things VALUES('1', 'a')`);
  it.db.run(sql`ALTER TABLE things ADD COLUMN b TEXT`);
  it.db.run(sql`UPDATE things SET b = 'x'`);
  it.db.run(sql`ALTER TABLE things DROP COLUMN a`);
  it.db.run(sql`UPDATE things SET b = 'y'`);
  expect(it.log().filter((entry) => entry !== "—")).toEqual([
    "insert things(1) →everyone",
    "update things(1)[b] everyone→everyone",
    "update things(1)[b] everyone→everyone",
  ]);
});

test("a migration by Drizzle through the database may rebuild, rename and drop; nothing is captured wrongly", () => {
  using file = temporaryFile();
  using it = capture({ ddl: ddl + firstRows });
  const folder = migrations(join(dirname(file.path), "m"), [
    [
      "ALTER TABLE comments ADD note text",
      "UPDATE comments SET note = 'n'",
      "ALTER TABLE todos DROP COLUMN done",
      "CREATE TABLE __new_members(list_id TEXT NOT NULL, rank INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY(list_id, rank))",
      "INSERT INTO __new_members SELECT * FROM members",
      "DROP TABLE members",
      "ALTER TABLE __new_members RENAME TO members",
      "UPDATE members SET name = 'after'",
    ],
  ]);
  migrate(it.db, { migrationsFolder: folder });
  const told = it.log();
  expect(declaredSince(it.raw)).toBeGreaterThan(0);
  expect(told).toContain("update members(l1,1)[name] member:l1:1→member:l1:1");
  expect(told.at(-1)).toBe("—");
  it.raw.exec("INSERT INTO todos(id, list_id) VALUES('later', 'l1')");
  expect(it.log()).toEqual(["insert todos(later) →list:l1"]);
});

test("`$sync.migrate` rebuilds a parent without losing its children, whose deletes would be synced", () => {
  using file = temporaryFile();
  using it = capture({ ddl: ddl + firstRows });
  const rebuild = [
    "PRAGMA foreign_keys=OFF",
    "CREATE TABLE __new_lists(id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title TEXT, slug TEXT, color TEXT)",
    "INSERT INTO __new_lists(id, owner_id, title, slug) SELECT id, owner_id, title, slug FROM lists",
    "DROP TABLE lists",
    "ALTER TABLE __new_lists RENAME TO lists",
    "PRAGMA foreign_keys=ON",
  ];
  const rebuildTodos = [
    "CREATE TABLE __new_todos(id TEXT PRIMARY KEY NOT NULL, list_id TEXT REFERENCES lists(id) ON DELETE CASCADE, title TEXT, done INTEGER, place TEXT)",
    "INSERT INTO __new_todos SELECT id, list_id, title, done, place FROM todos",
    "DROP TABLE todos",
    "ALTER TABLE __new_todos RENAME TO todos",
  ];
  const folder = migrations(join(dirname(file.path), "m"), [rebuild, rebuildTodos]);
  it.db.$sync.migrate(folder);
  expect(it.raw.prepare("SELECT count(*) FROM todos").pluck().get()).toBe(2);
  expect(it.raw.prepare("SELECT count(*) FROM comments").pluck().get()).toBe(2);
  expect(it.raw.pragma("foreign_keys", { simple: true })).toBe(1);
  const told = it.log();
  expect(told.filter((entry) => entry.startsWith("delete"))).toEqual([]);
  expect(declaredSince(it.raw)).toBeUndefined();
  expect(triggers(it.raw)).toContain("_sync_md_todos");
  it.db.$sync.migrate(folder);
  expect(it.log()).toEqual([]);
});

test("`$sync.migrate` tells subscribers at once, and keeps its place in the table that the app says", async () => {
  using file = temporaryFile();
  using it = capture({ ddl: ddl + firstRows });
  const told: unknown[] = [];
  it.db.$sync.onChange(["lists"], (changes) => void told.push(...changes));
  const folder = migrations(join(dirname(file.path), "m"), [
    ["UPDATE lists SET title = 'by a migration' WHERE id = 'l1'"],
  ]);
  it.db.$sync.migrate(folder, { migrationsTable: "done here" });
  await Promise.resolve();
  expect(told).toMatchObject([{ kind: "update", row: { id: "l1", title: "by a migration" } }]);
  expect(it.raw.prepare('SELECT count(*) FROM "done here"').pluck().get()).toBe(1);
});

test("migrations may run before anything of ours or of the app's is there", () => {
  using file = temporaryFile();
  const raw = new Database(file.path);
  const db = withSync(drizzle(raw, { schema }), sync);
  db.$sync.migrate(migrations(join(dirname(file.path), "m"), [ddl.split(";").filter((text_) => text_.trim() !== "")]));
  db.insert(lists).values({ id: "a" }).run();
  expect(raw.prepare("SELECT count(*) FROM _sync_log WHERE t > 0").pluck().get()).toBe(1);
  raw.close();
});

test("`DROP COLUMN` through another connection fails while our trigger names the column, and works through ours", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  const other = new Database(file.path);
  expect(() => other.exec("ALTER TABLE todos DROP COLUMN title_length; ALTER TABLE todos DROP COLUMN done")).toThrow(
    /error in trigger/,
  );
  other.close();
  it.db.run(sql`ALTER TABLE todos DROP COLUMN done`);
  expect(triggers(it.raw)).toContain("_sync_u_todos");
});

test("a server that nobody pulled from becomes a device, and its rows the device's first transaction, parents first", () => {
  using it = capture({ ddl: ddl + firstRows });
  it.db.update(lists).set({ title: "t" }).run();
  void it.sync.install("device");
  expect(it.sync.role).toBe("device");
  const [first, ...others] = it.run(readTransactions(it.sync, { after: 0, limit: 10 }));
  expect(others).toEqual([]);
  expect(first?.number).toBe(1);
  expect(first?.entries.map((entry) => `${entry.kind} ${entry.table.key} ${String(entry.key)}`)).toEqual([
    "insert lists l1",
    "insert lists l2",
    "insert todos t0",
    "insert todos t1",
    "insert comments c0",
    "insert comments c1",
    "insert replies r0",
    "insert replies r1",
    "insert members l1,1",
    "insert nodes 0",
    "insert nodes 1",
  ]);
});

test("a device stays a device, whoever opens it", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path, role: "device" });
  it.db.insert(lists).values({ id: "a" }).run();
  using again = capture({ path: file.path, ddl: "" });
  expect(again.sync.role).toBe("device");
  again.db.insert(lists).values({ id: "b" }).run();
  expect(
    again.run(readTransactions(again.sync, { after: 0, limit: 10 })).map((transaction) => transaction.number),
  ).toEqual([1, 2]);
});

test("a column that Drizzle's casing names otherwise is captured under its real name", () => {
  const notes = sqliteTable(
    "notes",
    { id: text().primaryKey(), listId: text().notNull(), isDone: integer({ mode: "boolean" }) },
    (t) => [index("notes_list").on(t.listId)],
  );
  const definition = defineSync({ notes }, { notes: { scope: { list: "listId" } } });
  using it: Captured<{ notes: typeof notes }> = captureOf(definition, {
    casing: "snake_case",
    ddl: "CREATE TABLE notes(id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL, is_done INTEGER)",
  });
  it.db.insert(notes).values({ id: "n", listId: "a", isDone: false }).run();
  it.db.update(notes).set({ isDone: true }).run();
  expect(it.log()).toEqual(["insert notes(n) →list:a", "—", "update notes(n)[isDone] list:a→list:a", "—"]);
});

test("an inherited scope needs an index on its column, and the message has the line to add", () => {
  const child = sqliteTable("child", {
    id: text("id").primaryKey(),
    todoId: text("todo_id").references(() => todos.id),
  });
  const definition = defineSync(
    { lists, todos, child },
    { todos: { scope: "everyone" }, child: { scopeFrom: "todoId" } },
  );
  const raw = new Database(":memory:");
  raw.exec(`${ddl} CREATE TABLE child(id TEXT PRIMARY KEY NOT NULL, todo_id TEXT REFERENCES todos(id))`);
  const db = withSync(drizzle(raw, { schema: { lists, todos, child } }), definition);
  expect(() => db.insert(child).values({ id: "x" }).run()).toThrow(
    'Add `index("child_todo_id_idx").on(t.todoId)` to the table.',
  );
  raw.exec("CREATE INDEX any_name ON child(todo_id)");
  db.insert(child).values({ id: "x" }).run();
  expect(raw.prepare("SELECT count(*) FROM _sync_log WHERE t > 0").pluck().get()).toBe(1);
  raw.close();
});

test("writes that strangers made on a device are closed before ours, as a transaction of their own", () => {
  using it = capture({ role: "device" });
  it.raw.exec("INSERT INTO lists(id) VALUES('s')");
  it.connection.transaction("write", () => it.run(closeStrangers(it.sync)));
  it.db.insert(lists).values({ id: "a" }).run();
  expect(
    it
      .run(readTransactions(it.sync, { after: 0, limit: 10 }))
      .map(({ entries }) => entries.map((entry) => entry.key[0])),
  ).toEqual([["s"], ["a"]]);
});

test("an internal side is found on a wrapped database alone", () => {
  using it = capture();
  expect(syncOf(it.db)).toBe(it.sync);
  expect(() => syncOf(drizzle(it.raw))).toThrow(/withSync/);
  void comments;
});
