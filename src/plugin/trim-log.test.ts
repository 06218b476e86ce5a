import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test, vi } from "vitest";
import { lastWriteWins } from "../protocol/conflict.ts";
import {
  capture,
  captureOf,
  ddl,
  lists,
  schema,
  sync,
  temporaryFile,
  type Captured,
} from "../testing/capture-fixture.ts";
import { headOf } from "../testing/capture-oracle.ts";
import { Crash, openCrashDatabase, reopen } from "../testing/crash-database.ts";
import { stepSync, type Core } from "./core.ts";
import { defineSync } from "./define-sync.ts";
import {
  closeTransaction,
  indexTail,
  isAgeDue,
  lastWriteHlc,
  noteLogAge,
  readEntries,
  readHead,
  readHorizon,
  readHorizonAge,
  readSeqBefore,
  tablesSince,
  trimLog,
  vouches,
  type TrimStep,
} from "./oplog.ts";
import { syncOf } from "./sync-database.ts";
import { openSync } from "./with-sync.ts";

function write<TSchema extends Record<string, unknown>, T>(it: Captured<TSchema>, core: () => Core<T>): T {
  return it.connection.transaction("write", () => it.run(core()));
}
function trim<TSchema extends Record<string, unknown>>(it: Captured<TSchema>, upTo: number, maxRows = 1000): TrimStep {
  return write(it, () => trimLog(it.sync, upTo, maxRows));
}
const seqs = (raw: Database.Database): readonly unknown[] =>
  raw.prepare("SELECT seq FROM _sync_log ORDER BY seq").pluck().all();
/** Where the runs of the index end. */
const runEnds = (raw: Database.Database): readonly number[] =>
  raw.prepare("SELECT last FROM _sync_scope_runs").pluck().all() as number[];
/** The entries that the log has and the index names under a scope. */
const indexed = (raw: Database.Database, scope: string): readonly unknown[] =>
  raw
    .prepare(
      `SELECT seq FROM _sync_log WHERE seq IN (
         SELECT coalesce(q.value, i.last) FROM _sync_scope_runs AS i LEFT JOIN json_each(i.seqs) AS q WHERE i.scope = ?)`,
    )
    .pluck()
    .all(scope);
const insert = (it: Captured<typeof schema>, id: string): unknown => it.db.insert(lists).values({ id }).run();

test("I2: the entry at the horizon keeps its stamp, and what lies below is vouched for no more", () => {
  using it = capture();
  insert(it, "a");
  const cursor = it.run(readHead());
  insert(it, "b");
  const later = it.run(readHead());
  insert(it, "c");
  expect(trim(it, later.seq)).toEqual({ removed: later.seq - 1, isDone: true, horizon: later });
  expect(it.run(readHorizon())).toEqual(later);
  expect(it.run(vouches(later))).toBe(true);
  expect(it.run(vouches({ ...later, stamp: later.stamp + 1 }))).toBe(false);
  expect(it.run(vouches(cursor))).toBe(false);
  expect(it.run(vouches(it.run(readHead())))).toBe(true);
});

test("I2: an entry at the horizon that nobody stood on has a stamp from then on", () => {
  using it = capture();
  it.raw.exec("INSERT INTO lists(id) VALUES('a'), ('b')");
  const seq = headOf(it);
  const { horizon } = trim(it, seq);
  expect(horizon.seq).toBe(seq);
  expect(it.run(readHead())).toEqual(horizon);
  expect(it.run(vouches(horizon))).toBe(true);
  expect(it.run(vouches({ seq, stamp: 0 }))).toBe(false);
});

test("I2: a seq is never given twice, also when everything was trimmed", () => {
  using it = capture();
  insert(it, "a");
  const head = it.run(readHead());
  expect(trim(it, head.seq + 1_000_000).horizon).toEqual(head);
  expect(it.run(readHead())).toEqual(head);
  insert(it, "b");
  expect(seqs(it.raw)).toEqual([head.seq, head.seq + 1, head.seq + 2]);
  expect(trim(it, head.seq).removed).toBe(0);
});

test("I2: a horizon that lies further on already is not moved back", () => {
  using it = capture();
  for (const id of ["a", "b", "c"]) insert(it, id);
  it.raw.exec(
    "UPDATE _sync_meta SET v = (SELECT json_array(seq, stamp) FROM _sync_log ORDER BY seq DESC LIMIT 1) WHERE k = 'horizon'",
  );
  const head = it.run(readHead());
  expect(trim(it, 4)).toEqual({ removed: 3, isDone: true, horizon: head });
  expect(it.run(readHorizon())).toEqual(head);
});

