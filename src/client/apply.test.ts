import { sql } from "drizzle-orm";
import {
  foreignKey,
  index,
  integer,
  primaryKey,
  sqliteTable,
  text,
  unique,
  type AnySQLiteColumn,
} from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { makeEpoch } from "../protocol/ids.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { basisOf } from "./apply.ts";
import { BrokenBase } from "./write-changes.ts";
import { deviceSchema } from "./device-schema.ts";

const shelves = sqliteTable("shelves", {
  id: text().primaryKey(),
  code: text().unique(),
  up: text().references((): AnySQLiteColumn => shelves.id, { onDelete: "cascade" }),
});
const books = sqliteTable(
  "books",
  {
    id: text().primaryKey(),
    shelfId: text("shelf_id").references(() => shelves.id, { onDelete: "cascade" }),
    shelfCode: text("shelf_code").references(() => shelves.code, { onUpdate: "cascade", onDelete: "set null" }),
    title: text(),
    place: integer(),
  },
  (table) => [index("books_shelf").on(table.shelfId), unique("books_place").on(table.shelfId, table.place)],
);
const loans = sqliteTable(
  "loans",
  {
    book: text().notNull(),
    no: integer().notNull(),
    who: text()
      .default("nobody")
      .references(() => shelves.id, { onDelete: "set default" }),
  },
  (table) => [primaryKey({ columns: [table.book, table.no] })],
);
const marks = sqliteTable("marks", { id: text().primaryKey(), book: text(), no: integer() }, (table) => [
  foreignKey({ columns: [table.book, table.no], foreignColumns: [loans.book, loans.no] }).onDelete("restrict"),
]);
const inherited = sqliteTable(
  "inherited",
  { id: text().primaryKey(), shelfId: text("shelf_id").references(() => shelves.id) },
  (table) => [index("inherited_shelf").on(table.shelfId)],
);
const schema = { shelves, books, loans, marks, inherited };
const definition = defineSync(schema, {
  shelves: { scope: "everyone" },
  books: { scope: "everyone" },
  loans: { scope: "everyone" },
  marks: { scope: "everyone" },
  inherited: { scopeFrom: "shelfId" },
});
const ddl = `
CREATE TABLE shelves (id TEXT PRIMARY KEY NOT NULL, code TEXT UNIQUE, up TEXT REFERENCES shelves (id) ON DELETE CASCADE);
CREATE TABLE books (id TEXT PRIMARY KEY NOT NULL, shelf_id TEXT REFERENCES shelves (id) ON DELETE CASCADE,
  shelf_code TEXT REFERENCES shelves (code) ON UPDATE CASCADE ON DELETE SET NULL, title TEXT, place INTEGER, UNIQUE (shelf_id, place));
CREATE INDEX books_shelf ON books (shelf_id);
CREATE TABLE loans (book TEXT NOT NULL, no INTEGER NOT NULL, who TEXT DEFAULT 'nobody' REFERENCES shelves (id) ON DELETE SET DEFAULT, PRIMARY KEY (book, no));
CREATE TABLE marks (id TEXT PRIMARY KEY NOT NULL, book TEXT, no INTEGER, FOREIGN KEY (book, no) REFERENCES loans (book, no) ON DELETE RESTRICT);
CREATE TABLE inherited (id TEXT PRIMARY KEY NOT NULL, shelf_id TEXT REFERENCES shelves (id));
CREATE INDEX inherited_shelf ON inherited (shelf_id);
`;
const open = (): Promise<DeviceFixture> => openDeviceFixture(definition, ddl);
const shelf = (...rows: (string | null)[][]) => group("shelves", "row", ["id", "code", "up"], ...rows);
const book = (...rows: (string | number | null)[][]) =>
  group("books", "row", ["id", "shelfId", "shelfCode", "title", "place"], ...rows);
const rows = (device: DeviceFixture, text: string): unknown[] => device.raw.prepare(text).raw().all();

