/**
 * A server database with a little of everything, over each driver. For tests of the server.
 *
 * @module
 */

import { expect } from "vitest";
import { createClient } from "@libsql/client";
import Database from "better-sqlite3";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { drizzle as drizzleBetter } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzleLibsql } from "drizzle-orm/libsql";
import { sql } from "drizzle-orm";
import { blob, index, integer, real, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";
import { defineSync } from "../plugin/define-sync.ts";
import { knownTables } from "../plugin/known-tables.ts";
import { type SyncDatabase, syncOf } from "../plugin/sync-database.ts";
import { openSync } from "../plugin/with-sync.ts";
import type { Resolver } from "../protocol/conflict.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import { type DeviceId, makeDeviceId, type Value } from "../protocol/ids.ts";
import type { Page, PullAnswer } from "../protocol/pull.ts";
import { createSyncService, type SyncCaller, type SyncService, type SyncServiceOptions } from "../server/service.ts";
import { HandDevice } from "./hand-device.ts";

export const lists = sqliteTable("lists", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  ownerId: text("owner_id"),
});
export const todos = sqliteTable(
  "todos",
  {
    id: text("id").primaryKey(),
    listId: text("list_id")
      .notNull()
      .references(() => lists.id, { onDelete: "cascade", onUpdate: "cascade" }),
    assignee: text("assignee"),
    title: text("title").notNull(),
    notes: text("notes"),
    done: integer("done", { mode: "boolean" }).notNull().default(false),
    rank: real("rank"),
    slug: text("slug"),
    createdBy: text("created_by"),
    secret: text("secret"),
    updatedAt: integer("updated_at", { mode: "timestamp_ms" }),
  },
  (t) => [index("todos_list_idx").on(t.listId), uniqueIndex("todos_slug").on(t.slug)],
);
export const comments = sqliteTable(
  "comments",
  {
    id: text("id").primaryKey(),
    todoId: text("todo_id")
      .notNull()
      .references(() => todos.id, { onDelete: "cascade", onUpdate: "cascade" }),
    body: text("body").notNull(),
  },
  (t) => [index("comments_todo_idx").on(t.todoId)],
);
export const replies = sqliteTable(
  "replies",
  {
    id: text("id").primaryKey(),
    commentId: text("comment_id")
      .notNull()
      .references(() => comments.id, { onDelete: "cascade" }),
    body: text("body").notNull(),
  },
  (t) => [index("replies_comment_idx").on(t.commentId)],
);
export const users = sqliteTable("users", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  passwordHash: text("password_hash"),
});
export const things = sqliteTable("things", {
  id: blob("id", { mode: "buffer" }).primaryKey(),
  kind: text("kind", { enum: ["a", "b"] }).notNull(),
  data: text("data", { mode: "json" }),
  big: integer("big"),
  bytes: blob("bytes", { mode: "buffer" }),
  ratio: real("ratio"),
});
export const schema = { lists, todos, comments, replies, users, things };

const ddl = [
  `CREATE TABLE lists (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, owner_id TEXT)`,
  `CREATE TABLE todos (id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL REFERENCES lists(id) ON DELETE CASCADE ON UPDATE CASCADE, assignee TEXT, title TEXT NOT NULL CHECK (title <> 'forbidden'),
    notes TEXT, done INTEGER NOT NULL DEFAULT 0, rank REAL, slug TEXT, created_by TEXT, secret TEXT, updated_at INTEGER)`,
  `CREATE INDEX todos_list_idx ON todos(list_id)`,
  `CREATE UNIQUE INDEX todos_slug ON todos(slug)`,
  `CREATE TABLE comments (id TEXT PRIMARY KEY NOT NULL, todo_id TEXT NOT NULL REFERENCES todos(id) ON DELETE CASCADE ON UPDATE CASCADE, body TEXT NOT NULL)`,
  `CREATE INDEX comments_todo_idx ON comments(todo_id)`,
  `CREATE TABLE replies (id TEXT PRIMARY KEY NOT NULL, comment_id TEXT NOT NULL REFERENCES comments(id) ON DELETE CASCADE, body TEXT NOT NULL)`,
  `CREATE INDEX replies_comment_idx ON replies(comment_id)`,
  `CREATE TABLE users (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, password_hash TEXT)`,
  `CREATE TABLE things (id BLOB PRIMARY KEY NOT NULL, kind TEXT NOT NULL, data TEXT, big INTEGER, bytes BLOB, ratio REAL)`,
];

