/**
 * Operations of a push, checked by plain loops: their tuples, and each against the shape it names.
 *
 * @module
 */

import { bounds } from "./bounds.ts";
import { isHashTuple, isSeenValues, isValues } from "./message-parts.ts";
import type { Operation, OperationShape, PushRequest } from "./push.ts";

/** What is wrong with a push that is well formed, and where. */
export interface OperationFault {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Whether it is a list of operations, each a tuple of a shape's index, a key, values, seen values and maybe a row. */
export function isOperations(list: unknown): list is readonly Operation[] {
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
