/**
 * The oracle's picture of a database: plain rows, and plain functions over them. Nothing here asks the library; that
 * independence is what the simulation's checks are worth.
 *
 * @module
 */

import type Database from "better-sqlite3";
import type { CrashDatabase } from "../crash-database.ts";
import type { Value } from "../../protocol/ids.ts";
import { facts, isKnown, tableNames, type TableName, type Version } from "./schema.ts";

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

interface Columns {
  readonly table: TableName;
  /** Wire names, the key's first. */
  readonly names: readonly string[];
}

/** All tables in one statement: their number, their key, their other columns; every table as wide as the widest. */
function selectOf(columns: readonly Columns[]): string {
  const width = Math.max(...columns.map(({ names }) => names.length));
  const arms = columns.map(({ table, names }, number) => {
    const { sql, columns: sqlNames } = facts[table];
    const cells = Array.from({ length: width }, (_, i) => {
      const name = names[i];
      return name === undefined ? "NULL" : `"${sqlNames[name] ?? name}"`;
    });
    return `SELECT ${number}, ${cells.join(", ")} FROM "${sql}"`;
  });
  return `${arms.join(" UNION ALL ")} ORDER BY 1, 2, 3`;
}

/** What of the tables is in a database: devices may lack some. */
function columnsIn(raw: Database.Database): Columns[] {
  const here = raw.prepare("SELECT name FROM pragma_table_info(?)").pluck();
  const found: Columns[] = [];
  for (const table of tableNames) {
    const { sql, columns, key } = facts[table];
    const present = new Set(here.all(sql));
    const others = Object.keys(columns).filter((name) => !key.includes(name) && present.has(columns[name]));
    if (present.size > 0) found.push({ table, names: [...key, ...others] });
  }
  return found;
}

interface Reading {
  readonly columns: readonly Columns[];
  readonly statement: Database.Statement;
  of: CrashDatabase | undefined;
  version: number;
  state: State;
}
const readings = new WeakMap<Database.Database, Reading>();

/** The app's tables in this database have been changed. */
export function forgetColumns({ raw }: CrashDatabase): void {
  readings.delete(raw);
}

/** Reads all synced tables as they are now. Rows that are as they were at the last reading are the same objects. */
export function readState(database: CrashDatabase): State {
  const { raw, version } = database;
  let reading = readings.get(raw);
  if (reading === undefined) {
    const columns = columnsIn(raw);
    const statement = raw.prepare(selectOf(columns)).raw();
    readings.set(raw, (reading = { columns, statement, of: undefined, version, state: new Map() }));
  }
  if (reading.of === database && reading.version === version) return reading.state;
  const state = new Map<string, Row>();
  for (const [number, ...values] of reading.statement.all() as [number, ...Value[]][]) {
    const { table, names } = reading.columns[number] as Columns;
    const key = String(values[0]);
    const id = facts[table].key.length === 1 ? `${table}/${key}` : `${table}/${key}/${String(values[1])}`;
    const old = reading.state.get(id);
    const isSame = old !== undefined && names.every((name, i) => old.cells[name] === values[i]);
    state.set(id, isSame ? old : rowOf(table, names, values));
  }
  Object.assign(reading, { of: database, version, state });
  return state;
}

function rowOf(table: TableName, names: readonly string[], values: readonly Value[]): Row {
  const cells: Record<string, Value> = {};
  names.forEach((name, i) => {
    cells[name] = values[i] ?? null;
  });
  return { table, cells };
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

/** What a device of a version of the app has of a server's state when it holds these scopes. */
export function restrict(state: State, held: ReadonlySet<string>, version: Version = 2): State {
  const rows = new Map<string, Row>();
  for (const [id, row] of state) {
    if (!isKnown(version, row.table)) continue;
    if (scopesOf(state, row).some((scope) => held.has(scope))) rows.set(id, knownRow(row, version));
  }
  return rows;
}

/** A device's own tables, without the columns that it has no copy of. */
export function known(state: State): State {
  let rows = knownStates.get(state);
  if (rows === undefined) knownStates.set(state, (rows = new Map([...state].map(([id, row]) => [id, knownRow(row)]))));
  return rows;
}
const knownStates = new WeakMap<State, State>();

/** What a version of the app knows of a state. */
export function inVersion(state: State, version: Version): State {
  if (version === 2) return state;
  return new Map(
    [...state].filter(([, { table }]) => isKnown(version, table)).map(([id, row]) => [id, knownRow(row, version)]),
  );
}

/** A row without the columns that a device has no copy of; the same object for the same row. */
export function knownRow(row: Row, version: Version = 2): Row {
  const kept = knownRows[version];
  let without = kept.get(row);
  if (without !== undefined) return without;
  const { excluded } = facts[row.table];
  const names = Object.keys(row.cells).filter((name) => !excluded.includes(name) && isKnown(version, row.table, name));
  without =
    names.length === Object.keys(row.cells).length
      ? row
      : { table: row.table, cells: Object.fromEntries(names.map((name) => [name, row.cells[name] ?? null])) };
  kept.set(row, without);
  return without;
}
const knownRows: Readonly<Record<Version, WeakMap<Row, Row>>> = { 1: new WeakMap(), 2: new WeakMap() };

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

/**
 * What a transaction was written as, of which only the ends are known. A row whose parent was deleted, and that is there all
 * the same: it went with the parent first, if it was written after deletes only, or was hung elsewhere before.
 */
export function inOrder(
  from: State,
  to: State,
  changes: readonly RowChange[],
  writtenAfterDeletes: ReadonlySet<string>,
): RowChange[] {
  const deleted = new Set(changes.filter(({ kind }) => kind === "delete").map(({ id }) => id));
  const hangs = (row: Row | undefined): boolean =>
    row !== undefined && parentsIn(row.cells).some((parent) => deleted.has(parent) || hangs(from.get(parent)));
  const moved: RowChange[] = [];
  const others: RowChange[] = [];
  for (const change of changes) {
    const { id, table, kind, before } = change;
    const row = to.get(id);
    if (kind !== "update" || row === undefined || !hangs(from.get(id))) others.push(change);
    else if (!writtenAfterDeletes.has(id)) moved.push(change);
    else
      others.push(
        { id, table, kind: "delete", cells: {}, ...(before === undefined ? {} : { before }) },
        { id, table, kind: "insert", cells: row.cells },
      );
  }
  return [...moved, ...others];
}

/** The rows that a row hangs from. */
export function parentsIn(cells: Cells): string[] {
  const parents: string[] = [];
  if (typeof cells["todoId"] === "string") parents.push(`todos/${cells["todoId"]}`);
  if (typeof cells["commentId"] === "string") parents.push(`comments/${cells["commentId"]}`);
  return parents;
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
