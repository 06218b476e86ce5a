/**
 * C7: a row that inherits its scopes changes them without being written. When a row's scopes change, come or go, all its
 * descendants are logged as *moved*, on every level:
 *
 * - after it is inserted, for descendants that were there before it (deferred keys, keys switched off);
 * - after its scopes changed under the same key, with both;
 * - before its key changes, with the scopes they had, since a cascade leaves none under the old key; and after it, with
 *   those they have;
 * - before it is deleted, with the scopes they had, since a cascade finds no parent to look up.
 *
 * @module
 */

import { LOG, kindNumbers } from "../names.ts";
import type { SyncTable } from "../table.ts";
import { identifier } from "./quote.ts";
import { scopeColumns } from "./scope-sql.ts";
import {
  and,
  differs,
  keyChange,
  keyColumns,
  muteGate,
  sameKey,
  scopesAfter,
  scopesBefore,
  trigger,
  type Trigger,
  type TriggerTable,
} from "./trigger-parts.ts";

/** The triggers of a table from which others inherit; none for other tables. */
export function movedTriggers(table: TriggerTable): readonly Trigger[] {
  const { live, without } = table;
  const [key] = keyColumns(table);
  const children = live.table.children.filter((child) => table.context.numberOf(child) !== undefined);
  if (children.length === 0 || key === undefined) return [];
  const gate = muteGate(table);
  const hasChildren = (row: string): string => {
    const value = `${row}.${identifier(key.name)}`;
    return `(${children.map((child) => `EXISTS (SELECT 1 FROM ${identifier(child.name)} AS d WHERE ${value} = d.${identifier(parentColumn(child))})`).join(" OR ")})`;
  };
  const scoping = scopeColumns(live.table).filter((column) => !column.isKey && live.stored.has(column.name));
  const same = sameKey(table, "OLD", "NEW");
  const onKey = keyChange(table);
  return [
    ...(without.has("moved-insert")
      ? []
      : [
          trigger(
            table,
            "mi",
            "AFTER INSERT",
            and(gate, hasChildren("NEW")),
            moved(table, "NEW", "NULL", scopesAfter(table)),
          ),
        ]),
    ...(without.has("moved-update") || scoping.length === 0
      ? []
      : [
          trigger(
            table,
            "mu",
            `AFTER UPDATE OF ${scoping.map((column) => identifier(column.name)).join(", ")}`,
            and(`(${scoping.map((column) => differs(table, column)).join(" OR ")})`, same, gate, hasChildren("NEW")),
            moved(table, "NEW", scopesBefore(table), scopesAfter(table)),
          ),
        ]),
    ...(without.has("moved-key-before")
      ? []
      : [
          trigger(
            table,
            "mb",
            `BEFORE ${onKey}`,
            and(`NOT ${same}`, gate, hasChildren("OLD")),
            moved(table, "OLD", scopesBefore(table), "NULL"),
          ),
        ]),
    ...(without.has("moved-key-after")
      ? []
      : [
          trigger(
            table,
            "ma",
            `AFTER ${onKey}`,
            and(`NOT ${same}`, gate, hasChildren("NEW")),
            moved(table, "NEW", "NULL", scopesAfter(table)),
          ),
        ]),
    ...(without.has("moved-delete")
      ? []
      : [
          trigger(
            table,
            "md",
            "BEFORE DELETE",
            and(gate, hasChildren("OLD")),
            moved(table, "OLD", scopesBefore(table), "NULL"),
          ),
        ]),
  ];
}

/** The rows of one table that inherit from a row, as a FROM clause that more conditions may be added to. */
export interface Descendants {
  readonly number: number;
  readonly keys: readonly string[];
  /** `… WHERE <link>`; continue with `AND`. */
  readonly from: string;
}

/** All tables that inherit from `table`, level by level. `key` is the SQL of the row's key; `outer` a table to select from as well. */
export function descendantsOf(table: TriggerTable, key: string, outer?: string): readonly Descendants[] {
  const found: Descendants[] = [];
  const visit = (parent: SyncTable, from: string, link: string, value: string, depth: number): void => {
    for (const child of parent.children) {
      const number = table.context.numberOf(child);
      if (number === undefined) continue;
      const alias = `d${depth}`;
      // CROSS JOIN keeps the order: from the parent down, each level by the index on its foreign key.
      const source = `${from}${from === "" ? "" : " CROSS JOIN "}${identifier(child.name)} AS ${alias}`;
      const condition = `${link}${link === "" ? "" : " AND "}${value} = ${alias}.${identifier(parentColumn(child))}`;
      found.push({
        number,
        keys: child.keyColumns.map((column) => `${alias}.${identifier(column.name)}`),
        from: `${source} WHERE ${condition}`,
      });
      const [childKey] = child.keyColumns;
      if (childKey !== undefined && !table.without.has("moved-deep"))
        visit(child, source, condition, `${alias}.${identifier(childKey.name)}`, depth + 1);
    }
  };
  visit(table.live.table, outer ?? "", "", key, 1);
  return found;
}

function moved(table: TriggerTable, row: string, before: string, after: string): readonly string[] {
  const [key] = keyColumns(table);
  return descendantsOf(table, `${row}.${identifier(key?.name ?? "")}`).map(
    ({ number, keys, from }) =>
      `INSERT INTO ${LOG}(t, kind, mask, ${keys.map((_, i) => `k${i}`).join(", ")}, sb, sa) ` +
      `SELECT ${number}, ${kindNumbers.moved}, 0, ${keys.join(", ")}, ${before}, ${after} FROM ${from}`,
  );
}

function parentColumn(child: SyncTable): string {
  return child.parent?.column.name ?? "";
}
