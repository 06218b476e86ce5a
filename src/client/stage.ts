/**
 * Pages of a round that has not ended, kept durably until the last one has come (rule R1). A page is stored as the CBOR
 * that it came in; the changes of a few are remembered beside it, since a round is read more than once at its end.
 *
 * @module
 */

import { all, run, type Core } from "../plugin/core.ts";
import { PREFIX } from "../plugin/names.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { SyncError } from "../protocol/errors.ts";
import { bytesToKeep, decodePullAnswer } from "../protocol/page-codec.ts";
import type { Page } from "../protocol/pull.ts";
import type { DeviceSchema } from "./device-schema.ts";
import { bindGroups, type BoundGroup } from "./row-writer.ts";

const STAGE = `${PREFIX}stage`;

/** Staged pages that are looked through before they are written; it is not worth decoding a long round twice. */
export const maxPagesReadAgain = 8;

/** Adds a page. */
export function* stagePage(schema: DeviceSchema, page: Page): Core<void> {
  const bytes = bytesToKeep(page);
  yield* run(`INSERT INTO ${STAGE} (body) VALUES (?)`, [bytes]);
  remember(schema, { bytes, changes: page.changes });
}

/** Forgets all pages. */
export function* clearStage(): Core<void> {
  yield* run(`DELETE FROM ${STAGE}`);
}

/** The numbers of the pages, in order. */
export function* stagedPages(): Core<readonly number[]> {
  return (yield* all(`SELECT n FROM ${STAGE} ORDER BY n`)).map(([n]) => Number(n));
}

/** Reads the changes of one page. */
export function* readStagedChanges(schema: DeviceSchema, n: number): Core<readonly ChangeGroup[]> {
  const [row] = yield* all(`SELECT body FROM ${STAGE} WHERE n = ?`, [n]);
  const bytes = row?.[0] as Uint8Array;
  const known = remembered.get(schema)?.find((page) => areSame(page.bytes, bytes));
  if (known !== undefined) return known.changes;
  const answer = decodePullAnswer(bytes);
  if (answer.kind !== "page")
    throw new SyncError({ code: "STORAGE_FAILED", message: "A staged page in the local database cannot be read." });
  remember(schema, { bytes, changes: answer.changes });
  return answer.changes;
}

/** The same, looked up in the device's schema. */
export function* readStagedGroups(schema: DeviceSchema, n: number): Core<readonly BoundGroup[]> {
  return bindGroups(schema, yield* readStagedChanges(schema, n));
}

/** Lets go of what is remembered. */
export function forgetChanges(schema: DeviceSchema): void {
  remembered.delete(schema);
}

/** Changes with the bytes that they are stored as. Bytes decide: numbers come again, and what was stored may be rolled back. */
interface Remembered {
  readonly bytes: Uint8Array;
  readonly changes: readonly ChangeGroup[];
}

/** Bytes of all pages that are remembered, at most. */
const maxRememberedBytes = 2 * 1024 * 1024;
const remembered = new WeakMap<DeviceSchema, Remembered[]>();

function remember(schema: DeviceSchema, page: Remembered): void {
  const pages = remembered.get(schema) ?? [];
  const size = pages.reduce((sum, { bytes }) => sum + bytes.byteLength, page.bytes.byteLength);
  if (size <= maxRememberedBytes) remembered.set(schema, [...pages, page]);
}

function areSame(a: Uint8Array, b: Uint8Array): boolean {
  const size = a.byteLength;
  if (size !== b.byteLength) return false;
  const x = new DataView(a.buffer, a.byteOffset, size);
  const y = new DataView(b.buffer, b.byteOffset, size);
  let i = 0;
  for (; i + 4 <= size; i += 4) if (x.getUint32(i) !== y.getUint32(i)) return false;
  for (; i < size; i++) if (a[i] !== b[i]) return false;
  return true;
}
