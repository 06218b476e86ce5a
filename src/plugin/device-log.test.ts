import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { capture, lists, members, temporaryFile, todos } from "../testing/capture-fixture.ts";
import { hashSchema } from "../protocol/hash.ts";
import type { Core } from "./core.ts";
import {
  closeStrangers,
  keepTransactions,
  lastTransaction,
  pendingCount,
  pruneKept,
  readTransactions,
  type DeviceTransaction,
} from "./device-log.ts";
import { knownTables } from "./known-tables.ts";
import type { Captured, schema } from "../testing/capture-fixture.ts";

function write<T>(it: Captured<typeof schema>, core: Core<T>): T {
  return it.connection.transaction("write", () => it.run(core));
}
/** Takes transactions out of the queue, and keeps none of them. */
function drop(it: Captured<typeof schema>, upTo: number): void {
  const last = it.run(readTransactions(it.sync, { after: 0, limit: upTo })).at(-1);
  if (last) write(it, keepTransactions(last, 0));
  write(it, pruneKept({ nowMs: 0, keepSentMs: 0 }));
}
const told = (transactions: readonly DeviceTransaction[]): unknown =>
  transactions.map(({ number, entries }) => [
    number,
    ...entries.map((entry) => `${entry.kind} ${entry.table.key} ${String(entry.key)}`),
  ]);

test("a device's transactions are numbered from 1, with stamp, time and the hash of the schema", () => {
  using it = capture({ role: "device", now: () => 1_700_000_000_000 });
  it.db.insert(lists).values({ id: "a", title: "A" }).run();
  it.db.transaction((tx) => {
    tx.insert(todos).values({ id: "t", listId: "a", done: true }).run();
    tx.update(lists).set({ title: "B" }).run();
    tx.delete(todos).run();
  });
  const [first, second] = it.run(readTransactions(it.sync, { after: 0, limit: 10 }));
  expect(told([first, second].flatMap((transaction) => transaction ?? []))).toEqual([
    [1, "insert lists a"],
    [2, "insert todos t", "update lists a", "delete todos t"],
  ]);
  expect(first?.hlc).toBe(1_700_000_000_000 * 1024);
  expect(second?.hlc).toBe(1_700_000_000_000 * 1024 + 1);
  expect(first?.stamp).not.toBe(second?.stamp);
  expect(first?.schema).toBe(hashSchema(knownTables(it.sync.tables)));
  const [inserted, updated, deleted] = second?.entries ?? [];
  expect(inserted?.columns.map((column) => column.key)).toEqual(["listId", "title", "done", "place"]);
  expect([inserted?.values, inserted?.before]).toEqual([["a", null, 1, null], []]);
  expect([updated?.columns.map((column) => column.key), updated?.values, updated?.before]).toEqual([
    ["title"],
    ["B"],
    ["A"],
  ]);
  expect([deleted?.values, deleted?.before]).toEqual([[], ["a", null, 1, null]]);
  expect(it.run(lastTransaction())).toEqual({ number: 2, stamp: second?.stamp });
});

test("transactions that are dropped leave the queue; numbers are never used twice", () => {
  using it = capture({ role: "device" });
  for (const id of ["a", "b", "c"]) it.db.insert(lists).values({ id }).run();
  const last = it.run(lastTransaction());
  expect(it.run(pendingCount())).toBe(3);
  drop(it, 2);
  expect(told(it.run(readTransactions(it.sync, { after: 2, limit: 10 })))).toEqual([[3, "insert lists c"]]);
  expect(it.run(pendingCount())).toBe(1);
  drop(it, 3);
  expect(it.run(pendingCount())).toBe(0);
  expect(it.run(readTransactions(it.sync, { after: 3, limit: 10 }))).toEqual([]);
  expect(it.run(lastTransaction())).toEqual(last);
  it.db.insert(lists).values({ id: "d" }).run();
  expect(told(it.run(readTransactions(it.sync, { after: 3, limit: 10 })))).toEqual([[4, "insert lists d"]]);
  drop(it, 99);
  expect(it.run(lastTransaction()).number).toBe(4);
});

