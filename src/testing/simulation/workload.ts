/**
 * Random statements of a random app: what people and servers do to the tables, through Drizzle or as raw SQL. Values of
 * free columns are never written twice, so that the oracle can tell who saw what.
 *
 * @module
 */

import { and, eq, sql, type SQL } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import type { Value } from "../../protocol/ids.ts";
import type { Random } from "../random.ts";
import {
  comments,
  facts,
  grants,
  isKnown,
  lists,
  members,
  notices,
  people,
  replies,
  todos,
  type TableName,
  type Version,
} from "./schema.ts";
import { rowId, scopesOf, type Cells, type State } from "./state.ts";

export interface Statement {
  readonly kind: "insert" | "update" | "delete" | "upsert" | "replace" | "rekey";
  readonly table: TableName;
  /** Key cells. */
  readonly key: Cells;
  /** The other cells that the statement names; for `rekey`, the key that the row gets. */
  readonly cells: Cells;
}

export interface WorkloadContext {
  readonly side: "server" | "device";
  /** The version of the writer's app. */
  readonly version: Version;
  /** Scopes that the writer prefers: those it may write. */
  readonly scopes: readonly string[];
  /** A value that was never used before. */
  fresh(): string;
}

const keys: Readonly<Record<TableName, readonly Cells[]>> = {
  todos: ["t1", "t2", "t3", "t4", "t5", "t6"].map((id) => ({ id })),
  comments: ["c1", "c2", "c3", "c4", "c5"].map((id) => ({ id })),
  replies: ["r1", "r2", "r3", "r4"].map((id) => ({ id })),
  members: lists.flatMap((list) => people.map((user) => ({ list, user }))),
  notices: ["n1", "n2", "n3"].map((id) => ({ id })),
  // Rights change by steps of their own.
  grants: [],
};
const tablesByFrequency: readonly TableName[] = [
  ...Array.from({ length: 6 }, () => "todos" as const),
  ...Array.from({ length: 4 }, () => "comments" as const),
  ...Array.from({ length: 3 }, () => "replies" as const),
  "members",
  "notices",
];

/** One statement that makes sense in this state, or nothing where none does. */
export function randomStatement(random: Random, state: State, context: WorkloadContext): Statement | undefined {
  const statement = statementIn(random, state, context);
  if (statement === undefined || !isKnown(context.version, statement.table)) return undefined;
  const cells = Object.entries(statement.cells).filter(([name]) => isKnown(context.version, statement.table, name));
  if (statement.kind === "update" && cells.length === 0) return undefined;
  return { ...statement, cells: Object.fromEntries(cells) };
}

function statementIn(random: Random, state: State, context: WorkloadContext): Statement | undefined {
  let table = random.pick(tablesByFrequency);
  // A device may not write notices; now and then it tries.
  if (table === "notices" && context.side === "device" && random.chance(0.9)) table = "todos";
  let key = random.pick(keys[table]);
  // People mostly try what they may do.
  for (let i = 0; i < 4 && !isWritable(state, table, key, context) && random.chance(0.9); i++)
    key = random.pick(keys[table]);
  const exists = state.has(rowId(table, key));
  if (exists && random.chance(0.2)) return { kind: "delete", table, key, cells: {} };
  // On a device, keys that others reference do not change (C8).
  if (exists && random.chance(0.08) && (table === "members" || context.side === "server")) {
    const free = keys[table].filter((other) => !state.has(rowId(table, other)));
    if (free.length > 0) return { kind: "rekey", table, key, cells: random.pick(free) };
  }
  const cells = exists ? changedCells(random, table, state, context) : newCells(random, table, state, context);
  if (cells === undefined) return undefined;
  if (exists) return { kind: "update", table, key, cells };
  if (random.chance(0.1)) return { kind: "upsert", table, key, cells };
  // REPLACE may evict rows of any key: the server's capture must cope with it, and the oracle reads the result there.
  if (context.side === "server" && random.chance(0.1)) return { kind: "replace", table, key, cells };
  return { kind: "insert", table, key, cells };
}

/** Whether the writer may write a row, as far as its scopes tell; a new row's key tells of a member alone. */
function isWritable(state: State, table: TableName, key: Cells, context: WorkloadContext): boolean {
  if (table === "members") return context.scopes.includes(`list:${String(key["list"])}`);
  const row = state.get(rowId(table, key));
  return row === undefined || scopesOf(state, row).some((scope) => context.scopes.includes(scope));
}

/** A scope column's value, mostly one that the writer may write. */
function scopeValue(random: Random, prefix: string, values: readonly string[], context: WorkloadContext): string {
  const allowed = values.filter((value) => context.scopes.includes(`${prefix}:${value}`));
  return allowed.length > 0 && random.chance(0.92) ? random.pick(allowed) : random.pick(values);
}

const list = (random: Random, context: WorkloadContext): string => scopeValue(random, "list", lists, context);
const assignee = (random: Random, context: WorkloadContext): string => scopeValue(random, "assignee", people, context);
const code = (random: Random): Value => (random.chance(0.5) ? null : random.pick(["A", "B", "C"]));

function title(random: Random, context: WorkloadContext): string {
  // The definition's check refuses an exclamation mark.
  return context.fresh() + (context.side === "device" && random.chance(0.02) ? "!" : "");
}

function idsOf(state: State, table: TableName): Value[] {
  return [...state.values()].filter((row) => row.table === table).map((row) => row.cells["id"] as Value);
}

/** Rows that a new child may hang from, mostly those that the writer may write. */
function parentsOf(random: Random, state: State, table: TableName, context: WorkloadContext): Value[] {
  const all = idsOf(state, table);
  const writable = all.filter((id) => isWritable(state, table, { id }, context));
  return writable.length > 0 && random.chance(0.9) ? writable : all;
}

