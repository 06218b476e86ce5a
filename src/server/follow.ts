/**
 * Rule P7: a delete whose parent is deleted in the same transaction along a cascading key is not judged alone. The
 * cascade does it.
 *
 * Rows may hang together in any way, in rings too, so the way is not searched row by row: all ancestors are collected
 * first, each once, and then the ways lead down from the deleted rows.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { SyncTable } from "../plugin/table.ts";
import type { Key } from "../protocol/ids.ts";
import { rowText } from "../protocol/key.ts";
import type { LiveRow } from "./judge.ts";
import { type LiveRows, parentKeyOf, readLiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";

/** The deletes that follow from another one: each with the ancestors on its way there. */
export type Followers = ReadonlyMap<string, readonly string[]>;

const maxLevels = 64;

/** Finds the deletes that a cascade will do. Ancestors that the transaction does not touch are read. */
export function* findFollowers(nets: ReadonlyMap<string, Net>, live: LiveRows): Core<Followers> {
  const deletes = [...nets.values()].filter((net) => net.kind === "delete" && live.has(net.row));
  if (deletes.length < 2) return new Map<string, never>();
  const parents = yield* collectParents(deletes, nets, live);
  const deleted = new Set(deletes.map((net) => net.row));
  const next = leadDown(parents, deleted);
  const followers = new Map<string, readonly string[]>();
  for (const row of deleted) {
    const above = (parents.get(row) ?? []).filter((parent) => parent !== row);
    const first = above.find((parent) => deleted.has(parent)) ?? above.find((parent) => next.has(parent));
    if (first === undefined) continue;
    const path = [first];
    for (let at = first; !deleted.has(at);) path.push((at = next.get(at) as string));
    followers.set(row, path);
  }
  keepRoots(followers);
  return followers;
}

/** The rows that each row hangs on along cascading keys, for the deleted rows and their ancestors, level by level. */
function* collectParents(
  deletes: readonly Net[],
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
): Core<ReadonlyMap<string, readonly string[]>> {
  const parents = new Map<string, readonly string[]>();
  let level = deletes.map((net) => ({ text: net.row, table: net.table, row: live.get(net.row) as LiveRow }));
  for (let depth = 0; level.length > 0 && depth < maxLevels; depth++) {
    const above = new Map<string, { readonly table: SyncTable; readonly key: Key }>();
    for (const { text, table, row } of level) {
      const found = parentsOf(table, row);
      parents.set(text, [...found.keys()]);
      for (const [parent, named] of found) above.set(parent, named);
    }
    const unseen = [...above].filter(([text, { table }]) => !parents.has(text) && hasCascade(table));
    const read = yield* readLiveRows(unseen.filter(([text]) => !live.has(text)).map(([, named]) => named));
    level = unseen.flatMap(([text, { table }]) => {
      const row = live.get(text) ?? read.get(text);
      return row === undefined ? [] : [{ text, table, row: afterMove(row, nets.get(text)) }];
    });
  }
  return parents;
}

/** A row that the transaction itself moves away is in no cascade: its user had it still in the end. */
function afterMove(row: LiveRow, net: Net | undefined): LiveRow {
  if (net?.kind !== "update") return row;
  const values = [...row.values];
  for (const [column, value] of net.values) values[column.index] = value;
  return { ...row, values };
}

function parentsOf(
  table: SyncTable,
  row: LiveRow,
): ReadonlyMap<string, { readonly table: SyncTable; readonly key: Key }> {
  const found = new Map<string, { readonly table: SyncTable; readonly key: Key }>();
  for (const reference of table.foreignKeys) {
    const key = reference.onDelete === "cascade" ? parentKeyOf(reference, row.values) : undefined;
    if (key !== undefined) found.set(rowText(reference.target.key, key), { table: reference.target, key });
  }
  return found;
}

/** For each row between a deleted ancestor and its descendants: the next row on the shortest way up. */
function leadDown(
  parents: ReadonlyMap<string, readonly string[]>,
  deleted: ReadonlySet<string>,
): ReadonlyMap<string, string> {
  const children = new Map<string, string[]>();
  for (const [row, above] of parents) {
    for (const parent of above) {
      const known = children.get(parent);
      if (known === undefined) children.set(parent, [row]);
      else known.push(row);
    }
  }
  const next = new Map<string, string>();
  const queue = [...deleted];
  for (const row of queue) {
    for (const child of children.get(row) ?? []) {
      if (deleted.has(child) || next.has(child)) continue;
      next.set(child, row);
      queue.push(child);
    }
  }
  return next;
}

/** Of rows that follow from each other in a ring, one is judged alone: else nobody would delete them. */
function keepRoots(followers: Map<string, readonly string[]>): void {
  const done = new Set<string>();
  for (const start of followers.keys()) {
    const walked = new Set<string>();
    for (let at: string | undefined = start; at !== undefined && !done.has(at); at = followers.get(at)?.at(-1)) {
      if (walked.has(at)) {
        followers.delete(at);
        break;
      }
      walked.add(at);
    }
    for (const row of walked) done.add(row);
  }
}

function hasCascade(table: SyncTable): boolean {
  return table.foreignKeys.some((reference) => reference.onDelete === "cascade");
}