test("a step removes no more than it was allowed, and leaves log, index and horizon in step", () => {
  using it = capture();
  for (let i = 0; i < 10; i++) it.raw.exec(`INSERT INTO lists(id, owner_id) VALUES('l${i}', 'ann')`);
  write(it, () => indexTail(it.sync, 6));
  const target = headOf(it) - 2;
  for (let step = 0; ; step++) {
    const { removed, isDone, horizon } = trim(it, target, 3);
    expect(removed).toBeLessThanOrEqual(3);
    expect(seqs(it.raw)[0]).toBe(horizon.seq);
    expect(Math.min(...runEnds(it.raw))).toBeGreaterThanOrEqual(horizon.seq);
    if (isDone) break;
    expect(step).toBeLessThan(10);
  }
  expect(it.run(readHorizon()).seq).toBe(target);
  const read = (scope: string): number =>
    it.run(readEntries(it.sync, { after: target, upTo: target + 2, scopes: new Set([scope]), limit: 9 })).entries
      .length;
  expect(read("owner:ann")).toBe(2);
  write(it, () => indexTail(it.sync, 100));
  expect(read("owner:ann")).toBe(2);
  expect(indexed(it.raw, "owner:ann")).toEqual([target, target + 1, target + 2]);
});

test("a transaction of many entries is trimmed in steps like any others", () => {
  using it = capture();
  it.db.transaction((tx) => {
    for (let i = 0; i < 20; i++)
      tx.insert(lists)
        .values({ id: `l${i}` })
        .run();
  });
  expect(trim(it, 10, 4).horizon.seq).toBe(5);
  expect(trim(it, 10, 4).horizon.seq).toBe(9);
  expect(trim(it, 10, 4)).toMatchObject({ removed: 1, isDone: true });
  expect(it.run(readHorizon()).seq).toBe(10);
});

test("two processes trim at once, to different ends, and the horizon never goes back", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  using other = capture({ path: file.path, ddl: "" });
  for (let i = 0; i < 30; i++) insert(it, `l${i}`);
  let horizon = 0;
  for (let i = 0; i < 20; i++) {
    const step = i % 2 === 0 ? trim(it, 40, 3) : trim(other, 20, 3);
    expect(step.horizon.seq).toBeGreaterThanOrEqual(horizon);
    horizon = step.horizon.seq;
  }
  expect(horizon).toBe(40);
  expect(seqs(it.raw)[0]).toBe(40);
  expect(it.raw.pragma("integrity_check", { simple: true })).toBe("ok");
});

