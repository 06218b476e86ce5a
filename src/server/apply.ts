/**
 * One transaction of a device, applied whole or not at all: judged by value, resolved, executed under a savepoint, and
 * checked against what came of it (rules P2–P9).
 *
 * @module
 */

import { type Core, run } from "../plugin/core.ts";
import { PREFIX } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncTable } from "../plugin/table.ts";
import type { DeviceId } from "../protocol/ids.ts";
import type { ConflictReport } from "../protocol/outcome.ts";
import type { SyncError } from "../protocol/errors.ts";
import { equalValues } from "../protocol/value.ts";
import { findResultFault, reportKeptRows } from "./check-result.ts";
import { faultOf } from "./database-faults.ts";
import { findRefusedDependency } from "./dependants.ts";
import { type Assign, createExecution, type Execution } from "./execute.ts";
import { findFollowers, type Followers } from "./follow.ts";
import { findClash } from "./judge.ts";
import { findHolder, type LiveRows, readLiveRows } from "./live-rows.ts";
import { foldOperations, type Net } from "./net.ts";
import type { Refusal, RowOperation } from "./operations.ts";
import { findRevivals, type Revival } from "./revivals.ts";
import { type Note, readNotes } from "./outcomes.ts";
import { findRightFault } from "./rights.ts";
import { meets, type Rights } from "./scopes.ts";
import { type ConflictOf, type SettleContext, type Settled, type Settlement, settle, settlesUnique } from "./settle.ts";

/** What a transaction is applied with. */
export interface ApplyContext {
  readonly database: SyncDatabase;
  readonly deviceId: DeviceId;
  readonly subject: string;
  readonly rights: Rights;
  /** The transaction's time, bounded by the server's clock. */
  readonly clientTime: number;
  /** Whether the device has any notes (rule P5). */
  readonly hasNotes: boolean;
  /** Whether there are rows whose insert by this device was refused (rule P8). */
  readonly hasRejected: boolean;
  /** Whether the database enforces foreign keys, and so cascades. */
  readonly isCascading: boolean;
  readonly assign: Assign | undefined;
  /** Whether the app's `authorize` has allowed that these rows come back; absent when there is none. */
  readonly isAuthorized?: (revivals: readonly Revival[]) => boolean;
  readonly onError: (error: unknown) => void;
}

/** A note to be written (rule P5). */
export type RowNote = Note & { readonly table: string; readonly rowKey: string };

/**
 * What became of a transaction. `deferred`: a foreign key does not hold yet at the end of a statement; it must be tried
 * alone, with keys checked at its commit. `mismatch`: one side's schema is too old (rule V3). `authorize`: rows would come
 * back whole (rule P6), of which the app has seen no more than an update. Of these three and of `need`, nothing is left in
 * the database.
 */
export type Verdict =
  | {
      readonly kind: "applied";
      readonly conflicts: readonly ConflictReport[];
      readonly notes: readonly RowNote[];
      readonly inserted: readonly Net[];
    }
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly live: LiveRows }
  | { readonly kind: "need" }
  | { readonly kind: "authorize"; readonly revivals: readonly Revival[] }
  | { readonly kind: "deferred" }
  | { readonly kind: "mismatch"; readonly error: SyncError<"SCHEMA_MISMATCH"> };

/** Applies a transaction, inside a database transaction that somebody else opened and commits. */
export function* applyTransaction(context: ApplyContext, operations: readonly RowOperation[]): Core<Verdict> {
  const nets = foldOperations(operations);
  const live = yield* readLiveRows(nets.values());
  const followers: Followers = context.isCascading ? yield* findFollowers(nets, live) : new Map<string, never>();
  const refuse = (refusal: Refusal): Verdict => ({ kind: "refused", refusal, live });

  const dependency = context.hasRejected ? yield* findRefusedDependency(context.deviceId, nets, live) : undefined;
  if (dependency !== undefined) return refuse(dependency);

  const settled = new Map<string, Settled>();
  for (const net of nets.values()) {
    // P7: what a cascade does is not judged alone.
    if (net.kind === "none" || followers.has(net.row)) continue;
    const row = live.get(net.row);
    const rightFault = row === undefined ? undefined : findRightFault(net.table, row.scopes, context.rights.write);
    if (rightFault !== undefined) return refuse({ ...rightFault, index: net.lastIndex });
    const conflict = yield* findConflict(context, net, live);
    if (conflict === undefined) continue;
    const settlement = yield* settle(settleContext(context), net, conflict);
    if (settlement.kind === "need") return settlement;
    if (settlement.kind === "refused") return refuse(settlement.refusal);
    settled.set(net.row, settlement);
  }

  const revivals = findRevivals(nets, live, settled);
  if (revivals.length > 0 && context.isAuthorized?.(revivals) === false) return { kind: "authorize", revivals };

  // Each round of this loop settles one more unique clash, or ends.
  for (let left = nets.size; ; left--) {
    yield* run(`SAVEPOINT ${savepoint}`);
    const { assign, onError } = context;
    const execution = createExecution({ operations, nets, live, settled, followers, assign, onError });
    const result = yield* execute(context, execution, nets, live, settled, followers);
    if (result.kind === "applied") {
      yield* run(`RELEASE ${savepoint}`);
      return result;
    }
    yield* rollBack(execution);
    if (result.kind !== "unique") return result;
    const net = left > 0 ? result.net : undefined;
    const settlement = net === undefined ? undefined : yield* settleUnique(context, net, result.execution, live);
    if (net === undefined || settlement === undefined) return refuse(constraint(result.table, result.index));
    if (settlement.kind === "need") return settlement;
    if (settlement.kind === "refused") return refuse(settlement.refusal);
    settled.set(net.row, settlement);
  }
}

