/**
 * A check of the base before it is committed (rule A4): no foreign key is enforced while pages are written, but a row that
 * inherits its scopes cannot be in the base without its parent. If one is, the base is broken and a reset heals it.
 *
 * Only what a round wrote is looked at: the parents that its rows name, and the children of the rows that it removed.
 *
 * @module
 */

import { all, type Core } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { Value } from "../protocol/ids.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import type { BoundGroup } from "./row-writer.ts";

/** Collects what to check while pages are written. */
export interface InheritedKeys {
  note(groups: readonly BoundGroup[]): void;
  /** The keys of the first table that has a row without its parent; undefined when there is none. */
  findOrphan(): Core<string | undefined>;
}

/** Values per query. */
const CHUNK = 64;

/** Creates a collector for one application. */
export function collectInheritedKeys(schema: DeviceSchema): InheritedKeys {
  /** Child table to the parents that its written rows name. */
  const named = new Map<DeviceTable, Set<Value>>();
  /** Parent table to the keys that were removed. */
  const removed = new Map<DeviceTable, Set<Value>>();
  return {
    note(groups) {
      for (const { table, kind, columns, values } of groups) {
        const parentColumn = table.table.parent?.column;
        const at = parentColumn ? columns.indexOf(parentColumn) : -1;
        if (kind !== "removal" && at >= 0) add(named, table, values[at] ?? []);
        if (kind === "removal" && table.table.children.length > 0) add(removed, table, values[0] ?? []);
      }
    },
    *findOrphan() {
      for (const [table, parents] of named) if (yield* hasOrphan(table, parents)) return table.key;
      for (const [parent, keys] of removed) {
        for (const child of parent.table.children) {
          const table = schema.byKey.get(child.key);
          if (table && (yield* hasOrphan(table, keys))) return table.key;
        }
      }
      return undefined;
    },
  };
}

function add(sets: Map<DeviceTable, Set<Value>>, table: DeviceTable, values: readonly Value[]): void {
  let set = sets.get(table);
  if (!set) sets.set(table, (set = new Set()));
  for (const value of values) if (value !== null) set.add(value);
}

/** Whether a row of the table names one of these parents, which is not there. */
function* hasOrphan({ table }: DeviceTable, parents: ReadonlySet<Value>): Core<boolean> {
  const { parent } = table;
  const target = parent?.table.keyColumns[0];
  if (!parent || !target) return false;
  const column = identifier(parent.column.name);
  const sql =
    `SELECT 1 FROM ${identifier(table.name)} AS c WHERE c.${column} IN (${Array(CHUNK).fill("?").join(", ")}) AND NOT EXISTS ` +
    `(SELECT 1 FROM ${identifier(parent.table.name)} AS p WHERE p.${identifier(target.name)} = c.${column}) LIMIT 1`;
  const values = [...parents];
  for (let from = 0; from < values.length; from += CHUNK) {
    const params = Array.from({ length: CHUNK }, (_, i) => values[Math.min(from + i, values.length - 1)] ?? null);
    if ((yield* all(sql, params)).length > 0) return true;
  }
  return false;
}
