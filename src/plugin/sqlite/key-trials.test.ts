import Database from "better-sqlite3";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkProperty } from "../../testing/check-property.ts";
import { each, first, run, transact, type Core, type SyncConnection, type TransactionMode } from "../core.ts";
import { betterSqlite3Connection, type BetterDatabase } from "./better-sqlite3.ts";

const schema = `
CREATE TABLE parents (id INTEGER PRIMARY KEY, code TEXT UNIQUE, note TEXT);
CREATE TABLE cascading (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE nulling (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) ON DELETE SET NULL);
CREATE TABLE defaulting (id INTEGER PRIMARY KEY, parent INTEGER DEFAULT 1 REFERENCES parents(id) ON DELETE SET DEFAULT);
CREATE TABLE restricting (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) ON DELETE RESTRICT);
CREATE TABLE deferring (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents(id) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE coded (id INTEGER PRIMARY KEY, parent TEXT REFERENCES parents(code) ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO parents VALUES (1, 'a', ''), (2, 'b', ''), (3, 'c', '');
`;
const children = ["cascading", "nulling", "defaulting", "restricting", "deferring", "coded"] as const;

function open() {
  const raw = new Database(":memory:");
  raw.exec(schema);
  const connect = (): SyncConnection => betterSqlite3Connection(raw as BetterDatabase);
  const dump = (): unknown =>
    ["parents", ...children].map((table) => raw.prepare(`SELECT * FROM ${table} ORDER BY id`).raw().all());
  return { raw, connect, connection: connect(), dump, [Symbol.dispose]: () => void raw.close() };
}

/** Whether keys were on, each time that the work was done. */
function* noting(seen: unknown[], work: Core<void>): Core<void> {
  seen.push((yield* first("PRAGMA foreign_keys"))?.[0]);
  yield* work;
}

describe("a page", () => {
  test("A4: that no key has a hand in is applied once, with keys on", () => {
    using database = open();
    const seen: unknown[] = [];
    transact(database.connection, "page", () => noting(seen, change("UPDATE parents SET note = 'x'")));
    transact(database.connection, "page", () => noting(seen, change("DELETE FROM parents WHERE id = 3")));
    expect(seen).toEqual([1, 1]);
  });

  test.each([
    ["a cascade", "DELETE FROM parents WHERE id = 1", ["INSERT INTO cascading VALUES (1, 1)"]],
    ["SET NULL", "DELETE FROM parents WHERE id = 1", ["INSERT INTO nulling VALUES (1, 1)"]],
    ["RESTRICT", "DELETE FROM parents WHERE id = 1", ["INSERT INTO restricting VALUES (1, 1)"]],
    ["a missing parent", "INSERT INTO cascading VALUES (1, 9)", []],
    ["a missing parent that is looked for at the commit", "INSERT INTO deferring VALUES (1, 9)", []],
    [
      "a trigger of the app",
      "UPDATE parents SET note = 'x'",
      ["CREATE TRIGGER echo AFTER UPDATE ON parents BEGIN INSERT INTO nulling(parent) VALUES (NULL); END"],
    ],
    [
      "a parent that is no key",
      "INSERT INTO broken VALUES (1)",
      ["CREATE TABLE broken (parent TEXT REFERENCES parents(note))"],
    ],
  ])("A4: is done again with keys off after %s", (_what, sql, before) => {
    using database = open();
    for (const statement of before) database.raw.exec(statement);
    const seen: unknown[] = [];
    transact(database.connection, "page", () => noting(seen, change(sql)));
    expect(seen).toEqual([1, 0]);
    expect(database.raw.pragma("foreign_keys", { simple: true })).toBe(1);
    // The next ones are not tried; after some, one is.
    seen.length = 0;
    for (let i = 0; i < 34; i++)
      transact(database.connection, "page", () =>
        noting(seen, change(`INSERT INTO cascading VALUES (${i + 100}, NULL)`)),
      );
    expect(seen).toEqual([...Array.from({ length: 32 }, () => 0), 1, 1]);
  });

  test("A4: that is large is not tried to its end", () => {
    using database = open();
    const seen: unknown[] = [];
    const written: number[] = [];
    const rows = Array.from({ length: 5000 }, (_value, i) => [i + 10]);
    transact(database.connection, "page", () =>
      noting(
        seen,
        (function* (): Core<void> {
          written.push(yield* each("INSERT INTO parents (id) VALUES (?)", rows));
        })(),
      ),
    );
    expect([seen, written]).toEqual([[1, 0], [5000]]);
    expect(database.raw.prepare("SELECT count(*) FROM parents").pluck().get()).toBe(5003);
  });

  test("A4: that fails for a reason of its own is not done again", () => {
    using database = open();
    const seen: unknown[] = [];
    const fail = function* (): Core<void> {
      yield* run("UPDATE parents SET note = 'x'");
      throw new Error("mine");
    };
    expect(() => transact(database.connection, "page", () => noting(seen, fail()))).toThrow("mine");
    expect(() =>
      transact(database.connection, "page", () => noting(seen, change("INSERT INTO parents VALUES (1, 'z', '')"))),
    ).toThrow("UNIQUE");
    expect(seen).toEqual([1, 1]);
    expect(database.raw.prepare("SELECT DISTINCT note FROM parents").pluck().all()).toEqual([""]);
  });

  test("A4: that fails because of what a key did is done again", () => {
    using database = open();
    database.raw.exec("INSERT INTO cascading VALUES (1, 1)");
    const seen: unknown[] = [];
    const strict = function* (): Core<void> {
      yield* run("DELETE FROM parents WHERE id = 1");
      if ((yield* first("SELECT 1 FROM cascading")) === undefined) throw new Error("The child is gone.");
    };
    transact(database.connection, "page", () => noting(seen, strict()));
    expect([seen, database.raw.prepare("SELECT * FROM cascading").raw().all()]).toEqual([[1, 0], [[1, 1]]]);
  });

  test("A4: that catches what a key refused is done again, too", () => {
    using database = open();
    const seen: unknown[] = [];
    const careful = function* (): Core<void> {
      yield* run("SAVEPOINT careful");
      try {
        yield* run("INSERT INTO cascading VALUES (1, 9)");
      } catch {
        yield* run("ROLLBACK TO careful");
      }
      yield* run("RELEASE careful");
    };
    transact(database.connection, "page", () => noting(seen, careful()));
    expect([seen, database.raw.prepare("SELECT * FROM cascading").raw().all()]).toEqual([[1, 0], [[1, 9]]]);
  });
});

