import { expect, test } from "vitest";
import { queryKey } from "./query-key.ts";

const of = (...params: unknown[]): string => queryKey({ sql: "select ?", params });

test("queries are the same when text, method and parameters are, and never otherwise", () => {
  expect(of(1, "a", null)).toBe(of(1, "a", null));
  const distinct = [
    of(1),
    of("1"),
    of(1n),
    of(null),
    of(NaN),
    of("null"),
    of(new Uint8Array([1])),
    of([1]),
    of(new Date(0)),
    of(new Date(0).toISOString()),
  ];
  expect(new Set(distinct).size).toBe(distinct.length);
  expect(queryKey({ sql: "select 1", params: [], method: "all" })).not.toBe(
    queryKey({ sql: "select 1", params: [], method: "get" }),
  );
});
