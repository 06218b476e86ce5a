/**
 * Values on their way between storage and the app: what Drizzle's codecs make of them, and whether a value from a device
 * can be stored in its column at all. SQLite stores anything anywhere; a value that a column's codec cannot read would
 * make every later reader of that row fail.
 *
 * @module
 */

import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { isValue } from "../protocol/value.ts";

/** A row, or part of one, as Drizzle types it. */
export type AppRow = Readonly<Record<string, unknown>>;

/** Reads storage values as Drizzle would. */
export function toAppRow(columns: readonly SyncColumn[], values: readonly Value[]): AppRow {
  const row: Record<string, unknown> = {};
  for (let i = 0; i < columns.length; i++) {
    const column = columns[i];
    if (column !== undefined) row[column.key] = toAppValue(column, values[i] ?? null);
  }
  return row;
}

/** Reads one storage value as Drizzle would. */
export function toAppValue(column: SyncColumn, value: Value): unknown {
  return value === null ? null : column.column.mapFromDriverValue(value);
}

/** Writes one value as Drizzle would; throws when the column's codec refuses it or makes no storage value of it. */
export function toStorageValue(column: SyncColumn, value: unknown): Value {
  if (value === null || value === undefined) return null;
  const stored: unknown = column.column.mapToDriverValue(value);
  if (typeof stored === "boolean") return stored ? 1 : 0;
  if (isValue(stored)) return stored;
  throw new TypeError(`Column \`${column.key}\` cannot store a value of type ${typeof stored}.`);
}

/** Why a value from outside cannot be stored in a column; undefined when it can. Names no value. */
export function findValueFault(column: SyncColumn, value: Value): string | undefined {
  if (value === null) return column.isKey ? `\`${column.key}\` is part of the key and cannot be null` : undefined;
  const fault = findClassFault(column, value);
  if (fault !== undefined) return `\`${column.key}\` ${fault}`;
  return isReadable(column, value) ? undefined : `\`${column.key}\` cannot be read back by its column type`;
}

const maxBigintBytes = 4096;

function findClassFault(column: SyncColumn, value: NonNullable<Value>): string | undefined {
  // SQLite turns NaN into NULL: it would not be what was written.
  if (typeof value === "number" && Number.isNaN(value)) return "cannot be NaN";
  if (typeof value === "bigint" && (value >= 2n ** 63n || value < -(2n ** 63n))) return "is beyond 64 bits";
  switch (column.form) {
    case "text":
      if (typeof value !== "string") return "wants text";
      return isListed(column, value) ? undefined : "has none of the values that its column lists";
    case "integer":
      return Number.isInteger(value) || typeof value === "bigint" ? undefined : "wants an integer";
    case "boolean":
      return value === 0 || value === 1 || value === 0n || value === 1n ? undefined : "wants 0 or 1";
    case "time":
      return Number.isFinite(value) || typeof value === "bigint" ? undefined : "wants a time";
    case "real":
      return typeof value === "number" || typeof value === "bigint" ? undefined : "wants a number";
    case "json":
      return typeof value === "string" || value instanceof Uint8Array ? undefined : "wants JSON";
    case "blob":
      if (!(value instanceof Uint8Array)) return "wants bytes";
      // A bigint kept as its digits: parsing takes time that grows with the square of their number.
      return column.column.dataType === "bigint" && value.length > maxBigintBytes ? "is too long" : undefined;
    case "any":
      return undefined;
  }
}

function isListed(column: SyncColumn, value: string): boolean {
  const listed = column.column.enumValues;
  return listed === undefined || listed.length === 0 || listed.includes(value);
}

/** Whether the column's codec reads a value; only codecs that can fail are tried. */
function isReadable(column: SyncColumn, value: NonNullable<Value>): boolean {
  const { dataType } = column.column;
  if (column.form !== "json" && dataType !== "json" && dataType !== "bigint" && dataType !== "custom") return true;
  try {
    column.column.mapFromDriverValue(value);
    return true;
  } catch {
    return false; // The codec is the app's or Drizzle's: whatever it throws means that it cannot read this.
  }
}
