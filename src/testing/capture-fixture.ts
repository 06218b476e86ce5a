/**
 * Databases for tests of capture: a schema with every shape that matters, opened over better-sqlite3 in memory or in a file, and
 * the log in a readable form.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { drizzle, type BetterSQLite3Database } from "drizzle-orm/better-sqlite3";
import {
  foreignKey,
  index,
  integer,
  primaryKey,
  sqliteTable,
  text,
  unique,
  type AnySQLiteColumn,
} from "drizzle-orm/sqlite-core";
import { stepSync, type Core, type SyncConnection } from "../plugin/core.ts";
import { defineSync, type SyncDefinition } from "../plugin/define-sync.ts";
import type { Safeguard } from "../plugin/sqlite/safeguards.ts";
import { splitScopes } from "../plugin/scope-text.ts";
import { syncOf, type Role, type SyncDatabase } from "../plugin/sync-database.ts";
import { openSync, type Synced } from "../plugin/with-sync.ts";

export const lists = sqliteTable("lists", {
  id: text("id").primaryKey(),
  owner: text("owner_id"),
  title: text("title"),
  slug: text("slug").unique(),
});
export const todos = sqliteTable(
  "todos",
  {
    id: text("id").primaryKey(),
    listId: text("list_id").references(() => lists.id, { onDelete: "cascade", onUpdate: "cascade" }),
    title: text("title"),
    done: integer("done", { mode: "boolean" }),
    place: text("place"),
  },
  (t) => [index("todos_list").on(t.listId), unique("todos_place").on(t.listId, t.place)],
);
export const comments = sqliteTable(
  "comments",
  {
    id: text("id").primaryKey(),
    todoId: text("todo_id").references(() => todos.id, { onDelete: "cascade", onUpdate: "cascade" }),
    body: text("body"),
  },
  (t) => [index("comments_todo").on(t.todoId)],
);
export const replies = sqliteTable(
  "replies",
  {
    id: text("id").primaryKey(),
    commentId: text("comment_id").references(() => comments.id, { onDelete: "set null", onUpdate: "cascade" }),
    body: text("body"),
  },
  (t) => [index("replies_comment").on(t.commentId)],
);
export const members = sqliteTable(
  "members",
  { listId: text("list_id").notNull(), rank: integer("rank").notNull(), name: text("name") },
  (t) => [primaryKey({ columns: [t.listId, t.rank] })],
);
export const nodes = sqliteTable("nodes", {
  id: integer("id").primaryKey(),
  parent: integer("parent").references((): AnySQLiteColumn => nodes.id, { onDelete: "set null" }),
  label: text("label").unique(),
});
export const schema = { lists, todos, comments, replies, members, nodes };
void foreignKey;

/** The tables as SQL, with what Drizzle cannot declare: collations, WITHOUT ROWID, generated columns. */
export const ddl = `
CREATE TABLE lists(id TEXT PRIMARY KEY NOT NULL, owner_id TEXT, title TEXT COLLATE NOCASE, slug TEXT COLLATE NOCASE UNIQUE);
CREATE TABLE todos(id TEXT PRIMARY KEY NOT NULL, list_id TEXT REFERENCES lists(id) ON DELETE CASCADE ON UPDATE CASCADE, title TEXT, done INTEGER, place TEXT,
  title_length INTEGER GENERATED ALWAYS AS (length(title)) STORED, UNIQUE(list_id, place));
CREATE INDEX todos_list ON todos(list_id);
CREATE TABLE comments(id TEXT PRIMARY KEY NOT NULL, todo_id TEXT REFERENCES todos(id) ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED, body TEXT);
CREATE INDEX comments_todo ON comments(todo_id);
CREATE TABLE replies(id TEXT PRIMARY KEY NOT NULL, comment_id TEXT REFERENCES comments(id) ON DELETE SET NULL ON UPDATE CASCADE, body TEXT);
CREATE INDEX replies_comment ON replies(comment_id);
CREATE TABLE members(list_id TEXT NOT NULL, rank INTEGER NOT NULL, name TEXT, PRIMARY KEY(list_id, rank)) WITHOUT ROWID;
CREATE TABLE nodes(id INTEGER PRIMARY KEY, parent INTEGER REFERENCES nodes(id) ON DELETE SET NULL, label TEXT UNIQUE);
`;

