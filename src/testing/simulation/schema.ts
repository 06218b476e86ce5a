/**
 * The tables of the simulated app, once for Drizzle and once as plain facts for the oracle, which must not ask the
 * library what a row's scopes are. Every feature that scopes, capture and conflicts know is in here: two scope columns,
 * two levels of inherited scopes along cascading keys, a self-reference that is set to null, a unique value, a
 * composite key, an excluded and a read-only column, a table that only the server writes, SQL names that differ from keys.
 *
 * @module
 */

import { index, integer, primaryKey, sqliteTable, text, type AnySQLiteColumn } from "drizzle-orm/sqlite-core";
import { defineSync } from "../../plugin/define-sync.ts";
import { clientWins, custom, lastWriteWins, mergeFields, serverWins } from "../../protocol/conflict.ts";

export const todos = sqliteTable("todos", {
  id: text().primaryKey(),
  list: text("list_name"),
  assignee: text(),
  code: text().unique(),
  title: text(),
  note: text("note_text"),
  rank: integer(),
  owner: text(),
  secret: text(),
  ref: text("ref_id").references((): AnySQLiteColumn => todos.id, { onDelete: "set null" }),
});

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

export const replies = sqliteTable(
  "replies",
  {
    id: text().primaryKey(),
    commentId: text("comment_id")
      .notNull()
      .references(() => comments.id, { onDelete: "cascade" }),
    body: text(),
  },
  (table) => [index("replies_comment").on(table.commentId)],
);

export const members = sqliteTable(
  "members",
  { list: text().notNull(), user: text("user_name").notNull(), role: text() },
  (table) => [primaryKey({ columns: [table.list, table.user] })],
);

export const notices = sqliteTable("notices", { id: text().primaryKey(), body: text() });

/** What subjects may do, one row per subject and scope: read by the server's `scopes`, and synced to the subject itself. */
export const grants = sqliteTable(
  "grants",
  { subject: text().notNull(), scope: text().notNull(), read: integer().notNull(), write: integer().notNull() },
  (table) => [primaryKey({ columns: [table.subject, table.scope] })],
);

export const schema = { todos, comments, replies, members, notices, grants };

export const ddl = `
CREATE TABLE todos (id TEXT PRIMARY KEY NOT NULL, list_name TEXT, assignee TEXT, code TEXT, title TEXT, note_text TEXT,
  rank INTEGER, owner TEXT, secret TEXT, ref_id TEXT REFERENCES todos (id) ON DELETE SET NULL);
CREATE UNIQUE INDEX todos_code_unique ON todos (code);
CREATE INDEX todos_list ON todos (list_name);
CREATE INDEX todos_assignee ON todos (assignee);
CREATE TABLE comments (id TEXT PRIMARY KEY NOT NULL, todo_id TEXT NOT NULL REFERENCES todos (id) ON DELETE CASCADE, body TEXT);
CREATE INDEX comments_todo ON comments (todo_id);
CREATE TABLE replies (id TEXT PRIMARY KEY NOT NULL, comment_id TEXT NOT NULL REFERENCES comments (id) ON DELETE CASCADE, body TEXT);
CREATE INDEX replies_comment ON replies (comment_id);
CREATE TABLE members (list TEXT NOT NULL, user_name TEXT NOT NULL, role TEXT, PRIMARY KEY (list, user_name));
CREATE TABLE notices (id TEXT PRIMARY KEY NOT NULL, body TEXT);
CREATE TABLE grants (subject TEXT NOT NULL, scope TEXT NOT NULL, read INTEGER NOT NULL, write INTEGER NOT NULL, PRIMARY KEY (subject, scope));
`;

export type Policy = "server" | "client" | "last" | "fields" | "custom";
export const policies: readonly Policy[] = ["server", "client", "last", "fields", "custom"];

function resolverOf(policy: Policy) {
  switch (policy) {
    case "server":
      return serverWins();
    case "client":
      return clientWins();
    case "last":
      return lastWriteWins();
    case "fields":
      return mergeFields({ note: clientWins() }, serverWins());
    case "custom":
      return custom(({ server, client }) => server ?? client);
  }
}

/** The definition under one conflict policy. */
export function syncOfPolicy(policy: Policy) {
  const conflict = resolverOf(policy);
  return defineSync(schema, {
    todos: {
      scope: { list: "list", assignee: "assignee" },
      exclude: ["secret"],
      readonly: ["owner"],
      conflict,
      check: ({ after }) => (after?.title?.endsWith("!") ? "A title ends without an exclamation mark." : undefined),
    },
    comments: { scopeFrom: "todoId", conflict },
    replies: { scopeFrom: "commentId", conflict },
    members: { scope: { list: "list" }, conflict },
    notices: { scope: "everyone", write: "server" },
    grants: { scope: { grantee: "subject" }, write: "server" },
  });
}

export type TableName = keyof typeof schema;

/** A table as the oracle knows it. `columns`: wire name to SQL name, key first. */
export interface TableFacts {
  readonly sql: string;
  readonly key: readonly string[];
  readonly columns: Readonly<Record<string, string>>;
  /** Columns of which the device has no copy of the server's values. */
  readonly excluded: readonly string[];
  readonly parent?: { readonly table: TableName; readonly column: string };
}

export const facts: Readonly<Record<TableName, TableFacts>> = {
  todos: {
    sql: "todos",
    key: ["id"],
    columns: {
      id: "id",
      list: "list_name",
      assignee: "assignee",
      code: "code",
      title: "title",
      note: "note_text",
      rank: "rank",
      owner: "owner",
      secret: "secret",
      ref: "ref_id",
    },
    excluded: ["secret"],
  },
  comments: {
    sql: "comments",
    key: ["id"],
    columns: { id: "id", todoId: "todo_id", body: "body" },
    excluded: [],
    parent: { table: "todos", column: "todoId" },
  },
  replies: {
    sql: "replies",
    key: ["id"],
    columns: { id: "id", commentId: "comment_id", body: "body" },
    excluded: [],
    parent: { table: "comments", column: "commentId" },
  },
  members: {
    sql: "members",
    key: ["list", "user"],
    columns: { list: "list", user: "user_name", role: "role" },
    excluded: [],
  },
  notices: { sql: "notices", key: ["id"], columns: { id: "id", body: "body" }, excluded: [] },
  grants: {
    sql: "grants",
    key: ["subject", "scope"],
    columns: { subject: "subject", scope: "scope", read: "read", write: "write" },
    excluded: [],
  },
};
export const tableNames = Object.keys(facts) as readonly TableName[];

export const lists = ["red", "green", "blue"] as const;
export const people = ["ann", "bob", "cat"] as const;
/** Every scope that is granted or not; each subject has its own `grantee:` scope besides. */
export const allScopes = [
  ...lists.map((list) => `list:${list}` as const),
  ...people.map((person) => `assignee:${person}` as const),
  "everyone" as const,
];