interface Write {
  readonly kind: number;
  readonly child: number;
  readonly a: number;
  readonly b: number;
  readonly isCaught: boolean;
}

const small = fc.nat({ max: 5 });
const write: fc.Arbitrary<Write> = fc.record({
  kind: fc.nat({ max: 7 }),
  child: fc.nat({ max: children.length - 1 }),
  a: small,
  b: small,
  isCaught: fc.boolean(),
});

function sqlOf({ kind, child, a, b }: Write): string {
  const table = children[child] ?? "cascading";
  const parent = table === "coded" ? `'${"abcdef"[b]}'` : String(b);
  switch (kind) {
    case 0:
      return `INSERT INTO parents VALUES (${a}, '${"abcdef"[b]}', '') ON CONFLICT (id) DO UPDATE SET code = excluded.code`;
    case 1:
      return `DELETE FROM parents WHERE id = ${a}`;
    case 2:
      return `UPDATE parents SET id = ${b} WHERE id = ${a}`;
    case 3:
      return `UPDATE parents SET code = '${"abcdef"[b]}' WHERE id = ${a}`;
    case 4:
      return `DELETE FROM ${table} WHERE id = ${a}`;
    case 5:
      return `UPDATE ${table} SET parent = ${parent} WHERE id = ${a}`;
    case 6:
      return `UPDATE parents SET note = '${a}${b}' WHERE id > ${a}`;
    default:
      return `INSERT INTO ${table} VALUES (${a}, ${parent})`;
  }
}

/** Some writes stand under a savepoint, and what refuses them is caught, as a replay does (A3). */
function* applied(writes: readonly Write[]): Core<void> {
  for (const one of writes) {
    if (!one.isCaught) {
      yield* run(sqlOf(one));
      continue;
    }
    yield* run("SAVEPOINT one");
    try {
      yield* run(sqlOf(one));
    } catch {
      yield* run("ROLLBACK TO one");
    }
    yield* run("RELEASE one");
  }
}

test("A4: whatever a page writes, it becomes the same, or fails the same, as with keys off", () => {
  const pages = fc.array(fc.array(write, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 });
  checkProperty(
    fc.property(pages, (list) => {
      const results = (["page", "apply"] as const).map((mode) => resultsOf(mode, list));
      expect(results[0]).toEqual(results[1]);
    }),
    300,
  );
});

function resultsOf(mode: TransactionMode, pages: readonly (readonly Write[])[]): readonly unknown[] {
  using database = open();
  return pages.map((writes) => {
    // A connection of its own for each page: one that failed keeps the next ones from being tried.
    const connection = database.connect();
    try {
      transact(connection, mode, () => applied(writes));
      return database.dump();
    } catch (error) {
      return [String(error), database.dump()];
    }
  });
}

function* change(sql: string): Core<void> {
  yield* run(sql);
}
