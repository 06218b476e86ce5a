import { sql } from "drizzle-orm";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { BrokenBase } from "./write-changes.ts";

const shelves = sqliteTable("shelves", { id: text().primaryKey(), name: text(), draft: text() });
const books = sqliteTable("books", {
  id: text().primaryKey(),
  shelfId: text("shelf_id").references(() => shelves.id, { onDelete: "cascade" }),
  title: text(),
});
const notes = sqliteTable("notes", { id: text().primaryKey(), title: text() });
const schema = { shelves, books, notes };
const definition = defineSync(schema, {
  shelves: { scope: "everyone", exclude: ["draft"] },
  books: { scopeFrom: "shelfId" },
  notes: { scope: "everyone" },
});
const ddl = `
CREATE TABLE shelves (id TEXT PRIMARY KEY NOT NULL, name TEXT, draft TEXT);
CREATE TABLE books (id TEXT PRIMARY KEY NOT NULL, shelf_id TEXT REFERENCES shelves (id) ON DELETE CASCADE, title TEXT);
CREATE INDEX books_shelf ON books (shelf_id);
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT);
`;
const open = (): Promise<DeviceFixture> => openDeviceFixture(definition, ddl);
const shelf = (...rows: string[][]) => group("shelves", "row", ["id", "name"], ...rows);
const book = (...rows: string[][]) => group("books", "row", ["id", "shelfId", "title"], ...rows);
const rows = (device: DeviceFixture, query: string): unknown[] => device.raw.prepare(query).raw().all();

describe("rows that inherit their scopes", () => {
  test("A4: a page beside pending rows that brings a row without its parent breaks the base", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A"])]);
    device.db.insert(notes).values({ id: "n" }).run();
    const broken = device.apply([book(["1", "gone", "x"])]);
    await expect(broken).rejects.toBeInstanceOf(BrokenBase);
    await expect(broken).rejects.toMatchObject({ name: "BrokenBase", message: expect.stringContaining("books") });
    expect(rows(device, "SELECT id FROM books")).toEqual([]);
  });

  test("A4: a parent that is only pending is none", async () => {
    using device = await open();
    await device.apply([]);
    device.db.insert(shelves).values({ id: "a" }).run();
    await expect(device.apply([book(["1", "a", "x"])])).rejects.toBeInstanceOf(BrokenBase);
  });
});

describe("what the device's own columns hold", () => {
  test("stays when a pending insert is taken out and replayed", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A"])]);
    device.raw.exec("INSERT INTO shelves VALUES ('b', 'B', 'mine')");
    device.db
      .update(shelves)
      .set({ name: "edited" })
      .where(sql`id = 'a'`)
      .run();
    await device.apply([shelf(["a", "theirs"])]);
    expect(rows(device, "SELECT * FROM shelves ORDER BY id")).toEqual([
      ["a", "edited", null],
      ["b", "B", "mine"],
    ]);
  });

  test("stays when a pending insert comes back from the server, with others waiting or not", async () => {
    using device = await open();
    await device.apply([]);
    device.raw.exec("INSERT INTO shelves VALUES ('b', 'B', 'mine')");
    const first = await device.last();
    device.db.insert(notes).values({ id: "n" }).run();
    await device.apply([shelf(["b", "B"])], { lastTx: first });
    expect(rows(device, "SELECT * FROM shelves")).toEqual([["b", "B", "mine"]]);
    device.raw.exec("INSERT INTO shelves VALUES ('c', 'C', 'mine too')");
    await device.apply([shelf(["c", "C"])], { lastTx: await device.last() });
    expect(rows(device, "SELECT * FROM shelves WHERE id = 'c'")).toEqual([["c", "C", "mine too"]]);
  });

  test("I3: stays when the server has lost a row that was inserted here, which comes back to it", async () => {
    using device = await open();
    await device.apply([]);
    device.raw.exec("INSERT INTO shelves VALUES ('b', 'B', 'mine')");
    await device.apply([shelf(["b", "B"])], { lastTx: await device.last() });
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.cursor'");
    await device.apply([], { lastTx: { number: 0, stamp: 0 } });
    expect(await device.pending()).toHaveLength(1);
    expect(rows(device, "SELECT * FROM shelves")).toEqual([["b", "B", "mine"]]);
  });

  test("comes back with a row whose insert was withheld", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A"])]);
    device.raw.exec(
      "BEGIN; INSERT INTO shelves VALUES ('b', 'B', 'mine'); INSERT INTO books VALUES ('1', 'a', 'x'); COMMIT",
    );
    await device.apply([group("shelves", "removal", ["id"], ["a"])]);
    expect(rows(device, "SELECT * FROM shelves")).toEqual([]);
    await device.apply([shelf(["a", "A"])]);
    expect(rows(device, "SELECT * FROM shelves WHERE id = 'b'")).toEqual([["b", "B", "mine"]]);
  });
});

