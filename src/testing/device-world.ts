/**
 * A server and its devices in one process: real databases, the real service, an in-process transport, a clock that the test
 * moves. Everything is closed by `await using`.
 *
 * @module
 */

import { expect } from "vitest";
import Database from "better-sqlite3";
import { drizzle, type BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { createSyncClient, type SyncClient, type SyncClientOptions } from "../client/client.ts";
import type { Transport } from "../client/transport.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync, type Synced } from "../plugin/with-sync.ts";
import { clientWins } from "../protocol/conflict.ts";
import { createSyncService, type SyncService } from "../server/service.ts";
import { inProcessTransport } from "./in-process-transport.ts";
import { readBase, type TableRows } from "./read-base.ts";
import { createVirtualClock, type VirtualClock } from "./virtual-clock.ts";

export const lists = sqliteTable("lists", { id: text().primaryKey(), name: text().notNull() });
export const todos = sqliteTable(
  "todos",
  {
    id: text().primaryKey(),
    listId: text("list_id")
      .notNull()
      .references(() => lists.id, { onDelete: "cascade" }),
    title: text().notNull(),
    done: integer({ mode: "boolean" }).notNull().default(false),
    slot: text().unique(),
    at: integer({ mode: "timestamp_ms" }),
  },
  (table) => [index("todos_list").on(table.listId)],
);
export const comments = sqliteTable(
  "comments",
  {
    id: text().primaryKey(),
    todoId: text("todo_id")
      .notNull()
      .references(() => todos.id, { onDelete: "cascade" }),
    body: text(),
  },
  (table) => [index("comments_todo").on(table.todoId)],
);
export const tags = sqliteTable("tags", { id: text().primaryKey(), name: text().notNull(), color: text() });
export const schema = { lists, todos, comments, tags };
export const definition = defineSync(schema, {
  lists: { scope: { list: "id" } },
  todos: { scope: { list: "listId" } },
  comments: { scopeFrom: "todoId" },
  tags: { scope: "everyone", conflict: clientWins() },
});
/** The tables, for a server and for devices. */
export const ddl = `
CREATE TABLE lists (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL);
CREATE TABLE todos (id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL REFERENCES lists (id) ON DELETE CASCADE, title TEXT NOT NULL,
  done INTEGER NOT NULL DEFAULT 0, slot TEXT UNIQUE, at INTEGER);
CREATE INDEX todos_list ON todos (list_id);
CREATE TABLE comments (id TEXT PRIMARY KEY NOT NULL, todo_id TEXT NOT NULL REFERENCES todos (id) ON DELETE CASCADE, body TEXT);
CREATE INDEX comments_todo ON comments (todo_id);
CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, color TEXT);
`;

export type TestDatabase = Synced<BetterSQLite3Database<typeof schema> & { readonly $client: Database.Database }>;

/** A server's database, and what serves it. */
export interface TestServer {
  readonly raw: Database.Database;
  readonly db: TestDatabase;
  readonly service: SyncService;
}

/** A device. */
export interface TestDevice {
  readonly raw: Database.Database;
  readonly db: TestDatabase;
  readonly client: SyncClient;
  readonly base: () => Promise<TableRows>;
}

/** Options of a device. */
export interface TestDeviceOptions extends Omit<SyncClientOptions, "db" | "transport"> {
  readonly live?: "pages" | "pokes";
  /** Put between the client and the server. */
  readonly wrap?: (transport: Transport) => Transport;
  /** The database file's content, or an open database; a new one otherwise. */
  readonly from?: Buffer | Database.Database;
}

/** The world of one test. */
export interface TestWorld extends AsyncDisposable {
  server: TestServer;
  readonly clock: VirtualClock;
  /** By subject; changed at will. */
  readonly rights: Record<string, { readonly read: readonly string[]; readonly write: readonly string[] } | null>;
  /** A new server over a database of its own, over a copy, or over an open database. */
  replaceServer(from?: Buffer | Database.Database): Promise<TestServer>;
  device(subject: string, options?: TestDeviceOptions): TestDevice;
  /** What a device that holds these scopes must have. */
  expected(scopes: readonly string[]): TableRows;
}

function openDatabase(from?: Buffer | Database.Database): {
  readonly raw: Database.Database;
  readonly db: TestDatabase;
} {
  const raw = from instanceof Database ? from : new Database(from ?? ":memory:");
  if (from === undefined) raw.exec(ddl);
  return { raw, db: withSync(drizzle(raw, { schema }), definition) };
}

/** What a subject may do when nothing else is said. */
export const allScopes = ["list:a", "list:b", "everyone"] as const;

/** Opens a world. */
export async function openTestWorld(): Promise<TestWorld> {
  const clock = createVirtualClock();
  const devices: TestDevice[] = [];
  const servers: TestServer[] = [];
  const rights: TestWorld["rights"] = {};
  const openServer = async (from?: Buffer | Database.Database): Promise<TestServer> => {
    const { raw, db } = openDatabase(from);
    const service = createSyncService({
      database: syncOf(db),
      onError: (error) => {
        throw error;
      },
    });
    await syncOf(db).install("server");
    const server = { raw, db, service };
    servers.push(server);
    return server;
  };
  const world: TestWorld = {
    server: await openServer(),
    clock,
    rights,
    async replaceServer(from) {
      world.server = await openServer(from);
      return world.server;
    },
    device(subject, { live, wrap = (transport: Transport): Transport => transport, from, ...options } = {}) {
      if (rights[subject] === undefined) rights[subject] = { read: allScopes, write: allScopes };
      const { raw, db } = openDatabase(from);
      const caller = () => {
        const granted = rights[subject];
        return granted
          ? { subject, scopes: async () => ({ read: new Set(granted.read), write: new Set(granted.write) }) }
          : null;
      };
      const transport = inProcessTransport({ service: () => world.server.service, caller, ...(live ? { live } : {}) });
      const client = createSyncClient({ db, transport: wrap(transport), clock, random: () => 0.5, ...options });
      const device: TestDevice = { raw, db, client, base: () => readBase(syncOf(db)) };
      devices.push(device);
      return device;
    },
    expected(scopes) {
      const ids = scopes.filter((scope) => scope.startsWith("list:")).map((scope) => scope.slice(5));
      const marks = ids.map(() => "?").join(", ");
      const read = (text: string): TableRows[string] => world.server.raw.prepare(text).all(...ids) as TableRows[string];
      return {
        lists: read(`SELECT id, name FROM lists WHERE id IN (${marks}) ORDER BY id`),
        todos: read(
          `SELECT id, list_id AS listId, title, done, slot, at FROM todos WHERE list_id IN (${marks}) ORDER BY id`,
        ),
        comments: read(
          `SELECT id, todo_id AS todoId, body FROM comments WHERE todo_id IN (SELECT id FROM todos WHERE list_id IN (${marks})) ORDER BY id`,
        ),
        tags: scopes.includes("everyone")
          ? (world.server.raw.prepare("SELECT id, name, color FROM tags ORDER BY id").all() as TableRows[string])
          : [],
      };
    },
    async [Symbol.asyncDispose]() {
      for (const { client, raw } of devices) {
        await client.close();
        raw.close();
      }
      for (const { service, raw } of servers) {
        service.close();
        raw.close();
      }
    },
  };
  return world;
}

/** Lets what is under way come to rest, or until something is so. */
export async function settle(isDone: () => boolean = () => false): Promise<void> {
  for (let i = 0; i < 100 && !isDone(); i++) await new Promise((resolve) => setImmediate(resolve));
}

/** A world whose server has two lists with one todo each. */
export async function openSeededWorld(): Promise<TestWorld> {
  const world = await openTestWorld();
  world.server.db
    .insert(lists)
    .values([
      { id: "a", name: "A" },
      { id: "b", name: "B" },
    ])
    .run();
  world.server.db
    .insert(todos)
    .values([
      { id: "1", listId: "a", title: "one" },
      { id: "2", listId: "b", title: "two" },
    ])
    .run();
  return world;
}

/** Expects that a device's base is what the server has in these scopes. */
export async function expectBase(
  world: TestWorld,
  device: TestDevice,
  scopes: readonly string[] = allScopes,
): Promise<void> {
  expect(await device.base()).toEqual(world.expected(scopes));
}
