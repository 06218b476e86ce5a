import Database from "better-sqlite3";
import { eq, is, relations, sql } from "drizzle-orm";
import { BetterSQLite3Database, drizzle } from "drizzle-orm/better-sqlite3";
import { BaseSQLiteDatabase, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { afterEach, expect, test, vi } from "vitest";
import { capture, ddl, lists, schema, sync, temporaryFile, todos } from "../testing/capture-fixture.ts";
import { firstRows } from "../testing/capture-writes.ts";
import { isSyncError } from "../protocol/errors.ts";
import { withSync } from "./with-sync.ts";

const open: Database.Database[] = [];
function database(path = ":memory:"): Database.Database {
  const raw = new Database(path);
  open.push(raw);
  return raw;
}
afterEach(() => {
  for (const raw of open.splice(0)) raw.close();
});
const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("C1: inserts, updates and deletes through Drizzle are logged with their scopes, each statement a transaction", () => {
  using it = capture();
  it.db.insert(lists).values({ id: "a", owner: "u1", title: "A" }).run();
  it.db.insert(todos).values({ id: "t1", listId: "a", title: "x" }).run();
  it.db.update(todos).set({ title: "y", done: true }).where(eq(todos.id, "t1")).run();
  it.db.delete(todos).where(eq(todos.id, "t1")).run();
  expect(it.log()).toEqual([
    "insert lists(a) →list:a+owner:u1",
    "—",
    "insert todos(t1) →list:a",
    "—",
    "update todos(t1)[title,done] list:a→list:a",
    "—",
    "delete todos(t1) list:a→",
    "—",
  ]);
});

test("C1: upserts are logged as what they did, and ignored inserts not at all", () => {
  using it = capture();
  it.db.insert(lists).values({ id: "a", title: "A" }).run();
  it.log();
  it.db
    .insert(lists)
    .values({ id: "a", title: "B" })
    .onConflictDoUpdate({ target: lists.id, set: { title: "B" } })
    .run();
  it.db.insert(lists).values({ id: "a", title: "C" }).onConflictDoNothing().run();
  it.db.run(sql`INSERT OR IGNORE INTO lists(id) VALUES('a')`);
  expect(it.log()).toEqual(["update lists(a)[title] list:a→list:a", "—"]);
});

test("an update that changes nothing is logged as an update of no columns, not as a delete", () => {
  using it = capture();
  it.db.insert(lists).values({ id: "a", title: "A" }).run();
  it.log();
  it.db.update(lists).set({ title: "A" }).run();
  expect(it.log()).toEqual(["update lists(a)[] list:a→list:a", "—"]);
});

test("C7: a parent that moves, and one that is deleted, takes its descendants along in the log", () => {
  using it = capture();
  it.raw.exec(
    "INSERT INTO lists(id) VALUES('a'), ('b'); INSERT INTO todos(id, list_id) VALUES('t', 'a'); INSERT INTO comments VALUES('c', 't', ''); INSERT INTO replies VALUES('r', 'c', '')",
  );
  it.log();
  it.raw.exec("UPDATE todos SET list_id = 'b'");
  expect(it.log()).toEqual([
    "update todos(t)[listId] list:a→list:b",
    "moved comments(c) list:a→list:b",
    "moved replies(r) list:a→list:b",
  ]);
  it.raw.exec("DELETE FROM lists WHERE id = 'b'");
  expect(it.log()).toEqual([
    "moved comments(c) list:b→",
    "moved replies(r) list:b→",
    "moved replies(r) →",
    "update replies(r)[commentId] →",
    "delete comments(c) →",
    "delete todos(t) list:b→",
    "delete lists(b) list:b→",
  ]);
});

test("C5: a transaction has one marker, savepoints and nested ones included, and a rollback leaves nothing", () => {
  using it = capture();
  it.db.transaction((tx) => {
    tx.insert(lists).values({ id: "a" }).run();
    tx.transaction((inner) => void inner.insert(lists).values({ id: "b" }).run());
    expect(() =>
      tx.transaction((inner) => {
        inner.insert(lists).values({ id: "c" }).run();
        inner.rollback();
      }),
    ).toThrow();
  });
  expect(() =>
    it.db.transaction((tx) => {
      tx.insert(lists).values({ id: "n" }).run();
      throw new Error("no");
    }),
  ).toThrow("no");
  expect(it.log()).toEqual(["insert lists(a) →list:a", "insert lists(b) →list:b", "—"]);
});

test("C5: every door closes its transaction: $client, prepared queries, BEGIN as text, exec", () => {
  using it = capture();
  const insert = it.db.$client.prepare("INSERT INTO lists(id) VALUES(?)");
  it.db.$client.transaction((id: string) => {
    insert.run(id);
    insert.run(`${id}${id}`);
  })("a");
  it.db.$client.transaction(() => insert.run("im")).immediate();
  const prepared = it.db
    .insert(lists)
    .values({ id: sql.placeholder("id") })
    .prepare();
  prepared.run({ id: "p1" });
  prepared.execute({ id: "p2" }).sync();
  it.db.run(sql`BEGIN`);
  it.db.insert(lists).values({ id: "x" }).run();
  it.db.insert(lists).values({ id: "y" }).run();
  it.db.run(sql`COMMIT`);
  it.db.$client.exec("INSERT INTO lists(id) VALUES('e'); INSERT INTO lists(id) VALUES('f')");
  expect(it.log().map((entry) => (entry === "—" ? entry : entry.slice(7, -7).split(" ")[0]))).toEqual([
    "lists(a)",
    "lists(aa)",
    "—",
    "lists(im)",
    "—",
    "lists(p1)",
    "—",
    "lists(p2)",
    "—",
    "lists(x)",
    "lists(y)",
    "—",
    "lists(e)",
    "lists(f)",
    "—",
  ]);
});

test("C5: rows of writers that do not know us join the next transaction, none is split", () => {
  using it = capture();
  it.raw.prepare("INSERT INTO lists(id) VALUES('s1')").run();
  it.raw.prepare("INSERT INTO lists(id) VALUES('s2')").run();
  it.db.insert(lists).values({ id: "a" }).run();
  expect(it.log().filter((entry) => entry === "—")).toHaveLength(1);
});

test("C5: a transaction that only reads stays a reader", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  it.db.insert(lists).values({ id: "a" }).run();
  const other = database(file.path);
  it.db.transaction((tx) => {
    expect(tx.select().from(lists).all()).toHaveLength(1);
    // A writer elsewhere is not in the way, and its rows are not ours to close.
    other.prepare("INSERT INTO lists(id) VALUES('b')").run();
  });
  expect(it.log().filter((entry) => entry === "—")).toHaveLength(1);
  expect(other.pragma("journal_mode", { simple: true })).toBe("wal");
  // A read that only speaks of writing is none.
  expect(it.db.all(sql`WITH u AS (SELECT 'update' AS word) SELECT word FROM lists, u`)).toHaveLength(2);
  expect(it.log()).toEqual([]);
});

