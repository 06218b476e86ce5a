/**
 * Rule P7: a delete whose parent is deleted in the same transaction along a cascading key is not judged alone. The
 * cascade does it.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { SyncTable } from "../plugin/table.ts";
import { rowText } from "../protocol/key.ts";
import type { LiveRow } from "./judge.ts";
import { type LiveRows, parentKeyOf, readLiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";

/** The deletes that follow from another one: each with the ancestors on its way there. */
export type Followers = ReadonlyMap<string, readonly string[]>;

const maxLevels = 64;

/** Finds the deletes that a cascade will do. Ancestors that the transaction does not touch are read. */
export function* findFollowers(nets: ReadonlyMap<string, Net>, live: LiveRows): Core<Followers> {
  const followers = new Map<string, readonly string[]>();
  const deletes = [...nets.values()].filter((net) => net.kind === "delete");
  if (deletes.length < 2) return followers;
  for (const net of deletes) {
    const row = live.get(net.row);
    if (row === undefined || !hasCascade(net.table)) continue;
    const path = yield* findDeletedAncestor(net.table, row, nets, live, []);
    if (path !== undefined) followers.set(net.row, path);
  }
  return followers;
}

function hasCascade(table: SyncTable): boolean {
  return table.foreignKeys.some((reference) => reference.onDelete === "cascade");
}

function* findDeletedAncestor(
  table: SyncTable,
  row: LiveRow,
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
  path: readonly string[],
): Core<readonly string[] | undefined> {
  if (path.length >= maxLevels) return undefined;
  for (const reference of table.foreignKeys) {
    const key = reference.onDelete === "cascade" ? parentKeyOf(reference, row.values) : undefined;
    if (key === undefined) continue;
    const parent = rowText(reference.target.key, key);
    if (path.includes(parent)) continue;
    const way = [...path, parent];
    if (nets.get(parent)?.kind === "delete") return way;
    if (!hasCascade(reference.target)) continue;
    const parentRow = live.get(parent) ?? (yield* readLiveRows([{ table: reference.target, key }])).get(parent);
    if (parentRow === undefined) continue;
    const found = yield* findDeletedAncestor(reference.target, parentRow, nets, live, way);
    if (found !== undefined) return found;
  }
  return undefined;
}
