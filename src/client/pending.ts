/**
 * The offline queue as it is pushed (rules P1, P3, P6): device-log entries become operations over shapes, with what the
 * user saw. The queue is read, never kept in memory, so that nothing is lost with the process; requests stay below the
 * server's limits.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readTransactions, type DeviceEntry, type DeviceTransaction } from "../plugin/device-log.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import { SyncError } from "../protocol/errors.ts";
import type { KnownTables, Limits } from "../protocol/handshake.ts";
import { rowHash, seenValue } from "../protocol/hash.ts";
import type { Epoch, TxRef, Value } from "../protocol/ids.ts";
import type { Operation, OperationShape, PushRequest, PushTransaction } from "../protocol/push.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { deviceSchema, type DeviceTable } from "./device-schema.ts";
import { seenRows, type SeenRows } from "./seen-rows.ts";

/** What a push is built for. */
export interface PushPlan {
  readonly checkpoint: Checkpoint;
  /** The last transaction that the server is known to have. */
  readonly after: TxRef;
  readonly epoch: Epoch;
  readonly limits: Pick<Limits, "maxPushTransactions" | "maxRequestBytes">;
  /** Tables and columns that the server has. */
  readonly serverTables: KnownTables;
  /** Transactions wanted with whole rows (rule P6). */
  readonly needed: ReadonlySet<number>;
  /** Stamps of transactions that are sent without their operations: the server does not take them. @default none */
  readonly refused?: ReadonlySet<number>;
}

/** A push, and what it stands for. */
export interface Push {
  readonly request: PushRequest;
  readonly transactions: readonly DeviceTransaction[];
}

/** Transactions read at a time. */
const READ_CHUNK = 200;

/** The share of a body's limit that estimated sizes may fill. */
const FILL = 0.8;

/** Builds the next push; undefined when the queue holds nothing after `plan.after`. */
export function* buildPush(sync: SyncDatabase, plan: PushPlan): Core<Push | undefined> {
  const shapes = createShapes();
  const txs: PushTransaction[] = [];
  const transactions: DeviceTransaction[] = [];
  let bytes = 200;
  let after = plan.after.number;
  build: while (txs.length < plan.limits.maxPushTransactions) {
    const read = yield* readTransactions(sync, {
      after,
      limit: Math.min(READ_CHUNK, plan.limits.maxPushTransactions - txs.length),
    });
    for (const transaction of read) {
      const isRefused = plan.refused?.has(transaction.stamp) === true;
      const missing = isRefused ? undefined : missingOnServer(transaction, plan.serverTables);
      if (missing) {
        if (txs.length === 0) throw missing;
        break build;
      }
      const rows = plan.needed.has(transaction.number)
        ? yield* seenRows(sync, plan.checkpoint, transaction)
        : undefined;
      const tx = encodeTransaction(sync, isRefused ? { ...transaction, entries: [] } : transaction, shapes, rows);
      const size = sizeOf(tx);
      if (txs.length > 0 && bytes + size > plan.limits.maxRequestBytes * FILL) break build;
      bytes += size;
      txs.push(tx);
      transactions.push(transaction);
      after = transaction.number;
    }
    if (read.length === 0) break;
  }
  if (txs.length === 0) return undefined;
  const { deviceId } = plan.checkpoint;
  return { request: { deviceId, epoch: plan.epoch, previous: plan.after, shapes: shapes.list, txs }, transactions };
}

interface Shapes {
  readonly list: OperationShape[];
  indexOf(table: string, kind: OperationShape["kind"], columns: readonly string[]): number;
}

function createShapes(): Shapes {
  const list: OperationShape[] = [];
  const indexes = new Map<string, number>();
  return {
    list,
    indexOf(table, kind, columns) {
      const name = `${table}\n${kind}\n${columns.join("\n")}`;
      let index = indexes.get(name);
      if (index === undefined) {
        index = list.push({ table, kind, columns }) - 1;
        indexes.set(name, index);
      }
      return index;
    },
  };
}

function encodeTransaction(
  sync: SyncDatabase,
  transaction: DeviceTransaction,
  shapes: Shapes,
  rows: SeenRows | undefined,
): PushTransaction {
  const schema = deviceSchema(sync);
  const ops: Operation[] = [];
  for (const entry of transaction.entries) {
    const table = schema.byKey.get(entry.table.key);
    const op = table && encodeEntry(table, entry, shapes, rows?.get(entry));
    if (op) ops.push(op);
  }
  const { number, stamp, hlc } = transaction;
  return { number, stamp, hlc, schema: transaction.schema, ops };
}

function encodeEntry(
  table: DeviceTable,
  entry: DeviceEntry,
  shapes: Shapes,
  row: readonly Value[] | undefined,
): Operation | undefined {
  const at = entry.columns.flatMap((column, index) => (column.excluded ? [] : [index]));
  const columns = at.map((index) => entry.columns[index] as SyncColumn);
  const pick = (values: readonly Value[]): readonly Value[] => at.map((index) => values[index] ?? null);
  const shape = (kept: readonly SyncColumn[]): number =>
    shapes.indexOf(
      table.key,
      entry.kind,
      kept.map((column) => column.key),
    );
  switch (entry.kind) {
    case "insert":
      return withRow([shape(columns), entry.key, pick(entry.values), []], row);
    case "update":
      // An update that changed nothing that syncs.
      if (columns.length === 0) return undefined;
      return withRow(
        [
          shape(columns),
          entry.key,
          pick(entry.values),
          pick(entry.before).map((value, index) => seenValue(value, formOf(columns, index))),
        ],
        row,
      );
    case "delete": {
      const forms = columns.map((column) => column.form);
      return withRow([shape([]), entry.key, [], [[rowHash(pick(entry.before), forms)]]], row);
    }
  }
}

const withRow = (operation: Operation, row: readonly Value[] | undefined): Operation =>
  row === undefined ? operation : [operation[0], operation[1], operation[2], operation[3], row];

const formOf = (columns: readonly SyncColumn[], index: number): SyncColumn["form"] =>
  (columns[index] as SyncColumn).form;

/** Rule V3: a transaction that names what the server lacks waits, and with it all behind it. */
function missingOnServer(
  transaction: DeviceTransaction,
  serverTables: KnownTables,
): SyncError<"SCHEMA_MISMATCH"> | undefined {
  for (const { table, columns } of transaction.entries) {
    const known = serverTables[table.key];
    const column = columns.find((candidate) => !candidate.excluded && !known?.includes(candidate.key));
    if (known && !column) continue;
    return new SyncError({
      code: "SCHEMA_MISMATCH",
      message: `The server does not know ${column ? `column \`${column.key}\` of table` : "table"} \`${table.key}\` yet. What was written here waits until it does.`,
      details: { tooOld: "server", table: table.key, ...(column ? { column: column.key } : {}) },
    });
  }
  return undefined;
}

/** About the bytes of a transaction on the wire. */
function sizeOf(tx: PushTransaction): number {
  let bytes = 60;
  for (const [, key, values, before, row] of tx.ops) {
    bytes += 8 + sizeOfValues(key) + sizeOfValues(values) + sizeOfValues(row ?? []);
    for (const seen of before) bytes += Array.isArray(seen) ? 19 : sizeOfValues([seen as Value]);
  }
  return bytes;
}

function sizeOfValues(values: readonly Value[]): number {
  let bytes = 0;
  for (const value of values) {
    if (typeof value === "string") bytes += value.length + 5;
    else if (value instanceof Uint8Array) bytes += value.length + 5;
    else bytes += 9;
  }
  return bytes;
}
