import { relations, sql } from "drizzle-orm";
import { pgTable, text as pgText } from "drizzle-orm/pg-core";
import {
  blob,
  index,
  integer,
  primaryKey,
  real,
  sqliteTable,
  text,
  unique,
  type AnySQLiteColumn,
} from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { isSyncError, type SyncErrorCode } from "../protocol/errors.ts";
import { lastWriteWins } from "../protocol/conflict.ts";
import { defineSync } from "./define-sync.ts";
import { readTables, type TableRules } from "./read-tables.ts";

const users = sqliteTable("users", {
  id: text("id").primaryKey(),
  name: text("name").notNull(),
  passwordHash: text("password_hash").notNull(),
  salt: text("salt"),
});
const lists = sqliteTable("lists", {
  id: text("id").primaryKey(),
  ownerId: text("owner_id").references(() => users.id),
  archived: integer("archived", { mode: "boolean" }),
  team: integer("team"),
  createdAt: integer("created_at", { mode: "timestamp_ms" }),
  tags: text("tags", { mode: "json" }),
  avatar: blob("avatar"),
  weight: real("weight"),
  upper: text("upper").generatedAlwaysAs(sql`upper(id)`),
});
const todos = sqliteTable(
  "todos",
  {
    id: text("id").primaryKey(),
    listId: text("list_id").references(() => lists.id, { onDelete: "cascade" }),
    title: text("title"),
    slug: text("slug").unique(),
  },
  (t) => [index("todos_list").on(t.listId), unique().on(t.listId, t.title)],
);
const comments = sqliteTable("comments", {
  id: text("id").primaryKey(),
  todoId: text("todo_id").references(() => todos.id),
});
const members = sqliteTable(
  "members",
  { listId: text("list_id").notNull(), userId: text("user_id").notNull(), role: text("role") },
  (t) => [primaryKey({ columns: [t.listId, t.userId] })],
);
const ofMember = sqliteTable("of_member", {
  id: text("id").primaryKey(),
  listId: text("list_id").references(() => members.listId),
});
const counted = sqliteTable("counted", { id: integer("id").primaryKey({ autoIncrement: true }), name: text("name") });
const numbered = sqliteTable("numbered", { id: integer("id"), name: text("name") }, (t) => [
  primaryKey({ columns: [t.id] }),
]);
const keyless = sqliteTable("keyless", { name: text("name") });
const foreign = pgTable("foreign", { id: pgText("id").primaryKey() });
const left = sqliteTable("left", { id: text("id").primaryKey(), rightId: text("right_id").references(() => right.id) });
const right = sqliteTable("right", { id: text("id").primaryKey(), leftId: text("left_id") });
const schema = {
  users,
  lists,
  todos,
  comments,
  members,
  ofMember,
  counted,
  numbered,
  keyless,
  foreign,
  left,
  right,
  todosRelations: relations(todos, () => ({})),
};

