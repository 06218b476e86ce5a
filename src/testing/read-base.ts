/**
 * The base of a device as the tables would show it without pending changes: rewound in a transaction that is rolled back.
 *
 * @module
 */

import { transact } from "../plugin/core.ts";
import { readTransactions } from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { all, type Core } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { Value } from "../protocol/ids.ts";
import { addFreshImages, loadImages, rewind } from "../client/base-images.ts";
import { requireCheckpoint } from "../client/checkpoint.ts";
import { deviceSchema, type DeviceTable } from "../client/device-schema.ts";

/** Rows of every table, by table key, in key order, as column keys to values. */
export type TableRows = Readonly<Record<string, readonly Readonly<Record<string, Value>>[]>>;

/** Reads what the tables show. */
export function* readVisible(tables: readonly DeviceTable[]): Core<TableRows> {
  const rows: Record<string, Record<string, Value>[]> = {};
  for (const { key, table, columns, keyColumns } of tables) {
    const list = columns.map((column) => identifier(column.name)).join(", ");
    const order = keyColumns.map((column) => identifier(column.name)).join(", ");
    const found = yield* all(`SELECT ${list} FROM ${identifier(table.name)} ORDER BY ${order}`);
    rows[key] = found.map((values) =>
      Object.fromEntries(columns.map((column, index) => [column.key, values[index] ?? null])),
    );
  }
  return rows;
}

/** Reads the base; leaves nothing behind. */
export async function readBase(sync: SyncDatabase): Promise<TableRows> {
  const { tables } = deviceSchema(sync);
  let base: TableRows | undefined;
  try {
    await transact(sync.connection, "apply", function* () {
      const checkpoint = yield* requireCheckpoint();
      const pending = yield* readTransactions(sync, {
        after: checkpoint.handled.number,
        limit: Number.MAX_SAFE_INTEGER,
      });
      const images = yield* loadImages(deviceSchema(sync));
      yield* addFreshImages(deviceSchema(sync), images, pending);
      yield* muted(rewind(images));
      base = yield* readVisible(tables);
      throw new RolledBack();
    });
  } catch (error) {
    if (!(error instanceof RolledBack)) throw error;
  }
  return base ?? {};
}

class RolledBack extends Error {}
