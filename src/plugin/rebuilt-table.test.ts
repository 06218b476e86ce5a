import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { capture, ddl, temporaryFile, type Captured, type schema } from "../testing/capture-fixture.ts";
import { drivers, expectBase, openPair, type ServerFixture } from "../testing/server-fixture.ts";

function folderOf(path: string, statements: readonly string[]): string {
  const folder = join(dirname(path), "migrations");
  mkdirSync(join(folder, "meta"), { recursive: true });
  const entries = [{ idx: 0, version: "6", when: 1, tag: "0000_m", breakpoints: true }];
  writeFileSync(join(folder, "meta/_journal.json"), JSON.stringify({ version: "7", dialect: "sqlite", entries }));
  writeFileSync(join(folder, "0000_m.sql"), statements.join(";\n--> statement-breakpoint\n"));
  return folder;
}
const rows = `
INSERT INTO lists VALUES('a', 'ann', 'Title', NULL), ('b', 'bob', '1', NULL);
INSERT INTO todos(id, list_id, title, done) VALUES('t1', 'a', 'One', 1), ('t2', 'b', 'Two', NULL);
INSERT INTO comments VALUES('c1', 't1', 'x');
INSERT INTO members VALUES('a', 1, 'm'), ('a', 2, 'n');
`;
const rebuild = (table: string, body: string, select: string): readonly string[] => [
  `CREATE TABLE __new_${table}(${body})`,
  `INSERT INTO __new_${table} ${select}`,
  `DROP TABLE ${table}`,
  `ALTER TABLE __new_${table} RENAME TO ${table}`,
];
const listsBody = "id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title TEXT COLLATE NOCASE, slug TEXT";

/** Migrates, and tells what is in the log since, and whether cursors from before are reset. */
function migrated(statements: readonly string[]): { readonly log: readonly string[]; readonly isReset: boolean } {
  using file = temporaryFile();
  using it: Captured<typeof schema> = capture({ path: file.path, ddl: ddl + rows });
  it.log();
  it.db.$sync.migrate(folderOf(file.path, statements));
  const since: unknown = it.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'declared_since'").pluck().get();
  expect(it.raw.prepare("SELECT name FROM sqlite_temp_master").all()).toEqual([]);
  const log = it.log();
  it.raw.exec("UPDATE lists SET title = 'later' WHERE id = 'a'; INSERT INTO members VALUES('later', 1, 'x')");
  expect(it.log()).toHaveLength(2);
  return { log, isReset: since !== undefined };
}

