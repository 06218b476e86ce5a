import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { openSmallServer } from "../testing/small-server.ts";

const names = sqliteTable("names", { id: text("id").primaryKey(), list: text("list"), title: text("title") });
const numbers = sqliteTable("numbers", { id: integer("id").primaryKey(), list: text("list"), title: text("title") });
const schema = { names, numbers };
const sync = defineSync(schema, {
  names: { scope: { list: "list" } },
  numbers: { scope: { list: "list" }, keys: "app" },
});

/** Ann knows of her own list alone; what is in the table ignores the case of its keys. */
const open = () =>
  openSmallServer({
    schema,
    sync,
    sql: [
      "CREATE TABLE names (id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, list TEXT, title TEXT)",
      "CREATE TABLE numbers (id INTEGER PRIMARY KEY, list TEXT, title TEXT)",
      "INSERT INTO names VALUES ('victim', 'secret', 'theirs'), ('Own', 'own', 'mine')",
      `INSERT INTO numbers VALUES (${2n ** 60n}, 'secret', 'theirs')`,
    ],
    read: ["list:own"],
    write: ["list:own"],
  });
const row = { list: "own", title: "mine" };

describe("P9: a row that is not the one named is not written", () => {
  test("a delete does not reach a row whose key is equal for the column's collation alone", async () => {
    await using server = await open();
    const { device } = server;
    const before = server.all("SELECT * FROM names ORDER BY id");
    expect(await device.sync(device.tx(device.delete("names", "VICTIM", row)))).toEqual([]);
    expect(await device.sync(device.tx(device.delete("names", "OWN", row)))).toEqual([]);
    expect(server.all("SELECT * FROM names ORDER BY id")).toEqual(before);
  });

  test("nor does an update before it, nor an update or insert alone", async () => {
    await using server = await open();
    const { device } = server;
    const before = server.all("SELECT * FROM names ORDER BY id");
    await device.sync(
      device.tx(device.update("names", "VICTIM", { list: ["own", "own"] }), device.delete("names", "VICTIM", row)),
      device.tx(device.update("names", "VICTIM", { title: ["mine", "x"] })),
      device.tx(device.insert("names", "VICTIM", row)),
      device.tx(device.delete("names", "VICTIM", row), device.insert("names", "VICTIM", row)),
    );
    expect(server.all("SELECT * FROM names ORDER BY id")).toEqual(before);
  });

  test("a whole float beyond 2^53 names the row of the integer, with the rights of that row", async () => {
    await using server = await open();
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.delete("numbers", 2 ** 60, row)),
      device.tx(device.update("numbers", 2 ** 60, { title: ["theirs", "x"] })),
      device.tx(device.insert("numbers", 2 ** 60, row)),
    );
    expect(outcomes).toMatchObject(Array.from({ length: 3 }, () => ({ code: "SCOPE_NOT_WRITABLE" })));
    expect(server.all("SELECT list, title FROM numbers")).toEqual([["secret", "theirs"]]);
  });

  test("P4: a delete of a missing row is nothing, also after an insert and before another delete", async () => {
    await using server = await open();
    const { device } = server;
    const gone = device.delete("names", "gone", row);
    expect(await device.sync(device.tx(gone, device.insert("names", "gone", row), gone), device.tx(gone))).toEqual([]);
    expect(server.all("SELECT count(*) FROM names")).toEqual([[2]]);
  });
});