test("C1: writes of another connection without our code are captured", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  database(file.path).exec("INSERT INTO lists(id) VALUES('z'); UPDATE lists SET title = 'q'; DELETE FROM lists");
  expect(it.log()).toEqual([
    "insert lists(z) →list:z",
    "update lists(z)[title] list:z→list:z",
    "delete lists(z) list:z→",
  ]);
});

test("a statement that fails leaves no transaction open and no trace", () => {
  using it = capture();
  it.db.insert(lists).values({ id: "a" }).run();
  it.log();
  expect(() => it.db.insert(lists).values({ id: "a" }).run()).toThrow();
  expect(it.raw.inTransaction).toBe(false);
  expect(it.log()).toEqual([]);
});

test("a transaction function that returns a promise is refused as before", () => {
  using it = capture();
  const later = async (): Promise<void> => {
    it.db.insert(lists).values({ id: "a" }).run();
  };
  expect(() => it.db.transaction(later as never)).toThrow(/promise/);
  expect(it.log()).toEqual([]);
});

test("the result is the same kind of database; the caller's own objects are untouched", async () => {
  const raw = database();
  raw.exec(ddl);
  const todosOfList = relations(lists, ({ many }) => ({ todos: many(todos) }));
  const listOfTodo = relations(todos, ({ one }) => ({
    list: one(lists, { fields: [todos.listId], references: [lists.id] }),
  }));
  const whole = { ...schema, todosOfList, listOfTodo };
  const log: string[] = [];
  const plain = drizzle(raw, { schema: whole, logger: { logQuery: (query) => void log.push(query) } });
  const prepare = raw.prepare;
  const db = withSync(plain);
  expect(is(db, BaseSQLiteDatabase)).toBe(true);
  expect(db).toBeInstanceOf(BetterSQLite3Database);
  expect(db.$client).toBeInstanceOf(Database);
  await db.insert(lists).values({ id: "a", title: "A" });
  db.insert(todos).values({ id: "t", listId: "a" }).run();
  expect(db.query.lists.findFirst({ with: { todos: true } }).sync()?.todos[0]?.id).toBe("t");
  expect(await db.$count(todos)).toBe(1);
  expect(db.$client.pragma("user_version", { simple: true })).toBe(0);
  expect(log.length).toBeGreaterThanOrEqual(4);
  expect(raw.prepare).toBe(prepare);
  expect(Object.hasOwn(plain, "$sync")).toBe(false);
  expect(() => withSync(db)).toThrow(/once/);
});

