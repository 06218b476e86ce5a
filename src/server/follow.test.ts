import { type AnySQLiteColumn, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { openSmallServer } from "../testing/small-server.ts";

const notes = sqliteTable("notes", {
  id: text("id").primaryKey(),
  above: text("above").references((): AnySQLiteColumn => notes.id, { onDelete: "cascade" }),
  root: text("root").references((): AnySQLiteColumn => notes.id, { onDelete: "cascade" }),
});
const schema = { notes };
const sync = defineSync(schema, { notes: { scope: "everyone" } });
const ddl =
  "CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, above TEXT REFERENCES notes(id) ON DELETE CASCADE, root TEXT REFERENCES notes(id) ON DELETE CASCADE)";

test("P7: ancestors that many ways lead to are looked at once each", async () => {
  const levels = Array.from({ length: 60 }, (_, i) => `('n${i + 1}', 'n${i}', 'n${i}')`);
  await using server = await openSmallServer({
    schema,
    sync,
    sql: [
      ddl,
      "INSERT INTO notes VALUES ('free', NULL, NULL), ('n0', NULL, NULL)",
      `INSERT INTO notes VALUES ${levels}`,
    ],
  });
  const { device } = server;
  const row = device.row("notes", "n60") ?? {};
  const free = device.row("notes", "free") ?? {};
  // Two ways on each level: one by one they would be 2^60.
  expect(
    await device.sync(device.tx(device.delete("notes", "n60", row), device.delete("notes", "free", free))),
  ).toEqual([]);
  expect(server.all("SELECT count(*) FROM notes")).toEqual([[60]]);
});

test("P7: a delete follows from another one over rows that the transaction does not touch", async () => {
  await using server = await openSmallServer({
    schema,
    sync,
    sql: [ddl, "INSERT INTO notes VALUES ('a', NULL, NULL), ('b', 'a', NULL), ('c', 'b', NULL)"],
  });
  const { device } = server;
  const row = device.row("notes", "c") ?? {};
  server.raw.exec("UPDATE notes SET root = 'c' WHERE id = 'c'"); // Judged alone, this would be a conflict.
  const parent = device.row("notes", "a") ?? {};
  expect(await device.sync(device.tx(device.delete("notes", "c", row), device.delete("notes", "a", parent)))).toEqual(
    [],
  );
  expect(server.all("SELECT id FROM notes")).toEqual([]);
});

test("P7: rows that hang on each other in a ring are deleted", async () => {
  await using server = await openSmallServer({
    schema,
    sync,
    sql: [
      ddl,
      "INSERT INTO notes VALUES ('a', NULL, NULL), ('b', 'a', NULL), ('self', 'self', NULL)",
      "UPDATE notes SET above = 'b' WHERE id = 'a'",
    ],
  });
  const { device } = server;
  const deletes = ["a", "b", "self"].map((id) => device.delete("notes", id, device.row("notes", id) ?? {}));
  expect(await device.sync(device.tx(...deletes))).toEqual([]);
  expect(server.all("SELECT id FROM notes")).toEqual([]);
});
