/** The tables behind the README's chapter on declaring. */
import { index, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const lists = sqliteTable("lists", { id: text().primaryKey(), name: text().notNull() });
export const tasks = sqliteTable("tasks", {
  id: text().primaryKey(),
  listId: text("list_id").notNull(),
  title: text().notNull(),
  notes: text(),
  createdBy: text("created_by"),
});
export const comments = sqliteTable(
  "comments",
  {
    id: text().primaryKey(),
    taskId: text("task_id")
      .notNull()
      .references(() => tasks.id, { onDelete: "cascade" }),
    body: text().notNull(),
  },
  (table) => [index("comments_task").on(table.taskId)],
);
export const users = sqliteTable("users", {
  id: text().primaryKey(),
  name: text().notNull(),
  passwordHash: text("password_hash"),
});
