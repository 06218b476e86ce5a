/**
 * The transactions of a push, checked by plain loops: their fields, the tuples of their operations, and each of those against
 * the shape it names. A schema for each would cost more than applying them.
 *
 * @module
 */

import { bounds, maxStamp } from "./bounds.ts";
import { isHashText, isHashTuple, isSeenValues, isValues } from "./message-parts.ts";
import type { Operation, OperationShape, PushRequest } from "./push.ts";

/** What is wrong with a push that is well formed, and where. */
export interface OperationFault {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Whether it is a list of not too many transactions, whatever they are. */
export function isShortList(list: unknown): boolean {
  return Array.isArray(list) && list.length <= bounds.transactions;
}

/** The first field of a transaction that is not what the protocol says; undefined when all are. */
export function transactionFault(txs: readonly unknown[]): OperationFault | undefined {
  for (let i = 0; i < txs.length; i++) {
    const tx: unknown = txs[i];
    if (typeof tx !== "object" || tx === null || Array.isArray(tx))
      return { path: ["txs", i], message: "a transaction is no object" };
    for (const field of requiredFields)
      if (!(field in tx)) return { path: ["txs", i, field], message: "a transaction lacks a field" };
    for (const field in tx) {
      const check = Object.hasOwn(fields, field) ? fields[field] : undefined;
      if (check === undefined) return { path: ["txs", i], message: "a transaction has an unknown field" };
      if (!check((tx as Readonly<Record<string, unknown>>)[field]))
        return { path: ["txs", i, field], message: "a field of a transaction is invalid" };
    }
  }
  return undefined;
}

const requiredFields = ["number", "stamp", "hlc", "schema", "ops"] as const;

const fields: Readonly<Record<string, (value: unknown) => boolean>> = {
  number: (value) => isWhole(value) && value >= 1,
  from: (value) => isWhole(value) && value >= 1,
  stamp: (value) => isWhole(value) && value >= 0 && value <= maxStamp,
  hlc: (value) => isWhole(value) && value >= 0,
  schema: isHashText,
  ops: isOperations,
};

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

/** Whether it is a list of operations, each a tuple of a shape's index, a key, values, seen values and maybe a row. */
function isOperations(list: unknown): list is readonly Operation[] {
  if (!Array.isArray(list) || list.length > bounds.operations) return false;
  for (let i = 0; i < list.length; i++) if (!isOperation(list[i])) return false;
  return true;
}

/** The first thing in a push that contradicts itself; undefined when nothing does. */
export function operationFault(request: PushRequest): OperationFault | undefined {
  let last = request.previous.number;
  let count = 0;
  for (let i = 0; i < request.txs.length; i++) {
    const tx = request.txs[i];
    if (tx === undefined) continue;
    if (tx.from !== undefined && (tx.from > tx.number || tx.ops.length > 0))
      return {
        path: ["txs", i, "from"],
        message: "an empty range of numbers holds operations or ends before it begins",
      };
    // Numbers rise by one (rule P3), so that a gap is between requests, never within one.
    if ((tx.from ?? tx.number) !== last + 1)
      return { path: ["txs", i, "number"], message: "numbers do not rise by one" };
    last = tx.number;
    count += tx.ops.length;
    for (let j = 0; j < tx.ops.length; j++) {
      const message = shapeFault(request.shapes, tx.ops[j]);
      if (message !== undefined) return { path: ["txs", i, "ops", j], message };
    }
  }
  return count > bounds.operations ? { path: ["txs"], message: "too many operations" } : undefined;
}

function isOperation(operation: unknown): operation is Operation {
  if (!Array.isArray(operation) || operation.length < 4 || operation.length > 5) return false;
  const [shape, key, values, before, row] = operation as readonly unknown[];
  return (
    Number.isSafeInteger(shape) &&
    isValues(key, bounds.keyColumns) &&
    key.length > 0 &&
    isValues(values, bounds.columns) &&
    isSeenValues(before, bounds.columns) &&
    (operation.length === 4 || isValues(row, bounds.columns))
  );
}

function shapeFault(shapes: readonly OperationShape[], operation: Operation | undefined): string | undefined {
  const shape = operation === undefined ? undefined : shapes[operation[0]];
  if (operation === undefined || shape === undefined) return "an operation names no shape";
  const [, , values, before] = operation;
  if (values.length !== shape.columns.length)
    return "an operation has another number of values than its shape has columns";
  switch (shape.kind) {
    case "insert":
      return before.length === 0 ? undefined : "an insert has before-values";
    case "update":
      return before.length === values.length
        ? undefined
        : "an update has another number of before-values than of values";
    case "delete":
      return values.length === 0 && before.length === 1 && isHashTuple(before[0])
        ? undefined
        : "a delete has no hash of its row";
  }
}
