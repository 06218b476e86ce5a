import fc from "fast-check";
import { blob, customType, index, integer, numeric, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { identical } from "../protocol/value.ts";
import type { Value } from "../protocol/ids.ts";
import { captureOf } from "../testing/capture-fixture.ts";
import { each, run } from "./core.ts";
import { defineSync } from "./define-sync.ts";
import { readTransactions } from "./device-log.ts";
import { toDrizzleRow, toStorageValue } from "./drizzle-row.ts";
import { readRows } from "./rows.ts";

const point = customType<{ data: { x: number; y: number }; driverData: string }>({
  dataType: () => "text",
  toDriver: ({ x, y }) => `${x};${y}`,
  fromDriver: (value) => ({ x: Number(value.split(";")[0]), y: Number(value.split(";")[1]) }),
});

/** One column of every mode that Drizzle has on SQLite. */
const all = sqliteTable(
  "all_modes",
  {
    id: text("id").primaryKey(),
    plain: text("plain"),
    choice: text("choice", { enum: ["a", "b"] }),
    json: text("json", { mode: "json" }).$type<unknown>(),
    whole: integer("whole"),
    flag: integer("flag", { mode: "boolean" }),
    at: integer("at", { mode: "timestamp" }),
    atMs: integer("at_ms", { mode: "timestamp_ms" }),
    float: real("float"),
    exact: numeric("exact"),
    exactNumber: numeric("exact_number", { mode: "number" }),
    exactBig: numeric("exact_big", { mode: "bigint" }),
    bytes: blob("bytes", { mode: "buffer" }),
    bytesJson: blob("bytes_json", { mode: "json" }).$type<unknown>(),
    big: blob("big", { mode: "bigint" }),
    custom: point("custom"),
  },
  (t) => [index("plain_index").on(t.plain)],
);
const ddl = `CREATE TABLE all_modes(id TEXT PRIMARY KEY NOT NULL, plain TEXT, choice TEXT, json TEXT, whole INTEGER, flag INTEGER, at INTEGER, at_ms INTEGER,
  float REAL, exact NUMERIC, exact_number NUMERIC, exact_big NUMERIC, bytes BLOB, bytes_json BLOB, big BLOB, custom TEXT)`;
const definition = defineSync({ all }, { all: { scope: "everyone" } });

const rows: readonly (typeof all.$inferInsert)[] = [
  {
    id: "full",
    plain: "it's a\0b",
    choice: "b",
    json: { a: [1, null, "x"], b: "é" },
    whole: -42,
    flag: true,
    at: new Date(1_700_000_000_000),
    atMs: new Date(1_700_000_000_123),
    float: 0.1 + 0.2,
    exact: "12345678901234.25",
    exactNumber: 1.5,
    exactBig: 9007199254740991n,
    bytes: Buffer.from([0, 255, 1]),
    bytesJson: { deep: [true] },
    big: 9223372036854775807n,
    custom: { x: 1.25, y: -3 },
  },
  { id: "null" },
  {
    id: "odd",
    plain: "",
    json: null,
    whole: 2 ** 53 - 1,
    flag: false,
    at: new Date(0),
    atMs: new Date(-1),
    float: Number.POSITIVE_INFINITY,
    exact: "0",
    exactNumber: -0.5,
    bytes: Buffer.alloc(0),
    bytesJson: [],
    big: -1n,
  },
];

test("every column mode of Drizzle survives the device's log, and maps back to what `select` gives", () => {
  using it = captureOf(definition, { ddl, role: "device" });
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  for (const row of rows) it.db.insert(all).values(row).run();
  const selected = it.db.select().from(all).all();
  const transactions = it.run(readTransactions(it.sync, { after: 0, limit: 10 }));
  expect(transactions).toHaveLength(rows.length);
  for (const [i, { entries }] of transactions.entries()) {
    const [entry] = entries;
    if (entry === undefined) throw new Error("No entry.");
    const columns = [...table.keyColumns, ...entry.columns];
    const values = [...entry.key, ...entry.values];
    expect(toDrizzleRow(columns, values)).toEqual(selected[i]);
    // The way back gives the same storage values.
    const again = columns.map((column) => toStorageValue(column, (selected[i] as Record<string, unknown>)[column.key]));
    for (const [at, value] of values.entries())
      expect(identical(toComparable(again[at] ?? null), toComparable(value)), columns[at]?.key).toBe(true);
  }
});

test("an update's entry has the old and the new value of each changed column", () => {
  using it = captureOf(definition, { ddl, role: "device" });
  it.db
    .insert(all)
    .values({ id: "a", whole: 1, plain: "x", bytes: Buffer.from([1]) })
    .run();
  it.db
    .update(all)
    .set({ whole: 2, plain: null, bytes: Buffer.from([2]) })
    .run();
  const entry = it.run(readTransactions(it.sync, { after: 1, limit: 1 }))[0]?.entries[0];
  expect(entry?.columns.map((column) => column.key)).toEqual(["plain", "whole", "bytes"]);
  expect(entry?.values.map(toComparable)).toEqual([null, 2, new Uint8Array([2])]);
  expect(entry?.before.map(toComparable)).toEqual(["x", 1, new Uint8Array([1])]);
});

test("what SQLite stores for NaN and for text that is not valid UTF-16 is what the log has", () => {
  using it = captureOf(definition, { ddl, role: "device" });
  it.db.insert(all).values({ id: "a", plain: "x\ud800y", float: Number.NaN }).run();
  const entry = it.run(readTransactions(it.sync, { after: 0, limit: 1 }))[0]?.entries[0];
  const stored = it.raw.prepare("SELECT plain, float FROM all_modes").raw().get();
  const logged = (key: string): unknown => entry?.values[entry.columns.findIndex((column) => column.key === key)];
  expect([logged("plain"), logged("float")]).toEqual(stored);
  expect(stored).toEqual([expect.stringMatching(/^x\ufffd+y$/), null]);
});

test("a value that is absent is NULL, and an update to NULL is a change", () => {
  using it = captureOf(definition, { ddl, role: "device" });
  it.db.insert(all).values({ id: "a", plain: "x" }).run();
  it.db.update(all).set({ plain: null }).run();
  const entry = it.run(readTransactions(it.sync, { after: 1, limit: 1 }))[0]?.entries[0];
  expect([entry?.columns.map((column) => column.key), entry?.values, entry?.before]).toEqual([
    ["plain"],
    [null],
    ["x"],
  ]);
});

const value: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.string({ unit: "binary" }),
  fc.double({ noNaN: true }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
    .map((big) =>
      big >= BigInt(Number.MIN_SAFE_INTEGER) && big <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(big) : big,
    ),
  fc.uint8Array(),
  fc.constantFrom(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 2 ** 53, 2 ** 60, 1e300),
);

test("any SQLite value in a column without a type goes through log and row reads unchanged", () => {
  const bag = sqliteTable("bag", { id: text("id").primaryKey(), v: blob("v") });
  using it = captureOf(defineSync({ bag }, { bag: { scope: "everyone" } }), {
    ddl: "CREATE TABLE bag(id TEXT PRIMARY KEY NOT NULL, v)",
    role: "device",
  });
  const [table] = it.sync.tables;
  const column = table?.columns[1];
  if (table === undefined || column === undefined) throw new Error("No table.");
  let number = 0;
  fc.assert(
    fc.property(value, (written) => {
      const id = `k${number}`;
      it.run(each("INSERT INTO bag VALUES (?, ?)", [[id, written]]));
      it.db
        .update(bag)
        .set({ id: `${id}x` })
        .run();
      const live = it.run(readRows(table, [column], [[`${id}x`]]))[0]?.values[0] ?? null;
      const entries = it.run(readTransactions(it.sync, { after: number, limit: 1 }))[0]?.entries;
      const wanted = toComparable(written);
      number++;
      it.run(run("DELETE FROM bag WHERE 0"));
      it.raw.exec(
        "DELETE FROM _sync_log WHERE t <> 0; INSERT INTO _sync_mute VALUES(1); DELETE FROM bag; DELETE FROM _sync_mute",
      );
      return identical(toComparable(live), wanted) && identical(toComparable(entries?.[0]?.values[0] ?? null), wanted);
    }),
    { numRuns: 300 },
  );
});

/** SQLite keeps no -0 among integers, and gives bytes as a `Buffer`. */
function toComparable(given: Value): Value {
  if (given instanceof Uint8Array) return new Uint8Array(given);
  return typeof given === "number" ? given + 0 : given;
}
