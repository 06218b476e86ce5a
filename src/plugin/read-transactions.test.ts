import { eq } from "drizzle-orm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { capture, lists, members, todos, type Captured, type schema } from "../testing/capture-fixture.ts";
import { ddl } from "../testing/capture-fixture.ts";
import { anyWrite, firstRows, hostileTriggers, writeSql } from "../testing/capture-writes.ts";
import { checkProperty } from "../testing/check-property.ts";
import { keyText } from "../protocol/key.ts";
import { lastTransaction, outlineTransactions, readTransactions, type DeviceTransaction } from "./device-log.ts";

import type { SyncColumn, SyncTable } from "./table.ts";

type Device = Captured<typeof schema>;

const readAll = (it: Device): readonly DeviceTransaction[] =>
  it.run(readTransactions(it.sync, { after: 0, limit: Number.MAX_SAFE_INTEGER }));

/** Each by itself, which is never a long stretch. */
function readOneByOne(it: Device): readonly DeviceTransaction[] {
  const { number: last } = it.run(lastTransaction());
  return Array.from(
    { length: last },
    (_, after) => it.run(readTransactions(it.sync, { after, limit: 1 }))[0] as DeviceTransaction,
  );
}

const namesOf = (table: SyncTable, columns: readonly SyncColumn[]): string =>
  [table, ...columns].map(({ key }) => key).join();

test("C4: a long queue, read by parts, is what its transactions are one by one", () => {
  checkProperty(
    fc.property(fc.array(anyWrite, { minLength: 70, maxLength: 160 }), (writes) => {
      using it = capture({ role: "device", ddl: `${ddl}${hostileTriggers}${firstRows}` });
      for (const each of writes) {
        try {
          it.db.$client.exec(writeSql(each));
        } catch {
          // Constraints refuse some of them.
        }
      }
      const all = readAll(it);
      expect(all).toEqual(readOneByOne(it));
      // What its updates changed is the same array for the same columns, however it was read.
      const updates = all.flatMap(({ entries }) => entries.filter(({ kind }) => kind === "update"));
      const arrays = new Map(updates.map(({ columns, table }) => [namesOf(table, columns), columns]));
      for (const { columns, table } of updates) expect(arrays.get(namesOf(table, columns))).toBe(columns);
    }),
    15,
  );
});

test("C4: many kinds of changes in one stretch are read, too", () => {
  using it = capture({ role: "device" });
  for (let i = 0; i < 40; i++) {
    const id = `l${i}`;
    it.db.insert(lists).values({ id }).run();
    it.db
      .insert(todos)
      .values({ id: `t${i}`, listId: id, title: "x" })
      .run();
  }
  const columns: readonly Partial<typeof todos.$inferInsert>[] = [
    { title: "y" },
    { done: true },
    { place: "3" },
    { title: "z", done: false },
    { title: "w", place: "4" },
    { title: "v", done: true, place: "5" },
  ];
  for (let i = 0; i < 120; i++)
    it.db
      .update(todos)
      .set({ ...columns[i % columns.length], listId: `l${i % 40}` })
      .where(eq(todos.id, `t${i % 40}`))
      .run();
  for (let i = 0; i < 20; i++) it.db.insert(members).values({ listId: "l0", rank: i }).run();
  it.db.delete(members).run();
  it.db.delete(todos).where(eq(todos.id, "t1")).run();
  expect(readAll(it)).toEqual(readOneByOne(it));
});

test("the outline of a queue names the rows that it changes, and the columns where nothing else happened to them", () => {
  using it = capture({ role: "device" });
  it.db.insert(lists).values({ id: "a" }).run();
  for (const id of ["1", "2", "3"]) it.db.insert(todos).values({ id, listId: "a", title: "x" }).run();
  const { number: before } = it.run(lastTransaction());
  it.db.update(todos).set({ title: "y" }).where(eq(todos.id, "1")).run();
  it.db.update(todos).set({ done: true }).where(eq(todos.id, "1")).run();
  it.db.update(todos).set({ title: "y" }).where(eq(todos.id, "2")).run();
  it.db.delete(todos).where(eq(todos.id, "2")).run();
  it.db.insert(lists).values({ id: "b" }).run();
  it.db.update(lists).set({ title: "B" }).where(eq(lists.id, "b")).run();
  const { number: last } = it.run(lastTransaction());
  it.db.insert(lists).values({ id: "c" }).run();
  const { transactions, rows } = it.run(outlineTransactions(it.sync, before, last));
  const whole = readAll(it).filter((each) => each.number > before && each.number <= last);
  expect(transactions).toEqual(whole.map((each) => ({ ...each, schema: "", entries: [] })));
  const named = [...rows].map(([table, ofTable]) => [
    table.key,
    [...ofTable].map(([row, columns]) => [row, columns?.map(({ key }) => key)]),
  ]);
  expect(named).toEqual([
    [
      "todos",
      [
        [keyText(["1"]), ["title", "done"]],
        [keyText(["2"]), undefined],
      ],
    ],
    ["lists", [[keyText(["b"]), undefined]]],
  ]);
});
