/**
 * Writes of every kind for the schema of `capture-fixture.ts`, as SQL that three small numbers choose from: upserts, REPLACE
 * through every unique index, key changes, cascades, orphans. And what the database holds, recomputed without anything
 * of the library: rows, and the scopes that each row is in.
 *
 * @module
 */

import type { Database } from "better-sqlite3";
import fc from "fast-check";

/** A write: which one, and what with. */
export interface Write {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

type Template = (write: Write) => string;

const quoted = (value: string | null): string => (value === null ? "NULL" : `'${value.replaceAll("'", "''")}'`);
const listId = (n: number): string => quoted(["l1", "l2", "L1"][n % 3] ?? "l1");
const todoId = (n: number): string => quoted(`t${n % 3}`);
const commentId = (n: number): string => quoted(`c${n % 3}`);
const replyId = (n: number): string => quoted(`r${n % 3}`);
const owner = (n: number): string => quoted(["u1", "u2", null, "x\ny"][n % 4] ?? null);
const slug = (n: number): string => quoted(["s", "S", "q", null][n % 4] ?? null);
const place = (n: number): string => quoted(["p", "q", null][n % 3] ?? null);
const title = (n: number): string => quoted(["abc", "ABC", "x", null][n % 4] ?? null);
const orNull = (text: string, n: number): string => (n % 5 === 4 ? "NULL" : text);

const templates: readonly Template[] = [
  ({ a, b, c }) => `INSERT INTO lists VALUES(${listId(a)}, ${owner(b)}, ${title(c)}, ${slug(b)})`,
  ({ a, b, c }) => `INSERT OR REPLACE INTO lists VALUES(${listId(a)}, ${owner(b)}, ${title(c)}, ${slug(c)})`,
  ({ a, b, c }) => `INSERT OR IGNORE INTO lists VALUES(${listId(a)}, ${owner(b)}, ${title(c)}, ${slug(c)})`,
  ({ a, b, c }) =>
    `INSERT INTO lists VALUES(${listId(a)}, ${owner(b)}, ${title(c)}, ${slug(c)}) ON CONFLICT(id) DO UPDATE SET owner_id = excluded.owner_id`,
  ({ a, b, c }) =>
    `INSERT INTO lists VALUES(${listId(a)}, ${owner(b)}, ${title(c)}, ${slug(c)}) ON CONFLICT(slug) DO UPDATE SET title = excluded.title, id = id`,
  ({ a, c }) => `UPDATE OR REPLACE lists SET slug = ${slug(c)} WHERE id = ${listId(a)}`,
  ({ a, b }) => `UPDATE lists SET id = ${listId(b)} WHERE id = ${listId(a)}`,
  ({ a, b }) => `UPDATE OR REPLACE lists SET id = ${listId(b)} WHERE id = ${listId(a)}`,
  ({ a, b, c }) => `UPDATE lists SET owner_id = ${owner(b)}, title = ${title(c)} WHERE id = ${listId(a)}`,
  ({ a }) => `DELETE FROM lists WHERE id = ${listId(a)}`,
  ({ a, b, c }) =>
    `INSERT INTO todos(id, list_id, title, done, place) VALUES(${todoId(a)}, ${orNull(listId(b), c)}, ${title(c)}, ${c % 2}, ${place(c)})`,
  ({ a, b, c }) =>
    `REPLACE INTO todos(id, list_id, title, place) VALUES(${todoId(a)}, ${orNull(listId(b), c)}, ${title(c)}, ${place(b)})`,
  ({ a, b, c }) =>
    `INSERT INTO todos(id, list_id, place) VALUES(${todoId(a)}, ${listId(b)}, ${place(c)}) ON CONFLICT DO UPDATE SET title = 'up', list_id = excluded.list_id`,
  ({ a, b, c }) => `UPDATE todos SET list_id = ${orNull(listId(b), c)} WHERE id = ${todoId(a)}`,
  ({ a, b }) => `UPDATE OR REPLACE todos SET place = ${place(b)}, list_id = ${listId(b)} WHERE id <= ${todoId(a)}`,
  ({ a, b }) => `UPDATE OR REPLACE todos SET id = ${todoId(b)} WHERE id = ${todoId(a)}`,
  ({ a, b }) => `UPDATE todos SET id = ${todoId(b)}, title = ${title(b)} WHERE id = ${todoId(a)}`,
  ({ a, b }) => `UPDATE todos SET title = ${title(b)} WHERE id >= ${todoId(a)}`,
  ({ a }) => `DELETE FROM todos WHERE id = ${todoId(a)}`,
  ({ a, b, c }) => `INSERT INTO comments VALUES(${commentId(a)}, ${orNull(todoId(b), c)}, ${title(c)})`,
  ({ a, b, c }) => `REPLACE INTO comments VALUES(${commentId(a)}, ${orNull(todoId(b), c)}, ${title(c)})`,
  ({ a, b, c }) => `UPDATE comments SET todo_id = ${orNull(todoId(b), c)} WHERE id = ${commentId(a)}`,
  ({ a, b }) => `UPDATE OR REPLACE comments SET id = ${commentId(b)} WHERE id = ${commentId(a)}`,
  ({ a }) => `DELETE FROM comments WHERE id = ${commentId(a)}`,
  ({ a, b, c }) => `REPLACE INTO replies VALUES(${replyId(a)}, ${orNull(commentId(b), c)}, ${title(c)})`,
  ({ a, b, c }) => `UPDATE replies SET comment_id = ${orNull(commentId(b), c)} WHERE id = ${replyId(a)}`,
  ({ a }) => `DELETE FROM replies WHERE id = ${replyId(a)}`,
  ({ a, b, c }) => `REPLACE INTO members VALUES(${listId(a)}, ${b % 3}, ${title(c)})`,
  ({ a, b, c }) => `UPDATE OR REPLACE members SET rank = ${b % 3}, name = ${title(c)} WHERE list_id = ${listId(a)}`,
  ({ a }) => `DELETE FROM members WHERE list_id = ${listId(a)}`,
  ({ a, b, c }) =>
    `INSERT INTO nodes VALUES(${a % 4}, ${orNull(String(b % 4), c)}, ${quoted(["m", "n", "die", null][c % 4] ?? null)})`,
  ({ a, b, c }) =>
    `REPLACE INTO nodes VALUES(${a % 4}, ${orNull(String(b % 4), c)}, ${quoted(["m", "n", "o", null][c % 4] ?? null)})`,
  // With `parent` set as well: SQLite itself undoes what a foreign-key action did to the very row that evicts its parent.
  ({ a, b }) => `UPDATE OR REPLACE nodes SET rowid = ${b % 4}, parent = NULL WHERE id = ${a % 4}`,
  ({ a, b }) =>
    `UPDATE OR REPLACE nodes SET label = ${quoted(["m", "n"][b % 2] ?? null)}, parent = NULL WHERE id >= ${a % 4}`,
  ({ a }) => `DELETE FROM nodes WHERE id = ${a % 4}`,
];

/** How many kinds of writes there are. */
export const writeKinds = templates.length;

const number = fc.nat({ max: 19 });

/** Any write. */
export const anyWrite: fc.Arbitrary<Write> = fc.record({
  kind: fc.nat({ max: writeKinds - 1 }),
  a: number,
  b: number,
  c: number,
});

/** The SQL of a write. */
export function writeSql(write: Write): string {
  return templates[write.kind % templates.length]?.(write) ?? "SELECT 1";
}

/** Triggers as an app might have them, made before ours. */
export const hostileTriggers = `
CREATE TRIGGER app_touch AFTER UPDATE OF title ON todos BEGIN UPDATE todos SET done = coalesce(done, 0) + 1 WHERE id = NEW.id; END;
CREATE TRIGGER app_reap AFTER INSERT ON nodes WHEN NEW.label = 'die' BEGIN DELETE FROM nodes WHERE id = NEW.id; END;
CREATE TRIGGER app_move AFTER INSERT ON members WHEN NEW.rank = 2 BEGIN UPDATE todos SET list_id = NEW.list_id WHERE id = 't1'; END;
`;

/** Rows to begin with: a few of each, hanging together. */
export const firstRows = `
INSERT INTO lists VALUES('l1', 'u1', 'abc', 's'), ('l2', 'u2', 'x', 'q');
INSERT INTO todos(id, list_id, title, place) VALUES('t0', 'l1', 'abc', 'p'), ('t1', 'l2', 'x', NULL);
INSERT INTO comments VALUES('c0', 't0', 'x'), ('c1', 't1', 'x');
INSERT INTO replies VALUES('r0', 'c0', 'x'), ('r1', 'c1', 'x');
INSERT INTO members VALUES('l1', 1, 'x');
INSERT INTO nodes VALUES(0, NULL, 'm'), (1, 0, 'n');
`;

/** What the database holds: `table` + key to a row; values as SQLite gives them. */
export type Dump = ReadonlyMap<string, Readonly<Record<string, string | number | null>>>;

const keys: Readonly<Record<string, readonly string[]>> = {
  lists: ["id"],
  todos: ["id"],
  comments: ["id"],
  replies: ["id"],
  members: ["list_id", "rank"],
  nodes: ["id"],
};

/** Reads everything. */
export function dump(raw: Database): Dump {
  const rows = new Map<string, Readonly<Record<string, string | number | null>>>();
  for (const [table, columns] of Object.entries(keys)) {
    for (const row of raw.prepare(`SELECT * FROM ${table}`).all() as Record<string, string | number | null>[]) {
      const { title_length: _, ...rest } = row;
      rows.set(`${table}(${columns.map((column) => String(row[column])).join(",")})`, rest);
    }
  }
  return rows;
}

/** The scopes of a row, by the declaration's words alone. */
export function scopesIn(rows: Dump, name: string): ReadonlySet<string> {
  const row = rows.get(name);
  const scopes = new Set<string>();
  if (row === undefined) return scopes;
  const add = (kind: string, ...parts: readonly (string | number | null | undefined)[]): void => {
    if (parts.every((part) => part !== null && part !== undefined && !String(part).includes("\n")))
      scopes.add(`${kind}:${parts.map(String).join(":")}`);
  };
  const up = (table: string, key: string | number | null | undefined): ReadonlySet<string> => {
    if (key === null || key === undefined) return scopes;
    return scopesIn(rows, `${table}(${String(key)})`);
  };
  switch (name.slice(0, name.indexOf("("))) {
    case "lists":
      add("list", row["id"]);
      add("owner", row["owner_id"]);
      return scopes;
    case "todos":
      add("list", row["list_id"]);
      return scopes;
    case "comments":
      return up("todos", row["todo_id"]);
    case "replies":
      return up("comments", row["comment_id"]);
    case "members":
      add("member", row["list_id"], row["rank"]);
      return scopes;
    default:
      return new Set(["everyone"]);
  }
}