/** What differs between the definitions of these tests. */
export interface FixtureRules {
  readonly conflict?: Resolver<typeof todos.$inferSelect>;
  readonly check?: (change: {
    readonly before?: typeof todos.$inferSelect;
    readonly after?: typeof todos.$inferSelect;
  }) => string | undefined;
}

/** The definition: rows of a list in `list:<id>`, todos also in `user:<assignee>`, comments and replies inherited. */
export function defineFixture(rules: FixtureRules = {}) {
  return defineSync(schema, {
    lists: { scope: { list: "id" } },
    todos: {
      scope: { list: "listId", user: "assignee" },
      readonly: ["createdBy"],
      exclude: ["secret"],
      ...(rules.conflict === undefined ? {} : { conflict: rules.conflict }),
      ...(rules.check === undefined ? {} : { check: rules.check }),
    },
    comments: { scopeFrom: "todoId" },
    replies: { scopeFrom: "commentId" },
    users: { scope: "everyone", exclude: ["passwordHash"], write: "server" },
    things: { scope: "everyone" },
  });
}

export type Driver = "better-sqlite3" | "libsql";
export const drivers: readonly Driver[] = ["better-sqlite3", "libsql"];

/** A server of which a test holds everything. */
export interface ServerFixture extends AsyncDisposable {
  readonly db: object;
  readonly database: SyncDatabase;
  readonly service: SyncService;
  /** Scopes by subject, as the app's `scopes` answers them; a test changes them. */
  readonly grants: Map<string, { read: string[]; write: string[] }>;
  readonly errors: unknown[];
  /** Executes SQL of the app, on the wrapped database. */
  run(statement: string): Promise<void>;
  all(statement: string): Promise<readonly (readonly unknown[])[]>;
  /** Another service over the same database, as another process would have. */
  another(options?: Partial<SyncServiceOptions>): SyncService;
  caller(subject: string, more?: Partial<SyncCaller>): SyncCaller;
  device(
    subject: string,
    more?: Partial<SyncCaller> & {
      readonly tables?: KnownTables;
      readonly id?: DeviceId;
      readonly service?: SyncService;
    },
  ): HandDevice;
}

/** Options of {@link openServer}. */
export interface ServerFixtureOptions extends FixtureRules, Partial<SyncServiceOptions> {
  readonly driver?: Driver;
  readonly now?: () => number;
  /** More SQL of the app: triggers, rows. */
  readonly sql?: readonly string[];
  readonly file?: string;
}

/** Opens a server database, empty but for `sql`. */
export async function openServer(options: ServerFixtureOptions = {}): Promise<ServerFixture> {
  const { driver = "better-sqlite3", conflict, check, now, sql: more = [], file, ...service } = options;
  const sync = defineFixture({
    ...(conflict === undefined ? {} : { conflict }),
    ...(check === undefined ? {} : { check }),
  });
  const opened = driver === "better-sqlite3" ? openBetter(file) : openLibsql();
  if (file === undefined || driver !== "better-sqlite3" || !opened.isOld)
    for (const statement of ddl) await opened.exec(statement);
  const db = openSync(opened.db, sync, now === undefined ? {} : { now });
  const database = syncOf(db);
  await database.install("server");
  const wrapped = db as { run(query: unknown): unknown; values(query: unknown): unknown };
  const run = async (statement: string): Promise<void> => void (await wrapped.run(sql.raw(statement)));
  for (const statement of more) await run(statement);
  const errors: unknown[] = [];
  const grants = new Map<string, { read: string[]; write: string[] }>();
  const another = (changed: Partial<SyncServiceOptions> = {}): SyncService =>
    createSyncService({ database, onError: (error) => errors.push(error), ...service, ...changed });
  const fixture: ServerFixture = {
    db,
    database,
    service: another(),
    grants,
    errors,
    run,
    // libSQL's rows are only like arrays.
    all: async (statement) =>
      ((await wrapped.values(sql.raw(statement))) as readonly ArrayLike<unknown>[]).map((row) => Array.from(row)),
    another,
    caller: (subject, changed = {}) => ({
      subject,
      scopes: async () => {
        const granted = grants.get(subject) ?? { read: [], write: [] };
        return { read: new Set(granted.read), write: new Set(granted.write) };
      },
      ...changed,
    }),
    device(subject, { tables, id, service: other, ...changed } = {}) {
      return new HandDevice(
        other ?? fixture.service,
        fixture.caller(subject, changed),
        tables ?? knownTables(database.tables),
        database,
        id ?? makeDeviceId(),
      );
    },
    async [Symbol.asyncDispose]() {
      fixture.service.close();
      await opened.close();
    },
  };
  return fixture;
}