function* findConflict(context: ApplyContext, net: Net, live: LiveRows): Core<ConflictOf | undefined> {
  const row = live.get(net.row);
  const clash = findClash(net, row, []);
  if (clash === undefined) return undefined;
  if (!context.hasNotes || row === undefined) return { ...clash, live: row };
  // P5: only what seems to be a conflict is worth looking up.
  const notes = yield* readNotes(context.deviceId, net.table.key, net.keyText);
  const again = notes.length === 0 ? clash : findClash(net, row, notes);
  return again === undefined ? undefined : { ...again, live: row };
}

const savepoint = `${PREFIX}tx`;

/** Takes back what was executed. */
function* rollBack(execution: Execution): Core<void> {
  try {
    yield* run(`ROLLBACK TO ${savepoint}`);
  } catch (error) {
    // A trigger that rolls back everything took the savepoint along: what it said is what went wrong.
    throw execution.failure ?? error;
  }
  yield* run(`RELEASE ${savepoint}`);
}

type Executed =
  | Verdict
  | {
      readonly kind: "unique";
      readonly table: SyncTable;
      readonly index: number;
      readonly net: Net | undefined;
      readonly execution: Execution;
    };

/** Executes the operations and checks what came of them. */
function* execute(
  context: ApplyContext,
  execution: Execution,
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
  settled: ReadonlyMap<string, Settled>,
  followers: Followers,
): Core<Executed> {
  const refuse = (refusal: Refusal): Verdict => ({ kind: "refused", refusal, live });
  try {
    const fault = yield* execution.run();
    if (fault?.kind === "mismatch") return fault;
    if (fault !== undefined) return refuse(fault.refusal);
  } catch (error) {
    execution.failure = error;
    const fault = faultOf(error);
    if (fault === undefined) throw error; // P12: nothing of the group is kept.
    const { operation } = execution;
    if (operation === undefined) throw error;
    if (fault === "foreign-key") return { kind: "deferred" };
    const net = nets.get(operation.row);
    if (fault === "unique") {
      return {
        kind: "unique",
        table: operation.table,
        index: operation.index,
        net: net !== undefined && settlesUnique(net) && !settled.has(net.row) ? net : undefined,
        execution,
      };
    }
    return refuse(
      fault === "value" ? invalidValue(operation.table, operation.index) : constraint(operation.table, operation.index),
    );
  }

  const after = yield* readLiveRows(nets.values());
  const executed = { nets, settled, followers, live, after, rights: context.rights, onError: context.onError };
  const fault = findResultFault(executed);
  if (fault !== undefined) return refuse(fault);
  const conflicts = [...settled.values()].map(({ report }) => report);
  return {
    kind: "applied",
    conflicts: [...conflicts, ...reportKeptRows(executed)],
    notes: findNotes(nets, settled, after),
    inserted: insertedRows(nets, live),
  };
}

function* settleUnique(
  context: ApplyContext,
  net: Net,
  execution: Execution,
  live: LiveRows,
): Core<Settlement | undefined> {
  const own = live.get(net.row);
  const holder = yield* findHolder(
    net.table,
    net.key,
    // A written NULL is in nobody's way, whatever was there before.
    (column) => {
      const written = execution.writtenValue(column);
      return written === undefined ? (own?.values[column.index] ?? null) : written;
    },
  );
  if (holder === undefined) return undefined;
  const row = [...(yield* readLiveRows([{ table: net.table, key: holder.key }])).values()][0];
  // P4: only if the subject may read that row.
  if (row === undefined || !meets(row.scopes, context.rights.read)) return undefined;
  return yield* settle(settleContext(context), net, {
    kind: "unique",
    columns: holder.columns,
    live: own,
    holder: { key: holder.key, live: row },
  });
}

/** Rule P5: where a row is not what the device wrote. */
function findNotes(
  nets: ReadonlyMap<string, Net>,
  settled: ReadonlyMap<string, Settled>,
  after: LiveRows,
): readonly RowNote[] {
  const notes: RowNote[] = [];
  for (const net of nets.values()) {
    const row = settled.has(net.row) ? undefined : after.get(net.row);
    if (row === undefined || (net.kind !== "insert" && net.kind !== "update")) continue;
    for (const [column, wrote] of net.values) {
      const stored = row.values[column.index] ?? null;
      if (!equalValues(stored, wrote, column.form))
        notes.push({ table: net.table.key, rowKey: net.keyText, column: column.key, wrote, stored });
    }
  }
  return notes;
}

function insertedRows(nets: ReadonlyMap<string, Net>, live: LiveRows): readonly Net[] {
  return [...nets.values()].filter((net) => net.kind === "insert" && !live.has(net.row));
}

function settleContext(context: ApplyContext): SettleContext {
  return {
    database: context.database,
    subject: context.subject,
    readable: context.rights.read,
    clientTime: context.clientTime,
    onError: context.onError,
  };
}

function constraint(table: SyncTable, index: number): Refusal {
  return {
    code: "CONSTRAINT",
    message: `A row of table \`${table.key}\` would break a constraint of the database.`,
    index,
  };
}

function invalidValue(table: SyncTable, index: number): Refusal {
  return { code: "INVALID_VALUE", message: `Table \`${table.key}\` cannot store a value of this operation.`, index };
}
