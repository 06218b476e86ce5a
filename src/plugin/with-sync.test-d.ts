/**
 * Types of `defineSync` and `withSync`, checked by compiling.
 *
 * @module
 */

import { relations } from "drizzle-orm";
import type { BetterSQLite3Database, drizzle } from "drizzle-orm/better-sqlite3";
import type { ExpoSQLiteDatabase } from "drizzle-orm/expo-sqlite";
import type { LibSQLDatabase } from "drizzle-orm/libsql";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import type { SqliteRemoteDatabase } from "drizzle-orm/sqlite-proxy";
import { custom, lastWriteWins, mergeFields } from "../protocol/conflict.ts";
import { defineSync, type Scope, type SyncDefinition } from "./define-sync.ts";
import { withSync } from "./with-sync.ts";

const lists = sqliteTable("lists", {
  id: text().primaryKey(),
  ownerId: text("owner_id").notNull(),
  createdAt: integer("created_at", { mode: "timestamp_ms" }),
  tags: text({ mode: "json" }).$type<string[]>(),
});
const todos = sqliteTable("todos", {
  id: text().primaryKey(),
  listId: text("list_id")
    .notNull()
    .references(() => lists.id),
  title: text().notNull(),
  notes: text(),
});
const comments = sqliteTable("comments", {
  id: text().primaryKey(),
  todoId: text("todo_id")
    .notNull()
    .references(() => todos.id),
  body: text(),
});
const todosRelations = relations(todos, ({ one, many }) => ({
  list: one(lists, { fields: [todos.listId], references: [lists.id] }),
  comments: many(comments),
}));
const schema = { lists, todos, comments, todosRelations };

const sync = defineSync(schema, {
  lists: { scope: { list: "id", owner: "ownerId" } },
  todos: {
    scope: { list: "listId", item: ["listId", "id"] },
    readonly: ["title"],
    conflict: mergeFields({ notes: lastWriteWins() }),
    check: ({ after }) => (after?.title === "" ? "A title is not empty." : undefined),
  },
  comments: {
    scopeFrom: "todoId",
    conflict: custom(({ client, server }) => (client?.body === server?.body ? "server" : "client")),
  },
});
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export const scopes: Equal<Scope<typeof sync>, `list:${string}` | `owner:${string}` | `item:${string}`> = true;

export function declarations(): void {
  // @ts-expect-error a misspelt kind is refused
  const wrong: Scope<typeof sync>[] = ["lists:1"];
  void wrong;
  // @ts-expect-error a date has no one spelling
  defineSync(schema, { lists: { scope: { at: "createdAt" } } });
  // @ts-expect-error nor has JSON
  defineSync(schema, { lists: { scope: { at: "tags" } } });
  // @ts-expect-error no such column
  defineSync(schema, { lists: { scope: { at: "ids" } } });
  defineSync(schema, {
    lists: { scope: "everyone" },
    // @ts-expect-error no such table
    nothing: { scope: "x" },
  });
  defineSync(schema, {
    // @ts-expect-error relations are no tables
    todosRelations: { scope: "x" },
  });
  // @ts-expect-error one or the other
  defineSync(schema, { comments: { scopeFrom: "todoId", scope: "x" } });
  // @ts-expect-error no such column
  defineSync(schema, { lists: { scope: "everyone", exclude: ["nope"] } });
}

type Schema = typeof schema;
declare const sqlite: ReturnType<typeof drizzle<Schema>>;
declare const libsql: LibSQLDatabase<Schema>;
declare const remote: SqliteRemoteDatabase<Schema>;
declare const expo: ExpoSQLiteDatabase<Schema>;
declare const plain: BetterSQLite3Database;
declare const other: SyncDefinition<{ nope: typeof todos }>;

export async function databases(): Promise<void> {
  const a = withSync(sqlite, sync);
  const b = withSync(libsql, sync);
  const e = withSync(remote, sync);
  const rows: { id: string }[] = a.select({ id: todos.id }).from(todos).all();
  const n: number = a.transaction((tx) => {
    tx.insert(todos).values({ id: "1", listId: "1", title: "" }).run();
    return 1;
  });
  const later: Promise<{ id: string }[]> = b.select({ id: todos.id }).from(todos).all();
  void e.query.todos.findMany({ with: { list: true } });
  a.$client.pragma("user_version");
  a.$sync.onChange(["todos", "lists"], (changes) => {
    for (const change of changes) {
      if (change.kind === "delete") continue;
      if (change.table === "todos") change.row.listId satisfies string;
      else change.row.ownerId satisfies string;
    }
  });
  // @ts-expect-error relations and unknown names are refused
  a.$sync.onChange(["todosRelations"], () => {});
  const at: string = a.$sync.cursor();
  const soon: Promise<string> = b.$sync.cursor();
  const done: void = a.$sync.migrate("./drizzle");
  const later2: Promise<void> = b.$sync.migrate("./drizzle");
  await a.$sync.ready;
  const back: typeof sqlite = a;
  // @ts-expect-error a definition over another schema
  withSync(sqlite, other);
  withSync(plain, sync).$sync.onChange(["todos"], () => {});
  withSync(expo);
  void [rows, n, later, at, soon, done, later2, back];
}
