import { eq } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";

const notes = sqliteTable("notes", { id: text().primaryKey(), code: text(), body: text(), stars: integer() });
const definition = defineSync({ notes }, { notes: { scope: "everyone" } });

/** The app's own triggers tell what the engine writes. */
const ddl = `
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, code TEXT, body TEXT COLLATE NOCASE, stars INTEGER);
CREATE TABLE written (kind TEXT, id TEXT);
CREATE TRIGGER insert_notes AFTER INSERT ON notes BEGIN INSERT INTO written VALUES ('insert', NEW.id); END;
CREATE TRIGGER update_notes AFTER UPDATE ON notes BEGIN INSERT INTO written VALUES ('update', NEW.id); END;
CREATE TRIGGER delete_notes AFTER DELETE ON notes BEGIN INSERT INTO written VALUES ('delete', OLD.id); END;
`;
const columns = ["id", "code", "body", "stars"];
const page = (...rows: (string | number | null)[][]) => group("notes", "row", columns, ...rows);

async function open(more = ""): Promise<DeviceFixture> {
  const device = await openDeviceFixture(definition, ddl + more);
  // Not its first page: that one empties nothing and knows nothing.
  await device.apply([]);
  return device;
}

/** What has been written since the last look. */
function written(device: DeviceFixture): unknown[] {
  const found = device.raw.prepare("SELECT kind, id FROM written").raw().all();
  device.raw.exec("DELETE FROM written");
  return found;
}

const insert = (device: DeviceFixture, id: string, code: string | null, body = "b"): void =>
  void device.db.insert(notes).values({ id, code, body, stars: 1 }).run();

describe("rows that a page brings whole (A2)", () => {
  test("own rows that come back as they are shown are not written", async () => {
    const device = await open();
    insert(device, "a", "x");
    insert(device, "b", "y");
    written(device);
    await device.apply([page(["a", "x", "b", 1], ["b", "y", "b", 1])], { lastTx: await device.last() });
    expect(written(device)).toEqual([]);
    expect(await device.pending()).toEqual([]);
  });

  test("the same where the page is the last one of a round", async () => {
    const device = await open();
    insert(device, "a", "x");
    insert(device, "b", "y");
    written(device);
    await device.stage([page(["a", "x", "b", 1])]);
    await device.apply([page(["b", "y", "b", 1])], { lastTx: await device.last() });
    expect(written(device)).toEqual([]);
    expect((await device.base())["notes"]).toHaveLength(2);
  });

  test("what comes back otherwise is written, also where it differs in case alone", async () => {
    const device = await open();
    insert(device, "a", "x");
    insert(device, "b", "y");
    written(device);
    await device.apply([page(["a", "x", "B", 1], ["b", null, "b", 1])], { lastTx: await device.last() });
    expect(written(device)).toEqual([
      ["update", "a"],
      ["update", "b"],
    ]);
    expect(device.db.select().from(notes).all()).toEqual([
      { id: "a", code: "x", body: "B", stars: 1 },
      { id: "b", code: null, body: "b", stars: 1 },
    ]);
  });

  test("a row with a transaction that stays in the queue has the page's row as its base", async () => {
    const device = await open();
    insert(device, "a", "x");
    const first = await device.last();
    device.db.update(notes).set({ stars: 5 }).where(eq(notes.id, "a")).run();
    await device.apply([page(["a", "x", "server", 1])], { lastTx: first });
    expect(device.db.select().from(notes).all()).toEqual([{ id: "a", code: "x", body: "server", stars: 5 }]);
    expect((await device.base())["notes"]).toEqual([{ id: "a", code: "x", body: "server", stars: 1 }]);
    await device.apply([], { lastTx: await device.last() });
    expect(device.db.select().from(notes).all()).toEqual([{ id: "a", code: "x", body: "server", stars: 1 }]);
  });

  test("R1: the same where another transaction stays in the queue", async () => {
    const device = await open();
    insert(device, "a", "x");
    const first = await device.last();
    insert(device, "z", "z");
    written(device);
    await device.stage([page(["a", "x", "b", 1])]);
    await device.apply([], { lastTx: first });
    expect(written(device)).toEqual([]);
    expect((await device.base())["notes"]).toMatchObject([{ id: "a" }]);
  });

  test("R1: and one that a page concerns is replayed, which the others are not", async () => {
    const device = await open();
    insert(device, "a", "x");
    const first = await device.last();
    insert(device, "z", "mine");
    written(device);
    await device.stage([page(["a", "x", "b", 1])]);
    await device.apply([page(["z", "theirs", "b", 1])], { lastTx: first });
    expect(written(device)).toEqual([
      ["update", "z"],
      ["update", "z"],
    ]);
    expect((await device.base())["notes"]).toMatchObject([{ id: "a" }, { id: "z", code: "theirs" }]);
    expect(device.db.select().from(notes).all()).toMatchObject([{ id: "a" }, { id: "z", code: "mine" }]);
  });

  test.each(["alone", "in a round", "with what it stands in the way of"])(
    "a unique index that the schema does not name: what stands in the way is put back first, %s",
    async (how) => {
      const device = await open("CREATE UNIQUE INDEX notes_code ON notes (code);");
      await device.apply([page(["q", "one", "b", 1])]);
      // The value changes hands here, and is back on the server before this device has heard of it.
      device.db.update(notes).set({ code: "two" }).where(eq(notes.id, "q")).run();
      insert(device, "r", "one");
      const end = { lastTx: await device.last() };
      if (how === "in a round") await device.stage([page(["r", "three", "b", 1])]);
      const both = [
        ["q", "one", "b", 1],
        ["r", "three", "b", 1],
      ];
      await device.apply([page(...(how === "in a round" ? [] : how === "alone" ? both.slice(1) : both))], end);
      expect(device.db.select({ id: notes.id, code: notes.code }).from(notes).orderBy(notes.id).all()).toEqual([
        { id: "q", code: "one" },
        { id: "r", code: "three" },
      ]);
    },
  );
});