describe("replay runs what foreign keys say", () => {
  test("A4: a pending delete takes rows along that came from the server later, over several levels", async () => {
    using device = await open();
    await device.apply([shelf(["a", null, null], ["b", null, "a"])]);
    device.db
      .delete(shelves)
      .where(sql`id = 'a'`)
      .run();
    await device.apply([shelf(["c", null, "b"]), book(["1", "c", null, "x", null])]);
    expect(rows(device, "SELECT id FROM shelves")).toEqual([]);
    expect(rows(device, "SELECT id FROM books")).toEqual([]);
    expect((await device.base())["books"]).toHaveLength(1);
    // When the server kept it, everything is back.
    await device.apply([], { lastTx: await device.last() });
    expect(rows(device, "SELECT id FROM shelves")).toHaveLength(3);
    expect(rows(device, "SELECT id FROM books")).toHaveLength(1);
  });

  test("A4: a referenced value that a pending update changes moves the rows that refer to it", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A", null])]);
    device.db.update(shelves).set({ code: "B" }).run();
    await device.apply([book(["1", null, "A", "x", null])]);
    expect(rows(device, "SELECT shelf_code FROM books")).toEqual([["B"]]);
    expect((await device.base())["books"]).toMatchObject([{ shelfCode: "A" }]);
  });

  test("A4: SET NULL and SET DEFAULT are done, RESTRICT withholds the transaction", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A", null], ["nobody", null, null])]);
    device.db
      .delete(shelves)
      .where(sql`id = 'a'`)
      .run();
    await device.apply([
      book(["1", null, "A", "x", null]),
      group("loans", "row", ["book", "no", "who"], ["1", 1, "a"]),
    ]);
    expect(rows(device, "SELECT shelf_code FROM books")).toEqual([[null]]);
    expect(rows(device, "SELECT who FROM loans")).toEqual([["nobody"]]);
    await device.apply([], { lastTx: await device.last() });
    expect(rows(device, "SELECT who FROM loans")).toEqual([["a"]]);

    device.db.delete(loans).run();
    await device.apply([group("marks", "row", ["id", "book", "no"], ["m", "1", 1])]);
    expect(rows(device, "SELECT who FROM loans")).toEqual([["a"]]);
    expect((await device.checkpoint()).withheld).toHaveLength(1);
  });

  test("A3: a transaction whose parent the server took away is withheld, and shown again when it is back", async () => {
    using device = await open();
    await device.apply([shelf(["a", null, null])]);
    device.db.insert(books).values({ id: "1", shelfId: "a", title: "mine" }).run();
    await device.apply([group("shelves", "removal", ["id"], ["a"])]);
    expect(rows(device, "SELECT id FROM books")).toEqual([]);
    expect(await device.pending()).toHaveLength(1);
    await device.apply([shelf(["a", null, null])]);
    expect(rows(device, "SELECT title FROM books")).toEqual([["mine"]]);
    expect((await device.checkpoint()).withheld).toEqual([]);
  });

  test("a later edit of a row whose parent is out of scope is shown", async () => {
    using device = await open();
    await device.apply([book(["1", "elsewhere", null, "x", 1])]);
    device.raw.pragma("foreign_keys = OFF");
    device.db.update(books).set({ title: "mine" }).run();
    device.raw.pragma("foreign_keys = ON");
    await device.apply([group("books", "update", ["id", "place"], ["1", 2])]);
    expect(rows(device, "SELECT title, place FROM books")).toEqual([["mine", 2]]);
  });
});

describe("what replay shows (A2)", () => {
  test("an update whose row is gone shows nothing, and keeps the row's last form (P6)", async () => {
    using device = await open();
    await device.apply([shelf(["a", "A", null])]);
    device.db.update(shelves).set({ code: "B" }).run();
    await device.apply([group("shelves", "removal", ["id"], ["a"])]);
    expect(rows(device, "SELECT id FROM shelves")).toEqual([]);
    expect(rows(device, "SELECT here, length(body) > 20 FROM _sync_base")).toEqual([[0, 1]]);
    await device.apply([shelf(["z", null, null])]);
    expect(rows(device, "SELECT here, length(body) > 20 FROM _sync_base")).toEqual([[0, 1]]);
  });

  test("an insert over a row of the server's shows as an update", async () => {
    using device = await open();
    await device.apply([]);
    device.db.insert(shelves).values({ id: "a", code: "mine" }).run();
    await device.apply([shelf(["a", "theirs", null])]);
    expect(rows(device, "SELECT code FROM shelves")).toEqual([["mine"]]);
    expect((await device.base())["shelves"]).toMatchObject([{ code: "theirs" }]);
  });

  test("a patch for a row that is not there is ignored", async () => {
    using device = await open();
    await device.apply([]);
    await device.apply([group("shelves", "update", ["id", "code"], ["nobody", "x"])]);
    expect(rows(device, "SELECT id FROM shelves")).toEqual([]);
  });
});

