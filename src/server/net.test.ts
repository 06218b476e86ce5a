import { describe, expect, test } from "vitest";
import type { SyncColumn } from "../plugin/table.ts";
import { hashValues } from "../protocol/hash.ts";
import type { SeenValue } from "../protocol/push.ts";
import { column, fold, foldOne, insert, remove, update, type Change } from "../testing/row-operations.ts";
import type { Net } from "./net.ts";

const named = (map: ReadonlyMap<SyncColumn, unknown>): Readonly<Record<string, unknown>> =>
  Object.fromEntries([...map].map(([{ key }, value]) => [key, value]));

/** What is left of a net change for people to read. */
function told(net: Net): unknown {
  const { kind, isReplaced, values, seen, restored, written, seenHash, seenRow, firstIndex, lastIndex } = net;
  return {
    kind,
    isReplaced,
    values: named(values),
    seen: named(seen),
    restored: named(restored),
    written: named(written),
    seenHash,
    seenRow,
    range: [firstIndex, lastIndex],
  };
}

const toldOf = (...changes: readonly Change[]): unknown => told(foldOne(...changes));

const untouched = {
  isReplaced: false,
  values: {},
  seen: {},
  restored: {},
  written: {},
  seenHash: undefined,
  seenRow: undefined,
};

describe("P2: one operation on a row is what it is", () => {
  test("an insert has its values, and has seen nothing", () => {
    expect(toldOf({ ...insert("t", { title: "a", done: 1 }), seenRow: ["never"] })).toEqual({
      ...untouched,
      kind: "insert",
      values: { title: "a", done: 1 },
      range: [0, 0],
    });
  });

  test("an update has its values, what was seen of them, and the row if it came", () => {
    expect(toldOf(update("t", { title: "a", done: null }, { title: ["hash"], done: 1 }, ["l", "x", 1, null]))).toEqual({
      ...untouched,
      kind: "update",
      values: { title: "a", done: null },
      seen: { title: ["hash"], done: 1 },
      seenRow: ["l", "x", 1, null],
      range: [0, 0],
    });
    expect(fold(update("t", { title: "a" }, { title: "b" })).get("todos t")).not.toHaveProperty("seenRow");
  });

  test("a delete has the hash of the row that was seen", () => {
    expect(toldOf({ ...remove("t", "h"), columns: [column("title")], values: ["no value of a delete"] })).toEqual({
      ...untouched,
      kind: "delete",
      isReplaced: true,
      seenHash: "h",
      range: [0, 0],
    });
    // A device that sends no hash has seen nothing that could be compared.
    expect(toldOf({ ...remove("t", ""), before: [] })).toMatchObject({ kind: "delete", seenHash: "" });
    expect(fold(insert("t", {})).get("todos t")).not.toHaveProperty("seenHash");
  });
});

