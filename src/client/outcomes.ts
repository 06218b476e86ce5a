/**
 * Outcomes on the device: what became of merged, rejected and lost transactions, with both versions, kept in the local
 * database until the app has dealt with them (promise 3). An outcome is stored in the transaction that takes its transaction
 * out of the queue, together with the operations as they were written.
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
import type { GoneRows } from "./gone-rows.ts";

/** One operation of a local transaction: column keys to storage values. */
export interface LocalOperation {
  readonly table: string;
  readonly kind: OperationKind;
  readonly key: Key;
  /** What was written: all columns of an insert, the changed ones of an update, none of a delete. */
  readonly values: Readonly<Record<string, Value>>;
  /** What was there before: nothing for an insert, the changed columns for an update, the row for a delete. */
  readonly before: Readonly<Record<string, Value>>;
  /** Of an update whose row is gone: the whole row as it was written here, so that a retry can bring it back. */
  readonly row?: Readonly<Record<string, Value>>;
}

/**
 * Transactions that the server had handled and lost, and that are kept no longer (rule I3): the numbers `from` to `number`. It
 * never travels; `stamp` is its own.
 */
export interface LostOutcome {
  readonly status: "lost";
  readonly from: number;
  readonly number: number;
  readonly stamp: number;
}

/** An outcome as the device keeps it. */
export interface StoredOutcome {
  /** The transaction's id on this device, the same as in the queue; one of its own for a loss. */
  readonly id: string;
  readonly outcome: Outcome | LostOutcome;
  /** The transaction as it was written here; nothing for a loss. */
  readonly operations: readonly LocalOperation[];
  /** Present where the app may have been told of the same transaction before, perhaps otherwise: the server lost it (I3). */
  readonly again?: true;
}

const OUTCOMES = `${PREFIX}outcomes`;

type StoredBody = readonly [StoredOutcome["outcome"], readonly LocalOperation[], true?];

/** The id of a transaction on this device: the stamp that it was written with, under every id of the device. */
export function transactionId(stamp: number): string {
  return stamp.toString(36);
}

/** The operations of a transaction in the queue. */
export function operationsOf(transaction: DeviceTransaction, gone: GoneRows = new Map()): readonly LocalOperation[] {
  // Numbered as they are pushed: an update that changed nothing that syncs is not.
  const entries = transaction.entries.filter(
    (entry) => entry.kind !== "update" || entry.columns.some((column) => !column.excluded),
  );
  return entries.map((entry) => {
    const row = gone.get(entry);
    return {
      table: entry.table.key,
      kind: entry.kind,
      key: entry.key,
      values: entry.kind === "delete" ? {} : byColumn(entry, entry.values),
      before: entry.kind === "insert" ? {} : byColumn(entry, entry.before),
      ...(row === undefined ? {} : { row }),
    };
  });
}

/** Stores the outcome of a transaction that leaves the queue. `gone`: whole rows of updates whose row is not there. */
export function* storeOutcome(
  transaction: DeviceTransaction,
  outcome: Outcome,
  gone: GoneRows = new Map(),
): Core<StoredOutcome> {
  return yield* store({ id: transactionId(transaction.id), outcome, operations: operationsOf(transaction, gone) });
}

/** The same of a transaction that may have been reported before: takes the place of what was said of it then. */
export function* storeOutcomeAgain(
  transaction: DeviceTransaction,
  outcome: Outcome,
  gone: GoneRows = new Map(),
): Core<StoredOutcome> {
  const id = transactionId(transaction.id);
  const stored = yield* store({ id, outcome, operations: operationsOf(transaction, gone), again: true });
  // Only now, so that it gets a place of its own: whoever is just telling the one before has not told this one.
  yield* run(`DELETE FROM ${OUTCOMES} WHERE id = ? AND n < (SELECT max(n) FROM ${OUTCOMES})`, [transaction.id]);
  return stored;
}

/** Stores that transactions are lost. */
export function* storeLost(lost: Omit<LostOutcome, "status">, isRepeated: boolean): Core<StoredOutcome> {
  const stored: StoredOutcome = { id: transactionId(lost.stamp), outcome: { status: "lost", ...lost }, operations: [] };
  return yield* store(isRepeated ? { ...stored, again: true } : stored);
}

function* store(stored: StoredOutcome): Core<StoredOutcome> {
  const { id, outcome, operations, again } = stored;
  const body = encodeCbor(again ? [outcome, operations, again] : [outcome, operations]);
  yield* run(`INSERT INTO ${OUTCOMES} (id, body) VALUES (?, ?)`, [stampOfId(id), body]);
  return stored;
}

/** Reads all outcomes, oldest first. */
export function* readOutcomes(): Core<readonly StoredOutcome[]> {
  const rows = yield* all(`SELECT id, body FROM ${OUTCOMES} ORDER BY n`);
  return rows.map(([stamp, body]) => decode(stamp as number, body as Uint8Array));
}

/** Reads the first outcome after a place in the list that no listener was told of. */
export function* nextUntold(after: number): Core<{ readonly n: number; readonly outcome: StoredOutcome } | undefined> {
  const row = yield* first(`SELECT n, id, body FROM ${OUTCOMES} WHERE told = 0 AND n > ? ORDER BY n LIMIT 1`, [after]);
  return row && { n: Number(row[0]), outcome: decode(row[1] as number, row[2] as Uint8Array) };
}

/** Reads the outcome of a transaction. */
export function* readOutcome(id: string): Core<StoredOutcome | undefined> {
  const row = yield* first(`SELECT id, body FROM ${OUTCOMES} WHERE id = ? ORDER BY n DESC LIMIT 1`, [stampOfId(id)]);
  return row && decode(row[0] as number, row[1] as Uint8Array);
}

/** Notes that a listener was told of the outcome, if it is still in its place. */
export function* markTold(n: number, { id }: StoredOutcome): Core<void> {
  yield* run(`UPDATE ${OUTCOMES} SET told = 1 WHERE n = ? AND id = ?`, [n, stampOfId(id)]);
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
  const [outcome, operations, again] = decodeCbor(body) as StoredBody;
  return { id: transactionId(stamp), outcome, operations, ...(again ? { again } : {}) };
}

/** The reverse of {@link transactionId}; a stamp that nothing has for a text that is no id. */
export function stampOfId(id: string): number {
  const stamp = Number.parseInt(id, 36);
  return Number.isSafeInteger(stamp) ? stamp : -1;
}

function byColumn(entry: DeviceEntry, values: readonly Value[]): Readonly<Record<string, Value>> {
  return Object.fromEntries(entry.columns.map((column, index) => [column.key, values[index] ?? null]));
}
