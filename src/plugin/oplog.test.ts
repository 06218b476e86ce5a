import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { capture, ddl, lists, type Captured, type schema } from "../testing/capture-fixture.ts";
import { captureOf } from "../testing/capture-fixture.ts";
import { headOf } from "../testing/capture-oracle.ts";
import { lastWriteWins } from "../protocol/conflict.ts";
import { defaultMaxAheadMs, hlcAt, hlcNow } from "../protocol/hlc.ts";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { first, type Core } from "./core.ts";
import { defineSync } from "./define-sync.ts";
import { readMeta, removeMeta, writeMeta } from "./meta.ts";
import {
  closeTransaction,
  indexTail,
  lastWriteHlc,
  noteLogAge,
  readEntries,
  readHead,
  readHorizon,
  vouches,
  type LogEntry,
} from "./oplog.ts";

function write<TSchema extends Record<string, unknown>, T>(it: Captured<TSchema>, core: () => Core<T>): T {
  return it.connection.transaction("write", () => it.run(core()));
}
const text_ = (entries: readonly LogEntry[]): readonly string[] =>
  entries.map(
    (entry) =>
      `${entry.kind} ${entry.table.key} ${String(entry.key)} ${entry.columns.map((column) => column.key).join("+")}`,
  );

test("I2: a position is vouched for if the log has that seq with that stamp, at or above the horizon", () => {
  using it = capture();
  it.db.insert(lists).values({ id: "a" }).run();
  const head = it.run(readHead());
  const horizon = it.run(readHorizon());
  expect(it.run(vouches(head))).toBe(true);
  expect(it.run(vouches(horizon))).toBe(true);
  expect(it.run(vouches({ ...head, stamp: head.stamp + 1 }))).toBe(false);
  expect(it.run(vouches({ seq: head.seq + 1, stamp: head.stamp }))).toBe(false);
  expect(it.run(vouches({ seq: 0, stamp: 0 }))).toBe(false);
});

test("entries are read by scope, before and after, in order, with the same columns array for the same columns", () => {
  using it = capture();
  it.raw.exec(
    `INSERT INTO lists VALUES('a', 'u1', 't', NULL), ('b', 'u2', 't', NULL); UPDATE lists SET title = 'x'; UPDATE lists SET owner_id = 'u1' WHERE id = 'b'; DELETE FROM lists WHERE id = 'a'`,
  );
  const read = (...scopes: string[]): readonly LogEntry[] =>
    it.run(readEntries(it.sync, { after: 0, upTo: headOf(it), scopes: new Set(scopes), limit: 100 })).entries;
  expect(text_(read("list:a"))).toEqual(["insert lists a ", "update lists a title", "delete lists a "]);
  expect(text_(read("owner:u1"))).toEqual([
    "insert lists a ",
    "update lists a title",
    "update lists b owner",
    "delete lists a ",
  ]);
  expect(text_(read("nobody"))).toEqual([]);
  const updates = read("list:a", "list:b").filter(
    (entry) => entry.columns.length === 1 && entry.columns[0]?.key === "title",
  );
  expect(updates).toHaveLength(2);
  expect(updates[0]?.columns).toBe(updates[1]?.columns);
});

test("an answer stops at its limit and says how far it reached; going on from there misses nothing", () => {
  using it = capture();
  for (let i = 0; i < 30; i++)
    it.raw.exec(`INSERT INTO lists VALUES('l${i}', '${i % 3 === 0 ? "u1" : "u2"}', NULL, NULL)`);
  const upTo = headOf(it);
  const seen: string[] = [];
  for (let after = 0; after < upTo;) {
    const { entries, reached } = it.run(readEntries(it.sync, { after, upTo, scopes: new Set(["owner:u1"]), limit: 4 }));
    seen.push(...entries.map((entry) => String(entry.key)));
    expect(entries.length).toBeLessThanOrEqual(4);
    expect(reached).toBeGreaterThan(after);
    after = reached;
  }
  expect(seen).toEqual(Array.from({ length: 10 }, (_, i) => `l${i * 3}`));
});

test("what is read does not depend on how much of the tail is indexed, on the limit, or on the number of scopes", () => {
  const scope = fc.constantFrom("list:l1", "list:l2", "owner:u1", "owner:u2", "owner:u3", "everyone");
  fc.assert(
    fc.property(
      fc.array(fc.record({ id: fc.nat({ max: 3 }), owner: fc.nat({ max: 4 }) }), { minLength: 1, maxLength: 60 }),
      fc.uniqueArray(scope, { minLength: 1 }),
      fc.nat({ max: 70 }),
      fc.integer({ min: 1, max: 20 }),
      (writes, scopes, indexed, limit) => {
        using it = capture();
        for (const { id, owner } of writes)
          it.raw.exec(`REPLACE INTO lists VALUES('l${id}', ${owner === 0 ? "NULL" : `'u${owner}'`}, NULL, NULL)`);
        const upTo = headOf(it);
        const wanted = new Set(scopes);
        const all = it.run(readEntries(it.sync, { after: 0, upTo, scopes: wanted, limit: 1000 })).entries;
        write(it, () => indexTail(it.sync, indexed));
        const paged: LogEntry[] = [];
        for (let after = 0; after < upTo;) {
          const { entries, reached } = it.run(readEntries(it.sync, { after, upTo, scopes: wanted, limit }));
          paged.push(...entries);
          after = reached;
        }
        expect(paged).toEqual(all);
      },
    ),
    { numRuns: 60 },
  );
});