function newCells(random: Random, table: TableName, state: State, context: WorkloadContext): Cells | undefined {
  switch (table) {
    case "todos":
      return {
        list: random.chance(0.9) ? list(random, context) : null,
        assignee: random.chance(0.4) ? assignee(random, context) : null,
        code: code(random),
        title: title(random, context),
        note: context.fresh(),
        rank: random.int(1000),
        ref: random.chance(0.25) ? random.pick([...idsOf(state, "todos"), null]) : null,
        ...(context.side === "server" ? { secret: context.fresh() } : {}),
      };
    case "comments":
    case "replies": {
      const parents = parentsOf(random, state, table === "comments" ? "todos" : "comments", context);
      if (parents.length === 0) return undefined;
      return { [facts[table].parent?.column ?? ""]: random.pick(parents), body: context.fresh() };
    }
    case "members":
      return { role: context.fresh() };
    case "notices":
      return { body: context.fresh() };
    case "grants":
      return undefined;
  }
}

function changedCells(random: Random, table: TableName, state: State, context: WorkloadContext): Cells | undefined {
  switch (table) {
    case "todos": {
      const cells: Record<string, Value> = {};
      if (random.chance(0.5)) cells["title"] = title(random, context);
      if (random.chance(0.4)) cells["note"] = context.fresh();
      if (random.chance(0.3)) cells["rank"] = random.int(1000);
      if (random.chance(0.15)) cells["list"] = random.chance(0.15) ? null : list(random, context);
      if (random.chance(0.15)) cells["assignee"] = random.chance(0.4) ? null : assignee(random, context);
      if (random.chance(0.2)) cells["code"] = code(random);
      if (random.chance(0.1)) cells["ref"] = random.pick([...idsOf(state, "todos"), null]);
      if (context.side === "server" && random.chance(0.2)) cells["secret"] = context.fresh();
      if (context.side === "device" && random.chance(0.02)) cells["owner"] = context.fresh();
      return Object.keys(cells).length > 0 ? cells : undefined;
    }
    case "comments":
    case "replies": {
      const parents = parentsOf(random, state, table === "comments" ? "todos" : "comments", context);
      const move = random.chance(0.25) && parents.length > 0;
      return { body: context.fresh(), ...(move ? { [facts[table].parent?.column ?? ""]: random.pick(parents) } : {}) };
    }
    case "members":
      return { role: context.fresh() };
    case "notices":
      return { body: context.fresh() };
    case "grants":
      return undefined;
  }
}

/** A statement as SQL with parameters. */
export function toSql(statement: Statement): { readonly sql: string; readonly params: readonly Value[] } {
  const { sql: name, columns, key } = facts[statement.table];
  const column = (wire: string): string => `"${columns[wire] ?? wire}"`;
  const where = key.map((wire) => `${column(wire)} = ?`).join(" AND ");
  const keyValues = key.map((wire) => statement.key[wire] as Value);
  const entries = Object.entries(statement.cells);
  const values = entries.map(([, value]) => value);
  const assignments = entries.map(([wire]) => `${column(wire)} = ?`).join(", ");
  switch (statement.kind) {
    case "delete":
      return { sql: `DELETE FROM "${name}" WHERE ${where}`, params: keyValues };
    case "update":
    case "rekey":
      return { sql: `UPDATE "${name}" SET ${assignments} WHERE ${where}`, params: [...values, ...keyValues] };
    case "insert":
    case "replace":
    case "upsert": {
      const all = [...key, ...entries.map(([wire]) => wire)];
      const insert = `INSERT ${statement.kind === "replace" ? "OR REPLACE " : ""}INTO "${name}" (${all.map(column).join(", ")}) VALUES (${all.map(() => "?").join(", ")})`;
      if (statement.kind !== "upsert") return { sql: insert, params: [...keyValues, ...values] };
      return {
        sql: `${insert} ON CONFLICT (${key.map(column).join(", ")}) DO UPDATE SET ${assignments}`,
        params: [...keyValues, ...values, ...values],
      };
    }
  }
}

type Db = BaseSQLiteDatabase<"sync", unknown, Record<string, unknown>>;

const drizzleTables = { todos, comments, replies, members, notices, grants };

/** Executes a statement with Drizzle's builders, or with Drizzle's raw SQL where it has no builder for it. */
export function execute(db: Db, statement: Statement, raw: boolean): void {
  if (raw || statement.kind === "replace" || statement.kind === "rekey") {
    const { sql: text, params } = toSql(statement);
    const parts = text.split("?").map((part) => sql.raw(part));
    const chunks: SQL[] = [];
    parts.forEach((part, i) => {
      chunks.push(part);
      if (i < params.length) chunks.push(sql`${params[i]}`);
    });
    db.run(sql.join(chunks));
    return;
  }
  const table = drizzleTables[statement.table];
  const columns = table as unknown as Record<string, typeof todos.id>;
  const where = and(
    ...facts[statement.table].key.map((name) => eq(columns[name] as typeof todos.id, statement.key[name] as string)),
  );
  // The cells name this table's own columns; their union over all tables is what the compiler cannot follow.
  const row = { ...statement.key, ...statement.cells } as never;
  switch (statement.kind) {
    case "delete":
      db.delete(table).where(where).run();
      return;
    case "update":
      db.update(table).set(statement.cells).where(where).run();
      return;
    case "insert":
      db.insert(table).values(row).run();
      return;
    case "upsert":
      db.insert(table)
        .values(row)
        .onConflictDoUpdate({
          target: facts[statement.table].key.map((name) => columns[name] as typeof todos.id),
          set: statement.cells,
        })
        .run();
  }
}
