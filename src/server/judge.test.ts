import { describe, expect, test } from "vitest";
import type { SyncColumn } from "../plugin/table.ts";
import { hashValues, rowHash } from "../protocol/hash.ts";
import type { Value } from "../protocol/ids.ts";
import { column, foldOne, insert, knownTodos, remove, update } from "../testing/row-operations.ts";
import { findClash, stands, type LiveRow } from "./judge.ts";
import type { Note } from "./outcomes.ts";

type Row = Readonly<Record<string, Value>>;

const row: Row = { id: "t", listId: "l", title: "a", done: 0, place: null };

/** The live row with some values of its own. */
function liveWith(change: Row = {}): LiveRow {
  const values = { ...row, ...change };
  return { values: knownTodos.columns.map(({ key }) => values[key] ?? null), scopes: [] };
}

/** The hash of a row, as a device sends it with a delete. */
function hashWith(change: Row = {}): string {
  const values = { ...row, ...change };
  return rowHash(
    knownTodos.others.map(({ key }) => values[key] ?? null),
    knownTodos.others.map(({ form }) => form),
  );
}

const note = (columnKey: string, wrote: Value, stored: Value): Note => ({ column: columnKey, wrote, stored });
const clashOf = (...args: Parameters<typeof findClash>): unknown => {
  const clash = findClash(...args);
  return clash && [clash.kind, ...clash.columns.map(({ key }) => key)];
};

describe("P4: an insert", () => {
  const inserted = foldOne(insert("t", { listId: "l", title: "a", done: 0 }));

  test("of a free key is no conflict, and one of a taken key is, unless the row is there as it was written", () => {
    expect(clashOf(inserted, undefined, [])).toBeUndefined();
    expect(clashOf(inserted, liveWith(), [])).toBeUndefined();
    // What was not written is not compared.
    expect(clashOf(inserted, liveWith({ place: "p" }), [])).toBeUndefined();
    for (const change of [{ title: "b" }, { done: 1 }, { listId: null }])
      expect(clashOf(inserted, liveWith(change), [])).toEqual(["insert"]);
  });

  test("P5: is as it was written also where the database made something else of it", () => {
    expect(clashOf(inserted, liveWith({ title: "A" }), [note("title", "a", "A")])).toBeUndefined();
    expect(clashOf(inserted, liveWith({ title: "B" }), [note("title", "a", "A")])).toEqual(["insert"]);
  });

  test("is not compared in read-only columns, whose values are the server's word", () => {
    const withReadonly = (readonly: boolean): unknown => {
      const values = new Map<SyncColumn, Value>([
        [{ ...column("title"), readonly }, "mine"],
        [column("done"), 0],
      ]);
      return clashOf({ ...inserted, values }, liveWith(), []);
    };
    expect(withReadonly(true)).toBeUndefined();
    expect(withReadonly(false)).toEqual(["insert"]);
  });

  test("P2: that is deleted again is nothing", () => {
    const none = foldOne(insert("t", { title: "b" }), remove("t", "own"));
    for (const live of [undefined, liveWith()]) expect(clashOf(none, live, [])).toBeUndefined();
  });
});

describe("P4: an update", () => {
  const updated = foldOne(update("t", { title: "b", done: 1 }, { title: "a", done: 0 }));

  test("is no conflict where each column is as it was seen, or as it was written", () => {
    for (const change of [{}, { title: "b" }, { done: 1 }, { title: "b", done: 1 }, { place: "other" }])
      expect(clashOf(updated, liveWith(change), [])).toBeUndefined();
  });

  test("is a conflict in those columns that are neither, and in no others", () => {
    expect(clashOf(updated, liveWith({ title: "c" }), [])).toEqual(["update", "title"]);
    expect(clashOf(updated, liveWith({ title: "c", done: null }), [])).toEqual(["update", "title", "done"]);
    expect(clashOf(updated, liveWith({ title: null, done: 1 }), [])).toEqual(["update", "title"]);
  });

  test("of a row that is gone is a conflict of the whole row", () => {
    expect(clashOf(updated, undefined, [])).toEqual(["update"]);
  });

  test("that was undone by the transaction itself is a conflict with nothing", () => {
    const restored = foldOne(update("t", { title: "b" }, { title: "a" }), update("t", { title: "a" }, { title: "b" }));
    for (const live of [undefined, liveWith({ title: "c" })]) expect(clashOf(restored, live, [])).toBeUndefined();
  });

  test("P1: of a long value is judged by its hash", () => {
    const long = "x".repeat(100);
    const hashed = foldOne(update("t", { title: "b" }, { title: [hashValues([long])] }));
    expect(clashOf(hashed, liveWith({ title: long }), [])).toBeUndefined();
    expect(clashOf(hashed, liveWith({ title: `${long}!` }), [])).toEqual(["update", "title"]);
  });
});