export const sync = defineSync(schema, {
  lists: { scope: { list: "id", owner: "owner" } },
  todos: { scope: { list: "listId" } },
  comments: { scopeFrom: "todoId" },
  replies: { scopeFrom: "commentId" },
  members: { scope: { member: ["listId", "rank"] } },
  nodes: { scope: "everyone", keys: "app" },
});

/** A file in a folder of its own, removed when disposed. */
export function temporaryFile(): { readonly path: string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
  return { path: join(folder, "test.db"), [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A captured database. */
export interface Captured<TSchema extends Record<string, unknown>> extends Disposable {
  readonly raw: Database.Database;
  readonly db: Synced<BetterSQLite3Database<TSchema> & { readonly $client: Database.Database }>;
  readonly sync: SyncDatabase;
  readonly connection: SyncConnection;
  /** Runs a core outside a transaction, or in the one that is open. */
  run<T>(core: Core<T>): T;
  /** What the log says since it was last asked, one text per entry: `insert todos(t1) →list:a`. */
  log(): readonly string[];
}

/** How {@link capture} opens. */
export interface CaptureOptions {
  readonly path?: string;
  readonly role?: Role;
  readonly without?: readonly Safeguard[];
  readonly ddl?: string;
  readonly now?: () => number;
  readonly casing?: "snake_case" | "camelCase";
}

/** Opens a database with the schema above, installed. */
export function capture(options: CaptureOptions = {}): Captured<typeof schema> {
  return captureOf(sync, { ddl, ...options });
}

/** Opens a database with any schema, installed. */
export function captureOf<TSchema extends Record<string, unknown>>(
  definition: SyncDefinition<TSchema>,
  options: CaptureOptions,
): Captured<TSchema> {
  const raw = new Database(options.path ?? ":memory:");
  raw.pragma("journal_mode = WAL");
  raw.pragma("synchronous = OFF");
  if (options.ddl !== undefined) raw.exec(options.ddl);
  const plain = drizzle(raw, {
    schema: definition.schema,
    ...(options.casing === undefined ? {} : { casing: options.casing }),
  });
  const db = openSync(plain, definition, {
    ...(options.without === undefined ? {} : { without: new Set(options.without) }),
    ...(options.now === undefined ? {} : { now: options.now }),
  }) as Captured<TSchema>["db"];
  const internal = syncOf(db);
  const { connection } = internal;
  if (connection.kind !== "sync") throw new Error("better-sqlite3 is synchronous.");
  void internal.install(options.role ?? "server");
  let position = Number(raw.prepare("SELECT max(seq) FROM _sync_log").pluck().get() ?? 0);
  return {
    raw,
    db,
    sync: internal,
    connection,
    run: (core) => stepSync(connection, core),
    log() {
      const rows = raw.prepare("SELECT * FROM _sync_log WHERE seq > ? ORDER BY seq").all(position) as Record<
        string,
        unknown
      >[];
      position = Number(rows.at(-1)?.["seq"] ?? position);
      return rows.map((row) => describeEntry(row, internal));
    },
    [Symbol.dispose]: () => void raw.close(),
  };
}

function describeEntry(row: Record<string, unknown>, { layouts }: SyncDatabase): string {
  if (row["t"] === 0) return "—";
  const layout = layouts.get(Number(row["t"]));
  const kind = ["", "insert", "update", "delete", "moved"][Number(row["kind"])] ?? "?";
  const key = Array.from({ length: layout?.keyLength ?? 1 }, (_, i) => String(row[`k${i}`])).join(",");
  const columns =
    kind === "update"
      ? `[${
          layout
            ?.changed(row["mask"] as number)
            .map((column) => column.key)
            .join(",") ?? ""
        }]`
      : "";
  const { sb, sa } = row;
  const scopes = "sb" in row ? ` ${scopeText(sb === 0 ? sa : sb)}→${scopeText(sa)}` : "";
  return `${kind} ${layout?.name ?? "?"}(${key})${columns}${scopes}`;
}

function scopeText(value: unknown): string {
  return splitScopes(typeof value === "string" ? value : null).join("+");
}