interface Opened {
  readonly db: object;
  readonly isOld: boolean;
  exec(statement: string): Promise<void>;
  close(): Promise<void>;
}

function openBetter(file: string | undefined): Opened {
  const raw = new Database(file ?? ":memory:");
  raw.pragma("foreign_keys = ON");
  const isOld = raw.prepare("SELECT 1 FROM sqlite_master WHERE name = 'todos'").get() !== undefined;
  return {
    db: drizzleBetter(raw, { schema }),
    isOld,
    exec: async (statement) => void raw.exec(statement),
    close: async () => void raw.close(),
  };
}

function openLibsql(): Opened {
  const folder = mkdtempSync(join(tmpdir(), "sync-server-"));
  const client = createClient({ url: `file:${join(folder, "server.db")}` });
  return {
    db: drizzleLibsql(client, { schema }),
    isOld: false,
    exec: async (statement) => void (await client.execute(statement)),
    close: async () => {
      client.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Rows that most tests begin with. */
export const someRows: readonly string[] = [
  `INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL)`,
  `INSERT INTO todos (id, list_id, title, notes, secret) VALUES ('t1', 'a', 'One', 'n1', 's'), ('t2', 'a', 'Two', NULL, 's'), ('t3', 'b', 'Three', NULL, 's')`,
  `INSERT INTO comments VALUES ('c1', 't1', 'Hello'), ('c3', 't3', 'There')`,
  `INSERT INTO replies VALUES ('r1', 'c1', 'Yes'), ('r3', 'c3', 'No')`,
  `INSERT INTO users VALUES ('u1', 'Uma', 'hash')`,
];

/** A todo as a device inserts it. */
export const newTodo: Readonly<Record<string, Value>> = {
  listId: "a",
  assignee: null,
  title: "New",
  notes: null,
  done: 0,
  rank: null,
  slug: null,
  createdBy: null,
  updatedAt: null,
};

/** A server with {@link someRows}, and a device of `ann` that has pulled them. */
export async function openPair(
  options: ServerFixtureOptions = {},
  grants: { readonly read: string[]; readonly write: string[] } = { read: ["list:a", "everyone"], write: ["list:a"] },
): Promise<{ readonly server: ServerFixture; readonly device: HandDevice }> {
  const server = await openServer({ sql: someRows, ...options });
  server.grants.set("ann", { ...grants });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  return { server, device };
}

/** The first value of the first row. */
export async function one(server: ServerFixture, query: string): Promise<unknown> {
  return (await server.all(query))[0]?.[0];
}

/** An answer that must be a page. */
export function pageOf(answer: PullAnswer): Page {
  if (answer.kind !== "page") throw new Error(`Not a page but \`${answer.kind}\`.`);
  return answer;
}

/** Compares a device's base with the server's rows in its scopes, read by the app's own SQL: an oracle that shares nothing with the pull. */
export async function expectBase(server: ServerFixture, device: HandDevice): Promise<void> {
  const ids = async (query: string): Promise<unknown[]> => (await server.all(query)).map(([id]) => id).sort();
  const held = device.held.filter((scope) => scope.startsWith("list:")).map((scope) => `'${scope.slice(5)}'`);
  const mine = device.held.filter((scope) => scope.startsWith("user:")).map((scope) => `'${scope.slice(5)}'`);
  const todos = `SELECT id FROM todos WHERE list_id IN (${held.join()}) OR assignee IN (${mine.join()})`;
  const shown = (table: string): unknown[] =>
    device
      .rows(table)
      .map((row) => row["id"])
      .sort();
  expect(shown("lists")).toEqual(await ids(`SELECT id FROM lists WHERE id IN (${held.join()})`));
  expect(shown("todos")).toEqual(await ids(todos));
  expect(shown("comments")).toEqual(await ids(`SELECT id FROM comments WHERE todo_id IN (${todos})`));
  expect(shown("replies")).toEqual(
    await ids(`SELECT id FROM replies WHERE comment_id IN (SELECT id FROM comments WHERE todo_id IN (${todos}))`),
  );
  for (const row of device.rows("todos")) {
    const [there] = await server.all(
      `SELECT list_id, assignee, title, notes, done, rank, slug, created_by FROM todos WHERE id = '${row["id"] as string}'`,
    );
    expect([
      row["listId"],
      row["assignee"],
      row["title"],
      row["notes"],
      row["done"],
      row["rank"],
      row["slug"],
      row["createdBy"],
    ]).toEqual([...(there ?? [])]);
  }
}
