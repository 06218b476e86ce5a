import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { captureOf } from "../../testing/capture-fixture.ts";
import { defineSync } from "../define-sync.ts";
import { readIndexTerms } from "./index-terms.ts";

const people = sqliteTable("people", {
  id: text("id").primaryKey(),
  list: text("list"),
  email: text("email"),
  gone: text("gone"),
});
const definition = defineSync({ people }, { people: { scope: { list: "list" } } });
const table =
  "CREATE TABLE people(id TEXT PRIMARY KEY NOT NULL, list TEXT, email TEXT, gone TEXT, mail TEXT GENERATED ALWAYS AS (trim(email)));";

test("terms and condition of an index become SQL over any row", () => {
  const { terms, where } = readIndexTerms(
    `CREATE UNIQUE INDEX "a(b" ON people ( lower("email") COLLATE NOCASE DESC, [gone] || '(,' /* ) */ , cast(list AS text) ) WHERE gone IS NULL -- gone`,
    ["id", "list", "email", "gone", "lower", "text"],
  );
  expect(terms.map((term) => term.of("NEW"))).toEqual([
    `(lower(NEW."email"))`,
    `(NEW."gone" || '(,')`,
    `(cast(NEW."list" AS text))`,
  ]);
  expect(terms.map((term) => term.columns)).toEqual([["email"], ["gone"], ["list"]]);
  expect(where?.of("x")).toBe(`(x."gone" IS NULL)`);
});

const indexes = {
  partial: "CREATE UNIQUE INDEX people_email ON people(email) WHERE gone IS NULL",
  expression: "CREATE UNIQUE INDEX people_email ON people(lower(email))",
  both: "CREATE UNIQUE INDEX people_email ON people(lower(email), list) WHERE email IS NOT NULL",
  generated: "CREATE UNIQUE INDEX people_email ON people(mail)",
};
for (const [kind, ddl] of Object.entries(indexes)) {
  test(`C1: a row that REPLACE evicts through a unique index is logged as deleted (${kind})`, () => {
    using it = captureOf(definition, { ddl: table + ddl });
    it.raw.exec("INSERT INTO people(id, list, email) VALUES('x', 'a', 'e'), ('z', 'a', 'f')");
    it.log();
    it.raw.exec("INSERT OR REPLACE INTO people(id, list, email) VALUES('y', 'a', 'e')");
    expect([...it.log()].sort()).toEqual(["delete people(x) list:a→", "insert people(y) →list:a"]);
    it.raw.exec("UPDATE OR REPLACE people SET email = 'e' WHERE id = 'z'");
    expect([...it.log()].sort()).toEqual(["delete people(y) list:a→", "update people(z)[email] list:a→list:a"]);
    expect(it.raw.prepare("SELECT count(*) FROM people").pluck().get()).toBe(1);
    // Not in the way, or none of the index.
    it.raw.exec("INSERT OR REPLACE INTO people(id, list, email, gone) VALUES('v', 'a', 'g', 'yes')");
    expect(it.log()).toEqual(["insert people(v) →list:a"]);
  });
}

test("C1: a row that comes into a partial index and evicts another one is noticed", () => {
  using it = captureOf(definition, { ddl: table + indexes.partial });
  it.raw.exec("INSERT INTO people(id, list, email, gone) VALUES('x', 'a', 'e', NULL), ('z', 'a', 'e', 'yes')");
  it.log();
  it.raw.exec("UPDATE OR REPLACE people SET gone = NULL WHERE id = 'z'");
  expect([...it.log()].sort()).toEqual(["delete people(x) list:a→", "update people(z)[gone] list:a→list:a"]);
});

test("the search for rows in the way uses a partial index and one over an expression", () => {
  using it = captureOf(definition, { ddl: table + indexes.both });
  const plan = it.raw
    .prepare(
      `EXPLAIN QUERY PLAN SELECT 1 FROM people AS x WHERE (lower(x."email")) = (lower(?)) COLLATE BINARY AND x."list" = ? COLLATE BINARY AND (x."email" IS NOT NULL)`,
    )
    .all("e", "a");
  expect(JSON.stringify(plan)).toContain("people_email");
});