test("the queue is read in portions of whole transactions", () => {
  using it = capture({ role: "device" });
  it.db.transaction((tx) => {
    for (let i = 0; i < 5000; i++)
      tx.insert(lists)
        .values({ id: `l${i}` })
        .run();
  });
  for (let i = 0; i < 5; i++) it.db.insert(members).values({ listId: "a", rank: i }).run();
  const [big, next] = it.run(readTransactions(it.sync, { after: 0, limit: 2 }));
  expect(big?.entries).toHaveLength(5000);
  expect(next?.entries[0]?.key).toEqual(["a", 0]);
  expect(it.run(readTransactions(it.sync, { after: 2, limit: 2 })).map((transaction) => transaction.number)).toEqual([
    3, 4,
  ]);
});

test("C5: entries of writers that do not know us are closed as a transaction of their own; nothing open, nothing closed", () => {
  using file = temporaryFile();
  using it = capture({ role: "device", path: file.path });
  it.raw.exec("INSERT INTO lists(id) VALUES('s')");
  expect(it.run(pendingCount())).toBe(0);
  write(it, closeStrangers(it.sync));
  write(it, closeStrangers(it.sync));
  expect(told(it.run(readTransactions(it.sync, { after: 0, limit: 10 })))).toEqual([[1, "insert lists s"]]);
});

test("C8: the key of a row that others reference does not change on a device; others may", () => {
  using it = capture({ role: "device" });
  it.db
    .insert(lists)
    .values([{ id: "a" }, { id: "b" }])
    .run();
  it.db.insert(todos).values({ id: "t", listId: "a" }).run();
  expect(() => it.db.update(lists).set({ id: "z" }).where(eq(lists.id, "a")).run()).toThrow(
    /key of a row in lists that other rows reference cannot change on a device/,
  );
  it.db.update(lists).set({ id: "z" }).where(eq(lists.id, "b")).run();
  expect(told(it.run(readTransactions(it.sync, { after: 2, limit: 10 })))).toEqual([
    [3, "delete lists b", "insert lists z", "update lists z"],
  ]);
});

test("C4: a row overwritten by REPLACE is a delete with its old values and an insert", () => {
  using it = capture({ role: "device" });
  it.db.insert(lists).values({ id: "a", title: "old" }).run();
  it.db.$client.exec("REPLACE INTO lists(id, title) VALUES('a', 'new')");
  const entries = it.run(readTransactions(it.sync, { after: 1, limit: 1 }))[0]?.entries ?? [];
  expect(entries.map((entry) => [entry.kind, entry.before, entry.values])).toEqual([
    ["delete", [null, "old", null], []],
    ["insert", [], [null, "new", null]],
  ]);
});

test("a long queue is read from anywhere, without being walked through", () => {
  using it = capture({ role: "device" });
  for (let n = 1; n <= 60; n++) {
    it.db.transaction((tx) => {
      // Some are long, some short.
      for (let i = 0; i < (n % 7) + 1; i++)
        tx.insert(lists)
          .values({ id: `${n}-${i}`, title: "A" })
          .run();
    });
  }
  for (let after = 0; after <= 60; after++) {
    const [next] = it.run(readTransactions(it.sync, { after, limit: 1 }));
    expect(next?.number).toBe(after === 60 ? undefined : after + 1);
    expect(next?.entries.length).toBe(after === 60 ? undefined : ((after + 1) % 7) + 1);
  }
  drop(it, 30);
  expect(it.run(readTransactions(it.sync, { after: 41, limit: 2 })).map(({ number }) => number)).toEqual([42, 43]);
  // What was given up is found no more: the queue begins after it.
  expect(it.run(readTransactions(it.sync, { after: 12, limit: 1 })).map(({ number }) => number)).toEqual([31]);
});