describe("P5: a note", () => {
  const updated = foldOne(update("t", { title: "b" }, { title: "a" }));

  test("excuses what the database made of what the user saw, while that is live", () => {
    expect(clashOf(updated, liveWith({ title: "A" }), [note("title", "a", "A")])).toBeUndefined();
    expect(clashOf(updated, liveWith({ title: "C" }), [note("title", "a", "A")])).toEqual(["update", "title"]);
  });

  test("excuses no other value that was written, and no other column", () => {
    expect(clashOf(updated, liveWith({ title: "A" }), [note("title", "x", "A")])).toEqual(["update", "title"]);
    expect(clashOf(updated, liveWith({ title: "A" }), [note("place", "a", "A")])).toEqual(["update", "title"]);
  });

  test("is one of several", () => {
    const notes = [note("title", "x", "A"), note("title", "a", "A")];
    expect(stands(column("title"), "a", liveWith({ title: "A" }), notes)).toBe(true);
    expect(stands(column("title"), "y", liveWith({ title: "A" }), notes)).toBe(false);
  });
});

describe("P4: a delete", () => {
  test("of a missing row is nothing, and one of a row that changed is a conflict", () => {
    const removed = foldOne(remove("t", hashWith()));
    expect(clashOf(removed, undefined, [])).toBeUndefined();
    expect(clashOf(removed, liveWith(), [])).toBeUndefined();
    for (const change of [{ title: "b" }, { place: "p" }, { done: 1 }, { listId: null }])
      expect(clashOf(removed, liveWith(change), [])).toEqual(["delete"]);
  });

  test("compares values in their column's form", () => {
    // `done` is a boolean, whose 1 may come as a bigint from one driver and as a float from another.
    expect(clashOf(foldOne(remove("t", hashWith({ done: 1 }))), liveWith({ done: 1n }), [])).toBeUndefined();
    expect(clashOf(foldOne(remove("t", hashWith())), liveWith({ done: -0 }), [])).toBeUndefined();
  });

  test("P5: sees through what the database made of what was written", () => {
    const removed = foldOne(remove("t", hashWith({ title: "a" })));
    const made = liveWith({ title: "A" });
    expect(clashOf(removed, made, [])).toEqual(["delete"]);
    expect(clashOf(removed, made, [note("title", "a", "A")])).toBeUndefined();
    for (const wrong of [note("title", "a", "B"), note("place", "a", "A"), note("title", "x", "A")])
      expect(clashOf(removed, made, [wrong])).toEqual(["delete"]);
    expect(clashOf(removed, liveWith({ title: "A", place: "p" }), [note("title", "a", "A")])).toEqual(["delete"]);
  });

  test("P2: after updates of the same transaction is judged by what was seen before them, and by the rest of the row", () => {
    const removed = foldOne(update("t", { title: "b" }, { title: "a" }), remove("t", hashWith({ title: "b" })));
    expect(clashOf(removed, liveWith(), [])).toBeUndefined();
    expect(clashOf(removed, liveWith({ title: "c" }), [])).toEqual(["delete"]);
    expect(clashOf(removed, liveWith({ place: "p" }), [])).toEqual(["delete"]);
    // What the transaction wrote itself is not what the database made of something.
    const notes = [note("title", "c", "b")];
    expect(clashOf(removed, liveWith(), notes)).toBeUndefined();
    const emptied = foldOne(update("t", { title: null }, { title: "a" }), remove("t", hashWith({ title: null })));
    expect(clashOf(emptied, liveWith(), [])).toBeUndefined();
    expect(clashOf(emptied, liveWith(), [note("title", "x", null)])).toBeUndefined();
  });

  test("P2: and an insert of the same transaction are judged as one: the row as it was seen, or as it is written", () => {
    const replaced = foldOne(remove("t", hashWith()), insert("t", { title: "new" }));
    expect(clashOf(replaced, liveWith(), [])).toBeUndefined();
    expect(clashOf(replaced, liveWith({ title: "new", place: "p" }), [])).toBeUndefined();
    expect(clashOf(replaced, liveWith({ title: "c" }), [])).toEqual(["update"]);
    expect(clashOf(replaced, undefined, [])).toEqual(["update"]);
  });
});