test("I2: a process that dies at any statement of a step leaves a log without a hole", () => {
  for (let at = 1; ; at++) {
    const first = openCrashDatabase();
    first.raw.exec(ddl);
    const open = (database: typeof first) => syncOf(openSync(drizzle(database.handle, { schema }), sync));
    const opened = open(first);
    void opened.install("server");
    for (let i = 0; i < 12; i++) first.handle.exec(`INSERT INTO lists(id, owner_id) VALUES('l${i}', 'ann')`);
    const step = (it: typeof opened, core: () => Core<unknown>): void => {
      if (it.connection.kind === "sync")
        it.connection.transaction("write", () => stepSync(it.connection as never, core()));
    };
    step(opened, () => indexTail(opened, 8));
    first.crashAfter(at);
    let isThrough = false;
    try {
      for (let i = 0; i < 4; i++) step(opened, () => trimLog(opened, 10, 3));
      isThrough = true;
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
    }
    const again = reopen(first);
    const [seq, stamp] = JSON.parse(
      String(again.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'horizon'").pluck().get()),
    ) as number[];
    expect(again.raw.prepare("SELECT min(seq), max(seq), count(*) FROM _sync_log").raw().get()).toEqual([
      seq,
      13,
      14 - (seq ?? 0),
    ]);
    expect(again.raw.prepare("SELECT stamp FROM _sync_log WHERE seq = ?").pluck().get(seq)).toBe(stamp);
    expect(again.raw.prepare("SELECT count(*) FROM _sync_scope_runs WHERE last < ?").pluck().get(seq)).toBe(0);
    const next = open(again);
    for (let i = 0; i < 4; i++) step(next, () => trimLog(next, 10, 3));
    expect(again.raw.prepare("SELECT min(seq) FROM _sync_log").pluck().get()).toBe(10);
    again.raw.close();
    if (isThrough) return;
  }
});

test("P11: a value whose entry was trimmed is as old as the horizon, and no later", () => {
  const notes = sqliteTable("notes", { id: text("id").primaryKey(), a: text("a"), b: text("b") });
  const definition = defineSync({ notes }, { notes: { scope: "everyone", conflict: lastWriteWins() } });
  using it = captureOf(definition, {
    ddl: "CREATE TABLE notes(id TEXT PRIMARY KEY NOT NULL, a TEXT, b TEXT)",
    now: () => 1000,
  });
  const [table] = it.sync.tables;
  if (table === undefined) throw new Error("No table.");
  const at = (time: number, statement: string): void => {
    it.raw.exec(statement);
    write(it, () => closeTransaction(it.sync, time));
  };
  const times = (id: string): unknown =>
    Object.fromEntries(it.run(lastWriteHlc(it.sync, table, [id], table.columns.slice(1))));
  // A device's own time may lie behind that of the entry before it.
  at(40, "INSERT INTO notes VALUES('n', 'x', 'x'), ('gone', 'x', 'x')");
  at(30, "DELETE FROM notes WHERE id = 'gone'");
  const end = headOf(it);
  at(50, "UPDATE notes SET a = 'y'");
  expect(times("never")).toEqual({});
  trim(it, end);
  expect(times("n")).toEqual({ a: 50, b: 40 });
  expect(times("gone")).toEqual({ a: 40, b: 40 });
  // In the midst of a transaction the horizon has the time of its marker.
  trim(it, end + 1);
  expect(times("gone")).toEqual({ a: 50, b: 50 });
});

test("what was committed between two looks is unknown once some of it was trimmed", () => {
  using it = capture();
  insert(it, "a");
  const before = headOf(it);
  it.db.insert(schema.nodes).values({ id: 1 }).run();
  insert(it, "b");
  const head = headOf(it);
  expect(it.run(tablesSince(it.sync, before, 100))).toEqual(new Set(["nodes", "lists"]));
  trim(it, head - 1);
  expect(it.run(tablesSince(it.sync, before, 100))).toBeUndefined();
  expect(it.run(tablesSince(it.sync, head - 1, 100))).toEqual(new Set());
  expect(it.run(tablesSince(it.sync, head, 100))).toEqual(new Set());
});

test("`onChange` says that changes went by untold when the log was trimmed past its reader, and then goes on", async () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  const told: unknown[] = [];
  insert(it, "a");
  const stop = it.db.$sync.onChange(["lists"], (changes, info) => void told.push([changes.length, info.isComplete]));
  insert(it, "b");
  await vi.waitFor(() => expect(told).toEqual([[1, true]]));
  // Trimmed up to where it stands: nothing is missing.
  trim(it, headOf(it));
  insert(it, "c");
  await vi.waitFor(() => expect(told).toHaveLength(2));
  expect(told[1]).toEqual([1, true]);
  const other = new Database(file.path);
  other.exec(
    "INSERT INTO lists(id) VALUES('d'), ('e'); DELETE FROM _sync_log WHERE seq < (SELECT max(seq) FROM _sync_log)",
  );
  other.exec("UPDATE _sync_meta SET v = (SELECT json_array(seq, stamp) FROM _sync_log) WHERE k = 'horizon'");
  await vi.waitFor(() => expect(told).toHaveLength(3));
  expect(told[2]).toEqual([1, false]);
  insert(it, "f");
  await vi.waitFor(() => expect(told).toHaveLength(4));
  expect(told[3]).toEqual([1, true]);
  stop();
  other.close();
});

test("entries are as old as the note says that found them there, whatever times they carry", () => {
  using it = capture();
  const every = { ms: 10, entries: 100 };
  const note = (at: number): void => write(it, () => noteLogAge(at));
  expect(it.run(isAgeDue(0, every))).toBe(true);
  note(0);
  expect(it.run(isAgeDue(1000, every))).toBe(false);
  it.raw.exec("INSERT INTO lists(id) VALUES('a')");
  const first = headOf(it);
  expect(it.run(isAgeDue(9, every))).toBe(false);
  expect(it.run(isAgeDue(10, every))).toBe(true);
  note(20);
  note(30);
  it.raw.exec("INSERT INTO lists(id) VALUES('b')");
  note(40);
  const head = headOf(it);
  const before = (at: number): number => it.run(readSeqBefore(at, 100));
  expect([before(-1), before(0), before(19), before(20), before(39), before(40)]).toEqual([
    0,
    1,
    1,
    first,
    first,
    head,
  ]);
  // A clock that was set back: what was noted ahead of it was written by now.
  expect(it.run(readSeqBefore(15, 15))).toBe(head);
  expect(it.run(readHorizonAge(100))).toBe(100);
  trim(it, head);
  expect(it.run(readHorizonAge(100))).toBe(60);
  note(90);
  expect(it.run(readHorizonAge(100))).toBe(60);
  for (let i = 0; i < 1000; i++) {
    it.raw.exec("UPDATE lists SET title = hex(randomblob(4)) WHERE id = 'a'");
    note(100 + i);
  }
  const text_ = String(it.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'ages'").pluck().get());
  expect((JSON.parse(text_) as unknown[]).length).toBeLessThanOrEqual(200);
  expect(it.run(readSeqBefore(1099, 2000))).toBe(headOf(it));
});
