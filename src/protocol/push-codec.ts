/**
 * Pushes as bytes. A long queue travels by columns, as pages do (`column-codec.ts`): half the bytes, and a fraction of the time
 * to encode, decode and check. In place of `txs` the message then has `packed`:
 *
 * ```
 *   [ number of transactions, [numbers, stamps, clocks, schemas, operation counts],
 *     [[place, from], …]                       empty ranges
 *     column of shapes, an operation each,
 *     [[operations, key length, columns], …]   for each shape: key columns, values, then two for each value that was seen: the
 *                                              value, and the hash in its place
 *     [[operation, row], …] ]                  whole rows (rule P6)
 * ```
 *
 * Short ones, and what other clients send, have the plain list. Both come to the same message.
 *
 * @module
 */

import { bounds } from "./bounds.ts";
import { decodeCbor, encodeCbor, type CborLimits } from "./cbor.ts";
import { packColumn, plainColumn, unpackColumn } from "./column-codec.ts";
import { SyncError } from "./errors.ts";
import { isHashed } from "./hash.ts";
import type { Value } from "./ids.ts";
import type { PackedColumn } from "./packed-column.ts";
import { isTooGood } from "./page-codec.ts";
import type { Operation, OperationShape, PushRequest, PushTransaction, SeenValue } from "./push.ts";

/** Transactions from which on it pays. */
const manyTransactions = 8;

/** Encodes a push. */
export function encodePushRequest(request: PushRequest): Uint8Array<ArrayBuffer> {
  const { txs, ...rest } = request;
  if (txs.length < manyTransactions) return encodeCbor(request);
  return encodeCbor({ ...rest, packed: pack(request.shapes, txs) });
}

/** Decodes a push; what comes out is still to be parsed. Throws `INVALID_MESSAGE` or `TOO_LARGE`. */
export function decodePushRequest(bytes: Uint8Array, limits?: CborLimits): unknown {
  const message = decodeCbor(bytes, limits);
  if (typeof message !== "object" || message === null || !("packed" in message)) return message;
  const { packed, ...rest } = message as { readonly packed: unknown; readonly shapes?: unknown };
  // The plain list beside it would be ignored.
  if ("txs" in rest) throw broken();
  return { ...rest, txs: unpack(rest.shapes, packed) };
}

interface Group {
  /** By column, one value for each operation. */
  readonly keys: Value[][];
  readonly values: Value[][];
  readonly seen: Value[][];
  readonly hashes: Value[][];
  count: number;
}

function pack(shapes: readonly OperationShape[], txs: readonly PushTransaction[]): readonly unknown[] {
  const groups: (Group | undefined)[] = [];
  const indexes: number[] = [];
  const rows: (readonly [number, readonly Value[]])[] = [];
  const ranges: (readonly [number, number])[] = [];
  for (let i = 0; i < txs.length; i++) {
    const { from, ops } = txs[i] as PushTransaction;
    if (from !== undefined) ranges.push([i, from]);
    for (const [shape, key, values, before, row] of ops) {
      if (row !== undefined) rows.push([indexes.length, row]);
      indexes.push(shape);
      const group = (groups[shape] ??= newGroup(key.length, values.length, before.length));
      group.count++;
      for (let j = 0; j < key.length; j++) (group.keys[j] as Value[]).push(key[j] as Value);
      for (let j = 0; j < values.length; j++) (group.values[j] as Value[]).push(values[j] as Value);
      for (let j = 0; j < before.length; j++) {
        const value = before[j] as SeenValue;
        (group.seen[j] as Value[]).push(isHashed(value) ? null : value);
        (group.hashes[j] as Value[]).push(isHashed(value) ? value[0] : null);
      }
    }
  }
  const head = [
    txs.map(({ number }) => number),
    txs.map(({ stamp }) => stamp),
    txs.map(({ hlc }) => hlc),
    txs.map(({ schema }) => schema),
    txs.map(({ ops }) => ops.length),
  ];
  return [
    txs.length,
    packColumns(txs.length, head),
    ranges,
    packColumns(indexes.length, [indexes])[0],
    shapes.map((_, i) => {
      const { count, keys, values, seen, hashes } = groups[i] ?? newGroup(0, 0, 0);
      return [count, keys.length, packColumns(count, [...keys, ...values, ...seen, ...hashes])];
    }),
    rows,
  ];
}

function newGroup(keys: number, values: number, seen: number): Group {
  const columns = (count: number): Value[][] => Array.from({ length: count }, () => []);
  return { keys: columns(keys), values: columns(values), seen: columns(seen), hashes: columns(seen), count: 0 };
}

function packColumns(rows: number, columns: readonly (readonly Value[])[]): readonly PackedColumn[] {
  const packed = columns.map(packColumn);
  // What unpacks to many times its size looks like an attack.
  return isTooGood(rows, packed) ? columns.map(plainColumn) : packed;
}

