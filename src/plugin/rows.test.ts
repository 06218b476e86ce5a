import fc from "fast-check";
import { expect, test } from "vitest";
import { capture, ddl, type Captured, type schema } from "../testing/capture-fixture.ts";
import { dump, firstRows, scopesIn, writeKinds, writeSql } from "../testing/capture-writes.ts";
import type { Key } from "../protocol/ids.ts";
import { readRows, readSnapshot, scopesOfRow } from "./rows.ts";
import type { SyncTable } from "./table.ts";

function tableOf(it: Captured<typeof schema>, key: string): SyncTable {
  const table = it.sync.tableByKey.get(key);
  if (table === undefined) throw new Error("No such table.");
  return table;
}

test("rows are read by key, those that exist, in the order of the keys, with their live scopes", () => {
  using it = capture({ ddl: ddl + firstRows });
  const todos = tableOf(it, "todos");
  const title = todos.columns.filter((column) => column.key === "title");
  expect(it.run(readRows(todos, title, [["t1"], ["nope"], ["t0"]]))).toEqual([
    { key: ["t1"], values: ["x"], scopes: ["list:l2"] },
    { key: ["t0"], values: ["abc"], scopes: ["list:l1"] },
  ]);
  expect(it.run(scopesOfRow(tableOf(it, "replies"), ["r0"]))).toEqual(["list:l1"]);
  expect(it.run(scopesOfRow(tableOf(it, "replies"), ["nope"]))).toBeUndefined();
  expect(
    it.run(
      readRows(
        tableOf(it, "members"),
        [],
        [
          ["l1", 1],
          ["l1", 2],
        ],
      ),
    ),
  ).toEqual([{ key: ["l1", 1], values: [], scopes: ["member:l1:1"] }]);
});

test("many rows are read in one go", () => {
  using it = capture();
  it.raw.exec(
    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2345) INSERT INTO lists(id) SELECT 'l' || i FROM n",
  );
  const keys: Key[] = Array.from({ length: 2346 }, (_, i) => [`l${i}`]);
  expect(it.run(readRows(tableOf(it, "lists"), [], keys)).map((row) => row.key)).toEqual(keys);
});

test("a snapshot's pages give each row of the scopes once, in key order, for own, compound, constant and inherited scopes", () => {
  const number = fc.nat({ max: 19 });
  const writes = fc.array(fc.record({ kind: fc.nat({ max: writeKinds - 1 }), a: number, b: number, c: number }), {
    maxLength: 40,
  });
  const scope = fc.constantFrom<string[]>(
    "list:l1",
    "list:l2",
    "list:L1",
    "owner:u1",
    "owner:u2",
    "owner:x\ny",
    "member:l1:1",
    "member:l2:2",
    "everyone",
    "list:",
    "member:l1",
  );
  fc.assert(
    fc.property(
      writes,
      fc.uniqueArray(scope, { minLength: 1 }),
      fc.integer({ min: 1, max: 5 }),
      (list, scopes, limit) => {
        using it = capture({ ddl: ddl + firstRows });
        it.raw.pragma("foreign_keys = OFF");
        for (const write of list) {
          try {
            it.raw.exec(writeSql(write));
          } catch (error) {
            if (!/constraint/i.test(String(error))) throw error;
          }
        }
        const rows = dump(it.raw);
        for (const table of it.sync.tables) {
          const found: Key[] = [];
          for (let after: Key | undefined; ;) {
            const page = it.run(
              readSnapshot(it.sync, table, {
                columns: table.columns.slice(table.keyColumns.length),
                scopes,
                limit,
                ...(after === undefined ? {} : { after }),
              }),
            );
            for (const row of page)
              expect(new Set(row.scopes)).toEqual(scopesIn(rows, `${table.name}(${row.key.map(String).join(",")})`));
            found.push(...page.map((row) => row.key));
            after = page.at(-1)?.key;
            if (page.length < limit || after === undefined) break;
          }
          const names = found.map((key) => `${table.name}(${key.map(String).join(",")})`);
          const wanted = [...rows.keys()].filter(
            (name) =>
              name.startsWith(`${table.name}(`) && [...scopesIn(rows, name)].some((own) => scopes.includes(own)),
          );
          expect(names).toEqual([...new Set(names)]);
          expect([...names].sort()).toEqual([...wanted].sort());
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("a snapshot of a scope that no rule of the table can name reads nothing", () => {
  using it = capture({ ddl: ddl + firstRows });
  expect(
    it.run(readSnapshot(it.sync, tableOf(it, "lists"), { columns: [], scopes: ["nobody:x", "list"], limit: 10 })),
  ).toEqual([]);
});
