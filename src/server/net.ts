/**
 * What a transaction does to each row in the end (rule P2): several operations on one row are judged once, as one.
 *
 * @module
 */

import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { matchesSeen } from "../protocol/hash.ts";
import type { Key, Value } from "../protocol/ids.ts";
import type { OperationKind, SeenValue } from "../protocol/push.ts";
import type { KnownTable } from "./known-schema.ts";
import type { RowOperation } from "./operations.ts";

/** The net change of one row. */
export interface Net {
  /** Table and key in one text. */
  readonly row: string;
  readonly table: SyncTable;
  readonly known: KnownTable;
  readonly key: Key;
  readonly keyText: string;
  /** `none`: inserted and deleted again. */
  readonly kind: OperationKind | "none";
  /** Whether the row was deleted and inserted again: it is judged as a whole then. */
  readonly isReplaced: boolean;
  /** The values that the row has in the end, of the columns that were written. */
  readonly values: ReadonlyMap<SyncColumn, Value>;
  /** What the user saw, before the transaction, in each column that was updated. */
  readonly seen: ReadonlyMap<SyncColumn, SeenValue>;
  /** Columns that were changed and changed back, with what the user saw: they are in neither of the two. */
  readonly restored: ReadonlyMap<SyncColumn, SeenValue>;
  /** Hash of the row as it was when the transaction deleted it first, with `written` on top of what the user saw. */
  readonly seenHash?: string;
  /** What the transaction had written into the row before it deleted it. */
  readonly written: ReadonlyMap<SyncColumn, Value>;
  /** The whole row as the user saw it before the transaction, over `known.others` (rule P6). */
  readonly seenRow?: readonly Value[];
  readonly firstIndex: number;
  readonly lastIndex: number;
}

/** Folds a transaction's operations by row, in the order in which rows are touched first. */
export function foldOperations(operations: readonly RowOperation[]): ReadonlyMap<string, Net> {
  const nets = new Map<string, Net>();
  for (const operation of operations) {
    const net = nets.get(operation.row);
    nets.set(operation.row, net === undefined ? netOf(operation) : add(net, operation));
  }
  for (const [row, net] of nets)
    if (net.kind === "update" && !net.isReplaced && net.firstIndex < net.lastIndex) nets.set(row, withoutRestored(net));
  return nets;
}

/** A column that has its old value again in the end is none that was changed. */
function withoutRestored(net: Net): Net {
  const restored = new Map(
    [...net.seen].filter(([column, seen]) => matchesSeen(valueOf(net, column), seen, column.form)),
  );
  if (restored.size === 0) return net;
  const isChanged = ([column]: readonly [SyncColumn, unknown]): boolean => !restored.has(column);
  return {
    ...net,
    values: new Map([...net.values].filter(isChanged)),
    seen: new Map([...net.seen].filter(isChanged)),
    restored,
  };
}

function valueOf(net: Net, column: SyncColumn): Value {
  return net.values.get(column) ?? null;
}

const empty: ReadonlyMap<SyncColumn, never> = new Map<SyncColumn, never>();

/** What one operation alone does to its row. */
export function netOf(operation: RowOperation): Net {
  const { row, table, known, key, keyText, kind, index, seenRow } = operation;
  const isUpdate = kind === "update";
  return {
    row,
    table,
    known,
    key,
    keyText,
    kind,
    isReplaced: kind === "delete",
    values: kind === "delete" ? empty : pairs<Value>(operation.columns, operation.values),
    seen: isUpdate ? pairs<SeenValue>(operation.columns, operation.before) : empty,
    restored: empty,
    written: empty,
    firstIndex: index,
    lastIndex: index,
    ...(kind === "delete" ? { seenHash: hashOf(operation) } : {}),
    ...(seenRow === undefined || kind === "insert" ? {} : { seenRow }),
  };
}

function add(net: Net, operation: RowOperation): Net {
  const wasThere = net.kind === "update" || net.kind === "delete";
  const lastIndex = operation.index;
  if (operation.kind === "delete") {
    return {
      ...net,
      kind: wasThere ? "delete" : "none",
      isReplaced: true,
      values: empty,
      lastIndex,
      // The hash shows the row with the transaction's own updates; later deletes are of rows that it made itself.
      ...(wasThere && net.seenHash === undefined ? { seenHash: hashOf(operation), written: net.values } : {}),
    };
  }
  const values = new Map(net.values);
  for (let i = 0; i < operation.columns.length; i++)
    values.set(operation.columns[i] as SyncColumn, operation.values[i] ?? null);
  if (operation.kind === "insert") return { ...net, kind: wasThere ? "update" : "insert", values, lastIndex };

  // A column that the transaction wrote before shows its own value: the user saw the first one's.
  let seen = net.seen;
  if (wasThere && !net.isReplaced) {
    const more = new Map(seen);
    for (let i = 0; i < operation.columns.length; i++) {
      const column = operation.columns[i] as SyncColumn;
      if (!more.has(column)) more.set(column, operation.before[i] ?? null);
    }
    seen = more;
  }
  return { ...net, values, seen, lastIndex };
}

function pairs<T>(columns: readonly SyncColumn[], values: readonly T[]): ReadonlyMap<SyncColumn, T> {
  const map = new Map<SyncColumn, T>();
  for (let i = 0; i < columns.length; i++) map.set(columns[i] as SyncColumn, values[i] as T);
  return map;
}

function hashOf(operation: RowOperation): string {
  const [seen] = operation.before;
  return Array.isArray(seen) ? String((seen as readonly [string])[0]) : "";
}
