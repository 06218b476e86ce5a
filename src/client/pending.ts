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
import type { Operation, OperationKind, OperationShape, PushRequest, PushTransaction } from "../protocol/push.ts";
import type { CanonicalForm } from "../protocol/value.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { deviceSchema, type DeviceSchema, type DeviceTable } from "./device-schema.ts";
import { seenRows, type SeenRows } from "./seen-rows.ts";
import { speak, speakRow, type SentAs } from "./written-schemas.ts";

/** What a push is built for. */
export interface PushPlan {
  readonly checkpoint: Checkpoint;
  /** The last transaction that the server is known to have; before the queue's front where its record ends early (I3). */
  readonly after: TxRef;
  readonly epoch: Epoch;
  readonly limits: Pick<Limits, "maxPushTransactions" | "maxRequestBytes">;
  /** Tables and columns that the server has. */
  readonly serverTables: KnownTables;
  /** What it has and does not take from this device, which is too old. @default nothing */
  readonly outdated?: KnownTables | undefined;
  /** How transactions are sent that were written with another schema than the present one, by its hash. @default as they are */
  readonly written?: ReadonlyMap<string, SentAs>;
  /** Transactions wanted with whole rows (rule P6). */
  readonly needed: ReadonlySet<number>;
  /** Ids of transactions that are sent without their operations: the server does not take them. @default none */
  readonly refused?: ReadonlySet<number>;
}

/** A push, and what it stands for. */
export interface Push {
  readonly request: PushRequest;
  readonly transactions: readonly DeviceTransaction[];
  /** Whether nothing is behind it in the queue. */
  readonly isAll: boolean;
}

/** Transactions read at a time. */
const READ_CHUNK = 1000;

/** The share of a body's limit that estimated sizes may fill. */
const FILL = 0.8;

/** Builds the next push; undefined when the queue holds nothing after `plan.after`. */
export function* buildPush(sync: SyncDatabase, plan: PushPlan): Core<Push | undefined> {
  const { serverTables, outdated } = plan;
  const present = { tables: serverTables, ...(outdated === undefined ? {} : { outdated }) };
  const schema = deviceSchema(sync);
  const shapes = createShapes();
  const txs: PushTransaction[] = [];
  const transactions: DeviceTransaction[] = [];
  const { deviceId, handled, cursor } = plan.checkpoint;
  const lacksNumbers = plan.after.number < handled.number;
  const previous = lacksNumbers && cursor === undefined ? handled : plan.after;
  let rows: SeenRows | undefined;
  let bytes = 200;
  let after = Math.max(previous.number, handled.number);
  let isAll = false;
  // I3: the cursor goes along, so that the server takes the range only if its log has what was handled.
  const vouched = lacksNumbers && cursor !== undefined ? { cursor } : {};
  if (previous.number < handled.number) {
    const { number, stamp } = handled;
    txs.push({ number, from: previous.number + 1, stamp, hlc: 0, schema: schema.hash, ops: [] });
  }
  build: while (txs.length < plan.limits.maxPushTransactions) {
    const limit = Math.min(READ_CHUNK, plan.limits.maxPushTransactions - txs.length);
    const read = yield* readTransactions(sync, { after, limit });
    for (const transaction of read) {
      const isRefused = plan.refused?.has(transaction.id) === true;
      const as: SentAs = plan.written?.get(transaction.schema) ?? { schema: transaction.schema, ...present };
      const missing = isRefused ? undefined : findMissing(transaction, as);
      if (missing) {
        if (txs.length === 0) throw missing;
        break build;
      }
      if (plan.needed.has(transaction.number)) rows ??= yield* seenRows(sync, plan.checkpoint, plan.needed);
      const { number, stamp, hlc } = transaction;
      const ops = isRefused ? [] : encodeEntries(schema, transaction.entries, { as, shapes, rows });
      const tx: PushTransaction = { number, stamp, hlc, schema: as.schema, ops };
      const size = sizeOf(tx);
      if (txs.length > 0 && bytes + size > plan.limits.maxRequestBytes * FILL) break build;
      bytes += size;
      txs.push(tx);
      transactions.push(transaction);
      after = transaction.number;
    }
    if (read.length < limit) {
      isAll = true;
      break;
    }
  }
  if (txs.length === 0) return undefined;
  return {
    request: { deviceId, epoch: plan.epoch, ...vouched, previous, shapes: shapes.list, txs },
    transactions,
    isAll,
  };
}

interface Shapes {
  readonly list: OperationShape[];
  indexOf(table: string, kind: OperationShape["kind"], columns: readonly string[]): number;
  /** The same for an entry of a table that is sent as it is: entries of one kind have the same array of columns. */
  of(entry: DeviceEntry): EntryShape;
}

/** What entries of one kind with the same columns have in common. */
interface EntryShape {
  readonly index: number;
  readonly forms: readonly CanonicalForm[];
  /** Where the columns are that sync; absent where all do. */
  readonly places?: readonly number[];
}