test("cached statements give rows, arrays and mapped values in turn", () => {
  using it = capture();
  for (let i = 0; i < 3; i++) {
    it.db
      .insert(lists)
      .values({ id: `a${i}`, title: "t" })
      .run();
    expect(
      it.db
        .select()
        .from(lists)
        .where(eq(lists.id, `a${i}`))
        .get(),
    ).toMatchObject({ id: `a${i}` });
    expect(it.db.all(sql`SELECT id FROM lists WHERE id = ${`a${i}`}`)).toEqual([{ id: `a${i}` }]);
    expect(it.db.values(sql`SELECT id FROM lists WHERE id = ${`a${i}`}`)).toEqual([[`a${i}`]]);
    expect(it.db.get(sql`SELECT id FROM lists WHERE id = ${`a${i}`}`)).toEqual({ id: `a${i}` });
    expect(
      it.db
        .update(lists)
        .set({ title: "n" })
        .where(eq(lists.id, `a${i}`))
        .returning()
        .get(),
    ).toMatchObject({ title: "n" });
  }
});

test("nothing is installed before the first write; `ready` installs now", async () => {
  const raw = database();
  raw.exec(ddl);
  const db = withSync(drizzle(raw, { schema }), sync);
  db.select().from(lists).all();
  const count = (): unknown =>
    raw.prepare("SELECT count(*) FROM sqlite_master WHERE name LIKE '\\_sync%' ESCAPE '\\'").pluck().get();
  expect(count()).toBe(0);
  await db.$sync.ready;
  expect(count()).toBeGreaterThan(10);
});

test("a read-only connection is left alone", () => {
  using file = temporaryFile();
  const writer = database(file.path);
  writer.exec(ddl);
  const raw = new Database(file.path, { readonly: true });
  open.push(raw);
  const db = withSync(drizzle(raw, { schema }), sync);
  expect(db.transaction((tx) => tx.select().from(lists).all())).toEqual([]);
});

