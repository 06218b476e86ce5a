/**
 * Scopes in memory: the texts that triggers and reads make of a row's columns, taken apart and made again.
 *
 * @module
 */

import type { Value } from "../protocol/ids.ts";
import type { ScopeRule, SyncColumn, SyncTable } from "./table.ts";

const none: readonly string[] = [];
const known = new Map<string, readonly string[]>();

/** The scopes in a text of the log, or of `scopeSql`. The same array for the same text, for a while. */
export function splitScopes(text: Value | undefined): readonly string[] {
  if (typeof text !== "string" || text === "") return none;
  const before = known.get(text);
  if (before !== undefined) return before;
  const scopes = parse(text);
  if (known.size >= 10_000) known.clear();
  known.set(text, scopes);
  return scopes;
}

// Behind a line feed stands one scope; where another one follows, a value has it, and names none.
function parse(text: string): readonly string[] {
  if (!text.startsWith("\n")) return text.includes("\n") ? [...new Set(text.split("\n"))] : [text];
  const scope = text.slice(1);
  return scope.includes("\n") ? none : [scope];
}

/** Whether a text names a scope of the set. */
export function meetsScopes(text: Value | undefined, scopes: ReadonlySet<string>): boolean {
  if (typeof text !== "string" || text === "") return false;
  const last = text.lastIndexOf("\n");
  return last > 0
    ? splitScopes(text).some((scope) => scopes.has(scope))
    : scopes.has(last === 0 ? text.slice(1) : text);
}

/** The scopes that a row has by its own columns; a row that inherits has none of its own. The same as `scopeSql` says. */
export function ownScopes(table: SyncTable, valueOf: (column: SyncColumn) => Value | undefined): readonly string[] {
  const scopes = new Set<string>();
  for (const rule of table.scopes) {
    const scope = scopeOf(rule, valueOf);
    if (scope !== undefined) scopes.add(scope);
  }
  return [...scopes];
}

/** For a rule over columns and a scope: the text of each column's value, if the scope can be one of the rule's. */
export function partsOf(rule: ScopeRule, scope: string): readonly string[] | undefined {
  if (rule.kind === "constant" || !scope.startsWith(`${rule.name}:`)) return undefined;
  const rest = scope.slice(rule.name.length + 1);
  if (!rule.compound) return [rest];
  const parts = rest.split(":").map((part) => part.replaceAll("%3A", ":").replaceAll("%25", "%"));
  return parts.length === rule.columns.length ? parts : undefined;
}

function scopeOf(rule: ScopeRule, valueOf: (column: SyncColumn) => Value | undefined): string | undefined {
  if (rule.kind === "constant") return rule.scope;
  const parts: string[] = [];
  for (const column of rule.columns) {
    const value = valueOf(column);
    // A JavaScript number that is whole stands for an integer: a column of that type keeps no other.
    if (
      typeof value !== "string" &&
      typeof value !== "bigint" &&
      !(typeof value === "number" && Number.isInteger(value))
    )
      return undefined;
    const text = String(value);
    if (text.includes("\n")) return undefined;
    parts.push(rule.compound ? text.replaceAll("%", "%25").replaceAll(":", "%3A") : text);
  }
  return `${rule.name}:${parts.join(":")}`;
}