describe("the rows that a page changed", () => {
  const listening = async (): Promise<DeviceFixture> => {
    const device = await open();
    device.sync.onCommit(() => {}, { rows: true });
    return device;
  };
  const changes = (result: object): unknown => ("applied" in result ? result.applied : undefined);

  test("are told with what became of them, own changes that came back not", async () => {
    using device = await listening();
    const first = await device.apply([shelf(["a", "A"], ["b", "B"])]);
    expect(changes(first)).toEqual([
      { table: "shelves", kind: "insert", key: ["a"] },
      { table: "shelves", kind: "insert", key: ["b"] },
    ]);
    device.db.insert(notes).values({ id: "n", title: "mine" }).run();
    const second = await device.apply(
      [
        group("shelves", "removal", ["id"], ["b"]),
        shelf(["a", "A2"]),
        group("notes", "row", ["id", "title"], ["n", "mine"]),
      ],
      { lastTx: await device.last() },
    );
    expect(changes(second)).toEqual([
      { table: "shelves", kind: "delete", key: ["b"] },
      { table: "shelves", kind: "update", key: ["a"] },
    ]);
  });

  test("are those of a rejected or withheld transaction, too", async () => {
    using device = await listening();
    await device.apply([shelf(["a", "A"])]);
    device.db.update(shelves).set({ name: "mine" }).run();
    expect(changes(await device.apply([], { lastTx: await device.last() }))).toEqual([
      { table: "shelves", kind: "update", key: ["a"] },
    ]);
    device.db.insert(books).values({ id: "1", shelfId: "a" }).run();
    expect(changes(await device.apply([group("shelves", "removal", ["id"], ["a"])]))).toEqual([
      { table: "shelves", kind: "delete", key: ["a"] },
      { table: "books", kind: "delete", key: ["1"] },
    ]);
  });

  test("are those of a snapshot that replaces everything, as far as they differ", async () => {
    using device = await listening();
    await device.apply([shelf(["a", "A"], ["b", "B"])]);
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.cursor'");
    expect(changes(await device.apply([shelf(["a", "A"], ["c", "C"])]))).toEqual([
      { table: "shelves", kind: "delete", key: ["b"] },
      { table: "shelves", kind: "insert", key: ["c"] },
    ]);
  });

  test("are not worked out while nobody asks", async () => {
    using device = await open();
    expect(changes(await device.apply([shelf(["a", "A"])]))).toEqual([]);
  });
});

describe("a round of several pages beside pending rows (R1, A2)", () => {
  const note = (...cells: string[][]) => group("notes", "row", ["id", "title"], ...cells);
  /** A device with rows and a pending note; counts the transactions that are replayed. */
  const pending = async () => {
    const device = await open();
    await device.apply([shelf(["a", "A"]), book(["1", "a", "one"], ["2", "a", "two"]), note(["m", "M"])]);
    device.db.insert(notes).values({ id: "n", title: "mine" }).run();
    const { connection } = device.sync;
    if (connection.kind !== "sync") throw new Error("Not over this driver.");
    const own = connection.run.bind(connection);
    const counted = Object.assign(device, { replays: 0 });
    connection.run = (text, params) => {
      if (/^SAVEPOINT \S*replay/.test(text)) counted.replays++;
      return own(text, params);
    };
    return counted;
  };

  test("is written page by page, and nothing is replayed", async () => {
    using device = await pending();
    // Shelves that a later page names, changes and takes away again.
    await device.stage([shelf(["b", "B"], ["c", "C"]), book(["3", "c", "three"])]);
    await device.stage([group("books", "removal", ["id"], ["2"], ["3"]), group("shelves", "removal", ["id"], ["c"])]);
    const result = await device.apply([
      group("shelves", "update", ["id", "name"], ["b", "BB"]),
      book(["4", "b", "four"], ["2", "b", "again"]),
    ]);
    expect(device.replays).toBe(0);
    expect(result).toMatchObject({ kind: "applied", tables: new Set(["shelves", "books"]) });
    expect(rows(device, "SELECT id, name FROM shelves ORDER BY id")).toEqual([
      ["a", "A"],
      ["b", "BB"],
    ]);
    expect(rows(device, "SELECT * FROM books ORDER BY id")).toEqual([
      ["1", "a", "one"],
      ["2", "b", "again"],
      ["4", "b", "four"],
    ]);
    expect(await device.pending()).toHaveLength(1);
    expect(rows(device, "SELECT count(*) FROM _sync_stage")).toEqual([[0]]);
  });

  test("lets transactions that it covers leave the queue", async () => {
    using device = await pending();
    const first = await device.last();
    device.db.insert(notes).values({ id: "o", title: "mine, too" }).run();
    await device.stage([note(["n", "theirs"])]);
    await device.apply([book(["1", "a", "changed"])], { lastTx: first });
    expect(device.replays).toBe(0);
    expect(rows(device, "SELECT * FROM notes ORDER BY id")).toEqual([
      ["m", "M"],
      ["n", "theirs"],
      ["o", "mine, too"],
    ]);
    expect(await device.pending()).toHaveLength(1);
  });

  test("replays where any of its pages names a pending row", async () => {
    using device = await pending();
    await device.stage([note(["n", "theirs"])]);
    await device.apply([book(["1", "a", "changed"])]);
    expect(device.replays).toBe(1);
    expect(rows(device, "SELECT * FROM notes WHERE id = 'n'")).toEqual([["n", "mine"]]);
    expect((await device.base())["notes"]).toContainEqual({ id: "n", title: "theirs" });
  });

  test("replays where it is so long that it is not read twice", async () => {
    using device = await pending();
    for (let i = 0; i < 9; i++) await device.stage([note([`s${i}`, "S"])]);
    await device.apply([]);
    expect(device.replays).toBe(1);
    expect(rows(device, "SELECT count(*) FROM notes")).toEqual([[11]]);
  });

  test("A4: breaks the base where one of its pages brings a row without its parent", async () => {
    using device = await pending();
    await device.stage([book(["3", "gone", "x"])]);
    await expect(device.apply([note(["p", "P"])])).rejects.toBeInstanceOf(BrokenBase);
    expect(rows(device, "SELECT count(*) FROM books")).toEqual([[2]]);
  });
});

