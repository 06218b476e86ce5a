/**
 * The operations of a push, taken apart: indices become tables and columns, values are checked against their columns.
 *
 * Three things can be wrong with one. It is no message of the protocol: `INVALID_MESSAGE`, nothing is handled. One side's
 * schema is too old: pushing waits until it is upgraded (rule V3). It asks for what it may not: the transaction is
 * refused whole (rule P9), and the ones behind it go on.
 *
 * @module
 */

import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText, rowText } from "../protocol/key.ts";
import type { RejectionCode } from "../protocol/outcome.ts";
import type { Operation, OperationKind, OperationShape, PushTransaction, SeenValue } from "../protocol/push.ts";
import { findValueFault } from "./column-values.ts";
import type { KnownSchema, KnownTable } from "./known-schema.ts";

/** An operation on a row. */
export interface RowOperation {
  readonly index: number;
  readonly kind: OperationKind;
  readonly table: SyncTable;
  /** The table as the device knew it when the transaction was written. */
  readonly known: KnownTable;
  readonly key: Key;
  readonly keyText: string;
  /** Table and key in one text. */
  readonly row: string;
  readonly columns: readonly SyncColumn[];
  readonly values: readonly Value[];
  readonly before: readonly SeenValue[];
  /** The whole row as the user saw it, over `known.others`, if it came (rule P6). */
  readonly seenRow?: readonly Value[];
}

/** Why a transaction is refused for good. */
export interface Refusal {
  readonly code: RejectionCode;
  readonly message: string;
  /** Index of the operation that caused it. */
  readonly index?: number;
  /** For `DEPENDS_ON_REJECTED`: the transaction whose refusal is the cause. */
  readonly cause?: number;
}

/** A transaction taken apart: its operations, or why it is not tried. */
export type ReadTransaction =
  | { readonly kind: "operations"; readonly operations: readonly RowOperation[] }
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly operations: readonly RowOperation[] }
  | { readonly kind: "mismatch"; readonly error: SyncError<"SCHEMA_MISMATCH"> };

type Shape =
  | {
      readonly kind: "shape";
      readonly operation: OperationKind;
      readonly known: KnownTable;
      readonly columns: readonly SyncColumn[];
      readonly refusal?: Refusal;
    }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "mismatch"; readonly error: SyncError<"SCHEMA_MISMATCH"> };

/** Takes the transactions of one request apart, each once. Shapes are looked at once per schema. */
export interface OperationReader {
  read(tx: PushTransaction, schema: KnownSchema): ReadTransaction;
}

/** Creates the reader of one request. `announced` is what its device knows now, whatever it knew when it wrote. */
export function createOperationReader(
  shapes: readonly OperationShape[],
  tableByKey: ReadonlyMap<string, SyncTable>,
  announced?: KnownSchema,
): OperationReader {
  const resolved = new Map<string, (Shape | undefined)[]>();
  const known = new Map<PushTransaction, ReadTransaction>();
  const shapeOf = (at: number, schema: KnownSchema): Shape => {
    const declared = shapes[at];
    if (declared === undefined) throw invalid(`An operation names shape ${at}, which the request does not have.`);
    let bySchema = resolved.get(schema.hash);
    if (bySchema === undefined) resolved.set(schema.hash, (bySchema = []));
    return (bySchema[at] ??= resolveShape(declared, schema, tableByKey, announced));
  };
  return {
    read(tx, schema) {
      let read = known.get(tx);
      if (read === undefined) known.set(tx, (read = readTransaction(tx, (at) => shapeOf(at, schema))));
      return read;
    },
  };
}

function readTransaction(tx: PushTransaction, shapeOf: (at: number) => Shape): ReadTransaction {
  const operations: RowOperation[] = [];
  let refusal: Refusal | undefined;
  for (let index = 0; index < tx.ops.length; index++) {
    const operation = tx.ops[index] as Operation;
    const shape = shapeOf(operation[0]);
    if (shape.kind === "mismatch") return shape;
    if (shape.kind === "refused") {
      refusal ??= { ...shape.refusal, index };
      continue;
    }
    const read = readOperation(operation, shape, index);
    operations.push(read);
    refusal ??= shape.refusal === undefined ? findOperationFault(read) : { ...shape.refusal, index };
  }
  // All of them are looked at, so that a mismatch behind a refused operation is seen, and every refused insert is known.
  return refusal === undefined ? { kind: "operations", operations } : { kind: "refused", refusal, operations };
}

