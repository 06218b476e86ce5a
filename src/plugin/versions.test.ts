import type Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { index, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { captureOf, temporaryFile } from "../testing/capture-fixture.ts";
import { defineSync } from "./define-sync.ts";

// Two versions of an app on one file, as during a rolling deploy.

const parents = sqliteTable("parents", { id: text("id").primaryKey(), list: text("list") });
const parentsNow = sqliteTable("parents", { id: text("id").primaryKey(), list: text("list"), more: text("more") });
const children = sqliteTable(
  "children",
  { id: text("id").primaryKey(), parent: text("parent").references(() => parents.id) },
  (t) => [index("children_parent").on(t.parent)],
);
const childrenNow = sqliteTable(
  "children",
  { id: text("id").primaryKey(), parent: text("parent").references(() => parentsNow.id) },
  (t) => [index("children_parent").on(t.parent)],
);
const before = defineSync({ parents }, { parents: { scope: { list: "list" } } });
const after = defineSync(
  { parents: parentsNow, children: childrenNow },
  { parents: { scope: { list: "list" } }, children: { scopeFrom: "parent" } },
);
void children;
const ddl = `
CREATE TABLE parents(id TEXT PRIMARY KEY NOT NULL, list TEXT, more TEXT);
CREATE TABLE children(id TEXT PRIMARY KEY NOT NULL, parent TEXT REFERENCES parents(id));
CREATE INDEX children_parent ON children(parent);
`;

function triggers(raw: Database.Database): readonly unknown[] {
  return raw.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY rowid").all();
}

function declaredSince(raw: Database.Database): unknown {
  return raw.prepare("SELECT v FROM _sync_meta WHERE k = 'declared_since'").pluck().get();
}

test("C1: an older version of the app takes no triggers from tables and columns that it does not know", () => {
  using file = temporaryFile();
  using old = captureOf(before, { path: file.path, ddl });
  using now = captureOf(after, { path: file.path });
  const theirs = triggers(now.raw);
  // The later start rebuilt what the parent's triggers lacked.
  const since = declaredSince(now.raw);
  old.db.insert(parents).values({ id: "p", list: "a" }).run();
  now.db.insert(childrenNow).values({ id: "c", parent: "p" }).run();
  now.db.update(parentsNow).set({ more: "x" }).where(eq(parentsNow.id, "p")).run();
  old.db.update(parents).set({ list: "b" }).run();
  expect(now.log()).toEqual([
    "insert parents(p) →list:a",
    "—",
    "insert children(c) →list:a",
    "—",
    "update parents(p)[more] list:a→list:a",
    "—",
    // In the order in which the triggers fire.
    "update parents(p)[list] list:a→list:b",
    "moved children(c) list:a→list:b",
    "—",
  ]);
  expect(triggers(now.raw)).toEqual(theirs);
  expect(declaredSince(now.raw)).toBe(since);
  expect(JSON.parse(String(now.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'tables'").pluck().get()))).toEqual([
    "parents",
    "children",
  ]);
});

test("C1: an older version that starts once more takes the triggers of its own tables, and the newer one takes them back", () => {
  using file = temporaryFile();
  using now = captureOf(after, { path: file.path, ddl });
  const right = triggers(now.raw);
  using old = captureOf(before, { path: file.path });
  expect(declaredSince(now.raw)).toBeGreaterThan(0);
  now.db.insert(parentsNow).values({ id: "p", list: "a" }).run();
  old.db.insert(parents).values({ id: "q", list: "a" }).run();
  const since = declaredSince(now.raw);
  const names = (list: readonly unknown[]): unknown[] => list.map((each) => (each as { name: string }).name).sort();
  expect(names(triggers(now.raw))).toEqual(names(right));
  // From here on nobody touches them.
  for (let i = 0; i < 3; i++) {
    now.db
      .insert(parentsNow)
      .values({ id: `n${i}` })
      .run();
    old.db
      .insert(parents)
      .values({ id: `o${i}` })
      .run();
  }
  expect(declaredSince(now.raw)).toBe(since);
});

test("C1: triggers that a tool changed have missed something", () => {
  using it = captureOf(before, { ddl });
  it.raw.exec(
    "DROP TRIGGER _sync_u_parents; CREATE TRIGGER _sync_u_parents AFTER UPDATE ON parents BEGIN SELECT 1; END",
  );
  it.db.insert(parents).values({ id: "p" }).run();
  expect(declaredSince(it.raw)).toBeGreaterThan(0);
});
