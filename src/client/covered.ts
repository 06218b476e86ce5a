/**
 * A page that covers the whole queue and brings every row that the queue names: mostly a device's own changes that come back to
 * it. Then nothing has to be undone before and nothing replayed after: what the page writes becomes the base and what is
 * shown at once, and the queue is read without its values.
 *
 * A row is brought when the page has it whole, takes it away, or has the columns that were changed here and nothing else was.
 *
 * @module
 */

import { first, type Core } from "../plugin/core.ts";
import { lastTransaction, outlineTransactions, type DeviceTransaction } from "../plugin/device-log.ts";
import { PREFIX } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { DeviceSchema } from "./device-schema.ts";
import type { BoundGroup } from "./row-writer.ts";
import { readStagedGroups } from "./stage.ts";
import type { PageChanges } from "./write-changes.ts";

/** The transactions that leave the queue, without what they wrote, when that is all of it; undefined where more is needed. */
export function* findCovered(
  sync: SyncDatabase,
  schema: DeviceSchema,
  { handled }: Checkpoint,
  { end, replaces, scopes, staged, groups }: PageChanges,
): Core<readonly DeviceTransaction[] | undefined> {
  const upTo = end?.lastTx?.number ?? 0;
  if (replaces || scopes !== undefined || (yield* lastTransaction()).number > upTo) return undefined;
  // An outcome is stored with what was written.
  if (end?.outcomes?.some(({ number }) => number > handled.number)) return undefined;
  // Images tell of rows that no transaction names, and of columns that no page brings.
  if ((yield* first(`SELECT 1 FROM ${PREFIX}base LIMIT 1`)) !== undefined) return undefined;
  const { transactions, rows } = yield* outlineTransactions(sync, handled.number, upTo);
  const left: Left = new Map([...rows].map(([table, named]) => [table.key, new Map(named)]));
  takeBrought(left, groups);
  for (const n of staged) {
    if (isEmpty(left)) break;
    takeBrought(left, yield* readStagedGroups(schema, n));
  }
  return isEmpty(left) ? transactions : undefined;
}

/** What is left to be brought: by table and row, the columns, or undefined for all of it. */
type Left = Map<string, Map<string, readonly SyncColumn[] | undefined>>;

function isEmpty(left: Left): boolean {
  for (const rows of left.values()) if (rows.size > 0) return false;
  return true;
}

function takeBrought(left: Left, groups: readonly BoundGroup[]): void {
  for (const { table, kind, columns, values, count } of groups) {
    const rows = left.get(table.key);
    if (rows === undefined || rows.size === 0) continue;
    // Rule V2: an older server does not send all columns.
    if (kind === "row" && columns.length < table.columns.length) continue;
    const size = table.keyColumns.length;
    const key: Value[] = new Array<Value>(size);
    for (let i = 0; i < count && rows.size > 0; i++) {
      for (let j = 0; j < size; j++) key[j] = values[j]?.[i] ?? null;
      const name = keyText(key);
      if (!rows.has(name)) continue;
      const wanted = kind === "update" ? without(rows.get(name), columns) : nothing;
      if (wanted?.length === 0) rows.delete(name);
      else rows.set(name, wanted);
    }
  }
}

const nothing: readonly SyncColumn[] = [];

/** The columns that a patch does not bring. The device's own columns are in no page, and stay as they are. */
function without(
  wanted: readonly SyncColumn[] | undefined,
  brought: readonly SyncColumn[],
): readonly SyncColumn[] | undefined {
  return wanted?.filter((column) => !column.excluded && !brought.includes(column));
}
