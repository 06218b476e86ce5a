/**
 * Between storage values and rows as Drizzle selects and takes them: each column's own codec.
 *
 * @module
 */

import type { Value } from "../protocol/ids.ts";
import type { SyncColumn } from "./table.ts";

/** A row as Drizzle would select it, of columns and their storage values. */
export function toDrizzleRow(columns: readonly SyncColumn[], values: readonly Value[]): Record<string, unknown> {
  const row: Record<string, unknown> = {};
  for (const [i, { key, column }] of columns.entries()) {
    const value = values[i] ?? null;
    row[key] = value === null ? null : column.mapFromDriverValue(value);
  }
  return row;
}

/** The storage value of what Drizzle takes for a column. */
export function toStorageValue({ column }: SyncColumn, value: unknown): Value {
  if (value === null || value === undefined) return null;
  const mapped: unknown = column.mapToDriverValue(value);
  // Drivers store a boolean as a number.
  if (typeof mapped === "boolean") return Number(mapped);
  // What else a codec gives is a storage value.
  return typeof mapped === "string" && column.getSQLType() === "numeric" ? toNumeric(mapped) : (mapped as Value);
}

// Drizzle gives decimals as text, which SQLite turns into numbers in a numeric column.
function toNumeric(text: string): Value {
  if (/^[+-]?\d{1,18}$/.test(text)) {
    const whole = BigInt(text);
    return whole >= Number.MIN_SAFE_INTEGER && whole <= Number.MAX_SAFE_INTEGER ? Number(whole) : whole;
  }
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : text;
}
