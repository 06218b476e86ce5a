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
import { clientWins, composite, custom, lastWriteWins, mergeFields, serverWins } from "../../protocol/conflict.ts";

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
  ref: text("ref_id").references((): AnySQLiteColumn => todos.id, { onDelete: "set null", onUpdate: "cascade" }),
});

export const comments = sqliteTable(
  "comments",
  {
    id: text().primaryKey(),
    todoId: text("todo_id")
      .notNull()
      .references(() => todos.id, { onDelete: "cascade", onUpdate: "cascade" }),
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
      .references(() => comments.id, { onDelete: "cascade", onUpdate: "cascade" }),
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

/** Version 1 of the app's tables had no `rank` and no `replies`; what is left is the same. */
const oldTodos = sqliteTable("todos", {
  id: text().primaryKey(),
  list: text("list_name"),
  assignee: text(),
  code: text().unique(),
  title: text(),
  note: text("note_text"),
  owner: text(),
  secret: text(),
  ref: text("ref_id").references((): AnySQLiteColumn => oldTodos.id, { onDelete: "set null", onUpdate: "cascade" }),
});
const oldComments = sqliteTable(
  "comments",
  {
    id: text().primaryKey(),
    todoId: text("todo_id")
      .notNull()
      .references(() => oldTodos.id, { onDelete: "cascade", onUpdate: "cascade" }),
    body: text(),
  },
  (table) => [index("comments_todo").on(table.todoId)],
);
const oldSchema = { todos: oldTodos, comments: oldComments, members, notices, grants };

/** Versions of the app's tables on devices; the server has the last one. */
export type Version = 1 | 2;

/** What a device's database of a version is made with. */
export const schemaOf = (version: Version): Record<string, unknown> => (version === 1 ? oldSchema : schema);

/** Whether a version has a table, or a column of it, under its wire name. */
export const isKnown = (version: Version, table: TableName, column?: string): boolean =>
  version === 2 || !(table === "replies" || (table === "todos" && column === "rank"));

const ddl = `
CREATE TABLE todos (id TEXT PRIMARY KEY NOT NULL, list_name TEXT, assignee TEXT, code TEXT, title TEXT, note_text TEXT,
  rank INTEGER, owner TEXT, secret TEXT, ref_id TEXT REFERENCES todos (id) ON DELETE SET NULL ON UPDATE CASCADE);
CREATE UNIQUE INDEX todos_code_unique ON todos (code);
CREATE INDEX todos_list ON todos (list_name);
CREATE INDEX todos_assignee ON todos (assignee);
CREATE TABLE comments (id TEXT PRIMARY KEY NOT NULL, todo_id TEXT NOT NULL REFERENCES todos (id) ON DELETE CASCADE ON UPDATE CASCADE, body TEXT);
CREATE INDEX comments_todo ON comments (todo_id);
CREATE TABLE replies (id TEXT PRIMARY KEY NOT NULL, comment_id TEXT NOT NULL REFERENCES comments (id) ON DELETE CASCADE ON UPDATE CASCADE, body TEXT);
CREATE INDEX replies_comment ON replies (comment_id);
CREATE TABLE members (list TEXT NOT NULL, user_name TEXT NOT NULL, role TEXT, PRIMARY KEY (list, user_name));
CREATE TABLE notices (id TEXT PRIMARY KEY NOT NULL, body TEXT);
CREATE TABLE grants (subject TEXT NOT NULL, scope TEXT NOT NULL, read INTEGER NOT NULL, write INTEGER NOT NULL, PRIMARY KEY (subject, scope));
`;

/** The migration from version 1 to version 2. */
export const migration = `
ALTER TABLE todos ADD COLUMN rank INTEGER;
CREATE TABLE replies (id TEXT PRIMARY KEY NOT NULL, comment_id TEXT NOT NULL REFERENCES comments (id) ON DELETE CASCADE ON UPDATE CASCADE, body TEXT);
CREATE INDEX replies_comment ON replies (comment_id);
`;

/** Statements that make the tables of a version. */
export const ddlOf = (version: Version): string =>
  version === 2 ? ddl : `${ddl}DROP TABLE replies; ALTER TABLE todos DROP COLUMN rank;`;

export type Policy = "server" | "client" | "last" | "fields" | "custom" | "mixed";
export const policies: readonly Policy[] = ["server", "client", "last", "fields", "custom", "mixed"];

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
    case "mixed":
      return composite({
        insert: mergeFields({}, clientWins()),
        update: mergeFields({ note: lastWriteWins(), body: clientWins() }, serverWins()),
        delete: clientWins(),
        unique: clientWins(),
      });
  }
}

/** The definition under one conflict policy. */
export const syncOfPolicy = remembered((policy: Policy) => {
  const conflict = resolverOf(policy);
  return defineSync(schema, {
    ...rulesOf(policy),
    comments: { scopeFrom: "todoId", conflict },
    replies: { scopeFrom: "commentId", conflict },
  });
});

const oldSyncOfPolicy = remembered((policy: Policy) =>
  defineSync(oldSchema, {
    ...rulesOf(policy),
    comments: { scopeFrom: "todoId", conflict: resolverOf(policy) },
  }),
);

/** The definition of a device's app in a version. */
export function deviceSyncOf(policy: Policy, version: Version): ReturnType<typeof syncOfPolicy> {
  if (version === 2) return syncOfPolicy(policy);
  // Tables less: to those who open a database with it, a definition is a definition.
  return oldSyncOfPolicy(policy) as unknown as ReturnType<typeof syncOfPolicy>;
}

/** Makes a definition once for each policy, as a module of an app does. */
function remembered<T>(make: (policy: Policy) => T): (policy: Policy) => T {
  const made = new Map<Policy, T>();
  return (policy) => {
    let definition = made.get(policy);
    if (definition === undefined) made.set(policy, (definition = make(policy)));
    return definition;
  };
}

function rulesOf(policy: Policy) {
  const conflict = resolverOf(policy);
  return {
    todos: {
      scope: { list: "list", assignee: "assignee" },
      exclude: ["secret"],
      readonly: ["owner"],
      conflict,
      check: ({ after }: { readonly after?: { readonly title: string | null } | null }) =>
        after?.title?.endsWith("!") ? "A title ends without an exclamation mark." : undefined,
    },
    members: { scope: { list: "list" }, conflict },
    notices: { scope: "everyone", write: "server" },
    grants: { scope: { grantee: "subject" }, write: "server" },
  } as const;
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
