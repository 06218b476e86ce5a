/**
 * One text for a query with its parameters, by which equal queries are recognized.
 *
 * @module
 */

/** The text of a query: method, SQL, and each parameter with its type. */
export function queryKey(query: {
  readonly sql: string;
  readonly params: readonly unknown[];
  readonly method?: string;
}): string {
  return `${query.method ?? ""}\n${query.sql}\n${JSON.stringify(query.params, distinguish)}`;
}

/** JSON has neither large integers nor bytes, and no difference between a date and its text. */
function distinguish(this: unknown, key: string, value: unknown): unknown {
  const raw = (this as Readonly<Record<string, unknown>>)[key];
  if (raw instanceof Date) return { date: raw.getTime() };
  if (typeof value === "bigint") return { bigint: value.toString() };
  if (value instanceof Uint8Array) return { bytes: Array.from(value) };
  if (typeof value === "number" && !Number.isFinite(value)) return { number: String(value) };
  return value;
}
