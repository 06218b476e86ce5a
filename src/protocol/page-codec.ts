/**
 * Pages as bytes. A change group travels as `[table, kind, columns, rows, packed columns]`, each column packed in the way
 * that suits it (`column-codec.ts`); everything else of an answer is plain CBOR.
 *
 * Changes are encoded once: the bytes are remembered with the array they came from, so that devices at the same cursor
 * with the same scopes share them, while `lastTx` and outcomes stand beside them (rules L3, U3). The arrays of a page must
 * therefore not be changed once it was encoded.
 *
 * @module
 */

import { bounds } from "./bounds.ts";
import type { ChangeGroup, ChangeKind } from "./change.ts";
import { decodeCbor, encodeCbor, type CborLimits } from "./cbor.ts";
import { packColumn, plainColumn, unpackColumn, weightOf } from "./column-codec.ts";
import { SyncError } from "./errors.ts";
import { fieldNumbers } from "./field-names.ts";
import type { LiveFrame } from "./live.ts";
import { isGroupHead } from "./message-parts.ts";
import type { PackedColumn } from "./packed-column.ts";
import { parseEnvelope } from "./parse.ts";
import type { Page, PullAnswer } from "./pull.ts";

/** Encodes a pull answer. */
export function encodePullAnswer(answer: PullAnswer): Uint8Array<ArrayBuffer> {
  return encodeLiveFrame(answer);
}

/** Decodes and checks a pull answer; throws `INVALID_MESSAGE` or `TOO_LARGE`. Lenient to unknown fields. */
export function decodePullAnswer(bytes: Uint8Array, limits?: CborLimits): PullAnswer {
  const frame = decodeLiveFrame(bytes, limits);
  if (frame.kind === "heartbeat" || frame.kind === "poke" || frame.kind === "end")
    throw invalid("A pull answer has the kind of a live frame.");
  return frame;
}

/** Encodes a frame of the live stream. */
export function encodeLiveFrame(frame: LiveFrame): Uint8Array<ArrayBuffer> {
  if (frame.kind !== "page") return encodeCbor(frame);
  const { changes, ...envelope } = frame;
  const head = encodeCbor(envelope);
  const tail = encodeChanges(changes);
  // The envelope's map has fewer than 23 fields: its first byte is its size, and takes one more.
  const bytes = new Uint8Array(head.length + changesKey.length + tail.length);
  bytes.set(head);
  bytes[0] = (head[0] as number) + 1;
  bytes.set(changesKey, head.length);
  bytes.set(tail, head.length + changesKey.length);
  return bytes;
}

/** Decodes and checks a frame of the live stream; throws `INVALID_MESSAGE` or `TOO_LARGE`. Lenient to unknown fields. */
export function decodeLiveFrame(bytes: Uint8Array, limits?: CborLimits): LiveFrame {
  const message = decodeCbor(bytes, limits);
  const envelope = parseEnvelope(message);
  if (envelope.kind !== "page") return envelope;
  // It parsed as a page, so it is an object.
  const changes = unpackGroups((message as { readonly changes?: unknown }).changes);
  sourceByChanges.set(changes, bytes);
  return { ...envelope, changes };
}

/**
 * Bytes from which {@link decodePullAnswer} reads a page's changes again: those that they came in, or, where they came in
 * none (over JSON), their values as they are. Nothing is packed, so that a device, which only unpacks, need not know how.
 */
export function bytesToKeep(page: Page): Uint8Array {
  return sourceByChanges.get(page.changes) ?? encodeCbor({ ...page, changes: page.changes.map(plainGroup) });
}

/** Encodes the changes of a page alone; the same array gives the same bytes without encoding it again. */
export function encodeChanges(changes: readonly ChangeGroup[]): Uint8Array {
  const known = bytesByChanges.get(changes);
  if (known !== undefined) return known;
  const bytes = encodeCbor(changes.map(packGroup));
  bytesByChanges.set(changes, bytes);
  return bytes;
}

type PackedGroup = readonly [
  table: string,
  kind: number,
  columns: readonly string[],
  rows: number,
  packed: readonly PackedColumn[],
];

const bytesByChanges = new WeakMap<readonly ChangeGroup[], Uint8Array>();
const sourceByChanges = new WeakMap<readonly ChangeGroup[], Uint8Array>();
const changesKey = encodeCbor(fieldNumbers["changes"]);
const kinds: readonly ChangeKind[] = ["row", "update", "removal"];

/** Values that a group may unpack to, for each byte or so that it pays. */
const maxGain = 8;

function packGroup(group: ChangeGroup): PackedGroup {
  const packed = group.values.map(packColumn);
  // A very wide group of constants looks like an attack to the decoder, so it pays for its values.
  return isTooGood(rowsOf(group), packed) ? plainGroup(group) : asPacked(group, packed);
}

function plainGroup(group: ChangeGroup): PackedGroup {
  return asPacked(group, group.values.map(plainColumn));
}

function asPacked(group: ChangeGroup, packed: readonly PackedColumn[]): PackedGroup {
  return [group.table, kinds.indexOf(group.kind), group.columns, rowsOf(group), packed];
}

function rowsOf({ values }: ChangeGroup): number {
  return values[0]?.length ?? 0;
}

function unpackGroups(groups: unknown): readonly ChangeGroup[] {
  if (!Array.isArray(groups) || groups.length > bounds.groups)
    throw invalid("The changes of a page are not a list of groups.");
  return groups.map(unpackGroup);
}

function unpackGroup(group: unknown): ChangeGroup {
  if (!Array.isArray(group) || group.length < 5) throw invalid("A change group is not a list of five.");
  const [table, code, columns, rows, packed] = group as readonly unknown[];
  const kind = typeof code === "number" ? kinds[code] : undefined;
  if (kind === undefined || !isGroupHead(table, kind, columns))
    throw invalid("A change group has no table, kind or columns.");
  if (!isRowCount(rows) || !Array.isArray(packed) || packed.length !== columns.length || isTooGood(rows, packed)) {
    throw invalid("A change group has the wrong number of rows or columns.");
  }
  return { table: table as string, kind, columns, values: packed.map((column) => unpackColumn(column, rows)) };
}

/** Whether columns of so many rows unpack to many times what they weigh. */
export function isTooGood(rows: number, packed: readonly unknown[]): boolean {
  let weight = 0;
  for (const column of packed) weight += weightOf(column);
  return rows * packed.length > maxGain * weight;
}

function isRowCount(rows: unknown): rows is number {
  return typeof rows === "number" && Number.isInteger(rows) && rows >= 0 && rows <= bounds.rows;
}

function invalid(message: string): SyncError {
  return new SyncError({ code: "INVALID_MESSAGE", message });
}
