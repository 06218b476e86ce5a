import fc from "fast-check";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { captureOf } from "../../testing/capture-fixture.ts";
import { all } from "../core.ts";
import { defineSync } from "../define-sync.ts";
import { splitScopes } from "../scope-text.ts";
import { scopeSql } from "./scope-sql.ts";

/** Columns of every affinity; whatever Drizzle takes them for, SQLite stores what it is given. */
const types = ["TEXT", "VARCHAR(9)", "INTEGER", "REAL", "NUMERIC", "BLOB", "", "TEXT COLLATE NOCASE"];
const other = types.length;
const named = Object.fromEntries([...types, ""].map((_, i) => [`v${i}`, text(`v${i}`)]));
const table = (name: string) => sqliteTable(name, { id: text("id").primaryKey(), ...named });
const tables = {
  ...Object.fromEntries(types.map((_, i) => [`alone${i}`, table(`alone${i}`)])),
  pair: table("pair"),
  several: table("several"),
};
const rules = {
  ...Object.fromEntries(types.map((_, i) => [`alone${i}`, { scope: { [`kind${i}`]: `v${i}` } }])),
  pair: { scope: { pair: ["v0", "v6"] } },
  several: { scope: { first: "v0", second: "v2", third: "v6" } },
};
const ddl = Object.keys(tables)
  .map(
    (name) =>
      `CREATE TABLE ${name}(id TEXT PRIMARY KEY NOT NULL, ${types.map((type, i) => `v${i} ${type}`).join(", ")}, v${other});`,
  )
  .join("");

const texts = ["", "a", "A", "12", "1.0", "a\nb", "\n", "a\n\nalone0:b", "x\0\ny"];
const numbers = [0n, -7n, 2n ** 62n, 1.5, -0.5, 2, 1e300, -1e15, 2 ** 60];
const value = fc.oneof(
  fc.constantFrom<unknown>(null, ...texts, ...numbers, Buffer.from("a"), Buffer.alloc(0)),
  fc.string(),
  fc.double({ noNaN: true }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.uint8Array({ maxLength: 4 }).map((bytes) => Buffer.from(bytes)),
);

test("a text or a whole number without a line feed names a scope, in whatever column it stands, and nothing else does", () => {
  using it = captureOf(defineSync(tables, rules as never), { ddl });
  fc.assert(
    fc.property(fc.nat({ max: types.length - 1 }), value, (i, given) => {
      it.raw.exec(`DELETE FROM alone${i}`);
      it.raw.prepare(`INSERT INTO alone${i}(id, v${i}) VALUES('r', ?)`).run(given);
      const [source] = it.sync.tables.filter(({ name }) => name === `alone${i}`);
      if (source === undefined) throw new Error("No table.");
      const [row] = it.run(all(`SELECT typeof(v${i}), v${i} || '', ${scopeSql(source, "x")} FROM alone${i} AS x`));
      const [kind, spelled, scopes] = row ?? [];
      const isNamed = (kind === "text" || kind === "integer") && !String(spelled).includes("\n");
      expect(splitScopes(scopes)).toEqual(isNamed ? [`kind${i}:${String(spelled)}`] : []);
    }),
    { numRuns: 1000 },
  );
});

test("what the log says of a row's scopes, before and after, is what a read of the row says", () => {
  using it = captureOf(defineSync(tables, rules as never), { ddl });
  const row = fc.array(value, { minLength: types.length, maxLength: types.length });
  fc.assert(
    fc.property(fc.constantFrom(...it.sync.tables), row, row, (source, first, second) => {
      const scopes = (): readonly string[] =>
        splitScopes(it.run(all(`SELECT ${scopeSql(source, "x")} FROM ${source.name} AS x`))[0]?.[0]);
      const fields = types.map((_, i) => `v${i}`);
      it.raw.prepare(`INSERT INTO ${source.name} VALUES('r', ${fields.map(() => "?").join(", ")}, NULL)`).run(...first);
      const inserted = scopes();
      it.raw.prepare(`UPDATE ${source.name} SET ${fields.map((field) => `${field} = ?`).join(", ")}`).run(...second);
      const updated = scopes();
      it.raw.exec(`UPDATE ${source.name} SET v${other} = 1; DELETE FROM ${source.name}`);
      const logged = it.run(all("SELECT sb, sa FROM _sync_log WHERE t > 0 ORDER BY seq DESC LIMIT 4"));
      expect(logged[1]?.[0]).toBe(0);
      expect(logged.map(([before, after]) => [splitScopes(before === 0 ? after : before), splitScopes(after)])).toEqual(
        [
          [updated, []],
          [updated, updated],
          [inserted, updated],
          [[], inserted],
        ],
      );
    }),
    { numRuns: 400 },
  );
});
