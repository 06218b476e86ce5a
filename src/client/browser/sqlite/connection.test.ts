import fc from "fast-check";
import { expect, test } from "vitest";
import { checkProperty } from "../../../testing/check-property.ts";
import { openMemoryConnection } from "../../../testing/browser/memory-connection.ts";

test("errors carry SQLite's extended result code and message", async () => {
  const connection = await openMemoryConnection();
  connection.script("CREATE TABLE t (id TEXT PRIMARY KEY)");
  connection.run("INSERT INTO t VALUES (?)", ["1"]);
  expect(() => connection.run("INSERT INTO t VALUES (?)", ["1"])).toThrow(
    expect.objectContaining({ code: "SQLITE_CONSTRAINT_PRIMARYKEY", message: "UNIQUE constraint failed: t.id" }),
  );
  expect(() => connection.all("SELECT nothing", [])).toThrow(expect.objectContaining({ code: "SQLITE_ERROR" }));
  expect(() => connection.all("SELECT ?", [])).toThrow("1 parameters, 0 were given");
  connection.close();
});

test("written tables include those of triggers and cascades, and only of statements that changed something", async () => {
  const connection = await openMemoryConnection();
  connection.script(
    "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p TEXT REFERENCES p ON DELETE CASCADE) WITHOUT ROWID;" +
      "CREATE TABLE log (id); CREATE TRIGGER d AFTER DELETE ON c BEGIN INSERT INTO log VALUES (old.id); END",
  );
  connection.run("INSERT INTO p VALUES ('1')", []);
  connection.run("INSERT INTO c VALUES ('2', '1')", []);
  expect(connection.takeWritten()).toEqual(new Set(["c", "p"]));
  connection.run("DELETE FROM p WHERE id = 'none'", []);
  expect(connection.takeWritten().size).toBe(0);
  connection.run("DELETE FROM p", []);
  expect(connection.takeWritten()).toEqual(new Set(["c", "log", "p"]));
  connection.each("INSERT OR IGNORE INTO p VALUES (?)", [["3"], ["3"]]);
  expect(connection.takeWritten()).toEqual(new Set(["p"]));
  connection.each("INSERT OR IGNORE INTO p VALUES (?)", [["3"]]);
  expect(connection.takeWritten().size).toBe(0);
  connection.close();
});

test("read tables include those behind views, subqueries and covering indexes", async () => {
  const connection = await openMemoryConnection();
  connection.script(
    "CREATE TABLE a (id TEXT PRIMARY KEY, x); CREATE TABLE b (id TEXT PRIMARY KEY, a TEXT); CREATE VIEW v AS SELECT b.id FROM b JOIN a ON a.id = b.a",
  );
  expect(connection.tablesRead("SELECT id FROM a")).toEqual(new Set(["a"]));
  expect(connection.tablesRead("SELECT * FROM v")).toEqual(new Set(["a", "b"]));
  expect(connection.tablesRead("SELECT id FROM b WHERE EXISTS (SELECT 1 FROM a) UNION SELECT 1")).toEqual(
    new Set(["a", "b"]),
  );
  expect(connection.tablesRead("WITH c AS (SELECT id FROM a) SELECT (SELECT count(*) FROM b) FROM c")).toEqual(
    new Set(["a", "b"]),
  );
  connection.close();
});

test("a reader is a statement that neither writes nor controls transactions", async () => {
  const connection = await openMemoryConnection();
  connection.script("CREATE TABLE t (id)");
  expect(connection.isReader("SELECT * FROM t")).toBe(true);
  expect(connection.isReader("INSERT INTO t VALUES (1) RETURNING id")).toBe(false);
  expect(connection.isReader("BEGIN")).toBe(false);
  connection.close();
});

test("values come back as they were bound, whatever lies beside them in their row", async () => {
  const connection = await openMemoryConnection();
  connection.script("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b, c, d)");
  const length = { maxLength: 90, size: "max" } as const;
  const text = fc.oneof(fc.string(length), fc.string({ ...length, unit: "binary" }));
  const value = fc.oneof(text, fc.uint8Array({ maxLength: 5000 }), fc.integer(), fc.constant(null));
  checkProperty(
    fc.property(fc.array(fc.tuple(value, value, value, value), { minLength: 1, maxLength: 5 }), (rows) => {
      const numbered = rows.map((row, index) => [index, ...row]);
      connection.run("DELETE FROM t", []);
      connection.each("INSERT INTO t VALUES (?, ?, ?, ?, ?)", numbered);
      expect(connection.all("SELECT * FROM t ORDER BY id", [])).toEqual(numbered);
    }),
  );
  connection.close();
});
