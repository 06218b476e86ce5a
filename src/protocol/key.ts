/**
 * Row keys as texts, to look rows up in maps.
 *
 * @module
 */

import type { Key, Value } from "./ids.ts";
import { canonicalize } from "./value.ts";

/** A key as text: equal texts mean equal keys, whatever their values contain. */
export function keyText(key: Key): string {
  const first = key[0];
  if (key.length === 1 && typeof first === "string") return `s${first}`;
  return key.map(part).join("");
}

/** A table and a key as text, to look a row up among those of several tables. */
export function rowText(table: string, key: Key): string {
  return `${table.length}:${table}${keyText(key)}`;
}

// Composite keys give each part its length, so that no value can pass for the border between two.
function part(value: Value): string {
  if (value === null) return "z";
  switch (typeof value) {
    case "string":
      return `t${value.length}:${value}`;
    case "number":
      // A whole float beyond 2^53 is the same key to the database as the bigint, which has other digits.
      return `n${Number.isSafeInteger(value) ? value + 0 : String(canonicalize(value, "integer"))};`;
    case "bigint":
      return `n${value};`;
    case "object":
      return `b${value.length}:${Array.from(value, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
}
