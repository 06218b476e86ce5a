/**
 * Executes the operations of one transaction in their order (rule P2), conflicts as they were settled.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { matchesSeen } from "../protocol/hash.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { type AppRow, toAppRow, toStorageValue } from "./column-values.ts";
import type { Followers } from "./follow.ts";
import type { LiveRow } from "./judge.ts";
import type { KnownTable } from "./known-schema.ts";
import type { LiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";
import type { Refusal, RowOperation } from "./operations.ts";
import type { Settled } from "./settle.ts";
import { deleteRow, insertRow, updateRow } from "./statements.ts";

/** The app's `assign`: values that the server gives to a row that a device inserts, whatever the device wrote there. */
export type Assign = (table: SyncTable, row: AppRow) => ReadonlyMap<SyncColumn, Value> | undefined;

/** What is executed. */
export interface ExecutionPlan {
  readonly operations: readonly RowOperation[];
  readonly nets: ReadonlyMap<string, Net>;
  readonly live: LiveRows;
  readonly settled: ReadonlyMap<string, Settled>;
  readonly followers: Followers;
  readonly assign: Assign | undefined;
  /** Told of what the app's `assign` or defaults threw. */
  readonly onError: (error: unknown) => void;
}

/** Why a run was not completed: the device is too old to insert such a row (rule V3), or the row cannot be made. */
export type ExecutionFault =
  | { readonly kind: "mismatch"; readonly error: SyncError<"SCHEMA_MISMATCH"> }
  | { readonly kind: "refused"; readonly refusal: Refusal };

/** One run through the operations. */
export interface Execution {
  /** Executes; answers what kept it from going on, if the database did not. */
  run(): Core<ExecutionFault | undefined>;
  /** The operation that is being executed, or failed. */
  readonly operation: RowOperation | undefined;
  /** What the database said when it failed. */
  failure: unknown;
  /** The value that the last statement tried to write; undefined for a column that it did not write. */
  writtenValue(column: SyncColumn): Value | undefined;
}

/** Prepares a run. */
export function createExecution(plan: ExecutionPlan): Execution {
  const { operations, nets, live, settled, followers, assign, onError } = plan;
  let current: RowOperation | undefined;
  let columns: readonly SyncColumn[] = [];
  let values: readonly Value[] = [];

  const remember = (row: Written): Written => {
    ({ columns, values } = row);
    return row;
  };
  function* insert(known: KnownTable, key: Key, complete: () => Written): Core<ExecutionFault | undefined> {
    let whole: Written;
    try {
      whole = remember(complete());
    } catch (error) {
      // A mistake of the program is one for every row: nothing is lost by waiting until it is mended.
      if (isSyncError(error, "INVALID_CONFIG")) throw error;
      // For this row alone it is the transaction's, and nothing behind it waits (promise 4).
      onError(error);
      return { kind: "refused", refusal: notMade(known.table, (current as RowOperation).index) };
    }
    const lacking = findLackingColumn(known, whole.columns);
    if (lacking !== undefined) return { kind: "mismatch", error: deviceTooOld(known.table, lacking) };
    yield* insertRow(known.table, key, whole.columns, whole.values);
    return undefined;
  }
  function* settle(net: Net, { plan: decided }: Settled): Core<ExecutionFault | undefined> {
    if (decided.kind === "keep") return undefined;
    if (decided.kind === "delete") {
      yield* deleteRow(net.table, net.key);
      return undefined;
    }
    const row = { columns: [...decided.values.keys()], values: [...decided.values.values()] };
    const before = live.get(net.row);
    if (before === undefined)
      return yield* insert(net.known, net.key, () => completeRow(net.known, net.key, row, undefined, assign));
    remember(row);
    yield* updateRow(net.table, net.key, row.columns, row.values);
    return undefined;
  }

  return {
    failure: undefined,
    get operation() {
      return current;
    },
    writtenValue(column) {
      const at = columns.indexOf(column);
      return at < 0 ? undefined : (values[at] ?? null);
    },
    *run() {
      for (const operation of operations) {
        current = operation;
        const net = nets.get(operation.row) as Net;
        if (net.kind === "none" || followers.has(operation.row)) continue;
        const decision = settled.get(operation.row);
        const before = live.get(operation.row);
        let fault: ExecutionFault | undefined;
        if (decision !== undefined) {
          if (operation.index === net.lastIndex) fault = yield* settle(net, decision);
        } else if (net.kind === "insert" && before !== undefined) {
          continue; // No conflict, so the row is there as it was written.
        } else if (net.kind === "delete" && before === undefined) {
          continue; // P4: nothing, and what the database takes for that row is another one, whose rights nobody looked at.
        } else if (operation.kind === "insert") {
          fault = yield* insert(operation.known, operation.key, () => completeOperation(operation, before, assign));
        } else if (operation.kind === "update") {
          const row = remember(withoutKept(operation, net, before));
          yield* updateRow(operation.table, operation.key, row.columns, row.values);
        } else {
          yield* deleteRow(operation.table, operation.key);
        }
        if (fault !== undefined) return fault;
      }
      current = undefined;
      return undefined;
    },
  };
}

/** Columns, and their values in the same order. */
export interface Written {
  readonly columns: readonly SyncColumn[];
  readonly values: readonly Value[];
}