describe("a table that `$sync.migrate` rebuilds", () => {
  test("C1: with the rows it had logs nothing and resets nobody", () => {
    const strict = rebuild("lists", `${listsBody} CHECK (id <> '')`, "SELECT * FROM lists");
    expect(migrated(strict)).toEqual({ log: [], isReset: false });
    const members = "list_id TEXT NOT NULL, rank INTEGER NOT NULL, name TEXT, PRIMARY KEY(rank, list_id)";
    expect(migrated(rebuild("members", members, "SELECT * FROM members"))).toEqual({ log: [], isReset: false });
  });

  test("C1: with other values logs the rows that differ, whatever collation and affinity make of them", () => {
    const upper = "SELECT id, owner_id, upper(title), slug FROM lists";
    expect(migrated(rebuild("lists", listsBody, upper))).toEqual({
      log: ["update lists(a)[owner,title,slug] list:a+owner:ann→list:a+owner:ann", "—"],
      isReset: false,
    });
    const number = "id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title NUMERIC, slug TEXT";
    expect(migrated(rebuild("lists", number, "SELECT * FROM lists")).log).toEqual([
      "update lists(b)[owner,title,slug] list:b+owner:bob→list:b+owner:bob",
      "—",
    ]);
  });

  test("C1: with a whole number as a real one logs the row: they are equal, and not the same", () => {
    const body = "id TEXT PRIMARY KEY NOT NULL, list_id TEXT, title TEXT, done REAL, place TEXT";
    const real = rebuild("todos", body, "SELECT id, list_id, title, done, place FROM todos");
    expect(migrated([...real, "CREATE INDEX todos_list ON todos(list_id)"]).log).toHaveLength(2);
  });

  test("V1: with a column that is new logs every row: a device may have known the column before the server had it", () => {
    const place = "id TEXT PRIMARY KEY NOT NULL, list_id TEXT, title TEXT, done INTEGER, place TEXT";
    const before = rebuild("todos", place.replace(", place TEXT", ""), "SELECT id, list_id, title, done FROM todos");
    const after = rebuild("todos", place, "SELECT id, list_id, title, done, NULL FROM todos");
    const index = "CREATE INDEX todos_list ON todos(list_id)";
    const { log, isReset } = migrated([...before, index, ...after, index]);
    expect(log.filter((entry) => entry.startsWith("update todos"))).toHaveLength(2);
    expect(isReset).toBe(false);
  });

  const membersBody = "list_id TEXT NOT NULL, rank INTEGER NOT NULL, name TEXT, PRIMARY KEY(list_id, rank)";
  test.each([
    ["without a row", "SELECT * FROM members WHERE rank = 1"],
    ["with one more row", "SELECT * FROM members UNION ALL VALUES ('z', 1, 'x')"],
    ["with another key", "SELECT list_id, rank + 7, name FROM members"],
    [
      "with one row in the place of another",
      "SELECT list_id, CASE rank WHEN 1 THEN 9 ELSE rank END, name FROM members",
    ],
  ])("C1: %s resets every cursor from before", (_name, select) => {
    expect(migrated(rebuild("members", membersBody, select)).isReset).toBe(true);
  });

  test("C1: with other scopes resets every cursor from before", () => {
    expect(migrated(rebuild("lists", listsBody, "SELECT id, 'eve', title, slug FROM lists")).isReset).toBe(true);
  });

  test("C7: whose rows inherit their scopes is compared by what they inherit now", () => {
    const body = "id TEXT PRIMARY KEY NOT NULL, todo_id TEXT REFERENCES todos(id) ON DELETE CASCADE, body TEXT";
    const index = "CREATE INDEX comments_todo ON comments(todo_id)";
    const upper = rebuild("comments", body, "SELECT id, todo_id, upper(body) FROM comments");
    expect(migrated([...upper, index])).toEqual({
      log: ["update comments(c1)[todoId,body] list:a→list:a", "—"],
      isReset: false,
    });
    const moved = rebuild("comments", body, "SELECT id, 't2', body FROM comments");
    expect(migrated([...moved, index]).isReset).toBe(true);
  });

  test("C7: from which others inherit is rebuilt without resetting them; what was written to them meanwhile is logged", () => {
    const body = "id TEXT PRIMARY KEY NOT NULL, list_id TEXT, title TEXT, done INTEGER, place TEXT";
    const [make, fill, drop, rename] = rebuild("todos", body, "SELECT id, list_id, title, done, place FROM todos");
    const index = "CREATE INDEX todos_list ON todos(list_id)";
    const write = "UPDATE comments SET body = 'y'";
    expect(migrated([make, fill, drop, rename, index] as string[])).toEqual({ log: [], isReset: false });
    expect(migrated([make, fill, drop, write, rename, index] as string[])).toEqual({
      log: ["update comments(c1)[todoId,body] list:a→list:a", "—"],
      isReset: false,
    });
    const away = rebuild("todos", body, "SELECT id, 'b', title, done, place FROM todos");
    expect(migrated([...away, index]).isReset).toBe(true);
  });

  test("C1: one that is dropped and made anew, or for good, is not taken for the old one", () => {
    const anew = [
      "DROP TABLE members",
      `CREATE TABLE members(${membersBody})`,
      "INSERT INTO members VALUES('a', 1, 'm')",
    ];
    expect(migrated(anew).isReset).toBe(true);
    expect(() => migrated(["DROP TABLE nodes"])).not.toThrow();
  });
});

describe.each(drivers)("rebuilding beneath devices, over %s", (driver) => {
  test("C1: a device whose table was rebuilt gets the rows that differ with its next page", async () => {
    const { server, device } = await openPair({ driver });
    await using _ = server;
    using file = temporaryFile();
    const body =
      "id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL REFERENCES lists(id) ON DELETE CASCADE ON UPDATE CASCADE, assignee TEXT, title TEXT NOT NULL, notes TEXT, done INTEGER NOT NULL DEFAULT 0, rank REAL, slug TEXT, created_by TEXT, secret TEXT, updated_at INTEGER";
    const select =
      "SELECT id, list_id, assignee, title, coalesce(notes, 'none'), done, rank, slug, created_by, secret, updated_at FROM todos";
    const folder = folderOf(file.path, [
      ...rebuild("todos", body, select),
      "CREATE INDEX todos_list_idx ON todos(list_id)",
      "CREATE UNIQUE INDEX todos_slug ON todos(slug)",
    ]);
    await migrate(server, folder);
    expect(await device.pull()).toEqual(["page"]);
    expect(device.row("todos", "t2")).toMatchObject({ notes: "none" });
    expect(device.pages[0]?.changes.map(({ kind, values }) => [kind, values[0]])).toEqual([["update", ["t2"]]]);
    await expectBase(server, device);
  });
});

async function migrate(server: ServerFixture, folder: string): Promise<void> {
  const { $sync } = server.db as { readonly $sync: { migrate(folder: string): unknown } };
  await $sync.migrate(folder);
}
