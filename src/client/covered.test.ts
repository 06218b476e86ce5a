import { eq } from "drizzle-orm";
import { integer, primaryKey, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { basisOf } from "./apply.ts";
import { deviceSchema } from "./device-schema.ts";

const notes = sqliteTable("notes", {
  id: text().primaryKey(),
  code: text().unique(),
  body: text(),
  stars: integer(),
  own: text(),
});
// A unique value that is a part of the key: no row can make room for another one.
const seats = sqliteTable("seats", { hall: text().notNull(), seat: text().notNull() }, (table) => [
  primaryKey({ columns: [table.hall, table.seat] }),
  unique().on(table.seat),
]);
const definition = defineSync(
  { notes, seats },
  { notes: { scope: "everyone", exclude: ["own"] }, seats: { scope: "everyone" } },
);
const ddl = `
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, code TEXT UNIQUE, body TEXT, stars INTEGER, own TEXT);
CREATE TABLE seats (hall TEXT NOT NULL, seat TEXT NOT NULL UNIQUE, PRIMARY KEY (hall, seat));
`;
const columns = ["id", "code", "body", "stars"];
type Cells = readonly (string | number | null)[];
const whole = (...rows: Cells[]) => group("notes", "row", columns, ...rows);
const patch = (names: readonly string[], ...rows: Cells[]) => group("notes", "update", ["id", ...names], ...rows);
const gone = (...ids: string[]) => group("notes", "removal", ["id"], ...ids.map((id) => [id]));

/** A device with two rows, and a count of the entries whose values it has read. */
async function open(): Promise<DeviceFixture & { readonly valuesRead: () => number }> {
  const device = await openDeviceFixture(definition, ddl);
  await device.apply([whole(["a", "A", "body", 1], ["b", "B", "body", 2])]);
  const { connection } = device.sync;
  if (connection.kind !== "sync") throw new Error("Not over this driver.");
  const own = connection.all.bind(connection);
  let read = 0;
  connection.all = (sql, params) => {
    const rows = own(sql, params);
    if (/\bo1\b.* FROM _sync_log/.test(sql)) read += rows.length;
    return rows;
  };
  return Object.assign(device, { valuesRead: () => read });
}
const write = (device: DeviceFixture, id: string, values: Partial<typeof notes.$inferInsert>): void =>
  void device.db.update(notes).set(values).where(eq(notes.id, id)).run();
const insert = (device: DeviceFixture, id: string, code: string | null): void =>
  void device.db
    .insert(notes)
    .values({ id, code, body: "new", stars: 0, own: `own ${id}` })
    .run();

/** Everything pending is covered: what is shown is the base, and nothing waits. */
async function expectCovered(device: DeviceFixture, rows: readonly Cells[]): Promise<void> {
  const shown = device.raw.prepare("SELECT id, code, body, stars FROM notes ORDER BY id").raw().all();
  expect(shown).toEqual(rows);
  expect(((await device.base())["notes"] ?? []).map((row) => columns.map((column) => row[column]))).toEqual(rows);
  expect(await device.pending()).toEqual([]);
  expect(device.raw.prepare("SELECT count(*) FROM _sync_base").pluck().get()).toBe(0);
  expect(await device.checkpoint()).toMatchObject({ withheld: [], cascaded: false });
}

describe("a page that covers the queue and brings its rows (A2)", () => {
  test("settles all of it, and reads none of what was written", async () => {
    const device = await open();
    insert(device, "c", "C");
    write(device, "a", { body: "mine" });
    write(device, "a", { stars: 5 });
    device.db.delete(notes).where(eq(notes.id, "b")).run();
    const ids = (await device.pending()).map(({ id }) => id);
    const before = device.valuesRead();
    const result = await device.apply(
      [gone("b"), whole(["c", "C", "new", 0]), patch(["body", "stars"], ["a", "mine", 5])],
      { lastTx: await device.last() },
    );
    expect(result).toMatchObject({ kind: "applied", settled: ids.map((id) => ({ id })) });
    expect(device.valuesRead()).toBe(before);
    await expectCovered(device, [
      ["a", "A", "mine", 5],
      ["c", "C", "new", 0],
    ]);
    // What is the device's own stays.
    expect(device.db.select({ own: notes.own }).from(notes).where(eq(notes.id, "c")).get()).toEqual({ own: "own c" });
  });

  test("may bring the columns of a row in several parts, and over several pages", async () => {
    const device = await open();
    write(device, "a", { body: "mine", stars: 5 });
    insert(device, "c", "C");
    const before = device.valuesRead();
    await device.stage([patch(["body"], ["a", "theirs"]), whole(["c", "C", "new", 0])]);
    await device.apply([patch(["stars"], ["a", 6])], { lastTx: await device.last() });
    expect(device.valuesRead()).toBe(before);
    await expectCovered(device, [
      ["a", "A", "theirs", 6],
      ["b", "B", "body", 2],
      ["c", "C", "new", 0],
    ]);
  });

  test("that leaves a column or a row out needs the old values: they are read, and are the base again", async () => {
    const device = await open();
    write(device, "a", { body: "mine", stars: 5 });
    insert(device, "c", "C");
    const before = device.valuesRead();
    await device.apply([patch(["stars"], ["a", 6])], { lastTx: await device.last() });
    expect(device.valuesRead()).toBeGreaterThan(before);
    await expectCovered(device, [
      ["a", "A", "body", 6],
      ["b", "B", "body", 2],
    ]);
  });

  test("that leaves a column of a row out needs its old value, also where it brings all other rows", async () => {
    const device = await open();
    write(device, "a", { body: "mine", stars: 5 });
    insert(device, "c", "C");
    await device.apply([patch(["stars"], ["a", 6]), whole(["c", "C", "new", 0])], { lastTx: await device.last() });
    await expectCovered(device, [
      ["a", "A", "body", 6],
      ["b", "B", "body", 2],
      ["c", "C", "new", 0],
    ]);
  });

  test("R1: needs the base where a row that is only shown is in the way of one that it brings", async () => {
    const device = await open();
    device.db.insert(seats).values({ hall: "mine", seat: "1" }).run();
    await device.stage([group("seats", "row", ["hall", "seat"], ["theirs", "1"])]);
    await device.apply([group("seats", "removal", ["hall", "seat"], ["mine", "1"])], { lastTx: await device.last() });
    expect(device.db.select().from(seats).all()).toEqual([{ hall: "theirs", seat: "1" }]);
    expect(await device.pending()).toEqual([]);
  });

  test("where an update of a row is all that comes and the row was inserted or deleted here, is not enough", async () => {
    const device = await open();
    device.db.delete(notes).where(eq(notes.id, "a")).run();
    await device.apply([patch(["body", "stars", "code"], ["a", "theirs", 3, "A"])], { lastTx: await device.last() });
    await expectCovered(device, [
      ["a", "A", "theirs", 3],
      ["b", "B", "body", 2],
    ]);
  });

  test("may move unique values that were moved here, too", async () => {
    const device = await open();
    write(device, "a", { code: "X" });
    write(device, "b", { code: "A" });
    insert(device, "c", "B");
    await device.apply([whole(["c", "A", "new", 0]), patch(["code"], ["a", "B"], ["b", "X"])], {
      lastTx: await device.last(),
    });
    await expectCovered(device, [
      ["a", "B", "body", 1],
      ["b", "X", "body", 2],
      ["c", "A", "new", 0],
    ]);
  });

  test("with an outcome stores it with what was written", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    const lastTx = await device.last();
    const result = await device.apply([patch(["body"], ["a", "theirs"])], {
      lastTx,
      outcomes: [{ status: "merged", ...lastTx, conflicts: [] }],
    });
    expect(result).toMatchObject({
      kind: "applied",
      settled: [{ outcome: { operations: [{ kind: "update", values: { body: "mine" } }] } }],
    });
    await expectCovered(device, [
      ["a", "A", "theirs", 1],
      ["b", "B", "body", 2],
    ]);
  });

  test("and some of it only leaves what is behind it as it is", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    const first = await device.last();
    write(device, "b", { body: "later" });
    await device.apply([patch(["body"], ["a", "mine"])], { lastTx: first });
    expect((await device.pending()).map(({ number }) => number)).toEqual([2]);
    expect(device.db.select({ body: notes.body }).from(notes).orderBy(notes.id).all()).toEqual([
      { body: "mine" },
      { body: "later" },
    ]);
  });

  test("reads none of it where the server's outcomes are of what has left before", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    const first = await device.last();
    await device.apply([patch(["body"], ["a", "mine"])], { lastTx: first });
    write(device, "b", { body: "mine" });
    const before = device.valuesRead();
    await device.apply([patch(["body"], ["a", "theirs"], ["b", "mine"])], {
      lastTx: await device.last(),
      outcomes: [{ status: "merged", ...first, stamp: first.stamp + 1, conflicts: [] }],
    });
    expect(device.valuesRead()).toBe(before);
    await expectCovered(device, [
      ["a", "A", "theirs", 1],
      ["b", "B", "mine", 2],
    ]);
  });

  test("needs the old values where images tell of columns that no page brings", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    write(device, "b", { body: "mine" });
    // Replayed: the first transaction's row has an image now.
    await device.apply([patch(["stars"], ["a", 10])]);
    await device.apply([patch(["body"], ["a", "mine"], ["b", "mine"])], { lastTx: await device.last() });
    await expectCovered(device, [
      ["a", "A", "mine", 10],
      ["b", "B", "mine", 2],
    ]);
  });

  test("V2: a row without the columns that an older server lacks is not whole", async () => {
    const device = await open();
    write(device, "a", { body: "mine", stars: 5 });
    const before = device.valuesRead();
    await device.apply([group("notes", "row", ["id", "code", "body"], ["a", "A", "theirs"])], {
      lastTx: await device.last(),
    });
    expect(device.valuesRead()).toBeGreaterThan(before);
    await expectCovered(device, [
      ["a", "A", "theirs", 1],
      ["b", "B", "body", 2],
    ]);
  });

  test("brings a row also where the device changed a column of its own with it", async () => {
    const device = await open();
    write(device, "a", { body: "mine", own: "kept" });
    const before = device.valuesRead();
    await device.apply([patch(["body"], ["a", "mine"])], { lastTx: await device.last() });
    expect(device.valuesRead()).toBe(before);
    expect(device.db.select({ own: notes.own }).from(notes).where(eq(notes.id, "a")).get()).toEqual({ own: "kept" });
    await expectCovered(device, [
      ["a", "A", "mine", 1],
      ["b", "B", "body", 2],
    ]);
  });

  test("brings a row by a page that was staged first, whatever the others bring", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    const before = device.valuesRead();
    await device.stage([patch(["body"], ["a", "theirs"])]);
    await device.stage([patch(["stars"], ["b", 7])]);
    await device.apply([gone("nobody")], { lastTx: await device.last() });
    expect(device.valuesRead()).toBe(before);
    await expectCovered(device, [
      ["a", "A", "theirs", 1],
      ["b", "B", "body", 7],
    ]);
  });

  test("is none while a first sync goes on, or where it says nothing of the queue", async () => {
    const device = await openDeviceFixture(definition, ddl);
    insert(device, "c", "C");
    await device.stage([whole(["a", "A", "body", 1])]);
    const {
      lastTx: _lastTx,
      ackedTx: _ackedTx,
      outcomes: _outcomes,
      ...page
    } = await device.page([whole(["c", "C", "new", 0])]);
    await device.applyTo(basisOf(await device.checkpoint(), deviceSchema(device.sync).hash), page);
    expect(await device.pending()).toHaveLength(1);
    const { outcomes: _, ...covering } = await device.page([], { lastTx: await device.last() });
    await device.applyTo(basisOf(await device.checkpoint(), deviceSchema(device.sync).hash), covering);
    await expectCovered(device, [
      ["a", "A", "body", 1],
      ["c", "C", "new", 0],
    ]);
  });

  test("is not one that names other rows only", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    await device.apply([whole(["b", "B", "theirs", 3]), gone("nobody")], { lastTx: await device.last() });
    await expectCovered(device, [
      ["a", "A", "body", 1],
      ["b", "B", "theirs", 3],
    ]);
  });

  test("U1: is not one that takes scopes away, or replaces everything", async () => {
    const device = await open();
    write(device, "a", { body: "mine" });
    await device.apply([patch(["body"], ["a", "mine"])], { lastTx: await device.last(), scopes: [] });
    await expectCovered(device, []);
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.cursor'");
    insert(device, "c", "C");
    await device.apply([whole(["a", "A", "new", 1], ["c", "C", "new", 0])], { lastTx: await device.last() });
    await expectCovered(device, [
      ["a", "A", "new", 1],
      ["c", "C", "new", 0],
    ]);
    expect(device.db.select({ own: notes.own }).from(notes).where(eq(notes.id, "c")).get()).toEqual({ own: "own c" });
  });
});
