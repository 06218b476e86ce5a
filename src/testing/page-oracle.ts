/**
 * The tables of the property tests of pages, the rules of base, pending and visible rows over plain maps, and random changes,
 * as a server makes them and as statements for a device.
 *
 * @module
 */

import { index, integer, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { expect } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import type { Value } from "../protocol/ids.ts";

const parents = sqliteTable("parents", { id: text().primaryKey(), code: integer().unique(), name: text() });
const children = sqliteTable(
  "children",
  {
    id: text().primaryKey(),
    parentId: text("parent_id")
      .notNull()
      .references(() => parents.id, { onDelete: "cascade" }),
    slot: integer().unique(),
    x: integer(),
  },
  (table) => [index("children_parent").on(table.parentId)],
);
const leaves = sqliteTable(
  "leaves",
  {
    id: text().primaryKey(),
    childId: text("child_id")
      .notNull()
      .references(() => children.id, { onDelete: "cascade" }),
    y: integer(),
  },
  (table) => [index("leaves_child").on(table.childId)],
);
const notes = sqliteTable(
  "notes",
  {
    id: text().primaryKey(),
    parentId: text("parent_id").references(() => parents.id, { onDelete: "set null" }),
    z: integer(),
  },
  (table) => [unique("notes_place").on(table.parentId, table.z)],
);
export const schema = { parents, children, leaves, notes };
export const definition = defineSync(schema, {
  parents: { scope: "everyone" },
  children: { scopeFrom: "parentId" },
  leaves: { scopeFrom: "childId" },
  notes: { scope: "everyone" },
});
export const ddl = `
CREATE TABLE parents (id TEXT PRIMARY KEY NOT NULL, code INTEGER UNIQUE, name TEXT);
CREATE TABLE children (id TEXT PRIMARY KEY NOT NULL, parent_id TEXT NOT NULL REFERENCES parents (id) ON DELETE CASCADE, slot INTEGER UNIQUE, x INTEGER);
CREATE INDEX children_parent ON children (parent_id);
CREATE TABLE leaves (id TEXT PRIMARY KEY NOT NULL, child_id TEXT NOT NULL REFERENCES children (id) ON DELETE CASCADE, y INTEGER);
CREATE INDEX leaves_child ON leaves (child_id);
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, parent_id TEXT REFERENCES parents (id) ON DELETE SET NULL, z INTEGER, UNIQUE (parent_id, z));
`;

// ---- the oracle: rows as plain objects, by table and id ----

export type TableKey = "parents" | "children" | "leaves" | "notes";
export type Row = Readonly<Record<string, Value>>;
/** Rows by `table/id`. */
export type Rows = Map<string, Row>;
export interface Change {
  readonly kind: "insert" | "update" | "delete";
  readonly at: string;
  readonly values: Row;
}

export const columnsOf: Readonly<Record<TableKey, readonly string[]>> = {
  parents: ["id", "code", "name"],
  children: ["id", "parentId", "slot", "x"],
  leaves: ["id", "childId", "y"],
  notes: ["id", "parentId", "z"],
};
const uniqueOf: Partial<Record<TableKey, readonly string[]>> = {
  parents: ["code"],
  children: ["slot"],
  notes: ["parentId", "z"],
};
const parentOf: Partial<
  Record<TableKey, { readonly column: string; readonly table: TableKey; readonly action: "cascade" | "set null" }>
> = {
  children: { column: "parentId", table: "parents", action: "cascade" },
  leaves: { column: "childId", table: "children", action: "cascade" },
  notes: { column: "parentId", table: "parents", action: "set null" },
};
const tableKeys = Object.keys(columnsOf) as readonly TableKey[];
export const tableOf = (at: string): TableKey => at.slice(0, at.indexOf("/")) as TableKey;

function removeRow(rows: Rows, at: string): void {
  rows.delete(at);
  for (const [other, row] of [...rows]) {
    const link = parentOf[tableOf(other)];
    if (!link || `${link.table}/${String(row[link.column])}` !== at) continue;
    if (link.action === "cascade") removeRow(rows, other);
    else rows.set(other, { ...row, [link.column]: null });
  }
}

/** Applies one change as a replay would; false when a unique value is taken. */
function applyChange(rows: Rows, { kind, at, values }: Change): boolean {
  if (kind === "delete") {
    if (rows.has(at)) removeRow(rows, at);
    return true;
  }
  const current = rows.get(at);
  if (kind === "update" && !current) return true;
  const next = { ...current, ...values };
  rows.set(at, next);
  const columns = uniqueOf[tableOf(at)];
  if (!columns || columns.some((column) => next[column] === null)) return true;
  return ![...rows].some(
    ([other, row]) =>
      other !== at && tableOf(other) === tableOf(at) && columns.every((column) => row[column] === next[column]),
  );
}

function keysHold(rows: Rows): boolean {
  return [...rows].every(([at, row]) => {
    const link = parentOf[tableOf(at)];
    return !link || row[link.column] === null || rows.has(`${link.table}/${String(row[link.column])}`);
  });
}

/**
 * Base + pending = visible. A transaction that is withheld must break something when it is replayed change by change; one
 * that is shown must leave a state that holds (a page written beside it may clash with what it wrote only in passing).
 */
export function replayAll(
  base: Rows,
  pending: readonly { readonly stamp: number; readonly changes: readonly Change[] }[],
  withheld: ReadonlySet<number>,
): Rows {
  let visible = new Map(base);
  for (const { stamp, changes } of pending) {
    const next = new Map(visible);
    const isClean = changes.map((change) => applyChange(next, change)).every((isFine) => isFine) && keysHold(next);
    if (!withheld.has(stamp)) visible = next;
    else expect(isClean, "a withheld transaction breaks a constraint").toBe(false);
  }
  expect(keysHold(visible), "foreign keys hold").toBe(true);
  return visible;
}

export const tables = (rows: Rows): Record<string, Row[]> =>
  Object.fromEntries(
    tableKeys.map((table) => [
      table,
      [...rows]
        .filter(([at]) => tableOf(at) === table)
        .map(([, row]) => row)
        .sort((a, b) => (String(a["id"]) < String(b["id"]) ? -1 : 1)),
    ]),
  );

// ---- random changes ----

export interface Wish {
  readonly table: TableKey;
  readonly id: number;
  readonly kind: "put" | "patch" | "delete" | "swap";
  readonly parent: number;
  readonly unique: number | null;
  readonly value: number;
}
export const wishOf = (max: number): fc.Arbitrary<Wish> =>
  fc.record({
    table: fc.constantFrom(...tableKeys),
    id: fc.integer({ min: 0, max }),
    kind: fc.constantFrom("put", "put", "patch", "patch", "delete", "swap"),
    parent: fc.integer({ min: 0, max: Math.min(max, 3) }),
    unique: fc.option(fc.integer({ min: 0, max: 3 })),
    value: fc.integer({ min: 0, max: 999 }),
  });
export const wish = wishOf(3);

/** A row as a wish would have it. */
function wishedRow({ table, id, parent, unique, value }: Wish): Row {
  switch (table) {
    case "parents":
      return { id: `${id}`, code: unique, name: `n${value}` };
    case "children":
      return { id: `${id}`, parentId: `${parent}`, slot: unique, x: value };
    case "leaves":
      return { id: `${id}`, childId: `${parent}`, y: value };
    case "notes":
      return { id: `${id}`, parentId: unique === null ? null : `${parent}`, z: value % 4 };
  }
}

/** What a server does with wishes: each as far as it is allowed. */
export function serve(rows: Rows, wishes: readonly Wish[]): Rows {
  let state = rows;
  for (const one of wishes) {
    const at = `${one.table}/${one.id}`;
    const next = new Map(state);
    const row = wishedRow(one);
    const moved = uniqueOf[one.table]?.at(-1);
    let isFine = true;
    if (one.kind === "delete") removeRow(next, at);
    else if (one.kind === "swap" && moved) {
      const other = `${one.table}/${one.parent}`;
      const [a, b] = [next.get(at), next.get(other)];
      if (!a || !b || at === other) continue;
      next.set(at, { ...a, [moved]: b[moved] ?? null });
      next.set(other, { ...b, [moved]: a[moved] ?? null });
      isFine = [at, other].every((each) => applyChange(next, { kind: "update", at: each, values: {} }));
    } else if (one.kind === "patch" && next.has(at))
      isFine = applyChange(next, { kind: "update", at, values: { ...row, id: String(one.id) } });
    else isFine = applyChange(next, { kind: "insert", at, values: row });
    if (isFine && keysHold(next)) state = next;
  }
  return state;
}

/** The statements of a wish on the device. */
export function statements({ table, id, kind, parent, unique, value }: Wish): readonly string[] {
  const u = unique === null ? "NULL" : String(unique);
  if (kind === "delete") return [`DELETE FROM ${table} WHERE id = '${id}'`];
  switch (table) {
    case "parents":
      if (kind === "put") return [`INSERT INTO parents VALUES ('${id}', ${u}, 'n${value}')`];
      if (kind === "swap") {
        return [
          `UPDATE parents SET code = -1 - code WHERE id IN ('${id}', '${parent}')`,
          `UPDATE parents SET code = (SELECT -1 - p.code FROM parents p WHERE p.id = '${parent}') WHERE id = '${id}'`,
          `UPDATE parents SET code = ${u} WHERE id = '${parent}'`,
        ];
      }
      return [
        value % 2
          ? `UPDATE parents SET name = 'n${value}' WHERE id = '${id}'`
          : `UPDATE parents SET code = ${u} WHERE id = '${id}'`,
      ];
    case "children":
      if (kind === "put") return [`INSERT INTO children VALUES ('${id}', '${parent}', ${u}, ${value})`];
      return [
        value % 3 === 0
          ? `UPDATE children SET parent_id = '${parent}' WHERE id = '${id}'`
          : value % 3 === 1
            ? `UPDATE children SET slot = ${u} WHERE id = '${id}'`
            : `UPDATE children SET x = ${value} WHERE id = '${id}'`,
      ];
    case "leaves":
      if (kind === "put") return [`INSERT INTO leaves VALUES ('${id}', '${parent}', ${value})`];
      return [
        value % 2
          ? `UPDATE leaves SET child_id = '${parent}' WHERE id = '${id}'`
          : `UPDATE leaves SET y = ${value} WHERE id = '${id}'`,
      ];
    case "notes":
      if (kind === "put")
        return [`INSERT INTO notes VALUES ('${id}', ${unique === null ? "NULL" : `'${parent}'`}, ${value % 4})`];
      return [
        value % 2
          ? `UPDATE notes SET parent_id = '${parent}' WHERE id = '${id}'`
          : `UPDATE notes SET z = ${value % 4} WHERE id = '${id}'`,
      ];
  }
}
