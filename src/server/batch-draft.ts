/**
 * What several transactions of a device would make of their rows, worked out in memory: the draft of a batch
 * (`apply-batch.ts`). Only what needs no decision is drafted. Whatever does (a conflict, a missing right, a row that is not
 * there, a key that cascades) is left to `apply.ts`, and says no more here than that.
 *
 * Rights are judged on each row before and after each transaction (rule P9). A row's own scopes follow from its values; what a
 * new row inherits is looked up when all is executed. No parent changes its scopes within a batch: that would show in the log,
 * as entries of the rows that moved with it.
 *
 * @module
 */

import { ownScopes } from "../plugin/scope-text.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { findCheckFault } from "./check-result.ts";
import { type Assign, completeOperation, findLackingColumn, type Written } from "./execute.ts";
import { findClash, type LiveRow } from "./judge.ts";
import type { LiveRows } from "./live-rows.ts";
import { netOf } from "./net.ts";
import type { RowOperation } from "./operations.ts";
import { findMoveFault, findRightFault } from "./rights.ts";
import { deleteStatement, insertStatement, type Statement, updateStatement } from "./statements.ts";

/** One transaction that may be drafted. */
export interface BatchTransaction {
  readonly number: number;
  readonly operations: readonly RowOperation[];
}

/** A row as it will be. */
export interface DraftRow {
  readonly table: SyncTable;
  readonly key: Key;
  /** What makes it so. */
  readonly kind: RowOperation["kind"];
  /** By the columns' index, undefined where the database decides; undefined for a row that is deleted. */
  readonly values: readonly (Value | undefined)[] | undefined;
  /** Undefined where they are inherited, and looked up later. */
  readonly scopes: readonly string[] | undefined;
  /** What devices wrote into it, oldest first. */
  readonly writes: readonly RowWrite[];
}

/** What one transaction wrote into a row. */
export interface RowWrite extends Written {
  readonly number: number;
}

/** What drafting needs to know. */
export interface DraftContext {
  readonly writable: ReadonlySet<string>;
  readonly assign: Assign | undefined;
}

/** A draft that grows by transactions. */
export interface Draft {
  /** Adds a transaction; false, and nothing of it added, when it needs a decision. */
  add(transaction: BatchTransaction): boolean;
  readonly rows: ReadonlyMap<string, DraftRow>;
  /** What is to be executed, in order: for each transaction its statements. */
  readonly statements: readonly (readonly Statement[])[];
  /** The row that each of the statements makes, in their order. */
  readonly steps: readonly DraftRow[];
  /** Whether a row is written more than once, so that {@link rows} does not show all that is made. */
  readonly hides: boolean;
}