function resolveShape(
  shape: OperationShape,
  schema: KnownSchema,
  tableByKey: ReadonlyMap<string, SyncTable>,
  announced: KnownSchema | undefined,
): Shape {
  const table = tableByKey.get(shape.table);
  if (table === undefined) return mismatch("server", shape.table);
  const known = schema.tableByKey.get(shape.table);
  if (known === undefined)
    return refused("INVALID_VALUE", `Table \`${shape.table}\` is not in the schema of this transaction.`);
  // What was written before an update that has been made is judged like anything else: no other update will come.
  if (!schema.sentByTable.has(table) && announced?.sentByTable.has(table) !== true)
    return mismatch("device", shape.table);

  const columns: SyncColumn[] = [];
  let refusal: Refusal | undefined;
  for (const name of shape.columns) {
    const column = table.columnByKey.get(name);
    if (column === undefined) {
      if (known.unknownColumns.includes(name)) return mismatch("server", shape.table, name);
      return refused("INVALID_VALUE", `Table \`${shape.table}\` has no column \`${name}\`.`);
    }
    if (column.isKey)
      return refused(
        "INVALID_VALUE",
        `Column \`${shape.table}.${name}\` is part of the key: it is not set by an operation.`,
      );
    // V3: it was open when that version of the app was made; the next one does not write it.
    if (column.excluded && known.unknownColumns.includes(name)) return mismatch("device", shape.table, name);
    if (column.excluded)
      return refused("COLUMN_READ_ONLY", `Column \`${shape.table}.${name}\` is not open to devices.`);
    if (!known.others.includes(column) || columns.includes(column)) {
      return refused(
        "INVALID_VALUE",
        `Column \`${shape.table}.${name}\` is named twice, or not in the schema of this transaction.`,
      );
    }
    if (column.readonly && shape.kind === "update") {
      refusal ??= { code: "COLUMN_READ_ONLY", message: `Column \`${shape.table}.${name}\` is read-only.` };
    }
    columns.push(column);
  }
  // A deleted row is judged by a hash over all columns of the device: the server must have them all.
  const [lacking] = shape.kind === "delete" ? known.unknownColumns : [];
  if (lacking !== undefined)
    return mismatch(table.columnByKey.has(lacking) ? "device" : "server", shape.table, lacking);
  if (shape.kind === "delete" && columns.length > 0) throw invalid("A delete names columns.");
  if (table.write === "server")
    refusal = { code: "TABLE_READ_ONLY", message: `Table \`${shape.table}\` is written by the server alone.` };
  return { kind: "shape", operation: shape.kind, known, columns, ...(refusal === undefined ? {} : { refusal }) };
}

function readOperation(operation: Operation, shape: Extract<Shape, { kind: "shape" }>, index: number): RowOperation {
  const [, key, values, before, row] = operation;
  const { known, columns, operation: kind } = shape;
  const { table } = known;
  const wantedBefore = kind === "update" ? columns.length : kind === "delete" ? 1 : 0;
  if (key.length !== table.keyColumns.length)
    throw invalid(`A key of table \`${table.key}\` has ${key.length} values.`);
  if (values.length !== columns.length || before.length !== wantedBefore) {
    throw invalid(`An operation on table \`${table.key}\` does not have the values that its shape announces.`);
  }
  if (kind === "delete" && !Array.isArray(before[0])) throw invalid("A delete carries no row hash.");
  if (row !== undefined && row.length !== known.declared.length) {
    throw invalid(`A whole row of table \`${table.key}\` has ${row.length} values.`);
  }
  const read = {
    index,
    kind,
    table,
    known,
    key,
    keyText: keyText(key),
    row: rowText(table.key, key),
    columns,
    values,
    before,
  };
  return row === undefined ? read : { ...read, seenRow: row.filter((_, i) => known.declared[i] !== undefined) };
}

/** Rule P9: values that their columns cannot hold. */
function findOperationFault(operation: RowOperation): Refusal | undefined {
  const { table, index } = operation;
  const fault = findFault(table.keyColumns, operation.key) ?? findFault(operation.columns, operation.values);
  return fault === undefined
    ? undefined
    : { code: "INVALID_VALUE", message: `Table \`${table.key}\`: ${fault}.`, index };
}

function findFault(columns: readonly SyncColumn[], values: readonly Value[]): string | undefined {
  for (let i = 0; i < columns.length; i++) {
    const fault = findValueFault(columns[i] as SyncColumn, values[i] ?? null);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

function refused(code: RejectionCode, message: string): Shape {
  return { kind: "refused", refusal: { code, message } };
}

function mismatch(
  tooOld: "device" | "server",
  table: string,
  column?: string,
): { readonly kind: "mismatch"; readonly error: SyncError<"SCHEMA_MISMATCH"> } {
  const what = column === undefined ? `table \`${table}\`` : `column \`${table}.${column}\``;
  return {
    kind: "mismatch",
    error: new SyncError({
      code: "SCHEMA_MISMATCH",
      message:
        tooOld === "server"
          ? `The server does not know ${what} yet. Pushing waits until it is upgraded.`
          : `The device is too old to write ${what}. Update the app.`,
      details: { tooOld, table, ...(column === undefined ? {} : { column }) },
    }),
  };
}

function invalid(message: string): SyncError<"INVALID_MESSAGE"> {
  return new SyncError({ code: "INVALID_MESSAGE", message });
}
