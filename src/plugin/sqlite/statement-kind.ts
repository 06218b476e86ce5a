/**
 * What a SQL text is, by its first words: the hooks treat writes, schema changes and transaction control differently. Drivers
 * that prepare can say more; this must be right for every text.
 *
 * @module
 */

/**
 * `write`: may change rows. `schema`: changes tables. `drop-column`: fails while a trigger names the column. `other`: pragmas,
 * VACUUM, ATTACH and savepoints, which must run as they are.
 */
export type StatementKind = "read" | "write" | "schema" | "drop-column" | "begin" | "commit" | "rollback" | "other";

const firstWord = /^(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/|;)*([a-z]+)/i;

/** Says what a statement is. A text with several statements is judged by its first. */
export function statementKind(sql: string): StatementKind {
  const word = firstWord.exec(sql)?.[1]?.toLowerCase();
  switch (word) {
    case "select":
    case "values":
    case "explain":
      return "read";
    case "with":
      // A common table expression may stand before a write; one that only speaks of writing is taken for one, harmlessly.
      return /\b(insert|update|delete|replace)\b/i.test(sql) ? "write" : "read";
    case "insert":
    case "update":
    case "delete":
    case "replace":
      return "write";
    case "create":
    case "drop":
      return "schema";
    case "alter":
      return /\bdrop\b/i.test(sql) ? "drop-column" : "schema";
    case "begin":
      return "begin";
    case "commit":
    case "end":
      return "commit";
    case "rollback":
      // `ROLLBACK TO` leaves the transaction open.
      return /\bto\b/i.test(sql) ? "other" : "rollback";
    default:
      return "other";
  }
}

/** Whether a text is surely one statement: nothing but space follows its first semicolon. */
export function isOneStatement(sql: string): boolean {
  const end = sql.indexOf(";");
  return end < 0 || /^[\s;]*$/.test(sql.slice(end));
}

/**
 * Whether a text of several statements may rename or drop what a trigger of another table names, which SQLite refuses. Also
 * true of some that do not: they cost a reset, never a change.
 */
export function mayMeetTriggers(sql: string): boolean {
  return /\balter\s+table\b[\s\S]*\b(?:rename|drop)\b/i.test(sql);
}