function createShapes(): Shapes {
  const list: OperationShape[] = [];
  const indexes = new Map<string, number>();
  const known = { insert: new Map(), update: new Map(), delete: new Map() } as const satisfies Record<
    OperationKind,
    Map<readonly SyncColumn[], EntryShape>
  >;
  const shapes: Shapes = {
    list,
    of({ table, kind, columns }) {
      const ofKind: Map<readonly SyncColumn[], EntryShape> = known[kind];
      let shape = ofKind.get(columns);
      if (shape === undefined) {
        const places = columns.flatMap((column, at) => (column.excluded ? [] : [at]));
        const sent = places.map((at) => columns[at] as SyncColumn);
        shape = {
          // An update that changed nothing that syncs has no shape.
          index:
            kind === "update" && sent.length === 0
              ? -1
              : shapes.indexOf(table.key, kind, kind === "delete" ? [] : sent.map(({ key }) => key)),
          forms: sent.map(({ form }) => form),
          ...(places.length === columns.length ? {} : { places }),
        };
        ofKind.set(columns, shape);
      }
      return shape;
    },
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
  return shapes;
}

function encodeEntries(
  schema: DeviceSchema,
  entries: readonly DeviceEntry[],
  how: { readonly as: SentAs; readonly shapes: Shapes; readonly rows: SeenRows | undefined },
): readonly Operation[] {
  const { as, shapes, rows } = how;
  const ops: Operation[] = [];
  for (const entry of entries) {
    const table = schema.byKey.get(entry.table.key);
    if (!table) continue;
    const row = rows?.get(entry.seq);
    const op =
      as.written === undefined
        ? encodePresent(entry, shapes.of(entry), row)
        : encodeEntry(table, entry, { as, shapes }, row && speakRow(row, entry, table, as));
    if (op) ops.push(op);
  }
  return ops;
}

/** An entry that was written with the present schema. */
function encodePresent(
  entry: DeviceEntry,
  { index, forms, places }: EntryShape,
  row: readonly Value[] | undefined,
): Operation | undefined {
  const picked = (values: readonly Value[]): readonly Value[] =>
    places === undefined ? values : places.map((at) => values[at] ?? null);
  switch (entry.kind) {
    case "insert":
      return withRow([index, entry.key, picked(entry.values), []], row);
    case "update": {
      if (index < 0) return undefined;
      const before = picked(entry.before).map((value, at) => seenValue(value, forms[at] ?? "any"));
      return withRow([index, entry.key, picked(entry.values), before], row);
    }
    case "delete":
      return withRow([index, entry.key, [], [[rowHash(picked(entry.before), forms)]]], row);
  }
}

function encodeEntry(
  table: DeviceTable,
  entry: DeviceEntry,
  { as, shapes }: { readonly as: SentAs; readonly shapes: Shapes },
  row: readonly Value[] | undefined,
): Operation | undefined {
  const { columns, values, before } = speak(entry, table, as);
  const shape = (keys: readonly string[]): number => shapes.indexOf(table.key, entry.kind, keys);
  const keys = columns.map(({ key }) => key);
  const forms = columns.map(({ form }) => form);
  switch (entry.kind) {
    case "insert":
      return withRow([shape(keys), entry.key, values, []], row);
    case "update":
      // An update that changed nothing that syncs.
      if (columns.length === 0) return undefined;
      return withRow(
        [shape(keys), entry.key, values, before.map((value, index) => seenValue(value, forms[index] ?? "any"))],
        row,
      );
    case "delete":
      return withRow([shape([]), entry.key, [], [[rowHash(before, forms)]]], row);
  }
}

const withRow = (operation: Operation, row: readonly Value[] | undefined): Operation =>
  row === undefined ? operation : [operation[0], operation[1], operation[2], operation[3], row];

/** Columns of entries of which nothing is missing, by what was agreed: entries of one kind have the same array. */
const complete = new WeakMap<KnownTables, WeakSet<readonly SyncColumn[]>>();

/** Rule V3: a transaction that names what the server lacks, or does not take, waits, and with it all behind it. */
function findMissing(transaction: DeviceTransaction, as: SentAs): SyncError<"SCHEMA_MISMATCH"> | undefined {
  let looked = complete.get(as.tables);
  if (!looked) complete.set(as.tables, (looked = new WeakSet()));
  for (const { table, columns } of transaction.entries) {
    if (looked.has(columns)) continue;
    const known = as.tables[table.key];
    const column = known && columns.find((candidate) => !candidate.excluded && !known.includes(candidate.key));
    const closed = as.outdated?.[table.key];
    const isClosed = closed !== undefined && (column ? closed.includes(column.key) : closed.length === 0);
    if (known && !column && !isClosed) {
      looked.add(columns);
      continue;
    }
    const tooOld = isClosed ? "device" : "server";
    const what = `${column ? `column \`${column.key}\` of table` : "table"} \`${table.key}\``;
    return new SyncError({
      code: "SCHEMA_MISMATCH",
      message:
        tooOld === "server"
          ? `The server does not know ${what} yet. What was written here waits until it does.`
          : `The device is too old to write ${what}. Update the app; what was written here waits until then.`,
      details: { tooOld, table: table.key, ...(column ? { column: column.key } : {}) },
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
