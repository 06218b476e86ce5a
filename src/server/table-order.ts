/**
 * The order in which a snapshot sends its tables: parents first, so that a device that writes pages as they come sees few
 * rows without their parent. It depends on the definition alone: a round that spans several processes finds the same one.
 *
 * @module
 */

import type { SyncTable } from "../plugin/table.ts";

const orders = new WeakMap<readonly SyncTable[], readonly SyncTable[]>();

/** Orders tables so that each comes after the tables that its foreign keys name, as far as they form no circle. */
export function parentsFirst(tables: readonly SyncTable[]): readonly SyncTable[] {
  const known = orders.get(tables);
  if (known !== undefined) return known;
  const order: SyncTable[] = [];
  const seen = new Set<SyncTable>();
  const visit = (table: SyncTable): void => {
    if (seen.has(table)) return;
    seen.add(table);
    if (table.parent !== undefined) visit(table.parent.table);
    for (const reference of table.foreignKeys) visit(reference.target);
    order.push(table);
  };
  for (const table of tables) visit(table);
  orders.set(tables, order);
  return order;
}