/** Begins a draft. `live` holds the rows that the transactions change or delete. */
export function createDraft({ writable, assign }: DraftContext, live: LiveRows): Draft {
  const rows = new Map<string, DraftRow>();
  const statements: (readonly Statement[])[] = [];
  const steps: DraftRow[] = [];

  const before = (operation: RowOperation): LiveRow | undefined => {
    const drafted = rows.get(operation.row);
    if (drafted === undefined) return live.get(operation.row);
    if (drafted.values === undefined) return undefined;
    // Its scopes are asked for only where they are known: see `hasKnownScopes`.
    return { values: drafted.values as readonly Value[], scopes: drafted.scopes ?? [] };
  };
  const hasKnownScopes = (operation: RowOperation): boolean => {
    const drafted = rows.get(operation.row);
    return drafted === undefined || drafted.values === undefined || drafted.scopes !== undefined;
  };

  const draft = (operation: RowOperation, number: number): readonly [DraftRow, Statement] | undefined => {
    if (!hasKnownScopes(operation)) return undefined;
    const { table, key, kind } = operation;
    const earlier = rows.get(operation.row)?.writes ?? none;
    // A check sees what the database makes of each write (rule P9), which is looked at in the end.
    if (table.check !== undefined && earlier.length > 0) return undefined;
    const row = before(operation);
    const write: RowWrite = { number, columns: operation.columns, values: operation.values };
    switch (kind) {
      case "insert": {
        if (row !== undefined) return undefined;
        const whole = completed(operation, assign);
        if (whole === undefined) return undefined;
        const values = new Array<Value | undefined>(table.columns.length).fill(undefined);
        for (let i = 0; i < key.length; i++) values[i] = key[i] as Value;
        for (let i = 0; i < whole.columns.length; i++)
          values[(whole.columns[i] as SyncColumn).index] = whole.values[i] as Value;
        const scopes = table.parent === undefined ? ownScopes(table, (column) => values[column.index]) : undefined;
        if (scopes !== undefined && findMoveFault(table, none, scopes, writable) !== undefined) return undefined;
        // A check sees whole rows.
        if (table.check !== undefined && values.includes(undefined)) return undefined;
        const made = { table, key, kind, values, scopes, writes: [...earlier, write] };
        return fails(made, undefined) ? undefined : [made, insertStatement(table, key, whole.columns, whole.values)];
      }
      case "update": {
        if (row === undefined || operation.columns.length === 0) return undefined;
        if (findRightFault(table, row.scopes, writable) !== undefined) return undefined;
        if (findClash(netOf(operation), row, []) !== undefined) return undefined;
        const moves = operation.columns.some((column) => movingColumns(table).has(column));
        if (moves && (table.parent !== undefined || table.children.length > 0)) return undefined;
        const values = row.values.slice();
        for (let i = 0; i < operation.columns.length; i++)
          values[(operation.columns[i] as SyncColumn).index] = operation.values[i] as Value;
        const scopes = moves ? ownScopes(table, (column) => values[column.index]) : row.scopes;
        if (moves && findMoveFault(table, row.scopes, scopes, writable) !== undefined) return undefined;
        const made = { table, key, kind, values, scopes, writes: [...earlier, write] };
        if (fails(made, row)) return undefined;
        return [made, updateStatement(table, key, operation.columns, operation.values)];
      }
      case "delete": {
        if (row === undefined || table.referencedBy.length > 0) return undefined;
        if (findRightFault(table, row.scopes, writable) !== undefined) return undefined;
        if (findMoveFault(table, row.scopes, undefined, writable) !== undefined) return undefined;
        if (findClash(netOf(operation), row, []) !== undefined) return undefined;
        const made = { table, key, kind, values: undefined, scopes: none, writes: none };
        return fails(made, row) ? undefined : [made, deleteStatement(table, key)];
      }
    }
  };

  return {
    rows,
    statements,
    steps,
    get hides() {
      return rows.size < steps.length;
    },
    add({ number, operations }) {
      const drafted = new Map<string, DraftRow>();
      const own: Statement[] = [];
      for (const operation of operations) {
        // Rule P2: what one transaction does to a row several times is judged once.
        if (drafted.has(operation.row)) return false;
        const made = draft(operation, number);
        if (made === undefined) return false;
        drafted.set(operation.row, made[0]);
        own.push(made[1]);
      }
      for (const [row, made] of drafted) {
        rows.set(row, made);
        steps.push(made);
      }
      statements.push(own);
      return true;
    },
  };
}

const none: readonly never[] = [];

/** Whether the app's `check` refuses the row. */
function fails({ table, values, scopes }: DraftRow, before: LiveRow | undefined): boolean {
  if (table.check === undefined) return false;
  // It is checked again, and whatever it throws reported, where the transaction is refused.
  const after = values === undefined ? undefined : { values: values as readonly Value[], scopes: scopes ?? none };
  return findCheckFault(table, before, after, () => undefined) !== undefined;
}

/** The row as the server completes it; undefined where it cannot be. */
function completed(operation: RowOperation, assign: Assign | undefined): Written | undefined {
  try {
    const whole = completeOperation(operation, undefined, assign);
    return findLackingColumn(operation.known, whole.columns) === undefined ? whole : undefined;
  } catch {
    return undefined; // Said where the transaction is applied by itself.
  }
}

const moving = new WeakMap<SyncTable, ReadonlySet<SyncColumn>>();

/** The columns that decide which scopes a row is in. */
function movingColumns(table: SyncTable): ReadonlySet<SyncColumn> {
  let columns = moving.get(table);
  if (columns === undefined) {
    columns = new Set([
      ...table.scopes.flatMap((rule) => (rule.kind === "columns" ? rule.columns : [])),
      ...(table.parent === undefined ? [] : [table.parent.column]),
    ]);
    moving.set(table, columns);
  }
  return columns;
}
