/** The tables, and what of them is synced. Shared by the server and the devices; nothing here is special but `defineSync`. */
import { defineSync } from "drizzle-sync";
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const lists = sqliteTable("lists", { id: text().primaryKey(), name: text().notNull() });

export const tasks = sqliteTable(
  "tasks",
  {
    id: text().primaryKey(),
    listId: text("list_id").notNull(),
    title: text().notNull(),
    done: integer({ mode: "boolean" }).notNull().default(false),
    priority: integer().notNull().default(0),
    notes: text(),
  },
  (table) => [index("tasks_list").on(table.listId)],
);

export const sync = defineSync(
  { lists, tasks },
  { lists: { scope: { list: "id" } }, tasks: { scope: { list: "listId" } } },
);

/** In an app these are Drizzle's migrations. */
export const createTables = `
  CREATE TABLE lists (id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL);
  CREATE TABLE tasks (id TEXT PRIMARY KEY NOT NULL, list_id TEXT NOT NULL, title TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0, notes TEXT);
  CREATE INDEX tasks_list ON tasks (list_id);
`;