describe("unique values on the way", () => {
  test("A4: rows of one page swap theirs", async () => {
    using device = await open();
    await device.apply([
      shelf(["a", "1", null], ["b", "2", null]),
      book(["x", "a", null, "x", 1], ["y", "a", null, "y", 2]),
    ]);
    await device.apply([
      group("shelves", "update", ["id", "code"], ["a", "2"], ["b", "1"]),
      group("books", "update", ["id", "place"], ["x", 2], ["y", 1]),
    ]);
    expect(rows(device, "SELECT id, code FROM shelves ORDER BY id")).toEqual([
      ["a", "2"],
      ["b", "1"],
    ]);
    expect(rows(device, "SELECT id, place FROM books ORDER BY id")).toEqual([
      ["x", 2],
      ["y", 1],
    ]);
  });

  test("R4: pages of a first sync, read at different times, may each hold the value", async () => {
    using device = await open();
    await device.stage([shelf(["a", "1", null])]);
    // Read later: b has taken a's value; that a has lost it comes with the log page.
    await device.stage([shelf(["b", "1", null])]);
    expect(rows(device, "SELECT id, code FROM shelves ORDER BY id")).toEqual([
      ["a", null],
      ["b", "1"],
    ]);
    await device.apply([group("shelves", "update", ["id", "code"], ["a", "3"])], {
      to: (await device.page([])).to as never,
    });
    expect(rows(device, "SELECT id, code FROM shelves ORDER BY id")).toEqual([
      ["a", "3"],
      ["b", "1"],
    ]);
  });

  test("R4: a page may take it from a row that holds it in the base alone, under a pending change", async () => {
    using device = await open();
    await device.stage([shelf(["a", "1", null])]);
    device.db.update(shelves).set({ code: "mine" }).run();
    await device.stage([shelf(["b", "1", null])]);
    await device.apply([group("shelves", "update", ["id", "code"], ["a", "3"])]);
    expect(rows(device, "SELECT id, code FROM shelves ORDER BY id")).toEqual([
      ["a", "mine"],
      ["b", "1"],
    ]);
    expect((await device.base())["shelves"]).toMatchObject([{ code: "3" }, { code: "1" }]);
  });

  test("R4: a part of the value that was taken comes back with the change of the other part", async () => {
    using device = await open();
    await device.stage([shelf(["a", "1", null]), book(["x", "a", null, "x", 1])]);
    await device.stage([book(["y", "a", null, "y", 1])]);
    await device.apply([group("books", "update", ["id", "place"], ["x", 2])]);
    expect(rows(device, "SELECT id, shelf_id, place FROM books ORDER BY id")).toEqual([
      ["x", "a", 2],
      ["y", "a", 1],
    ]);
  });

  test("R1: staged pages, read at different times, may each hold the value", async () => {
    using device = await open();
    await device.apply([shelf(["a", "1", null])]);
    await device.stage([shelf(["b", "1", null])]);
    await device.apply([group("shelves", "update", ["id", "code"], ["a", "3"])]);
    expect(rows(device, "SELECT id, code FROM shelves ORDER BY id")).toEqual([
      ["a", "3"],
      ["b", "1"],
    ]);
  });

  test("R4: a row that made room and is gone in the end was only in the way", async () => {
    using device = await open();
    await device.stage([shelf(["a", "1", null])]);
    await device.stage([shelf(["b", "1", null])]);
    await device.apply([group("shelves", "removal", ["id"], ["a"])]);
    expect(rows(device, "SELECT id, code FROM shelves")).toEqual([["b", "1"]]);
  });

  test("two rows of the server that the device's unique index does not allow end in an error, and change nothing", async () => {
    using device = await open();
    await device.apply([shelf(["a", "1", null])]);
    await expect(device.apply([shelf(["b", "1", null])])).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    expect(rows(device, "SELECT id, code FROM shelves")).toEqual([["a", "1"]]);
  });

  test("A3: a clash with a pending row withholds that one", async () => {
    using device = await open();
    await device.apply([]);
    device.db.insert(shelves).values({ id: "mine", code: "1" }).run();
    device.db.insert(shelves).values({ id: "other", code: "2" }).run();
    await device.apply([shelf(["theirs", "1", null])]);
    expect(rows(device, "SELECT id FROM shelves ORDER BY id")).toEqual([["other"], ["theirs"]]);
    expect((await device.checkpoint()).withheld).toHaveLength(1);
  });
});