describe("a trigger of the app that passes over what is there already", () => {
  // SQLite applies what a statement says of conflicts to the statements of its triggers, too.
  const counts = `
CREATE TABLE seen (id TEXT PRIMARY KEY NOT NULL);
CREATE TRIGGER app_i AFTER INSERT ON notes BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END;
CREATE TRIGGER app_u AFTER UPDATE ON notes BEGIN INSERT OR IGNORE INTO seen VALUES (NEW.id); END;
`;
  const note = (...cells: string[][]) => group("notes", "row", ["id", "title"], ...cells);

  test("A2: does so where nothing waits", async () => {
    using device = await openDeviceFixture(definition, ddl + counts);
    await device.apply([note(["a", "A"])]);
    await device.apply([note(["a", "AA"], ["b", "B"])]);
    expect(rows(device, "SELECT * FROM notes")).toEqual([
      ["a", "AA"],
      ["b", "B"],
    ]);
    expect(rows(device, "SELECT id FROM seen ORDER BY id")).toEqual([["a"], ["b"]]);
  });

  test("A2: does so beside pending rows", async () => {
    using device = await openDeviceFixture(definition, ddl + counts);
    await device.apply([note(["a", "A"], ["b", "B"])]);
    device.db.insert(shelves).values({ id: "s" }).run();
    await device.apply([note(["a", "AA"], ["c", "C"])]);
    expect(rows(device, "SELECT * FROM notes")).toEqual([
      ["a", "AA"],
      ["b", "B"],
      ["c", "C"],
    ]);
    expect(rows(device, "SELECT id FROM seen ORDER BY id")).toEqual([["a"], ["b"], ["c"]]);
    expect(await device.pending()).toHaveLength(1);
  });

  test("A2: does so where a page covers the queue", async () => {
    using device = await openDeviceFixture(definition, ddl + counts);
    await device.apply([note(["a", "A"])]);
    device.db.update(notes).set({ title: "mine" }).run();
    await device.apply([note(["a", "theirs"], ["b", "B"])], { lastTx: await device.last() });
    expect(rows(device, "SELECT * FROM notes")).toEqual([
      ["a", "theirs"],
      ["b", "B"],
    ]);
    expect(rows(device, "SELECT id FROM seen ORDER BY id")).toEqual([["a"], ["b"]]);
    expect(await device.pending()).toEqual([]);
  });

  test("A2: does so where a row is put back", async () => {
    using device = await openDeviceFixture(definition, ddl + counts);
    await device.apply([note(["a", "A"])]);
    device.db.update(notes).set({ title: "mine" }).run();
    // What was refused is nowhere in the page.
    await device.apply([note(["b", "B"])], { lastTx: await device.last() });
    expect(rows(device, "SELECT * FROM notes")).toEqual([
      ["a", "A"],
      ["b", "B"],
    ]);
    expect(rows(device, "SELECT id FROM seen ORDER BY id")).toEqual([["a"], ["b"]]);
  });

  test("A3: does so where an insert is replayed over a row, which is not withheld", async () => {
    using device = await openDeviceFixture(definition, ddl + counts);
    await device.apply([]);
    device.db.insert(notes).values({ id: "a", title: "mine" }).run();
    await device.apply([note(["a", "theirs"])]);
    expect(rows(device, "SELECT * FROM notes")).toEqual([["a", "mine"]]);
    expect(await device.checkpoint()).toMatchObject({ withheld: [] });
  });
});