/** Rules that types would refuse, too. */
function refusal(rules: Readonly<Record<string, TableRules>>): {
  readonly code: SyncErrorCode;
  readonly message: string;
} {
  try {
    defineSync(schema, rules as never);
  } catch (error) {
    if (isSyncError(error)) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error("It was accepted.");
}

const invalid: readonly (readonly [what: string, rules: Readonly<Record<string, TableRules>>, message: RegExp])[] = [
  [
    "an unknown table",
    { nothing: { scope: "x" } },
    /`nothing` is not a table of the schema\. Its tables are `users`, `lists`/,
  ],
  ["relations in place of a table", { todosRelations: { scope: "x" } }, /`todosRelations` is not a table/],
  [
    "an unknown column in a scope",
    { lists: { scope: { list: "ids" } } },
    /`lists` has no column `ids`, which `scope\.list` names\. Its columns are `id`, `ownerId`/,
  ],
  [
    "an unknown column in `readonly`",
    { lists: { scope: "x", readonly: ["nope"] } },
    /no column `nope`, which `readonly` names/,
  ],
  [
    "an unknown column in `exclude`",
    { lists: { scope: "x", exclude: ["nope"] } },
    /no column `nope`, which `exclude` names/,
  ],
  [
    "an unknown column in `scopeFrom`",
    { todos: { scope: "x" }, comments: { scopeFrom: "nope" } },
    /no column `nope`, which `scopeFrom` names/,
  ],
  [
    "a date in a scope",
    { lists: { scope: { at: "createdAt" } } },
    /`at` is made of `createdAt`, whose values have no one spelling.*Use a text, integer or boolean column/,
  ],
  ["JSON in a scope", { lists: { scope: { at: "tags" } } }, /made of `tags`/],
  ["a blob in a scope", { lists: { scope: { at: "avatar" } } }, /made of `avatar`/],
  ["a float in a scope", { lists: { scope: { at: "weight" } } }, /made of `weight`/],
  ["a generated column in a scope", { lists: { scope: { at: "upper" } } }, /which is generated/],
  ["a scope of no column", { lists: { scope: { at: [] } } }, /names no column/],
  ["a scope kind with a colon", { lists: { scope: { "a:b": "id" } } }, /colon/],
  ["an empty constant scope", { lists: { scope: "" } }, /not empty/],
  ["neither scope nor scopeFrom", { lists: {} }, /neither `scope` nor `scopeFrom`/],
  ["both scope and scopeFrom", { todos: { scope: "x" }, comments: { scope: "x", scopeFrom: "todoId" } }, /both/],
  [
    "`scopeFrom` without a foreign key",
    { todos: { scopeFrom: "title" } },
    /needs a foreign key.*Add `\.references\(\(\) => parent\.id\)` to it/,
  ],
  [
    "`scopeFrom` whose parent is not synced",
    { comments: { scopeFrom: "todoId" } },
    /takes its scopes from `todos`, which is not synced\. Add rules for `todos`/,
  ],
  [
    "`scopeFrom` to a part of a key",
    { members: { scope: "x" }, ofMember: { scopeFrom: "listId" } },
    /must reference the primary key of `members`, which must be a single column/,
  ],
  [
    "a key that the database counts",
    { counted: { scope: "x" } },
    /the database makes the key `id`.*crypto\.randomUUID.*keys: "app"/,
  ],
  ["a plain integer key", { numbered: { scope: "x" } }, /the database makes the key `id`/],
  [
    "an excluded column that must have a value",
    { users: { scope: "x", exclude: ["passwordHash"] } },
    /`passwordHash` is excluded.*Make it nullable or give it `\.default\(…\)`/,
  ],
  ["an excluded key", { users: { scope: "x", exclude: ["id"] } }, /part of the primary key and cannot be excluded/],
  ["a readonly key", { users: { scope: "x", readonly: ["id"] } }, /cannot be readonly/],
  [
    "an excluded scope column",
    { lists: { scope: { team: "team" }, exclude: ["team"] } },
    /a device must know it\. Do not exclude it/,
  ],
  [
    "an excluded parent column",
    { todos: { scope: "x" }, comments: { scopeFrom: "todoId", exclude: ["todoId"] } },
    /names the parent, so a device must know it/,
  ],
];

for (const [what, rules, message] of invalid) {
  test(`INVALID_CONFIG: ${what} is refused, with table, column and remedy`, () => {
    const refused = refusal(rules);
    expect(refused.code).toBe("INVALID_CONFIG");
    expect(refused.message).toMatch(message);
    expect(refused.message).toMatch(/\.$/);
  });
}

test("INVALID_CONFIG: tables that inherit from each other in a circle are refused", () => {
  const one = sqliteTable("one", {
    id: text("id").primaryKey(),
    up: text("up").references((): AnySQLiteColumn => one.id),
  });
  expect(() => readTables({ one }, { one: { scopeFrom: "up" } }, undefined)).toThrow(/inherits its scopes from itself/);
});

test("MISSING_PRIMARY_KEY: a table without a key is refused, with the line to add", () => {
  const refused = refusal({ keyless: { scope: "x" } });
  expect(refused.code).toBe("MISSING_PRIMARY_KEY");
  expect(refused.message).toContain("`id: text().primaryKey()`");
});

test("UNSUPPORTED_DATABASE: a table of another dialect is refused", () => {
  expect(refusal({ foreign: { scope: "x" } }).code).toBe("UNSUPPORTED_DATABASE");
});

test("INVALID_CONFIG: one table under two keys of the schema has rules once", () => {
  expect(() => readTables({ a: users, b: users }, { a: { scope: "x" }, b: { scope: "x" } }, undefined)).toThrow(
    /in the schema twice/,
  );
});

test("a definition keeps schema and rules; tables are read with keys, columns, parents and references", () => {
  const rules = {
    todos: { scope: { list: "listId", slug: ["listId", "slug"] }, conflict: lastWriteWins() },
    comments: { scopeFrom: "todoId" },
    lists: { scope: { list: "id" } },
    counted: { scope: "everyone", keys: "app" },
  } as const;
  const definition = defineSync(schema, rules);
  expect(definition.schema).toBe(schema);
  const tables = new Map(readTables(schema, definition.tables as never, undefined).map((table) => [table.key, table]));
  const [list, todo, comment] = [tables.get("lists"), tables.get("todos"), tables.get("comments")];
  expect([...tables.keys()]).toEqual(["lists", "todos", "comments", "counted"]);
  expect(list?.columns.map((column) => column.key)).toEqual([
    "id",
    "ownerId",
    "archived",
    "team",
    "createdAt",
    "tags",
    "avatar",
    "weight",
  ]);
  expect(list?.columns.map((column) => column.form)).toEqual([
    "text",
    "text",
    "boolean",
    "integer",
    "time",
    "json",
    "blob",
    "real",
  ]);
  expect(comment?.parent?.table).toBe(todo);
  expect(todo?.children).toEqual([comment]);
  expect(todo?.foreignKeys.map((key) => [key.target.key, key.onDelete])).toEqual([["lists", "cascade"]]);
  expect(list?.referencedBy.map((key) => key.table.key)).toEqual(["todos"]);
  expect(todo?.uniques.map((columns) => columns.map((column) => column.key))).toEqual([["slug"], ["listId", "title"]]);
  expect(todo?.scopes.map((rule) => (rule.kind === "columns" ? [rule.name, rule.compound] : []))).toEqual([
    ["list", false],
    ["slug", true],
  ]);
  expect(tables.get("counted")?.keyColumns.map((column) => column.key)).toEqual(["id"]);
});

test("a composite key's columns come first, in key order", () => {
  const odd = sqliteTable("odd", { name: text("name"), b: text("b").notNull(), a: text("a").notNull() }, (t) => [
    primaryKey({ columns: [t.a, t.b] }),
  ]);
  const [table] = readTables({ odd }, { odd: { scope: "everyone" } }, undefined);
  expect(table?.columns.map((column) => column.key)).toEqual(["a", "b", "name"]);
  expect(table?.keyColumns.map((column) => column.notNull)).toEqual([true, true]);
});
