/**
 * Foreign keys during replay. While pages are applied the database enforces none (rule A4), so the engine does what they
 * say itself: cascades when a row goes or its referenced columns change, and a check of the keys of the rows that a
 * transaction touched, at its end.
 *
 * @module
 */

import { all, first, run, type Core } from "../plugin/core.ts";
import { identifier, literal } from "../plugin/sqlite/quote.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import { identical } from "../protocol/value.ts";
import type { DeviceTable, Reference } from "./device-schema.ts";
import { deleteSql, readRow, selectWhereSql, updateSql } from "./row-sql.ts";

/** What a replayed transaction did that foreign keys care about. */
export interface KeyWatch {
  /** Called before a row is changed that the transaction's own entries do not name. */
  readonly touch: (table: DeviceTable, key: Key) => Core<void>;
  /** Rows that refer to a parent by new values: the parent must exist at the end. */
  readonly children: { readonly reference: Reference; readonly values: readonly Value[] }[];
  /** Referenced values that went away: nobody may refer to them at the end. */
  readonly parents: { readonly reference: Reference; readonly values: readonly Value[] }[];
}

/** A transaction that leaves a foreign key without its row: it is withheld (rule A3). */
export class BrokenKey extends Error {
  readonly reference: Reference;

  constructor(reference: Reference) {
    super(`foreign key from ${reference.child.key} to ${reference.parent.key}`);
    this.name = "BrokenKey";
    this.reference = reference;
  }
}

/** Deletes a row and what hangs on it. */
export function* deleteCascading(table: DeviceTable, key: Key, watch: KeyWatch): Core<void> {
  yield* removeRow(table, key, watch, new Set());
}

function* removeRow(table: DeviceTable, key: Key, watch: KeyWatch, open: Set<string>): Core<void> {
  const name = `${table.key}\n${keyText(key)}`;
  // Rows may refer to each other in a circle.
  if (open.has(name)) return;
  open.add(name);
  const left: [Reference, readonly Value[]][] = [];
  for (const reference of table.referencedBy) {
    const values = yield* referencedValues(reference, key);
    if (values) left.push([reference, values]);
  }
  yield* run(deleteSql(table), key);
  for (const [reference, values] of left) {
    watch.parents.push({ reference, values });
    for (const child of yield* childKeys(reference, values)) {
      if (reference.onDelete === "cascade") {
        yield* watch.touch(reference.child, child);
        yield* removeRow(reference.child, child, watch, open);
      } else yield* detach(reference, reference.onDelete, child, watch);
    }
  }
}

/** What the children of a row do after an update of columns that they refer to. `before` and `after` follow `columns`. */
export function* updateCascading(
  table: DeviceTable,
  columns: readonly SyncColumn[],
  key: Key,
  rowBefore: readonly Value[],
  watch: KeyWatch,
): Core<void> {
  for (const reference of table.referencedBy) {
    if (!reference.targetColumns.some((column) => columns.includes(column))) continue;
    const before = reference.targetColumns.map((column) => rowBefore[table.columns.indexOf(column)] ?? null);
    const after = yield* referencedValues(reference, key);
    if (before.includes(null) || (after && before.every((value, index) => identical(value, after[index] ?? null))))
      continue;
    watch.parents.push({ reference, values: before });
    for (const child of yield* childKeys(reference, before)) {
      if (reference.onUpdate === "cascade" && after) {
        const childBefore = yield* readRow(reference.child, child);
        yield* watch.touch(reference.child, child);
        yield* run(updateSql(reference.child, reference.columns), [...after, ...child]);
        noteChild(reference, after, watch);
        if (childBefore) yield* updateCascading(reference.child, reference.columns, child, childBefore, watch);
      } else yield* detach(reference, reference.onUpdate, child, watch);
    }
  }
}

/** Notes the parents that a written row refers to. `columns` are those that the write set; absent values count as null. */
export function noteReferences(
  table: DeviceTable,
  columns: readonly SyncColumn[],
  row: readonly Value[],
  watch: KeyWatch,
): void {
  for (const reference of table.references) {
    if (!reference.columns.some((column) => columns.includes(column))) continue;
    noteChild(
      reference,
      reference.columns.map((column) => row[table.columns.indexOf(column)] ?? null),
      watch,
    );
  }
}

function noteChild(reference: Reference, values: readonly Value[], watch: KeyWatch): void {
  if (!values.includes(null)) watch.children.push({ reference, values });
}

/** Throws {@link BrokenKey} when a touched key has lost its row. */
export function* checkKeys(watch: KeyWatch): Core<void> {
  for (const { reference, values } of watch.children) {
    if (!(yield* parentExists(reference, values))) {
      // The child itself may be gone again by now.
      if ((yield* childKeys(reference, values)).length > 0) throw new BrokenKey(reference);
    }
  }
  for (const { reference, values } of watch.parents) {
    if ((yield* childKeys(reference, values)).length > 0 && !(yield* parentExists(reference, values)))
      throw new BrokenKey(reference);
  }
}

/** SET NULL and SET DEFAULT; RESTRICT and NO ACTION leave the child to the check at the end. */
function* detach(reference: Reference, action: Reference["onDelete"], child: Key, watch: KeyWatch): Core<void> {
  if (action === "set null") {
    yield* watch.touch(reference.child, child);
    yield* run(updateSql(reference.child, reference.columns), [...reference.columns.map(() => null), ...child]);
  } else if (action === "set default") {
    yield* watch.touch(reference.child, child);
    const assignments: string[] = [];
    for (const column of reference.columns)
      assignments.push(`${identifier(column.name)} = ${yield* defaultSql(reference.child, column)}`);
    const where = reference.child.keyColumns.map((column) => `${identifier(column.name)} = ?`).join(" AND ");
    yield* run(`UPDATE ${identifier(reference.child.table.name)} SET ${assignments.join(", ")} WHERE ${where}`, child);
    const [row] = yield* all(selectWhereSql(reference.child, reference.columns, reference.child.keyColumns), child);
    if (row) noteChild(reference, row, watch);
  }
}

function* defaultSql(table: DeviceTable, column: SyncColumn): Core<string> {
  const name = literal(table.table.name);
  const row = yield* first(`SELECT dflt_value FROM pragma_table_info(${name}) WHERE name = ${literal(column.name)}`);
  return row?.[0] === null || row?.[0] === undefined ? "NULL" : `(${String(row[0])})`;
}

function* referencedValues(reference: Reference, key: Key): Core<readonly Value[] | undefined> {
  const { parent, targetColumns } = reference;
  const [row] = yield* all(selectWhereSql(parent, targetColumns, parent.keyColumns), key);
  return row && !row.includes(null) ? row : undefined;
}

function* childKeys(reference: Reference, values: readonly Value[]): Core<readonly Key[]> {
  return yield* all(selectWhereSql(reference.child, reference.child.keyColumns, reference.columns), values);
}

function* parentExists(reference: Reference, values: readonly Value[]): Core<boolean> {
  return (
    (yield* all(selectWhereSql(reference.parent, reference.parent.keyColumns, reference.targetColumns), values))
      .length > 0
  );
}
