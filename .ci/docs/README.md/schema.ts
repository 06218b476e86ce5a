/** The tables behind the README's first example. */
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const lists = sqliteTable("lists", { id: text().primaryKey(), name: text().notNull() });
export const tasks = sqliteTable("tasks", {
  id: text().primaryKey(),
  listId: text("list_id").notNull(),
  title: text().notNull(),
  done: integer({ mode: "boolean" }).notNull().default(false),
});
