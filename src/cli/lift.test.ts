import Database from "better-sqlite3";
import { index, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { expect, test } from "vitest";
import { captureOf, temporaryFile } from "../testing/capture-fixture.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { withSync } from "../plugin/with-sync.ts";
import { main } from "./drizzle-sync.ts";
import { liftFile } from "./lift.ts";

const parents = sqliteTable("parents", { id: text("id").primaryKey(), list: text("list"), note: text("note") });
const children = sqliteTable(
  "children",
  { id: text("id").primaryKey(), parent: text("parent").references(() => parents.id) },
  (t) => [index("children_parent").on(t.parent)],
);
const schema = { parents, children };
const definition = defineSync(schema, { parents: { scope: { list: "list" } }, children: { scopeFrom: "parent" } });
const ddl = `
CREATE TABLE parents(id text PRIMARY KEY NOT NULL, list text, note text);
CREATE TABLE children(id text PRIMARY KEY NOT NULL, parent text REFERENCES parents(id));
CREATE INDEX children_parent ON children(parent);
INSERT INTO parents VALUES('p', 'a', NULL);
INSERT INTO children VALUES('c', 'p');
`;

// What drizzle-kit 0.31 executes when a column becomes NOT NULL.
const rebuild = [
  "PRAGMA foreign_keys=OFF;",
  "CREATE TABLE `__new_parents` (`id` text PRIMARY KEY NOT NULL, `list` text, `note` text DEFAULT '' NOT NULL);",
  'INSERT INTO `__new_parents`("id", "list", "note") SELECT "id", "list", coalesce("note", \'\') FROM `parents`;',
  "DROP TABLE `parents`;",
  "ALTER TABLE `__new_parents` RENAME TO `parents`;",
  "PRAGMA foreign_keys=ON;",
];

function push(path: string): void {
  const tool = new Database(path);
  try {
    for (const statement of rebuild) tool.exec(statement);
  } finally {
    tool.close();
  }
}

test("`drizzle-sync lift` lets another tool rebuild a parent; the next write puts the triggers back and resets devices", async () => {
  using file = temporaryFile();
  using it = captureOf(definition, { path: file.path, ddl });
  expect(await main(["lift", file.path])).toBe(0);
  push(file.path);
  it.raw.exec("UPDATE parents SET list = 'secret'");
  it.log();
  it.db.insert(children).values({ id: "later", parent: "p" }).run();
  // The write itself went by: the reset covers it.
  expect(it.log()).toEqual(["—"]);
  expect(it.raw.prepare("SELECT v >= 1 FROM _sync_meta WHERE k = 'declared_since'").pluck().get()).toBe(1);
  it.db.insert(children).values({ id: "last", parent: "p" }).run();
  expect(it.log()).toEqual(["insert children(last) →list:secret", "—"]);
});

test("a start that finds a rebuild cut short says how to mend it, and that way works", async () => {
  using file = temporaryFile();
  {
    using it = captureOf(definition, { path: file.path, ddl });
    expect(() => push(file.path)).toThrow(/error in trigger/);
    void it;
  }
  const raw = new Database(file.path);
  const open = () => withSync(drizzle(raw, { schema }), definition);
  await expect(open().$sync.ready).rejects.toThrow("Run `drizzle-sync lift <file>`, then");
  await liftFile(file.path);
  raw.exec('ALTER TABLE "__new_parents" RENAME TO "parents"');
  open().insert(children).values({ id: "x" }).run();
  expect(raw.prepare("SELECT count(*) FROM children").pluck().get()).toBe(2);
  raw.close();
});

test("`drizzle-sync lift` refuses a device's database and a file that is not there", async () => {
  using file = temporaryFile();
  using it = captureOf(definition, { path: file.path, ddl, role: "device" });
  await expect(liftFile(file.path)).rejects.toThrow(/is a device's database/);
  await expect(liftFile(`${file.path}.none`)).rejects.toThrow(/does not exist/);
  expect(it.raw.prepare("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").pluck().get()).toBeGreaterThan(0);
});
