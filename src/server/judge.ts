/**
 * Conflicts, judged by value (rule P4): an operation says what its user saw, and that is compared with what is there. No
 * history is needed.
 *
 * @module
 */

import type { SyncColumn } from "../plugin/table.ts";
import { matchesSeen, rowHash } from "../protocol/hash.ts";
import type { Value } from "../protocol/ids.ts";
import type { SeenValue } from "../protocol/push.ts";
import { equalValues } from "../protocol/value.ts";
import type { Net } from "./net.ts";
import type { Note } from "./outcomes.ts";

/** A row as the database holds it: values by {@link SyncColumn.index}, and the scopes it is in. */
export interface LiveRow {
  readonly values: readonly Value[];
  readonly scopes: readonly string[];
}

/** Where a net change and the live row disagree; undefined when they do not. */
export interface Clash {
  readonly kind: "insert" | "update" | "delete";
  /** The columns in conflict; empty where the whole row is. */
  readonly columns: readonly SyncColumn[];
}

/** Compares what a user saw and wrote with the live row. */
export function findClash(net: Net, live: LiveRow | undefined, notes: readonly Note[]): Clash | undefined {
  switch (net.kind) {
    case "none":
      return undefined;
    case "insert":
      return live === undefined || isWritten(net, live, notes) ? undefined : { kind: "insert", columns: [] };
    case "delete":
      // A delete of a missing row is nothing.
      return live === undefined || isSeenRow(net, live, notes) ? undefined : { kind: "delete", columns: [] };
    case "update": {
      if (live === undefined) return net.values.size === 0 ? undefined : { kind: "update", columns: [] };
      if (net.isReplaced)
        return isSeenRow(net, live, notes) || isWritten(net, live, notes) ? undefined : { kind: "update", columns: [] };
      const columns = [...net.seen].filter(
        ([column, seen]) =>
          !stands(column, seen, live, notes) && !isEqual(column, net.values.get(column) ?? null, live),
      );
      return columns.length === 0 ? undefined : { kind: "update", columns: columns.map(([column]) => column) };
    }
  }
}

/** Whether a live value is what a user saw, or what became of it in the database (rule P5). */
export function stands(column: SyncColumn, seen: SeenValue, live: LiveRow, notes: readonly Note[]): boolean {
  const value = live.values[column.index] ?? null;
  if (matchesSeen(value, seen, column.form)) return true;
  return notes.some(
    (note) =>
      note.column === column.key &&
      equalValues(note.stored, value, column.form) &&
      matchesSeen(note.wrote, seen, column.form),
  );
}

function isEqual(column: SyncColumn, value: Value, live: LiveRow): boolean {
  return equalValues(live.values[column.index] ?? null, value, column.form);
}

/** Whether the row is there as it was written: the same transaction again, or two devices of one mind. */
function isWritten(net: Net, live: LiveRow, notes: readonly Note[]): boolean {
  for (const [column, value] of net.values)
    // What a device says of a read-only column is replaced by the server's word.
    if (!column.readonly && !isEqual(column, value, live) && !stands(column, value, live, notes)) return false;
  return true;
}

/** Whether the row is as it was when its user deleted it. */
function isSeenRow(net: Net, live: LiveRow, notes: readonly Note[]): boolean {
  // What the transaction itself had written before hides the live value in the hash; that one is compared by itself.
  for (const [column, seen] of net.seen) if (!stands(column, seen, live, notes)) return false;
  const columns = net.known.others;
  const forms = columns.map((column) => column.form);
  const shown = columns.map(
    (column) => net.written.get(column) ?? (net.written.has(column) ? null : (live.values[column.index] ?? null)),
  );
  if (rowHash(shown, forms) === net.seenHash) return true;
  if (notes.length === 0) return false;
  const asWritten = columns.map((column, i) => {
    const value = shown[i] ?? null;
    const note = net.written.has(column)
      ? undefined
      : notes.find((each) => each.column === column.key && equalValues(each.stored, value, column.form));
    return note === undefined ? value : note.wrote;
  });
  return rowHash(asWritten, forms) === net.seenHash;
}
