/**
 * Reads the terms of an index from its `CREATE INDEX` statement, as far as the pragmas do not tell them: expressions, and the
 * condition of a partial index. Each becomes a function of a row's name, so that a trigger can ask which rows stand in
 * the way of `NEW`, in the very form in which SQLite finds them by that index.
 *
 * @module
 */

import { identifier } from "./quote.ts";

/** SQL over the columns of one row, which is named by an alias, `NEW` or `OLD`. */
export interface RowSql {
  of(row: string): string;
  /** The columns that it reads. */
  readonly columns: readonly string[];
}

/** What an index is made of. */
export interface IndexTerms {
  readonly terms: readonly RowSql[];
  /** Of a partial index. */
  readonly where: RowSql | undefined;
}

/** Reads a `CREATE INDEX` statement as `sqlite_master` has it. `columns`: all columns of the table, generated ones too. */
export function readIndexTerms(sql: string, columns: readonly string[]): IndexTerms {
  const tokens: readonly string[] = sql.match(token) ?? [];
  const open = tokens.indexOf("(");
  const terms: string[][] = [[]];
  let depth = 1;
  let at = open + 1;
  for (; at < tokens.length; at++) {
    const text = tokens[at] ?? "";
    if (text === "(") depth++;
    if (text === ")" && --depth === 0) break;
    if (text === "," && depth === 1) terms.push([]);
    else terms.at(-1)?.push(text);
  }
  const rest = tokens.slice(at + 1);
  const where = rest.findIndex((text) => text.toLowerCase() === "where");
  return {
    terms: terms.map((term) => rowSql(withoutOrder(term), columns)),
    where: where < 0 ? undefined : rowSql(rest.slice(where + 1), columns),
  };
}

// Comments, texts and blobs, quoted names, words and numbers, spaces, anything else.
const token =
  /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|[xX]?'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$\u0080-\uffff]+|\s+|[\s\S]/g;

function isBlank(text: string): boolean {
  return /^(?:\s|--|\/\*)/.test(text);
}

/** A term without `COLLATE …` and `ASC` or `DESC` at its end: the pragma tells the collation. */
function withoutOrder(term: readonly string[]): readonly string[] {
  const words = [...term.keys()].filter((i) => !isBlank(term[i] ?? ""));
  const last = (back: number): string => term[words.at(-back) ?? -1] ?? "";
  if (/^(?:asc|desc)$/i.test(last(1))) words.pop();
  if (/^collate$/i.test(last(2))) words.splice(-2);
  return term.slice(0, (words.at(-1) ?? -1) + 1);
}

function rowSql(written: readonly string[], columns: readonly string[]): RowSql {
  // Spaces stay where they are, since they part and join signs; a comment would swallow what follows it.
  const tokens = written.map((text) => (isBlank(text) ? " " : text));
  const read = new Set<string>();
  const parts = tokens.map((text, i): string | RowColumn => {
    const before = tokens
      .slice(0, i)
      .reverse()
      .find((other) => other !== " ")
      ?.toLowerCase();
    const next = tokens.slice(i + 1).find((other) => other !== " ");
    // A function's name, a type after AS, a collation: no columns, whatever they are called.
    if (next === "(" || before === "as" || before === "collate") return text;
    const name = unquoted(text)?.toLowerCase();
    const column = name === undefined ? undefined : columns.find((other) => other.toLowerCase() === name);
    if (column === undefined) return text;
    read.add(column);
    return { column };
  });
  return {
    of: (row) =>
      `(${parts
        .map((part) => (typeof part === "string" ? part : `${row}.${identifier(part.column)}`))
        .join("")
        .trim()})`,
    columns: [...read],
  };
}

interface RowColumn {
  readonly column: string;
}

/** The name that a token may be; undefined for texts, numbers and signs. */
function unquoted(text: string): string | undefined {
  if (text.startsWith('"')) return text.slice(1, -1).replaceAll('""', '"');
  if (text.startsWith("`")) return text.slice(1, -1).replaceAll("``", "`");
  if (text.startsWith("[")) return text.slice(1, -1);
  return /^[\w$\u0080-\uffff]+$/.test(text) && !/^\d/.test(text) ? text : undefined;
}
