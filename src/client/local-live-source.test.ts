import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import Database from "better-sqlite3";
import { count, eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { union } from "drizzle-orm/sqlite-core";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import { lists, migrations, schema, sync, todos } from "../testing/browser/web-schema.ts";
import type { LiveQuery } from "./live-source.ts";
import { createLocalLiveSource, isSameResult } from "./local-live-source.ts";

let file: Database.Database;
const open = (): ReturnType<typeof make> => make(file);
const make = (database: Database.Database) => withSync(drizzle(database, { schema }), sync);
const stops: (() => void)[] = [];

beforeEach(() => {
  file = new Database(":memory:");
  for (const { statements } of migrations) for (const statement of statements) file.exec(statement);
});
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
  file.close();
});

function watch(db: object, query: LiveQuery<unknown>): unknown[] {
  const shown: unknown[] = [];
  stops.push(
    createLocalLiveSource(syncOf(db)).watch(
      query,
      (data) => shown.push(data),
      (error) => shown.push(error),
    ),
  );
  return shown;
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 10));

test("a query is run again after a commit to a table that it reads in any way, and told when its result changed", async () => {
  const db = open();
  db.insert(lists).values({ id: "l", title: "L" }).run();
  const cte = db.$with("c").as(db.select({ id: lists.id }).from(lists));
  const queries: Record<string, LiveQuery<unknown>> = {
    direct: db.select().from(lists),
    where: db
      .select()
      .from(todos)
      .where(sql`${todos.listId} in ${db.select({ id: lists.id }).from(lists).where(eq(lists.title, "New"))}`),
    scalar: db.select({ n: sql<number>`(select count(*) from ${lists} where title = 'New')` }).from(sql`(select 1)`),
    cte: db.with(cte).select().from(cte),
    union: union(db.select({ id: todos.id }).from(todos), db.select({ id: lists.id }).from(lists)),
    relational: db.query.todos.findMany({ with: { list: true } }),
  };
  const shown = Object.fromEntries(Object.entries(queries).map(([name, query]) => [name, watch(db, query)]));
  await settled();
  db.insert(lists).values({ id: "m", title: "New" }).run();
  db.insert(todos).values({ id: "t", listId: "m", title: "T" }).run();
  await settled();
  for (const [name, results] of Object.entries(shown)) expect(results, name).toHaveLength(2);
  expect(shown["relational"]?.[1]).toMatchObject([{ id: "t", list: { title: "New" } }]);
});

test("commits to other tables, and those that change nothing of the result, are not told", async () => {
  const db = open();
  const shown = watch(db, db.select({ n: count() }).from(todos));
  await settled();
  db.insert(lists).values({ id: "l", title: "L" }).run();
  await settled();
  db.insert(todos).values({ id: "t", listId: "l", title: "T" }).run();
  await settled();
  db.update(todos).set({ title: "U" }).run();
  await settled();
  expect(shown).toEqual([[{ n: 0 }], [{ n: 1 }]]);
});

test("a commit of another connection is noticed", async () => {
  file.close();
  const folder = await mkdtemp(path.join(tmpdir(), "drizzle-sync-live-"));
  file = new Database(path.join(folder, "app.db"));
  file.pragma("journal_mode = wal");
  for (const { statements } of migrations) for (const statement of statements) file.exec(statement);
  const db = open();
  const other = new Database(path.join(folder, "app.db"));
  await db.$sync.ready;
  const shown = watch(db, db.select().from(lists));
  await settled();
  make(other).insert(lists).values({ id: "x", title: "X" }).run();
  await vi.waitFor(() => expect(shown).toHaveLength(2));
  other.close();
  await rm(folder, { recursive: true });
});

test("nothing is told after the end", async () => {
  const db = open();
  const shown = watch(db, db.select().from(lists));
  await settled();
  for (const stop of stops.splice(0)) stop();
  db.insert(lists).values({ id: "l", title: "L" }).run();
  await settled();
  expect(shown).toHaveLength(1);
});

test("results are compared by what they hold", () => {
  const value = { a: [1, "x", null], when: new Date(5), bytes: new Uint8Array([1, 2]), deep: { big: 5n } };
  expect(isSameResult(value, structuredClone(value))).toBe(true);
  for (const other of [
    { ...value, a: [1, "x"] },
    { ...value, when: new Date(6) },
    { ...value, bytes: new Uint8Array([1, 3]) },
    { ...value, deep: { big: 6n } },
    { ...value, more: 1 },
    [value],
    null,
  ]) {
    expect(isSameResult(value, other)).toBe(false);
  }
});
