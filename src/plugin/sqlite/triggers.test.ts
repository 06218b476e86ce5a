import { expect, test } from "vitest";
import { capture, ddl, type Captured, type schema } from "../../testing/capture-fixture.ts";
import { firstRows } from "../../testing/capture-writes.ts";

type Operation = { readonly opcode: string; readonly p4: unknown };

/** The programs of the triggers that a statement may fire, by name, foreign-key actions among those that they follow. */
function programs({ raw }: Captured<typeof schema>, sql: string): ReadonlyMap<string, readonly Operation[]> {
  const found = new Map<string, Operation[]>();
  let current: Operation[] | undefined;
  for (const operation of raw.prepare(`EXPLAIN ${sql}`).all() as Operation[]) {
    const [, name] = /^-- TRIGGER (.*)/.exec(String(operation.p4)) ?? [];
    if (name !== undefined) found.set(name, (current = found.get(name) ?? []));
    current?.push(operation);
  }
  return found;
}

test("no trigger calls a function where a row has one scope: a delete then keeps no statement journal", () => {
  using it = capture();
  const called = (sql: string): readonly unknown[] =>
    [...programs(it, sql).values()].flat().flatMap(({ opcode, p4 }) => (opcode === "Function" ? [p4] : []));
  expect(called("DELETE FROM todos WHERE id = 't'")).toEqual([]);
  expect(called("DELETE FROM replies WHERE id = 'r'")).toEqual([]);
  expect(called("UPDATE todos SET title = 'x', list_id = 'l2', id = 't' WHERE id = 't'")).toEqual([]);
  expect(called("UPDATE comments SET body = 'x', todo_id = 't' WHERE id = 'c'")).toEqual([]);
  expect(called("REPLACE INTO todos(id, list_id) VALUES('t', 'l1')")).toEqual([]);
  expect(called("DELETE FROM nodes WHERE id = 1")).toEqual([]);
});

test("an update fires one trigger, unless it names a key, a unique value or what gives scopes", () => {
  using it = capture();
  const fired = (sql: string): readonly string[] => [...programs(it, sql).keys()].sort();
  expect(fired("UPDATE nodes SET parent = 1")).toEqual(["_sync_u_nodes"]);
  expect(fired("UPDATE todos SET title = 'x'")).toEqual(["_sync_u_todos"]);
  expect(fired("UPDATE members SET name = 'x'")).toEqual(["_sync_u_members"]);
  expect(fired("UPDATE nodes SET label = 'x'")).toEqual(["_sync_bu_nodes", "_sync_eu_nodes", "_sync_u_nodes"]);
  expect(fired("UPDATE todos SET list_id = 'l2'")).toContain("_sync_mu_todos");
});

test("a row that is in the way is looked for by its index", () => {
  for (const role of ["server", "device"] as const) {
    using it = capture({ role });
    for (const table of ["lists", "todos", "comments", "replies", "members", "nodes"]) {
      const operations = programs(it, `INSERT INTO ${table} DEFAULT VALUES`).get(`_sync_bi_${table}`) ?? [];
      // Each statement of the body begins with a trace.
      const condition = operations.slice(1).slice(
        0,
        operations.slice(1).findIndex(({ opcode }) => opcode === "Trace"),
      );
      expect(condition.length).toBeGreaterThan(0);
      expect(condition.filter(({ opcode }) => /OpenEphemeral|OpenAutoindex/.test(opcode))).toEqual([]);
    }
  }
});

test("C1: a key is moved under each name that SQLite has for a row id", () => {
  for (const name of ["rowid", "OID", '"_rowid_"', "id"]) {
    using it = capture({ ddl: ddl + firstRows });
    it.log();
    it.raw.exec(`UPDATE nodes SET ${name} = 7, label = 'z' WHERE id = 1`);
    it.raw.exec(`INSERT INTO nodes VALUES(7, NULL, 'y') ON CONFLICT DO UPDATE SET ${name} = 8`);
    expect(it.log()).toEqual([
      "delete nodes(1) everyone→",
      "insert nodes(7) →everyone",
      "update nodes(7)[label] everyone→everyone",
      "delete nodes(7) everyone→",
      "insert nodes(8) →everyone",
      "update nodes(8)[] everyone→everyone",
    ]);
  }
});

test("a row that is overwritten is one entry, with the scopes that it had, where nothing else can be in the way", () => {
  using it = capture({ ddl: ddl + firstRows });
  it.log();
  it.raw.exec("REPLACE INTO replies VALUES('r0', 'c1', 'y')");
  expect(it.log()).toEqual(["insert replies(r0) list:l1→list:l2"]);
  // An ignored insert leaves a note behind, which concerns nobody else.
  it.raw.exec("INSERT OR IGNORE INTO replies VALUES('r0', 'c0', 'z'); INSERT INTO replies VALUES('r9', 'c0', 'z')");
  expect(it.log()).toEqual(["insert replies(r9) →list:l1"]);
  it.raw.exec("DELETE FROM replies WHERE id = 'r0'; INSERT INTO replies VALUES('r0', 'c0', 'z')");
  expect(it.log()).toEqual(["delete replies(r0) list:l2→", "insert replies(r0) →list:l1"]);
  it.raw.exec("INSERT OR IGNORE INTO replies VALUES('r0', 'c0', 'z'); UPDATE replies SET id = 'r5' WHERE id = 'r0'");
  it.log();
  it.raw.exec("INSERT INTO replies VALUES('r0', 'c0', 'z')");
  expect(it.log()).toEqual(["insert replies(r0) →list:l1"]);
});

test("C1: a row under a key of another case that REPLACE overwrites is logged as deleted", () => {
  using it = capture({
    ddl: ddl.replace("CREATE TABLE replies(id TEXT", "CREATE TABLE replies(id TEXT COLLATE NOCASE") + firstRows,
  });
  it.log();
  it.raw.exec("REPLACE INTO replies VALUES('R0', 'c1', 'y')");
  expect(it.log()).toEqual(["delete replies(r0) list:l1→", "insert replies(R0) →list:l2"]);
});
