/**
 * Schemas of the parts that messages share. Row values are checked by plain loops: a schema per value would cost more
 * than decoding it.
 *
 * @module
 */

import * as z from "zod/mini";
import { bounds, maxStamp } from "./bounds.ts";
import type { ChangeGroup } from "./change.ts";
import { isCursor, isDeviceId, isEpoch, type Cursor, type DeviceId, type Epoch, type Key, type Value } from "./ids.ts";
import { rejectionCodes } from "./outcome.ts";
import type { SeenValue } from "./push.ts";
import { isValue } from "./value.ts";

const hashPattern = /^[0-9a-f]{16}$/;

export const deviceIdSchema = z.custom<DeviceId>(isDeviceId);
export const epochSchema = z.custom<Epoch>(isEpoch);
export const cursorSchema = z.custom<Cursor>(isCursor);

/** A safe integer that is not negative. */
export const countSchema = z.int().check(z.nonnegative());
export const stampSchema = z.int().check(z.nonnegative(), z.maximum(maxStamp));
export const hashTextSchema = z.string().check(z.regex(hashPattern));
/** A hash that only its maker compares; empty where there is none yet. */
export const tokenSchema = z.string().check(z.regex(/^[0-9A-Za-z_-]{0,64}$/));
export const nameSchema = z.string().check(z.minLength(1), z.maxLength(bounds.name));
export const scopesSchema = z.custom<readonly string[]>((value) => isTexts(value, bounds.scopes, bounds.scope));
export const columnsSchema = z.custom<readonly string[]>((value) => isColumns(value, bounds.columns));
export const keySchema = z.custom<Key>((value) => isValues(value, bounds.keyColumns) && value.length > 0);
export const rowSchema = z.custom<Readonly<Record<string, Value>>>(isRow);
export const txRefSchema = z.object({ number: countSchema, stamp: stampSchema });
export const knownTablesSchema = z.custom<Readonly<Record<string, readonly string[]>>>(isKnownTables);
export const changeGroupsSchema = z.custom<readonly ChangeGroup[]>(isChangeGroups);

const operationKindSchema = z.enum(["insert", "update", "delete"]);

const conflictReportSchema = z.object({
  table: nameSchema,
  key: keySchema,
  kind: z.enum(["update", "delete", "insert", "unique"]),
  columns: columnsSchema,
  winner: z.enum(["server", "client", "merged"]),
  client: z.nullable(rowSchema),
  server: z.exactOptional(z.nullable(rowSchema)),
});

export const outcomeSchema = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("merged"),
    number: countSchema,
    stamp: stampSchema,
    conflicts: z.array(conflictReportSchema).check(z.maxLength(bounds.operations)),
  }),
  z.object({
    status: z.literal("rejected"),
    number: countSchema,
    stamp: stampSchema,
    code: z.enum(rejectionCodes),
    message: z.string(),
    operation: z.exactOptional(
      z.object({
        index: countSchema,
        kind: operationKindSchema,
        table: nameSchema,
        key: keySchema,
        server: z.exactOptional(z.nullable(rowSchema)),
      }),
    ),
    cause: z.exactOptional(countSchema),
  }),
]);

const minInt64 = -(2n ** 63n);
const maxInt64 = 2n ** 63n - 1n;

/** Whether a value from outside is a storage value that a database can hold. */
export function isStorable(value: unknown): value is Value {
  return isValue(value) && (typeof value !== "bigint" || (value >= minInt64 && value <= maxInt64));
}

/** Whether it is a list of values, of at most `max`. */
export function isValues(list: unknown, max: number): list is readonly Value[] {
  if (!Array.isArray(list) || list.length > max) return false;
  for (let i = 0; i < list.length; i++) if (!isStorable(list[i])) return false;
  return true;
}

/** Whether it is a list of seen values: values, or hashes each in a list of its own. */
export function isSeenValues(list: unknown, max: number): list is readonly SeenValue[] {
  if (!Array.isArray(list) || list.length > max) return false;
  for (let i = 0; i < list.length; i++) {
    const item: unknown = list[i];
    if (!isStorable(item) && !isHashTuple(item)) return false;
  }
  return true;
}

/** Whether it is the hash of something seen, in a list of its own. */
export function isHashTuple(item: unknown): item is readonly [hash: string] {
  return Array.isArray(item) && item.length === 1 && isHashText(item[0]);
}

/** Whether it is the text of a 64-bit hash. */
export function isHashText(value: unknown): value is string {
  return typeof value === "string" && hashPattern.test(value);
}

/** Whether it is a name of a table or column. */
export function isName(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= bounds.name;
}

/** Whether it is a list of column names, none twice. */
export function isColumns(list: unknown, max: number): list is readonly string[] {
  return isTexts(list, max, bounds.name) && !list.includes("") && new Set(list).size === list.length;
}

const changeKinds: ReadonlySet<unknown> = new Set(["row", "update", "removal"]);

function isTexts(list: unknown, max: number, maxLength: number): list is readonly string[] {
  if (!Array.isArray(list) || list.length > max) return false;
  for (let i = 0; i < list.length; i++) if (typeof list[i] !== "string" || list[i].length > maxLength) return false;
  return true;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

function isRow(value: unknown): value is Readonly<Record<string, Value>> {
  return isRecord(value) && Object.entries(value).every(([key, item]) => isName(key) && isStorable(item));
}

function isKnownTables(value: unknown): value is Readonly<Record<string, readonly string[]>> {
  if (!isRecord(value)) return false;
  const entries = Object.entries(value);
  if (entries.length > bounds.tables) return false;
  let size = 0;
  for (const [table, columns] of entries) {
    if (!isName(table) || !isColumns(columns, bounds.columns)) return false;
    size += table.length;
    for (const column of columns) size += column.length;
  }
  return size <= bounds.schema;
}

/** Whether it is the table, kind and columns of a {@link ChangeGroup}. */
export function isGroupHead(table: unknown, kind: unknown, columns: unknown): columns is readonly string[] {
  return isName(table) && changeKinds.has(kind) && isColumns(columns, bounds.columns) && columns.length > 0;
}

function isChangeGroups(list: unknown): list is readonly ChangeGroup[] {
  if (!Array.isArray(list) || list.length > bounds.groups) return false;
  for (const group of list as readonly unknown[]) {
    if (!isRecord(group)) return false;
    const { table, kind, columns, values } = group as {
      table?: unknown;
      kind?: unknown;
      columns?: unknown;
      values?: unknown;
    };
    if (!isGroupHead(table, kind, columns) || !Array.isArray(values) || values.length !== columns.length) return false;
    const rows: unknown = Array.isArray(values[0]) ? values[0].length : undefined;
    for (const column of values as readonly unknown[])
      if (!isValues(column, bounds.rows) || column.length !== rows) return false;
  }
  return true;
}