test("runs of the index may be long, end anywhere and be cut by any range: nothing is missed and nothing told twice", () => {
  using it = capture();
  const scopes = ["list:l7", "owner:u0", "owner:u1", "owner:u9", "list:l1200"];
  it.raw.exec(
    `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1499)
       INSERT INTO lists(id, owner_id) SELECT 'l' || i, CASE WHEN i < 1300 AND i % 7 > 0 THEN 'u0' ELSE 'u' || (i % 3) END FROM n`,
  );
  it.raw.exec("UPDATE lists SET owner_id = 'u9' WHERE id IN ('l7', 'l8', 'l1200'); DELETE FROM lists WHERE id = 'l7'");
  const upTo = headOf(it);
  const entriesOf = (wanted: readonly string[], after: number, limit: number) =>
    it.run(readEntries(it.sync, { after, upTo, scopes: new Set(wanted), limit }));
  const seqsOf = (wanted: readonly string[], after: number, limit: number): readonly number[] =>
    entriesOf(wanted, after, limit).entries.map(({ seq }) => seq);
  const range = fc.record({
    wanted: fc.subarray(scopes, { minLength: 1 }),
    after: fc.nat({ max: upTo }),
    limit: fc.integer({ min: 20, max: 400 }),
  });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 900 }), { maxLength: 6 }),
      fc.array(range, { maxLength: 5 }),
      (batches, ranges) => {
        it.raw.exec("DELETE FROM _sync_scope_runs; DELETE FROM _sync_meta WHERE k = 'indexed'");
        const wantedOf = ranges.map(({ wanted, after }) => seqsOf(wanted, after, 10_000));
        for (const batch of batches) write(it, () => indexTail(it.sync, batch));
        ranges.forEach(({ wanted, after, limit }, i) => {
          const found: number[] = [];
          for (let at = after; at < upTo;) {
            const { entries, reached } = entriesOf(wanted, at, limit);
            found.push(...entries.map(({ seq }) => seq));
            at = reached;
          }
          expect(found).toEqual(wantedOf[i]);
        });
      },
    ),
    { numRuns: 25 },
  );
});

test("entries that an earlier version wrote stay readable", () => {
  using it = capture();
  const number = [...it.sync.layouts.values()].find(({ name }) => name === "lists")?.number;
  it.raw.exec(
    `INSERT INTO _sync_log(stamp, t, kind, mask, k0, sb, sa) VALUES
       (1, ${number}, 1, NULL, 'a', NULL, 'list:a' || char(10) || 'owner:u'),
       (2, ${number}, 2, 2, 'a', 'list:a' || char(10) || 'owner:u', 'list:a' || char(10) || 'owner:u'),
       (3, ${number}, 3, NULL, 'a', 'list:a', NULL)`,
  );
  const read = () =>
    it
      .run(readEntries(it.sync, { after: 0, upTo: headOf(it), scopes: new Set(["list:a"]), limit: 9 }))
      .entries.map(({ kind, before, after }) => [kind, before, after]);
  const all = [
    ["insert", [], ["list:a", "owner:u"]],
    ["update", ["list:a", "owner:u"], ["list:a", "owner:u"]],
    ["delete", ["list:a"], []],
  ];
  expect(read()).toEqual(all);
  expect(it.run(readHead()).stamp).toBe(3);
  write(it, () => indexTail(it.sync, 9));
  expect(read()).toEqual(all);
});

test("the tail is indexed in batches, each row once", () => {
  using it = capture();
  it.raw.exec("INSERT INTO lists VALUES('a', 'u1', NULL, NULL), ('b', 'u1', NULL, NULL), ('c', NULL, NULL, NULL)");
  expect(write(it, () => indexTail(it.sync, 2))).toBe(2);
  expect(write(it, () => indexTail(it.sync, 100))).toBe(1);
  expect(write(it, () => indexTail(it.sync, 100))).toBe(0);
  expect(it.raw.prepare("SELECT scope, last, seqs FROM _sync_scope_runs ORDER BY scope").raw().all()).toEqual([
    ["list:a", 2, null],
    ["list:b", 3, null],
    ["list:c", 4, null],
    ["owner:u1", 3, "[2,3]"],
  ]);
});