function unpack(shapes: unknown, packed: unknown): readonly PushTransaction[] {
  if (!Array.isArray(shapes) || shapes.length > bounds.shapes || !Array.isArray(packed) || packed.length !== 6)
    throw broken();
  const [count, head, ranges, indexes, groups, rows] = packed as readonly unknown[];
  if (!isCount(count, bounds.transactions)) throw broken();
  const [numbers, stamps, clocks, schemas, sizes] = unpackColumns(head, count, 5) as readonly (readonly number[])[];
  const total = (sizes ?? []).reduce((sum, size) => (isCount(size, bounds.operations) ? sum + size : Number.NaN), 0);
  if (!isCount(total, bounds.operations)) throw broken();
  const [shapeOf = []] = unpackColumns([indexes], total, 1) as readonly (readonly number[])[];
  const operations = unpackGroups(shapes, groups, shapeOf);
  for (const [at, row] of pairs(rows)) {
    const operation = operations[at];
    if (operation === undefined || !Array.isArray(row)) throw broken();
    operations[at] = [operation[0], operation[1], operation[2], operation[3], row as readonly Value[]];
  }
  const froms = new Map<number, unknown>(pairs(ranges));
  const txs: PushTransaction[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const size = sizes?.[i] ?? 0;
    txs.push({
      number: numbers?.[i] as number,
      ...(froms.has(i) ? { from: froms.get(i) as number } : {}),
      stamp: stamps?.[i] as number,
      hlc: clocks?.[i] as number,
      schema: schemas?.[i] as unknown as string,
      ops: operations.slice(at, (at += size)),
    });
  }
  return txs;
}

/** The operations in their order, from the columns of each shape. */
function unpackGroups(shapes: readonly unknown[], groups: unknown, shapeOf: readonly number[]): Operation[] {
  if (!Array.isArray(groups) || groups.length !== shapes.length) throw broken();
  const opened = groups.map((group: unknown, i) => openGroup(shapes[i], group));
  const places = new Array<number>(shapes.length).fill(0);
  const operations = shapeOf.map((shape): Operation => {
    const place = places[shape];
    const group = opened[shape];
    if (place === undefined || group === undefined || place >= group.count) throw broken();
    places[shape] = place + 1;
    return group.operation(shape, place);
  });
  if (opened.some(({ count }, i) => places[i] !== count)) throw broken();
  return operations;
}

interface OpenGroup {
  readonly count: number;
  operation(shape: number, place: number): Operation;
}

function openGroup(shape: unknown, group: unknown): OpenGroup {
  const { kind, columns } = (shape ?? {}) as { readonly kind?: unknown; readonly columns?: unknown };
  if (!Array.isArray(columns) || columns.length > bounds.columns || !Array.isArray(group) || group.length !== 3)
    throw broken();
  const [count, keyLength, packed] = group as readonly unknown[];
  if (!isCount(count, bounds.operations) || !isCount(keyLength, bounds.keyColumns)) throw broken();
  // A shape that no operation has.
  if (count === 0) return { count, operation: () => unused() };
  const valueCount = columns.length;
  const seenCount = kind === "update" ? valueCount : kind === "delete" ? 1 : 0;
  const unpacked = unpackColumns(packed, count, keyLength + valueCount + 2 * seenCount);
  const keys = unpacked.slice(0, keyLength);
  const values = unpacked.slice(keyLength, keyLength + valueCount);
  const seen = unpacked.slice(keyLength + valueCount, keyLength + valueCount + seenCount);
  const hashes = unpacked.slice(keyLength + valueCount + seenCount);
  const pick = (from: readonly (readonly Value[])[], place: number): readonly Value[] => {
    const picked = new Array<Value>(from.length);
    for (let i = 0; i < from.length; i++) picked[i] = (from[i] as readonly Value[])[place] as Value;
    return picked;
  };
  return {
    count,
    operation: (index, place) => {
      const before: SeenValue[] = [];
      for (let i = 0; i < seenCount; i++) {
        const hash = (hashes[i] as readonly Value[])[place] as Value;
        before.push(hash === null ? ((seen[i] as readonly Value[])[place] as Value) : [hash as string]);
      }
      return [index, pick(keys, place), pick(values, place), before];
    },
  };
}

function unused(): never {
  throw broken();
}

function unpackColumns(packed: unknown, rows: number, count: number): readonly (readonly Value[])[] {
  if (!Array.isArray(packed) || packed.length !== count || isTooGood(rows, packed)) throw broken();
  return packed.map((column: unknown) => unpackColumn(column, rows));
}

function* pairs(list: unknown): Generator<readonly [number, unknown]> {
  if (!Array.isArray(list) || list.length > bounds.operations) throw broken();
  for (const pair of list as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2 || !isCount(pair[0], bounds.operations)) throw broken();
    yield pair as unknown as readonly [number, unknown];
  }
}

function isCount(value: unknown, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
}

function broken(): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message: "The packed transactions of a push are broken." });
}
