import fc from "fast-check";
import { expect, test } from "vitest";
import { all, run, transact, type Core } from "../../../plugin/core.ts";
import { openMemoryConnection } from "../../../testing/browser/memory-connection.ts";

test("every storage value comes back as it went in", async () => {
  const connection = await openMemoryConnection();
  const value = fc.oneof(
    fc.constant(null),
    fc.double({ noNaN: true }),
    fc.maxSafeInteger(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.string({ unit: "grapheme" }),
    fc.constant("a\0b"),
    fc.uint8Array(),
  );
  fc.assert(
    fc.property(value, (given) => {
      const expected = typeof given === "bigint" && Number.isSafeInteger(Number(given)) ? Number(given) : given;
      const [row] = connection.all("SELECT ?", [given]);
      expect(row?.[0]).toEqual(expected);
    }),
    { numRuns: 500 },
  );
  connection.close();
});

test("many rows of one statement store what the same rows one by one store", async () => {
  const value = fc.oneof(
    fc.constant(null),
    fc.integer(),
    fc.double(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.string({ unit: "binary" }),
    fc.uint8Array(),
  );
  const upsert =
    "INSERT INTO t (id, a, b) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b";
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom("1", "2", "3", "ü"), value, value)), async (rows) => {
      const states: unknown[] = [];
      for (const isLoop of [true, false]) {
        const connection = await openMemoryConnection();
        connection.script("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT, b)");
        const changes = isLoop
          ? rows.reduce((sum, row) => sum + connection.run(upsert, row), 0)
          : connection.each(upsert, rows);
        states.push({
          changes,
          rows: connection.all("SELECT *, typeof(a), typeof(b), hex(a), hex(b) FROM t ORDER BY id", []),
          written: [...connection.takeWritten()],
        });
        connection.close();
      }
      expect(states[0]).toEqual(states[1]);
    }),
    { numRuns: 50 },
  );
});

test("texts and blobs larger than the memory kept for them are bound whole", async () => {
  const connection = await openMemoryConnection();
  const text = "é".repeat(3_000_000);
  const bytes = new Uint8Array(5_000_000).fill(7);
  const [row] = connection.all("SELECT ?, ?, length(?), length(?), ''", [text, bytes, text, bytes]);
  expect(row?.[0] === text).toBe(true);
  expect(Buffer.compare(row?.[1] as Uint8Array, bytes)).toBe(0);
  expect(row?.slice(2)).toEqual([text.length, bytes.length, ""]);
  expect(connection.all("SELECT ?", [""])).toEqual([[""]]);
  connection.close();
});

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

function* insertOrphan(): Core<unknown> {
  yield* run("INSERT INTO c VALUES ('1', 'missing')");
  return (yield* all("SELECT count(*) FROM c"))[0]?.[0];
}

test("A4: an applying transaction has foreign keys off, and on again after it, also when it fails", async () => {
  const connection = await openMemoryConnection();
  connection.script("CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p TEXT REFERENCES p)");
  expect(() => transact(connection, "write", insertOrphan)).toThrow(
    expect.objectContaining({ code: "SQLITE_CONSTRAINT_FOREIGNKEY" }),
  );
  expect(transact(connection, "apply", insertOrphan)).toBe(1);
  expect(() => transact(connection, "apply", insertOrphan)).toThrow(
    expect.objectContaining({ code: "SQLITE_CONSTRAINT_PRIMARYKEY" }),
  );
  expect(connection.all("PRAGMA foreign_keys", [])).toEqual([[1]]);
  expect(connection.inTransaction).toBe(false);
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