test("P11: a transaction is closed once, with its time, and nothing is closed when nothing is open", () => {
  using it = capture();
  expect(write(it, () => closeTransaction(it.sync, 5))).toBe(false);
  it.raw.exec("INSERT INTO lists(id) VALUES('a')");
  expect(write(it, () => closeTransaction(it.sync, 5))).toBe(true);
  expect(write(it, () => closeTransaction(it.sync, 6))).toBe(false);
  expect(it.run(first("SELECT t, mask FROM _sync_log ORDER BY seq DESC LIMIT 1"))).toEqual([0, 5]);
});

test("P11: the time of a column's last write is that of the transaction which wrote it, and the index serves it", () => {
  const notes = sqliteTable("notes", { id: text("id").primaryKey(), a: text("a"), b: text("b") });
  const definition = defineSync({ notes }, { notes: { scope: "everyone", conflict: lastWriteWins() } });
  using it = captureOf(definition, {
    ddl: "CREATE TABLE notes(id TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT)",
    now: () => 1000,
  });
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  const at = (time: number, sql: string): void => {
    it.raw.exec(sql);
    write(it, () => closeTransaction(it.sync, time));
  };
  at(10, "INSERT INTO notes VALUES('n', 'x', 'x'), ('m', 'x', 'x')");
  for (let i = 0; i < 100; i++) at(20 + i, `UPDATE notes SET a = '${i}' WHERE id = 'n'`);
  at(200, "UPDATE notes SET b = 'y' WHERE id = 'm'");
  const times = (id: string): unknown =>
    Object.fromEntries(it.run(lastWriteHlc(it.sync, table, [id], table.columns.slice(1))));
  expect(times("n")).toEqual({ a: 119, b: 10 });
  expect(times("m")).toEqual({ a: 10, b: 200 });
  expect(times("nobody")).toEqual({});
  it.raw.exec("UPDATE notes SET a = 'open' WHERE id = 'm'");
  expect(times("m")).toEqual({ a: hlcNow(0, 1000), b: 200 });
  const plan = it.raw
    .prepare(
      "EXPLAIN QUERY PLAN SELECT seq, t, kind, mask FROM _sync_log WHERE t IN (1) AND k0 = ? AND seq < ? ORDER BY seq DESC LIMIT 32",
    )
    .all("n", 9) as { detail: string }[];
  expect(plan.map(({ detail }) => detail).join()).toContain("USING INDEX _sync_times_notes");
});

test("P11: of a row that was changed very often not all is read; what lies further back counts as late as it can be", () => {
  const notes = sqliteTable("notes", { id: text("id").primaryKey(), a: text("a"), b: text("b") });
  const definition = defineSync({ notes }, { notes: { scope: "everyone", conflict: lastWriteWins() } });
  let now = 1000;
  using it = captureOf(definition, {
    ddl: "CREATE TABLE notes(id TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT)",
    now: () => now,
  });
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  const change = (count: number): void => {
    it.raw.exec("BEGIN");
    for (let i = 0; i < count; i++) it.raw.exec(`UPDATE notes SET a = '${i}'`);
    it.raw.exec("COMMIT");
    write(it, () => closeTransaction(it.sync, hlcAt(now)));
  };
  const times = (): { readonly of: unknown; readonly read: number } => {
    const all = vi.spyOn(it.connection, "all");
    const found = it.run(lastWriteHlc(it.sync, table, ["n"], table.columns.slice(1)));
    const read = all.mock.results.reduce((sum, { value }) => sum + (value as readonly unknown[]).length, 0);
    all.mockRestore();
    return { of: Object.fromEntries(found), read };
  };
  it.raw.exec("INSERT INTO notes VALUES('n', 'x', 'x')");
  change(5000);
  expect(times().of).toEqual({ a: hlcAt(1000), b: hlcAt(1000) });
  write(it, () => noteLogAge(now));
  now = 500_000;
  change(15_000);
  now = 900_000;
  // Before the note or after it: nobody looked.
  expect(times().of).toEqual({ a: hlcAt(500_000), b: hlcAt(now + defaultMaxAheadMs) });
  expect(times().read).toBeLessThan(12_000);
  write(it, () => noteLogAge(now));
  now = 2_000_000;
  expect(times().of).toEqual({ a: hlcAt(500_000), b: hlcAt(900_000 + defaultMaxAheadMs) });
  // From among the entries that are read the true time is known again.
  it.raw.exec("UPDATE notes SET b = 'y'");
  write(it, () => closeTransaction(it.sync, hlcAt(now)));
  change(10);
  expect(times().of).toEqual({ a: hlcAt(now), b: hlcAt(now) });
});

test("state is kept by key", () => {
  using it: Captured<typeof schema> = capture({ ddl });
  write(it, () => writeMeta("x", 1));
  write(it, () => writeMeta("x", 12345678901));
  expect(it.run(readMeta("x"))).toBe(12345678901);
  write(it, () => removeMeta("x"));
  expect(it.run(readMeta("x"))).toBeUndefined();
});