test("`onChange` tells committed changes with their rows, once per tick, typed by table", async () => {
  using it = capture();
  const told = vi.fn();
  const stop = it.db.$sync.onChange(["lists", "todos"], told);
  it.db.insert(lists).values({ id: "a", title: "A" }).run();
  it.db.transaction((tx) => {
    tx.insert(todos).values({ id: "t", listId: "a", done: true }).run();
    tx.insert(todos).values({ id: "gone", listId: "a" }).run();
    tx.delete(todos).where(eq(todos.id, "gone")).run();
  });
  it.db.insert(schema.members).values({ listId: "a", rank: 1 }).run();
  await tick();
  expect(told.mock.calls).toEqual([
    [
      [
        { table: "lists", kind: "insert", row: { id: "a", title: "A", owner: null, slug: null } },
        { table: "todos", kind: "insert", row: { id: "t", listId: "a", title: null, done: true, place: null } },
      ],
      { isComplete: true },
    ],
  ]);
  it.db.select().from(lists).all();
  expect(() =>
    it.db.transaction((tx) => {
      tx.delete(lists).run();
      tx.rollback();
    }),
  ).toThrow();
  await tick();
  expect(told).toHaveBeenCalledTimes(1);
  it.db.delete(todos).run();
  await tick();
  expect(told).toHaveBeenLastCalledWith([{ table: "todos", kind: "delete", key: { id: "t" } }], {
    isComplete: true,
  });
  stop();
  it.db.delete(lists).run();
  await tick();
  expect(told).toHaveBeenCalledTimes(2);
});

test("`onChange` tells of a row that was overwritten as of an update, and of one that came again as of an insert", async () => {
  using it = capture({ ddl: ddl + firstRows });
  const told: string[] = [];
  it.db.$sync.onChange(["replies"], (changes) => {
    for (const change of changes)
      told.push(`${change.kind} ${change.kind === "delete" ? change.key.id : change.row.id}`);
  });
  it.db.run(sql`REPLACE INTO replies VALUES('r0', 'c1', 'y')`);
  await tick();
  it.db.run(sql`DELETE FROM replies WHERE id = 'r0'`);
  await tick();
  it.db.run(sql`REPLACE INTO replies VALUES('r0', 'c1', 'y')`);
  await tick();
  expect(told).toEqual(["update r0", "delete r0", "insert r0"]);
});

test("`onChange` also tells of commits of other connections", async () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  const changes = new Promise<unknown>((resolve) => {
    it.db.$sync.onChange(["lists"], resolve);
  });
  database(file.path).exec("INSERT INTO lists(id) VALUES('z')");
  expect(await changes).toEqual([
    { table: "lists", kind: "insert", row: { id: "z", owner: null, title: null, slug: null } },
  ]);
});

test("`cursor` is the position of the newest commit", () => {
  using it = capture();
  const before = it.db.$sync.cursor();
  expect(before).toMatch(/^\d+\.\d+$/);
  it.db.insert(lists).values({ id: "a" }).run();
  const after = it.db.$sync.cursor();
  expect(Number(after.split(".")[0])).toBeGreaterThan(Number(before.split(".")[0]));
  expect(it.db.$sync.cursor()).toBe(after);
});

test("`scopesChanged` reaches those who asked", () => {
  using it = capture();
  const told = vi.fn();
  const stop = it.sync.onScopesChanged(told);
  it.db.$sync.scopesChanged("ada");
  stop();
  it.db.$sync.scopesChanged("bob");
  expect(told.mock.calls).toEqual([["ada"]]);
});

test("without a definition every table with a usable key is synced, in the scope `everyone`", () => {
  const noKey = sqliteTable("no_key", { name: text("name") });
  const raw = database();
  raw.exec(`${ddl} CREATE TABLE no_key(name TEXT)`);
  const db = withSync(drizzle(raw, { schema: { ...schema, noKey } }));
  db.insert(todos).values({ id: "t" }).run();
  db.insert(noKey).values({ name: "x" }).run();
  expect(raw.prepare("SELECT sa FROM _sync_log WHERE t > 0").pluck().all()).toEqual(["everyone"]);
});

test("a database that no driver of ours is for is refused", () => {
  const error = (() => {
    try {
      withSync({ select() {} } as never, sync as never);
    } catch (caught) {
      return caught;
    }
    return undefined;
  })();
  expect(isSyncError(error, "UNSUPPORTED_DATABASE")).toBe(true);
});
