/**
 * The oracle's picture of a database: plain rows, and plain functions over them. Nothing here asks the library; that
 * independence is what the simulation's checks are worth.
 *
 * @module
 */

import type Database from "better-sqlite3";
import type { Value } from "../../protocol/ids.ts";
import { facts, tableNames, type TableName } from "./schema.ts";

/** Wire column names to values. */
export type Cells = Readonly<Record<string, Value>>;

export interface Row {
  readonly table: TableName;
  readonly cells: Cells;
}

/** Rows by their id: table and key values. Treated as immutable. */
export type State = ReadonlyMap<string, Row>;

export const rowId = (table: TableName, cells: Cells): string =>
  `${table}/${facts[table].key.map((column) => String(cells[column])).join("/")}`;

const selects = tableNames.map((table) => {
  const { sql, columns, key } = facts[table];
  const list = Object.entries(columns).map(([name, column]) => `"${column}" AS "${name}"`);
  return {
    table,
    sql: `SELECT ${list.join(", ")} FROM "${sql}" ORDER BY ${key.map((name) => columns[name]).join(", ")}`,
  };
});

const prepared = new WeakMap<
  Database.Database,
  readonly { readonly table: TableName; readonly statement: Database.Statement }[]
>();

/** Reads all synced tables as they are now. */
export function readState(database: Database.Database): State {
  let statements = prepared.get(database);
  if (statements === undefined) {
    statements = selects.map(({ table, sql }) => ({ table, statement: database.prepare(sql) }));
    prepared.set(database, statements);
  }
  const state = new Map<string, Row>();
  for (const { table, statement } of statements) {
    for (const cells of statement.all() as Cells[]) state.set(rowId(table, cells), { table, cells });
  }
  return state;
}

/** The scopes of a row, own or inherited, sorted. */
export function scopesOf(state: State, row: Row): readonly string[] {
  const { table, cells } = row;
  if (table === "notices") return ["everyone"];
  if (table === "grants") return [`grantee:${String(cells["subject"])}`];
  if (table === "members") return [`list:${String(cells["list"])}`];
  if (table === "todos") {
    const scopes: string[] = [];
    if (cells["assignee"] !== null) scopes.push(`assignee:${String(cells["assignee"])}`);
    if (cells["list"] !== null) scopes.push(`list:${String(cells["list"])}`);
    return scopes;
  }
  const parent = parentOf(state, row);
  return parent === undefined ? [] : scopesOf(state, parent);
}

/** The row along whose key scopes are inherited and deletes cascade. */
export function parentOf(state: State, row: Row): Row | undefined {
  const link = facts[row.table].parent;
  return link && state.get(`${link.table}/${String(row.cells[link.column])}`);
}

/** The rows that hang from a row along cascading keys, children first, then theirs. */
export function descendantsOf(state: State, id: string): string[] {
  const found: string[] = [];
  for (const [childId, row] of state) {
    const link = facts[row.table].parent;
    if (link && `${link.table}/${String(row.cells[link.column])}` === id)
      found.push(childId, ...descendantsOf(state, childId));
  }
  return found;
}

/** What a device that holds these scopes has of a server's state. */
export function restrict(state: State, held: ReadonlySet<string>): State {
  const rows = new Map<string, Row>();
  for (const [id, row] of state) {
    if (!scopesOf(state, row).some((scope) => held.has(scope))) continue;
    const { excluded } = facts[row.table];
    rows.set(id, excluded.length === 0 ? row : { table: row.table, cells: without(row.cells, excluded) });
  }
  return rows;
}

/** A device's own tables, without the columns that it has no copy of. */
export function known(state: State): State {
  const rows = new Map<string, Row>();
  for (const [id, row] of state) {
    const { excluded } = facts[row.table];
    rows.set(id, excluded.length === 0 ? row : { table: row.table, cells: without(row.cells, excluded) });
  }
  return rows;
}

function without(cells: Cells, columns: readonly string[]): Cells {
  return Object.fromEntries(Object.entries(cells).filter(([name]) => !columns.includes(name)));
}

/** One row's change inside a transaction, as the difference that one statement made. */
export interface RowChange {
  readonly id: string;
  readonly table: TableName;
  readonly kind: "insert" | "update" | "delete";
  /** New values: all of an insert, the changed ones of an update, none of a delete. */
  readonly cells: Cells;
  /** The row as it was; absent for an insert. */
  readonly before?: Cells;
}

/** What turns one state into another. Deletes come first, then updates, then inserts. */
export function difference(from: State, to: State): RowChange[] {
  const changes: RowChange[] = [];
  for (const [id, row] of from) {
    if (!to.has(id)) changes.push({ id, table: row.table, kind: "delete", cells: {}, before: row.cells });
  }
  for (const [id, row] of to) {
    const old = from.get(id);
    if (old === row) continue;
    if (old === undefined) {
      changes.push({ id, table: row.table, kind: "insert", cells: row.cells });
      continue;
    }
    const changed = Object.entries(row.cells).filter(([name, value]) => old.cells[name] !== value);
    if (changed.length > 0) {
      changes.push({ id, table: row.table, kind: "update", cells: Object.fromEntries(changed), before: old.cells });
    }
  }
  return changes;
}

/** A short text of how two states differ; empty when they do not. */
export function describeDifference(actual: State, expected: State): string {
  return difference(expected, actual)
    .map((change) => {
      const was = expected.get(change.id)?.cells;
      if (change.kind === "delete") return `${change.id} is missing`;
      if (change.kind === "insert") return `${change.id} should not be there`;
      return Object.keys(change.cells)
        .map((name) => `${change.id}.${name} is ${String(change.cells[name])}, expected ${String(was?.[name])}`)
        .join(", ");
    })
    .join("; ");
}

/** Why a state cannot stand in SQLite; undefined when it can. `touched` limits which rows' keys are looked at. */
export function violation(state: State, touched?: ReadonlySet<string>): "unique" | "foreign key" | undefined {
  const codes = new Set<Value>();
  for (const row of state.values()) {
    if (row.table !== "todos") continue;
    const code = row.cells["code"];
    if (code === null || code === undefined) continue;
    if (codes.has(code)) return "unique";
    codes.add(code);
  }
  for (const [id, row] of state) {
    if (touched && !touched.has(id)) continue;
    if (facts[row.table].parent && parentOf(state, row) === undefined) return "foreign key";
  }
  return undefined;
}

/** Replays a transaction's changes on a state, cascades included. Later conflicts of keys are left to {@link violation}. */
export function replay(state: State, changes: readonly RowChange[]): State {
  const rows = new Map(state);
  for (const change of changes) {
    const current = rows.get(change.id);
    if (change.kind === "delete") {
      if (current === undefined) continue;
      for (const id of [change.id, ...descendantsOf(rows, change.id)]) {
        rows.delete(id);
        for (const [other, row] of rows) {
          if (row.table === "todos" && row.cells["ref"] !== null && `todos/${String(row.cells["ref"])}` === id) {
            rows.set(other, { table: "todos", cells: { ...row.cells, ref: null } });
          }
        }
      }
    } else if (change.kind === "insert" || current !== undefined) {
      rows.set(change.id, { table: change.table, cells: { ...current?.cells, ...change.cells } });
    }
  }
  return rows;
}
