/**
 * Outcomes on the device: what became of merged and rejected transactions, with both versions, kept in the local database
 * until the app has dealt with them (promise 3). An outcome is stored in the transaction that drops its transaction from
 * the queue, together with the operations as they were written, which nobody else has any more.
 *
 * @module
 */

import { all, first, run, type Core } from "../plugin/core.ts";
import type { DeviceEntry, DeviceTransaction } from "../plugin/device-log.ts";
import { PREFIX } from "../plugin/names.ts";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import type { Key, Value } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { OperationKind } from "../protocol/push.ts";

/** One operation of a local transaction: column keys to storage values. */
export interface LocalOperation {
  readonly table: string;
  readonly kind: OperationKind;
  readonly key: Key;
  /** What was written: all columns of an insert, the changed ones of an update, none of a delete. */
  readonly values: Readonly<Record<string, Value>>;
  /** What was there before: nothing for an insert, the changed columns for an update, the row for a delete. */
  readonly before: Readonly<Record<string, Value>>;
}

/** An outcome as the device keeps it. */
export interface StoredOutcome {
  /** The transaction's id on this device, the same as in the queue. */
  readonly id: string;
  readonly outcome: Outcome;
  /** The transaction as it was written here. */
  readonly operations: readonly LocalOperation[];
}

const OUTCOMES = `${PREFIX}outcomes`;

/** The id of a transaction on this device: its stamp, which survives renumbering. */
export function transactionId(stamp: number): string {
  return stamp.toString(36);
}

/** The operations of a transaction in the queue. */
export function operationsOf(transaction: DeviceTransaction): readonly LocalOperation[] {
  // Numbered as they are pushed: an update that changed nothing that syncs is not.
  const entries = transaction.entries.filter(
    (entry) => entry.kind !== "update" || entry.columns.some((column) => !column.excluded),
  );
  return entries.map((entry) => ({
    table: entry.table.key,
    kind: entry.kind,
    key: entry.key,
    values: entry.kind === "delete" ? {} : byColumn(entry, entry.values),
    before: entry.kind === "insert" ? {} : byColumn(entry, entry.before),
  }));
}

/** Stores the outcome of a transaction that leaves the queue. */
export function* storeOutcome(transaction: DeviceTransaction, outcome: Outcome): Core<StoredOutcome> {
  const stored: StoredOutcome = {
    id: transactionId(transaction.stamp),
    outcome,
    operations: operationsOf(transaction),
  };
  yield* run(`INSERT INTO ${OUTCOMES} (id, body) VALUES (?, ?)`, [
    transaction.stamp,
    encodeCbor([outcome, stored.operations]),
  ]);
  return stored;
}

/** Reads all outcomes, oldest first; with `untold`, those that no listener was told of. */
export function* readOutcomes(options: { readonly untold?: boolean } = {}): Core<readonly StoredOutcome[]> {
  const rows = yield* all(`SELECT id, body FROM ${OUTCOMES}${options.untold ? " WHERE told = 0" : ""} ORDER BY n`);
  return rows.map(([stamp, body]) => decode(stamp as number, body as Uint8Array));
}

/** Reads the outcome of a transaction. */
export function* readOutcome(id: string): Core<StoredOutcome | undefined> {
  const row = yield* first(`SELECT id, body FROM ${OUTCOMES} WHERE id = ? ORDER BY n DESC LIMIT 1`, [stampOfId(id)]);
  return row && decode(row[0] as number, row[1] as Uint8Array);
}

/** Notes that a listener was told. */
export function* markTold(id: string): Core<void> {
  yield* run(`UPDATE ${OUTCOMES} SET told = 1 WHERE id = ?`, [stampOfId(id)]);
}

/** Forgets an outcome that the app has dealt with; tells whether there was one. */
export function* removeOutcome(id: string): Core<boolean> {
  return (yield* run(`DELETE FROM ${OUTCOMES} WHERE id = ?`, [stampOfId(id)])) > 0;
}

/** Forgets all outcomes. */
export function* clearOutcomes(): Core<void> {
  yield* run(`DELETE FROM ${OUTCOMES}`);
}

function decode(stamp: number, body: Uint8Array): StoredOutcome {
  const [outcome, operations] = decodeCbor(body) as readonly [Outcome, readonly LocalOperation[]];
  return { id: transactionId(stamp), outcome, operations };
}

function stampOfId(id: string): number {
  const stamp = Number.parseInt(id, 36);
  return Number.isSafeInteger(stamp) ? stamp : -1;
}

function byColumn(entry: DeviceEntry, values: readonly Value[]): Readonly<Record<string, Value>> {
  return Object.fromEntries(entry.columns.map((column, index) => [column.key, values[index] ?? null]));
}
