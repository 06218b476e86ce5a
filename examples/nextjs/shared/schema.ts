// Look at: ordinary Drizzle tables. The same file describes the server's database and the one in each browser.
import { index, integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

// A device makes its keys itself: nobody has to be asked for a number while it is offline.
const key = () =>
  text("id")
    .primaryKey()
    .$defaultFn(() => crypto.randomUUID());

const createdAt = () =>
  integer("created_at", { mode: "timestamp_ms" })
    .notNull()
    .$defaultFn(() => new Date());

export const users = sqliteTable("users", {
  id: key(),
  name: text("name").notNull(),
  hue: integer("hue").notNull(),
  email: text("email"),
});

export const lists = sqliteTable("lists", {
  id: key(),
  title: text("title").notNull(),
  hue: integer("hue").notNull(),
  ownerId: text("owner_id")
    .notNull()
    .references(() => users.id),
  createdAt: createdAt(),
});

export const members = sqliteTable(
  "members",
  {
    listId: text("list_id")
      .notNull()
      .references(() => lists.id, { onDelete: "cascade" }),
    userId: text("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
  },
  (table) => [primaryKey({ columns: [table.listId, table.userId] }), index("members_user").on(table.userId)],
);

export const todos = sqliteTable(
  "todos",
  {
    id: key(),
    listId: text("list_id")
      .notNull()
      .references(() => lists.id, { onDelete: "cascade" }),
    title: text("title").notNull(),
    notes: text("notes").notNull().default(""),
    done: integer("done", { mode: "boolean" }).notNull().default(false),
    priority: text("priority", { enum: ["low", "normal", "high"] })
      .notNull()
      .default("normal"),
    assigneeId: text("assignee_id").references(() => users.id, { onDelete: "set null" }),
    createdBy: text("created_by")
      .notNull()
      .references(() => users.id),
    createdAt: createdAt(),
  },
  (table) => [index("todos_list").on(table.listId)],
);

export const comments = sqliteTable(
  "comments",
  {
    id: key(),
    todoId: text("todo_id")
      .notNull()
      .references(() => todos.id, { onDelete: "cascade" }),
    authorId: text("author_id")
      .notNull()
      .references(() => users.id),
    body: text("body").notNull(),
    createdAt: createdAt(),
  },
  (table) => [index("comments_todo").on(table.todoId)],
);

export type User = typeof users.$inferSelect;
export type Todo = typeof todos.$inferSelect;
export type Comment = typeof comments.$inferSelect;