/** What the app made of a new row, or what it threw: it is asked once, however often the operation is tried. */
const completions = new WeakMap<RowOperation, { readonly row: Written } | { readonly error: unknown }>();

/** The row that an operation inserts, completed; throws what the app's functions threw. */
export function completeOperation(
  operation: RowOperation,
  before: LiveRow | undefined,
  assign: Assign | undefined,
): Written {
  const { known, key, table } = operation;
  if (before !== undefined || (assign === undefined && ownDefaults(table).length === 0))
    return completeRow(known, key, operation, before, assign);
  let completion = completions.get(operation);
  if (completion === undefined) {
    try {
      completion = { row: completeRow(known, key, operation, before, assign) };
    } catch (error) {
      completion = { error };
    }
    completions.set(operation, completion);
  }
  if ("error" in completion) throw completion.error;
  return completion.row;
}

/**
 * A row to be inserted, with what a device does not decide: the app's `assign`; for a row that the same transaction
 * deleted, read-only and excluded columns as they were; and the app's own defaults for columns the device does not know.
 */
function completeRow(
  known: KnownTable,
  key: Key,
  row: Written,
  before: LiveRow | undefined,
  assign: Assign | undefined,
): Written {
  const { table } = known;
  const assigned = assign?.(table, { ...toAppRow(table.keyColumns, key), ...toAppRow(row.columns, row.values) });
  let changed: Map<SyncColumn, Value> | undefined;
  const set = (column: SyncColumn, value: Value): void => {
    changed ??= new Map(row.columns.map((each, i) => [each, row.values[i] ?? null]));
    changed.set(column, value);
  };
  if (before !== undefined) {
    for (const column of table.columns)
      if (column.readonly || column.excluded) set(column, before.values[column.index] ?? null);
  }
  if (assigned !== undefined) for (const [column, value] of assigned) set(column, value);
  for (const column of ownDefaults(table)) {
    if (row.columns.includes(column) || changed?.has(column) === true) continue;
    const make = column.column.defaultFn ?? column.column.onUpdateFn;
    if (make !== undefined) set(column, toStorageValue(column, make()));
  }
  return changed === undefined
    ? row
    : {
        columns: stableColumns(table, changed),
        values: stableColumns(table, changed).map((column) => changed?.get(column) ?? null),
      };
}

/** An update without the columns that have their old value again in the end (rule P2), where somebody else wrote meanwhile. */
function withoutKept(operation: RowOperation, net: Net, before: LiveRow | undefined): Written {
  if (net.restored.size === 0 || before === undefined) return operation;
  const isKept = (column: SyncColumn): boolean => {
    const seen = net.restored.get(column);
    return seen !== undefined && !matchesSeen(before.values[column.index] ?? null, seen, column.form);
  };
  if (!operation.columns.some(isKept)) return operation;
  const written = new Map<SyncColumn, Value>();
  operation.columns.forEach((column, i) => isKept(column) || written.set(column, operation.values[i] ?? null));
  const columns = stableColumns(operation.table, written);
  return { columns, values: columns.map((column) => written.get(column) ?? null) };
}

const defaults = new WeakMap<SyncTable, readonly SyncColumn[]>();

/** Columns whose default is a function of the app (`$default`, `$onUpdate`), which SQL does not run. */
function ownDefaults(table: SyncTable): readonly SyncColumn[] {
  let columns = defaults.get(table);
  if (columns === undefined) {
    columns = table.columns.filter(
      (column) => !column.isKey && (column.column.defaultFn ?? column.column.onUpdateFn) !== undefined,
    );
    defaults.set(table, columns);
  }
  return columns;
}

const lists = new WeakMap<SyncTable, Map<string, readonly SyncColumn[]>>();

/** The same list for the same columns, so that its statement is written once. */
function stableColumns(table: SyncTable, values: ReadonlyMap<SyncColumn, Value>): readonly SyncColumn[] {
  let byName = lists.get(table);
  if (byName === undefined) lists.set(table, (byName = new Map()));
  const columns = table.columns.filter((column) => values.has(column));
  const name = columns.map((column) => column.index).join();
  const known = byName.get(name);
  if (known !== undefined) return known;
  // The sets of columns that devices write are few; forgotten as a whole when somebody makes up ever new ones.
  if (byName.size >= 1000) byName.clear();
  byName.set(name, columns);
  return columns;
}

/** A column that a new row must have and nobody gives a value. */
export function findLackingColumn(known: KnownTable, columns: readonly SyncColumn[]): SyncColumn | undefined {
  if (
    known.others.length === columns.length &&
    known.others.length === known.table.columns.length - known.table.keyColumns.length
  )
    return undefined;
  return known.table.columns.find(
    (column) =>
      !column.isKey &&
      !column.excluded &&
      column.notNull &&
      !column.column.hasDefault &&
      !known.others.includes(column) &&
      !columns.includes(column),
  );
}

function notMade(table: SyncTable, index: number): Refusal {
  return {
    code: "INVALID_VALUE",
    message: `The server could not complete a new row of table \`${table.key}\`.`,
    index,
  };
}

function deviceTooOld(table: SyncTable, column: SyncColumn): SyncError<"SCHEMA_MISMATCH"> {
  return new SyncError({
    code: "SCHEMA_MISMATCH",
    message: `The device does not know column \`${table.key}.${column.key}\`, which a new row must have. Update the app.`,
    details: { tooOld: "device", table: table.key, column: column.key },
  });
}
