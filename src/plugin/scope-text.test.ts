import fc from "fast-check";
import { integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { captureOf } from "../testing/capture-fixture.ts";
import { all } from "./core.ts";
import { defineSync } from "./define-sync.ts";
import { meetsScopes, ownScopes, partsOf, splitScopes } from "./scope-text.ts";
import { scopeSql } from "./sqlite/scope-sql.ts";

const items = sqliteTable(
  "items",
  { a: text("a").notNull(), b: text("b"), n: integer("n").notNull(), flag: integer("flag", { mode: "boolean" }) },
  (t) => [primaryKey({ columns: [t.a, t.n] })],
);
const definition = defineSync(
  { items },
  { items: { scope: { a: "a", b: "b", n: "n", flag: "flag", both: ["a", "b"], mixed: ["n", "b"] } } },
);
const ddl = "CREATE TABLE items(a TEXT NOT NULL, b TEXT, n INTEGER NOT NULL, flag INTEGER, PRIMARY KEY(a, n))";

test("a row's own scopes in memory are those that SQL says, and a compound scope gives back its parts", () => {
  using it = captureOf(definition, { ddl });
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  const piece = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", ":", "%", "%3A", "%25", "3", "\n", "é", "'", "") }),
    fc.string({ unit: "grapheme" }),
  );
  fc.assert(
    fc.property(piece, fc.option(piece), fc.maxSafeInteger(), fc.option(fc.nat({ max: 1 })), (a, b, n, flag) => {
      it.raw.exec("DELETE FROM items");
      it.raw.prepare("INSERT INTO items VALUES(?, ?, ?, ?)").run(a, b, BigInt(n), flag);
      const [row] = it.run(all(`SELECT x.a, x.b, x.n, x.flag, ${scopeSql(table, "x")} FROM items AS x`));
      const scopes = ownScopes(table, (column) => row?.[["a", "b", "n", "flag"].indexOf(column.key)]);
      expect(new Set(splitScopes(row?.[4]))).toEqual(new Set(scopes));
      const both = table.scopes[4];
      const scope = scopes.find((other) => other.startsWith("both:"));
      if (both !== undefined && scope !== undefined) expect(partsOf(both, scope)).toEqual([a, b]);
    }),
    { numRuns: 300 },
  );
});

test("scopes of a text are found one by one", () => {
  expect(splitScopes(null)).toEqual([]);
  expect(splitScopes("list:a")).toEqual(["list:a"]);
  expect(splitScopes("list:a\nowner:u\nlist:a")).toEqual(["list:a", "owner:u"]);
  expect(meetsScopes("list:a\nowner:u", new Set(["owner:u"]))).toBe(true);
  expect(meetsScopes("list:a\nowner:u", new Set(["owner"]))).toBe(false);
  expect(meetsScopes(null, new Set([""]))).toBe(false);
  expect(splitScopes("")).toEqual([]);
  expect(meetsScopes("", new Set([""]))).toBe(false);
});

test("behind a line feed a text names one scope, or none when another line follows", () => {
  expect(splitScopes("\nlist:a")).toEqual(["list:a"]);
  expect(meetsScopes("\nlist:a", new Set(["list:a"]))).toBe(true);
  expect(splitScopes("\nlist:a\nlist:b")).toEqual([]);
  expect(meetsScopes("\nlist:a\nlist:b", new Set(["list:a", "list:b", "list:a\nlist:b"]))).toBe(false);
});
