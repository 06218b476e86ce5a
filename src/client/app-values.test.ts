import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import { appOutcome, storedOperations } from "./app-values.ts";

const notes = sqliteTable("notes", { id: text().primaryKey(), title: text(), data: text({ mode: "json" }) });

test("an outcome with a value that its column cannot read is still shown, and can be retried", () => {
  const raw = new Database(":memory:");
  raw.exec("CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT, data TEXT)");
  const schema = { notes };
  const { tableByKey } = syncOf(
    withSync(drizzle(raw, { schema }), defineSync(schema, { notes: { scope: "everyone" } })),
  );
  const values = { title: "t", data: "{ no JSON" };
  const outcome = appOutcome(tableByKey, {
    id: "a",
    outcome: { status: "rejected", number: 3, stamp: 1, code: "INVALID_VALUE", message: "No." },
    operations: [{ table: "notes", kind: "insert", key: ["n"], values, before: {} }],
  });
  expect(outcome).toMatchObject({ number: 3, operations: [{ key: { id: "n" }, values }] });
  expect(storedOperations(tableByKey, outcome.operations)[0]?.values["data"]).toBe('"{ no JSON"');
  raw.close();
});
