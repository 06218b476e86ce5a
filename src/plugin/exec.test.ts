import { sql } from "drizzle-orm";
import { expect, test } from "vitest";
import { capture, ddl } from "../testing/capture-fixture.ts";
import { firstRows } from "../testing/capture-writes.ts";

test("`$client.exec` runs each of its statements once, also when one of them fails", () => {
  using it = capture({ ddl: `${ddl} CREATE TABLE counter(n); INSERT INTO counter VALUES(0)` });
  expect(() =>
    it.db.$client.exec("CREATE TABLE other(x); UPDATE counter SET n = n + 1; INSERT INTO typo VALUES(1)"),
  ).toThrow("no such table: typo");
  expect(it.raw.prepare("SELECT n FROM counter").pluck().get()).toBe(1);
  expect(() => it.db.run(sql`INSERT INTO typo VALUES(1)`)).toThrow();
});

test("`$client.exec` mends what a tool took away before it runs", () => {
  using it = capture();
  it.raw.exec("DROP TABLE _sync_log");
  it.db.$client.exec("INSERT INTO lists(id) VALUES('a')");
  expect(it.raw.prepare("SELECT count(*) FROM _sync_log WHERE t > 0").pluck().get()).toBe(1);
});

test("`$client.exec` of a whole migration file may rebuild a table that other tables inherit from", () => {
  using it = capture({ ddl: ddl + firstRows });
  it.db.$client.exec(`PRAGMA foreign_keys=OFF;
    CREATE TABLE __new_todos(id TEXT PRIMARY KEY NOT NULL, list_id TEXT REFERENCES lists(id), title TEXT, done INTEGER, place TEXT);
    INSERT INTO __new_todos SELECT id, list_id, title, done, place FROM todos; DROP TABLE todos; ALTER TABLE __new_todos RENAME TO todos;
    CREATE INDEX todos_list ON todos(list_id); PRAGMA foreign_keys=ON;`);
  expect(it.raw.prepare("SELECT count(*) FROM todos").pluck().get()).toBe(2);
  expect(it.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'declared_since'").pluck().get()).toBeGreaterThan(0);
  it.log();
  it.raw.exec("UPDATE todos SET list_id = 'l2' WHERE id = 't0'");
  expect(it.log()).toContain("moved comments(c0) list:l1→list:l2");
});
