/**
 * Rows that a resolver brings back (rule P6): a device updated a row that is gone, and its whole row as the user saw it is
 * inserted again. To the app's `authorize` such an update is an insert: all of its values are the device's word.
 *
 * @module
 */

import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { identical } from "../protocol/value.ts";
import type { LiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";
import type { RowOperation } from "./operations.ts";
import type { Settled } from "./settle.ts";

/** A row that comes back, with the values that it would have. */
export interface Revival {
  readonly net: Net;
  readonly values: ReadonlyMap<SyncColumn, Value>;
}

/** Finds the updates that insert. */
export function findRevivals(
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
  settled: ReadonlyMap<string, Settled>,
): readonly Revival[] {
  const revivals: Revival[] = [];
  for (const [row, { plan }] of settled) {
    const net = nets.get(row);
    if (net?.kind === "update" && plan.kind === "write" && !live.has(row)) revivals.push({ net, values: plan.values });
  }
  return revivals;
}

/** The operations as they would be executed: each row that comes back as one insert. */
export function withRevivals(
  operations: readonly RowOperation[],
  revivals: readonly Revival[],
): readonly RowOperation[] {
  const byRow = new Map(revivals.map((revival) => [revival.net.row, revival]));
  return operations.flatMap((operation): readonly RowOperation[] => {
    const revival = byRow.get(operation.row);
    if (revival === undefined) return [operation];
    if (operation.index !== revival.net.lastIndex) return [];
    const columns = [...revival.values.keys()];
    return [{ ...operation, kind: "insert", columns, values: [...revival.values.values()], before: [] }];
  });
}

/** Whether each row was asked about with just these values. */
export function areAllowed(allowed: readonly Revival[] | undefined, revivals: readonly Revival[]): boolean {
  return revivals.every((revival) =>
    allowed?.some(({ net, values }) => net.row === revival.net.row && isSame(values, revival.values)),
  );
}

function isSame(left: ReadonlyMap<SyncColumn, Value>, right: ReadonlyMap<SyncColumn, Value>): boolean {
  if (left.size !== right.size) return false;
  for (const [column, value] of right) {
    const other = left.get(column);
    if (other === undefined || !identical(other, value)) return false;
  }
  return true;
}
