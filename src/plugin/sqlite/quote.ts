/**
 * Quoting for generated SQL.
 *
 * @module
 */

/** `"name"`, with quotes doubled. */
export function identifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `'text'`, with quotes doubled. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
