/** The tables of the browser tests. */

import { relations } from "drizzle-orm";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { defineSync } from "../../plugin/define-sync.ts";

export const lists = sqliteTable("lists", { id: text().primaryKey(), title: text().notNull() });

export const todos = sqliteTable("todos", {
  id: text().primaryKey(),
  listId: text("list_id")
    .notNull()
    .references(() => lists.id, { onDelete: "cascade" }),
  title: text().notNull(),
  done: integer({ mode: "boolean" }).notNull().default(false),
  rank: integer().notNull().default(0),
});

export const listsRelations = relations(lists, ({ many }) => ({ todos: many(todos) }));
export const todosRelations = relations(todos, ({ one }) => ({
  list: one(lists, { fields: [todos.listId], references: [lists.id] }),
}));

export const schema = { lists, todos, listsRelations, todosRelations };

export const sync = defineSync(schema, { lists: { scope: { list: "id" } }, todos: { scope: { list: "listId" } } });

/** As `drizzle-sync bundle-migrations` writes them. */
export const migrations = [
  {
    tag: "0000_first",
    when: 1,
    hash: "first",
    statements: [
      "CREATE TABLE `lists` (`id` text PRIMARY KEY NOT NULL, `title` text NOT NULL)",
      "CREATE TABLE `todos` (`id` text PRIMARY KEY NOT NULL, `list_id` text NOT NULL, `title` text NOT NULL, `done` integer DEFAULT false NOT NULL, FOREIGN KEY (`list_id`) REFERENCES `lists`(`id`) ON DELETE cascade)",
      "CREATE INDEX `todos_list` ON `todos` (`list_id`)",
    ],
  },
  {
    tag: "0001_second",
    when: 2,
    hash: "second",
    statements: ["ALTER TABLE `todos` ADD `rank` integer DEFAULT 0 NOT NULL"],
  },
];
