import { sql } from "drizzle-orm";
import { foreignKey, integer, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { formatCursor } from "../protocol/ids.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";

const shelves = sqliteTable("shelves", { id: text().primaryKey(), x: integer(), y: integer() }, (table) => [
  unique("shelves_place").on(table.x, table.y),
]);
const books = sqliteTable("books", {
  id: text().primaryKey(),
  shelfId: text("shelf_id").references(() => shelves.id, { onDelete: "cascade" }),
  code: text().unique(),
  title: text(),
  draft: text(),
});
const spots = sqliteTable("spots", { id: text().primaryKey(), x: integer(), y: integer() }, (table) => [
  foreignKey({ columns: [table.x, table.y], foreignColumns: [shelves.x, shelves.y] }).onUpdate("cascade"),
]);
const ratings = sqliteTable("ratings", {
  bookId: text("book_id")
    .primaryKey()
    .references(() => books.id),
  stars: integer(),
});
const labels = sqliteTable("labels", { id: text().primaryKey() });
const schema = { shelves, books, spots, ratings, labels };
const define = (...own: readonly ("code" | "draft")[]) =>
  defineSync(schema, {
    shelves: { scope: "everyone" },
    books: { scope: "everyone", exclude: own },
    spots: { scope: "everyone" },
    ratings: { scope: "everyone" },
    labels: { scope: "everyone" },
  });
const ddl = `
CREATE TABLE shelves (id TEXT PRIMARY KEY NOT NULL, x INTEGER, y INTEGER, UNIQUE (x, y));
CREATE TABLE books (id TEXT PRIMARY KEY NOT NULL, shelf_id TEXT REFERENCES shelves (id) ON DELETE CASCADE, code TEXT UNIQUE, title TEXT, draft TEXT);
CREATE INDEX books_shelf ON books (shelf_id);
CREATE TABLE spots (id TEXT PRIMARY KEY NOT NULL, x INTEGER, y INTEGER, FOREIGN KEY (x, y) REFERENCES shelves (x, y) ON UPDATE CASCADE);
CREATE TABLE ratings (book_id TEXT PRIMARY KEY NOT NULL REFERENCES books (id), stars INTEGER);
CREATE TABLE labels (id TEXT PRIMARY KEY NOT NULL);
`;
const open = (): Promise<DeviceFixture> => openDeviceFixture(define("draft"), ddl);
const shelf = (...rows: (string | number | null)[][]) => group("shelves", "row", ["id", "x", "y"], ...rows);
const book = (...rows: (string | null)[][]) => group("books", "row", ["id", "shelfId", "title"], ...rows);
const move = (id: string, shelfId: string) => group("books", "update", ["id", "shelfId"], [id, shelfId]);
const rows = (device: DeviceFixture, query: string): unknown[] => device.raw.prepare(query).raw().all();
const deleteShelf = (device: DeviceFixture, id: string): void =>
  void device.db
    .delete(shelves)
    .where(sql`id = ${id}`)
    .run();

test("A2: a pending row that has nothing but its key is shown after a rebase", async () => {
  using device = await open();
  await device.apply([]);
  device.db.insert(labels).values({ id: "mine" }).run();
  device.db.insert(shelves).values({ id: "s" }).run();
  await device.apply([shelf(["s", 1, 1])]);
  await device.apply([group("labels", "row", ["id"], ["theirs"])]);
  expect(rows(device, "SELECT id FROM labels ORDER BY id")).toEqual([["mine"], ["theirs"]]);
});

test("C4: the base of a row that a replayed cascade takes is what the server has, not what pending changes made of it", async () => {
  using device = await open();
  await device.apply([shelf(["a", null, null], ["b", null, null]), book(["1", "b", "theirs"])]);
  device.db.update(books).set({ title: "mine" }).run();
  deleteShelf(device, "a");
  await device.apply([move("1", "a")]);
  expect(rows(device, "SELECT id FROM books")).toEqual([]);
  expect((await device.base())["books"]).toMatchObject([{ id: "1", shelfId: "a", title: "theirs" }]);
  await device.apply([], { lastTx: await device.last() });
  expect(rows(device, "SELECT id, title FROM books")).toEqual([["1", "theirs"]]);
});

describe("what only the device holds of a row that a replayed cascade took", () => {
  const openHidden = async (): Promise<DeviceFixture> => {
    const device = await open();
    await device.apply([shelf(["a", null, null], ["b", null, null]), book(["1", "b", "x"])]);
    device.raw.exec("UPDATE books SET draft = 'mine'");
    // Nothing pending names the book any more.
    await device.apply([group("labels", "row", ["id"], ["x"])]);
    await device.apply([], { lastTx: await device.last() });
    deleteShelf(device, "a");
    await device.apply([move("1", "a")]);
    expect(rows(device, "SELECT id FROM books")).toEqual([]);
    return device;
  };

  test("A2: is there again with the row", async () => {
    using device = await openHidden();
    await device.apply([group("labels", "row", ["id"], ["meanwhile"])]);
    await device.apply([], { lastTx: await device.last() });
    expect(rows(device, "SELECT id, shelf_id, draft FROM books")).toEqual([["1", "a", "mine"]]);
  });

  test("A2: is not lost when a fresh snapshot comes meanwhile", async () => {
    using device = await openHidden();
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.cursor'");
    await device.apply([shelf(["a", null, null]), book(["1", "a", "x"])]);
    expect(rows(device, "SELECT id FROM books")).toEqual([]);
    await device.apply([], { lastTx: await device.last() });
    expect(rows(device, "SELECT id, draft FROM books")).toEqual([["1", "mine"]]);
  });
});

test("A3: a pending row whose key refers to a row that is gone is withheld", async () => {
  using device = await open();
  await device.apply([book(["1", null, "x"])]);
  device.db.insert(ratings).values({ bookId: "1", stars: 5 }).run();
  await device.apply([group("books", "removal", ["id"], ["1"])]);
  expect(rows(device, "SELECT * FROM ratings")).toEqual([]);
  expect((await device.checkpoint()).withheld).toHaveLength(1);
  await device.apply([book(["1", null, "x"])]);
  expect(rows(device, "SELECT * FROM ratings")).toEqual([["1", 5]]);
});

test("A4: a pending update of a part of what rows refer to moves them", async () => {
  using device = await open();
  await device.apply([shelf(["a", 1, 1])]);
  device.db.update(shelves).set({ y: 2 }).run();
  await device.apply([group("spots", "row", ["id", "x", "y"], ["s", 1, 1])]);
  expect(rows(device, "SELECT x, y FROM spots")).toEqual([[1, 2]]);
  expect((await device.base())["spots"]).toMatchObject([{ x: 1, y: 1 }]);
});

test("A3: a failure that no row is to blame for withholds nothing, and changes nothing", async () => {
  using device = await open();
  await device.apply([]);
  device.db.insert(labels).values({ id: "mine" }).run();
  device.db.insert(shelves).values({ id: "s" }).run();
  device.raw.exec("CREATE TRIGGER broken AFTER INSERT ON labels BEGIN INSERT INTO nowhere VALUES (1); END");
  const { cursor } = await device.checkpoint();
  await expect(device.apply([shelf(["s", 1, 1])])).rejects.toThrow("nowhere");
  expect(await device.checkpoint()).toMatchObject({ cursor, withheld: [] });
  expect(rows(device, "SELECT id FROM labels")).toEqual([["mine"]]);
});

test("V3: a pending transaction that wrote a column which no longer syncs is replayed without it", async () => {
  using device = await open();
  await device.apply([book(["1", null, "theirs"], ["2", null, "theirs"])]);
  device.db
    .update(books)
    .set({ code: "x", title: "mine" })
    .where(sql`id = '1'`)
    .run();
  device.db.insert(books).values({ id: "3", code: "z", title: "mine too" }).run();
  const { epoch } = await device.checkpoint();

  using updated = await openDeviceFixture(define("draft", "code"), device.raw);
  // The column is the device's own from now on: what the queue holds of it is older than what is there, and would clash.
  device.raw.exec("UPDATE books SET code = 'y' WHERE id = '1'; UPDATE books SET code = 'x' WHERE id = '2'");
  const to = formatCursor({ seq: 50, stamp: 1 });
  await updated.apply([group("books", "update", ["id", "shelfId"], ["1", null])], { to, ...(epoch && { epoch }) });
  expect(await updated.checkpoint()).toMatchObject({ withheld: [], cursor: to });
  expect(rows(updated, "SELECT id, code, title FROM books ORDER BY id")).toEqual([
    ["1", "y", "mine"],
    ["2", "x", "theirs"],
    ["3", "z", "mine too"],
  ]);
});