describe("P2: several operations on a row are judged as one", () => {
  test("rows keep the order in which they were touched first, and do not mix", () => {
    const nets = fold(
      insert("b", { title: "1" }),
      insert("a", { title: "2" }),
      update("b", { done: 1 }, { done: null }),
    );
    expect([...nets.keys()]).toEqual(["todos b", "todos a"]);
    expect([...nets.values()].map(({ kind, firstIndex, lastIndex }) => [kind, firstIndex, lastIndex])).toEqual([
      ["insert", 0, 2],
      ["insert", 1, 1],
    ]);
  });

  test("an insert and updates are an insert of what is there in the end, which has seen nothing", () => {
    expect(
      toldOf(
        insert("t", { title: "a", done: 0 }),
        update("t", { title: "b", place: null }, { title: "a", place: "x" }),
      ),
    ).toEqual({ ...untouched, kind: "insert", values: { title: "b", done: 0, place: null }, range: [0, 1] });
  });

  test("of several updates the last values count, and what was seen before the first of them", () => {
    expect(
      toldOf(
        update("t", { title: "b" }, { title: "a" }),
        update("t", { title: "c", done: 1, place: "p" }, { title: "b", done: 0, place: ["hash"] }),
        update("t", { done: null }, { done: 1 }),
      ),
    ).toEqual({
      ...untouched,
      kind: "update",
      values: { title: "c", done: null, place: "p" },
      seen: { title: "a", done: 0, place: ["hash"] },
      range: [0, 2],
    });
  });

  test("a column that has its old value again is none that was changed", () => {
    expect(
      toldOf(
        update("t", { title: "b", done: 1 }, { title: "a", done: 0 }),
        update("t", { title: "a" }, { title: "b" }),
      ),
    ).toEqual({
      ...untouched,
      kind: "update",
      values: { done: 1 },
      seen: { done: 0 },
      restored: { title: "a" },
      range: [0, 1],
    });
    const long = "x".repeat(100);
    const hashed: SeenValue = [hashValues([long])];
    expect(
      toldOf(update("t", { title: "b" }, { title: hashed }), update("t", { title: long }, { title: "b" })),
    ).toMatchObject({ values: {}, seen: {}, restored: { title: hashed } });
    // One operation says itself what it changed, also where that is nothing.
    expect(toldOf(update("t", { title: "a" }, { title: "a" }))).toMatchObject({
      values: { title: "a" },
      restored: {},
    });
  });

  test("a column of a row that is deleted or replaced is never one that has its old value again", () => {
    const updated = update("t", { title: "b" }, { title: null });
    expect(toldOf(updated, remove("t", "after"))).toMatchObject({
      kind: "delete",
      seen: { title: null },
      restored: {},
    });
    expect(toldOf(updated, remove("t", "after"), insert("t", { done: 1 }))).toMatchObject({
      kind: "update",
      isReplaced: true,
      values: { done: 1 },
      seen: { title: null },
      restored: {},
    });
  });

  test("an insert and a delete are nothing at all", () => {
    expect(toldOf(insert("t", { title: "a" }), remove("t", "own"))).toEqual({
      ...untouched,
      kind: "none",
      isReplaced: true,
      range: [0, 1],
    });
  });

  test("what is inserted, deleted and inserted again is an insert", () => {
    expect(toldOf(insert("t", { title: "a" }), remove("t", "own"), insert("t", { done: 1 }))).toEqual({
      ...untouched,
      kind: "insert",
      isReplaced: true,
      values: { done: 1 },
      range: [0, 2],
    });
  });

  test("an update and a delete are a delete, whose hash shows what the transaction had written", () => {
    expect(
      toldOf(
        update("t", { title: "b" }, { title: "a" }, ["l", "a", 0, null]),
        remove("t", "after", ["l", "b", 0, null]),
      ),
    ).toEqual({
      ...untouched,
      kind: "delete",
      isReplaced: true,
      seen: { title: "a" },
      seenHash: "after",
      written: { title: "b" },
      seenRow: ["l", "a", 0, null],
      range: [0, 1],
    });
  });

  test("a delete and an insert replace the row: the values of the insert, judged by the first delete's hash", () => {
    expect(toldOf(remove("t", "h"), insert("t", { title: "b" }))).toEqual({
      ...untouched,
      kind: "update",
      isReplaced: true,
      values: { title: "b" },
      seenHash: "h",
      range: [0, 1],
    });
    expect(toldOf(remove("t", "h"), insert("t", { title: "b" }), remove("t", "own"))).toEqual({
      ...untouched,
      kind: "delete",
      isReplaced: true,
      seenHash: "h",
      range: [0, 2],
    });
  });

  test("an update of a row that was replaced has seen the transaction's own row", () => {
    expect(
      toldOf(
        remove("t", "h"),
        insert("t", { title: "b" }),
        update("t", { title: "c", done: 1 }, { title: "b", done: 0 }),
      ),
    ).toEqual({
      ...untouched,
      kind: "update",
      isReplaced: true,
      values: { title: "c", done: 1 },
      seenHash: "h",
      range: [0, 2],
    });
  });
});
