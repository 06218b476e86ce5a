import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import { defineSync } from "./define-sync.ts";

const lists = sqliteTable("lists", { id: text("id").primaryKey() });
const books = sqliteTable("books", { id: text("id").primaryKey(), library: text("library"), shelf: text("shelf") });
const schema = { lists, books };

function refusal(define: () => unknown): unknown {
  try {
    define();
  } catch (error) {
    return error instanceof SyncError ? [error.code, error.message] : error;
  }
  return undefined;
}

describe("one text names one scope", () => {
  test("a kind that is made of one column here and of several there is refused, for a value may contain a colon", () => {
    expect(
      refusal(() =>
        defineSync(schema, { lists: { scope: { at: "id" } }, books: { scope: { at: ["library", "shelf"] } } }),
      ),
    ).toEqual(["INVALID_CONFIG", expect.stringContaining("`at`")]);
  });

  test("a kind that is made of lists of different lengths is refused, also of one column and of a list of one", () => {
    const one = { scope: { at: ["library"] as const } };
    expect(refusal(() => defineSync(schema, { lists: { scope: { at: "id" } }, books: one }))).toEqual([
      "INVALID_CONFIG",
      expect.stringContaining("another name"),
    ]);
    const both = { scope: { at: ["library", "shelf"] as const } };
    expect(refusal(() => defineSync(schema, { lists: { scope: { at: ["id"] } }, books: both }))).toEqual([
      "INVALID_CONFIG",
      expect.stringContaining("another name"),
    ]);
  });

  test("a constant scope that begins like one of a kind is refused", () => {
    expect(
      refusal(() => defineSync(schema, { lists: { scope: "shelf:public" }, books: { scope: { shelf: "shelf" } } })),
    ).toEqual(["INVALID_CONFIG", expect.stringContaining("`shelf:public`")]);
  });

  test("tables may share a kind of the same parts, and a constant may have a colon that belongs to no kind", () => {
    expect(
      refusal(() => defineSync(schema, { lists: { scope: { list: "id" } }, books: { scope: { list: "library" } } })),
    ).toBeUndefined();
    expect(
      refusal(() => defineSync(schema, { lists: { scope: "all:public" }, books: { scope: { shelf: "shelf" } } })),
    ).toBeUndefined();
  });
});
