import { eq } from "drizzle-orm";
import { integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { closeStrangers } from "../plugin/device-log.ts";
import { formatCursor, type TxRef } from "../protocol/ids.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";

const notes = sqliteTable("notes", {
  id: text().primaryKey(),
  code: text().unique(),
  body: text(),
  stars: integer(),
  draft: text(),
});
const seats = sqliteTable("seats", { room: text().notNull(), n: integer().notNull(), who: text() }, (table) => [
  primaryKey({ columns: [table.room, table.n] }),
]);
const definition = defineSync(
  { notes, seats },
  { notes: { scope: "everyone", exclude: ["draft"] }, seats: { scope: "everyone" } },
);
const ddl = `
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, code TEXT UNIQUE, body TEXT, stars INTEGER, draft TEXT);
CREATE TABLE seats (room TEXT NOT NULL, n INTEGER NOT NULL, who TEXT, PRIMARY KEY (room, n));
`;
type Cells = readonly (string | number | null)[];
const note = (...rows: Cells[]) => group("notes", "row", ["id", "code", "body", "stars"], ...rows);
const patch = (column: string, ...rows: Cells[]) => group("notes", "update", ["id", column], ...rows);
const seat = (...rows: Cells[]) => group("seats", "row", ["room", "n", "who"], ...rows);
const rows = (device: DeviceFixture, query: string): unknown[] => device.raw.prepare(query).raw().all();
const shownNotes = (device: DeviceFixture): unknown[] =>
  rows(device, "SELECT id, code, body, stars FROM notes ORDER BY id");
const shownSeats = (device: DeviceFixture): unknown[] => rows(device, "SELECT * FROM seats ORDER BY room, n");
const write = (device: DeviceFixture, id: string, values: Partial<typeof notes.$inferInsert>): void =>
  void device.db.update(notes).set(values).where(eq(notes.id, id)).run();
/** The last transaction, what was written beside Drizzle with it. */
async function last(device: DeviceFixture): Promise<TxRef> {
  await transact(device.sync.connection, "write", () => closeStrangers(device.sync));
  return await device.last();
}

const base = {
  notes: [
    ["a", "A", "body a", 1],
    ["b", "B", "body b", 2],
    ["c", "C", "body c", 3],
  ],
  seats: [
    ["r", 1, "ann"],
    ["r", 2, "bob"],
    ["s", 1, "cy"],
  ],
} as const;

/** A device whose base is {@link base}. */
async function open(): Promise<DeviceFixture> {
  const device = await openDeviceFixture(definition, ddl);
  await device.apply([note(...base.notes), seat(...base.seats)]);
  return device;
}

/** Everything is the base again, and nothing is noted of it. */
function expectUndone(device: DeviceFixture): void {
  expect(shownNotes(device)).toEqual(base.notes);
  expect(shownSeats(device)).toEqual(base.seats);
  expect(rows(device, "SELECT * FROM _sync_base")).toEqual([]);
}

describe("what becomes the base again when the server has handled it otherwise (C4)", () => {
  const changes: Readonly<Record<string, (device: DeviceFixture) => void>> = {
    "rows that were inserted": ({ raw }) =>
      raw.exec("INSERT INTO notes (id) VALUES ('x'), ('y'); INSERT INTO seats VALUES ('s', 2, 'x'), ('t', 1, 'x')"),
    "rows that were deleted": ({ raw }) =>
      raw.exec("DELETE FROM notes WHERE id <> 'b'; DELETE FROM seats WHERE room = 'r'"),
    "rows that were changed several times, in different columns": ({ raw }) => {
      raw.exec("UPDATE notes SET body = 'one'; UPDATE notes SET body = 'two', stars = 9; UPDATE notes SET code = NULL");
      raw.exec("UPDATE seats SET who = 'one'; UPDATE seats SET who = 'two' WHERE n = 1");
    },
    "rows that were changed, deleted, made again and changed": ({ raw }) => {
      raw.exec("UPDATE notes SET body = 'one', stars = 9 WHERE id = 'a'; DELETE FROM notes WHERE id = 'a'");
      raw.exec("INSERT INTO notes (id, body) VALUES ('a', 'again'); UPDATE notes SET code = 'X' WHERE id = 'a'");
    },
    "rows that were made and changed": ({ raw }) =>
      raw.exec("INSERT INTO notes (id, body) VALUES ('x', 'one'); UPDATE notes SET body = 'two' WHERE id = 'x'"),
    "rows that were made, changed and deleted": ({ raw }) =>
      raw.exec(
        "INSERT INTO seats VALUES ('t', 1, 'x'); UPDATE seats SET who = 'y' WHERE room = 't'; DELETE FROM seats WHERE room = 't'",
      ),
    "rows that exchanged unique values": ({ raw }) =>
      raw.exec(
        "UPDATE notes SET code = 'X' WHERE id = 'a'; UPDATE notes SET code = 'A' WHERE id = 'b'; UPDATE notes SET code = 'B' WHERE id = 'a'",
      ),
  };

  test.each(Object.entries(changes))("%s, at once", async (_name, change) => {
    using device = await open();
    change(device);
    await device.apply([], { lastTx: await last(device) });
    expectUndone(device);
  });

  test.each(Object.entries(changes))("%s, after a replay", async (_name, change) => {
    using device = await open();
    change(device);
    const before = [shownNotes(device), shownSeats(device)];
    // A row of the queue changes, and back: everything is replayed, and its images are stored.
    write(device, "b", { stars: 20 });
    await device.apply([patch("body", ["b", "theirs"])]);
    await device.apply([patch("body", ["b", "body b"])]);
    write(device, "b", {
      stars: Number((before[0]?.find((row) => (row as Cells)[0] === "b") as Cells | undefined)?.[3]),
    });
    expect([shownNotes(device), shownSeats(device)]).toEqual(before);
    expect(await device.base()).toMatchObject({
      notes: base.notes.map(([id, code, body, stars]) => ({ id, code, body, stars })),
      seats: base.seats.map(([room, n, who]) => ({ room, n, who })),
    });
    await device.apply([], { lastTx: await last(device) });
    expectUndone(device);
  });

  test("a row of a transaction that leaves, as a page has changed it since, and not those of one that stays", async () => {
    using device = await open();
    write(device, "a", { body: "first" });
    const first = await last(device);
    write(device, "b", { body: "second" });
    device.db.insert(notes).values({ id: "x", body: "second too" }).run();
    await device.apply([patch("stars", ["a", 10], ["b", 20])]);
    expect(rows(device, "SELECT count(*) FROM _sync_base")).toEqual([[3]]);
    await device.apply([], { lastTx: first });
    expect(shownNotes(device)).toEqual([
      ["a", "A", "body a", 10],
      ["b", "B", "second", 20],
      ["c", "C", "body c", 3],
      ["x", null, "second too", null],
    ]);
    expect((await device.base())["notes"]).toMatchObject([
      { id: "a", body: "body a", stars: 10 },
      { id: "b", body: "body b", stars: 20 },
      { id: "c" },
    ]);
    // What is noted of the first one's row has gone with it: the row is changed anew, by the server and here.
    await device.apply([patch("body", ["a", "newer"])]);
    write(device, "a", { stars: 99 });
    await device.apply([], { lastTx: await last(device) });
    expect(shownNotes(device)).toEqual([
      ["a", "A", "newer", 10],
      ["b", "B", "body b", 20],
      ["c", "C", "body c", 3],
    ]);
    expect(rows(device, "SELECT * FROM _sync_base")).toEqual([]);
  });

  test("a row that was written since the last replay, beside one that a page has changed since", async () => {
    using device = await open();
    write(device, "a", { body: "first" });
    await device.apply([patch("stars", ["a", 10])]);
    write(device, "b", { body: "second" });
    await device.apply([], { lastTx: await last(device) });
    expect(shownNotes(device)).toEqual([["a", "A", "body a", 10], ...base.notes.slice(1)]);
  });
});

test("what the device's own columns hold stays, in every row that is taken out and shown again", async () => {
  using device = await open();
  device.raw.exec("UPDATE notes SET draft = 'of ' || id");
  device.db
    .insert(notes)
    .values([
      { id: "x", code: "X", draft: "of x" },
      { id: "y", code: "Y", draft: "of y" },
    ])
    .run();
  write(device, "a", { body: "mine" });
  const drafts = rows(device, "SELECT id, draft FROM notes ORDER BY id");
  expect(drafts).toHaveLength(5);
  // Taken out and put back: the row that comes wants the place of one of them, until it leaves again.
  await device.apply([note(["z", "X", null, null]), patch("stars", ["a", 5])]);
  expect(rows(device, "SELECT id FROM notes ORDER BY id")).toEqual([["a"], ["b"], ["c"], ["z"]]);
  await device.apply([group("notes", "removal", ["id"], ["z"])]);
  expect(rows(device, "SELECT id, draft FROM notes ORDER BY id")).toEqual(drafts);
});

test("V3: images outlive a migration that takes away a table and columns which they speak of", async () => {
  using device = await open();
  device.raw.exec("UPDATE notes SET draft = 'mine'");
  write(device, "a", { body: "mine", stars: 9 });
  device.db.update(seats).set({ who: "me" }).run();
  await device.apply([patch("code", ["a", "AA"])]);
  expect(rows(device, "SELECT DISTINCT tbl FROM _sync_base ORDER BY tbl")).toEqual([["notes"], ["seats"]]);
  const { epoch } = await device.checkpoint();

  const fewer = sqliteTable("notes", { id: text().primaryKey(), code: text().unique(), body: text() });
  const updated = await openDeviceFixture(defineSync({ notes: fewer }, { notes: { scope: "everyone" } }), device.raw);
  await updated.apply([patch("code", ["a", "AAA"])], {
    to: formatCursor({ seq: 50, stamp: 1 }),
    ...(epoch && { epoch }),
  });
  expect(rows(updated, "SELECT id, code, body, draft FROM notes ORDER BY id")).toMatchObject([
    ["a", "AAA", "mine", "mine"],
    ["b", "B", "body b", "mine"],
    ["c", "C", "body c", "mine"],
  ]);
  expect((await updated.base())["notes"]).toMatchObject([{ id: "a", code: "AAA", body: "body a" }, {}, {}]);
});