describe("A1: only what fits is applied", () => {
  const apply = async (
    change: "deviceId" | "held" | "schema" | "cursor" | "round",
    names: "scopes" | "no scopes",
  ): Promise<string> => {
    using device = await open();
    await device.apply([shelf(["a", null, null])]);
    const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    const { scopes, ...rest } = await device.page([shelf(["b", null, null])]);
    const page = names === "scopes" && scopes !== undefined ? { ...rest, scopes } : rest;
    const request = basis.request ?? { cursor: undefined, round: undefined };
    const other = {
      deviceId: { ...basis, deviceId: "somebody else" },
      held: { ...basis, held: '["other"]' },
      schema: { ...basis, schema: "0000000000000000" },
      cursor: { ...basis, request: { ...request, cursor: "0.0" } },
      round: { ...basis, request: { ...request, round: "{}" } },
    }[change];
    const result = await device.applyTo(other, page);
    expect(rows(device, "SELECT id FROM shelves")).toEqual([["a"]]);
    return result.kind;
  };
  test.each(["deviceId", "held", "schema", "cursor", "round"] as const)(
    "an answer to another %s is dropped",
    async (change) => {
      expect(await apply(change, "scopes")).toBe("stale");
      expect(await apply(change, "no scopes")).toBe("stale");
    },
  );

  test("U4: a page that names no scopes is for those held", async () => {
    using device = await open();
    await device.apply([shelf(["a", null, null])], { scopes: ["everyone", "else"] });
    const { held } = await device.checkpoint();
    const { scopes: _scopes, ...page } = await device.page([shelf(["b", null, null])]);
    const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    expect((await device.applyTo(basis, page)).kind).toBe("applied");
    expect((await device.checkpoint()).held).toBe(held);
    expect(rows(device, "SELECT id FROM shelves")).toHaveLength(2);
  });

  test("a frame from another cursor, and a page from a foreign epoch, are not applied", async () => {
    using device = await open();
    await device.apply([shelf(["a", null, null])]);
    const { request: _request, ...stream } = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    expect((await device.applyTo(stream, await device.page([], { from: "77.1" as never }))).kind).toBe("stale");
    expect((await device.applyTo(stream, await device.page([], { epoch: makeEpoch() }))).kind).toBe("foreign-epoch");
    expect((await device.applyTo(stream, await device.page([]))).kind).toBe("applied");
  });

  test("I4: an answer that speaks of another's transactions drops nothing", async () => {
    using device = await open();
    await device.apply([]);
    device.db.insert(shelves).values({ id: "a" }).run();
    const { number, stamp } = await device.last();
    expect((await device.apply([], { lastTx: { number, stamp: stamp + 1 } })).kind).toBe("forked");
    expect((await device.apply([], { lastTx: { number: 9, stamp: 1 } })).kind).toBe("forked");
    expect((await device.apply([], { ackedTx: 1 })).kind).toBe("forked");
    expect(await device.pending()).toHaveLength(1);
    expect((await device.apply([shelf(["a", null, null])], { lastTx: { number, stamp } })).kind).toBe("applied");
    expect(await device.pending()).toHaveLength(0);
    // I3: the server has lost its record of the device; the page says that its log has what was handled.
    expect((await device.apply([], { lastTx: { number: 0, stamp: 0 } })).kind).toBe("applied");
    expect(await device.pending()).toHaveLength(0);
  });
});

describe("rounds", () => {
  test("R1: pages are staged and applied in one transaction with cursor and lastTx", async () => {
    using device = await open();
    await device.apply([shelf(["a", "1", null])]);
    const { cursor } = await device.checkpoint();
    expect((await device.stage([shelf(["b", "2", null])])).kind).toBe("staged");
    expect((await device.stage([group("shelves", "update", ["id", "code"], ["b", "3"])])).kind).toBe("staged");
    expect(rows(device, "SELECT id FROM shelves")).toEqual([["a"]]);
    expect((await device.checkpoint()).cursor).toBe(cursor);
    await device.apply([group("shelves", "removal", ["id"], ["a"])]);
    expect(rows(device, "SELECT id, code FROM shelves")).toEqual([["b", "3"]]);
    expect(rows(device, "SELECT * FROM _sync_stage")).toEqual([]);
  });

  test("A4: a base in which a row lacks the parent of its scopes is not committed", async () => {
    using device = await open();
    await device.apply([shelf(["a", null, null]), group("inherited", "row", ["id", "shelfId"], ["i", "a"])]);
    await expect(device.apply([group("inherited", "row", ["id", "shelfId"], ["j", "nobody"])])).rejects.toBeInstanceOf(
      BrokenBase,
    );
    await expect(device.apply([group("shelves", "removal", ["id"], ["a"])])).rejects.toBeInstanceOf(BrokenBase);
    expect(rows(device, "SELECT id FROM inherited")).toEqual([["i"]]);
    await device.apply([group("shelves", "removal", ["id"], ["a"]), group("inherited", "removal", ["id"], ["i"])]);
    expect(rows(device, "SELECT id FROM shelves")).toEqual([]);
  });

  test("a page that names what the device does not have is refused", async () => {
    using device = await open();
    await device.apply([]);
    await expect(device.apply([group("nothing", "row", ["id"], ["x"])])).rejects.toMatchObject({
      code: "INVALID_MESSAGE",
    });
    await expect(device.apply([group("shelves", "row", ["id", "nothing"], ["x", 1])])).rejects.toMatchObject({
      code: "INVALID_MESSAGE",
    });
  });
});
