/**
 * Which visible rows a page changed, for `db.$sync.onChange` on a device: pages are not in the log. Only worked out while
 * somebody asks for it, by comparing the rows that may change as they are shown before and after.
 *
 * @module
 */

import { all, type Core } from "../plugin/core.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import type { ChangedRow } from "../plugin/sync-database.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import { identical } from "../protocol/value.ts";
import type { BaseImages } from "./base-images.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import { readRows } from "./row-sql.ts";
import type { BoundGroup } from "./row-writer.ts";

/** Rows as they were shown before a page, by table and key text; undefined where there was none. */
export type ShownRows = Map<
  DeviceTable,
  Map<string, { readonly key: Key; readonly row: readonly Value[] | undefined }>
>;

/** Notes every row of every table: for changes that may take any of them away. */
export function* noteAll(schema: DeviceSchema, shown: ShownRows): Core<void> {
  for (const table of schema.tables) {
    const list = table.columns.map((column) => identifier(column.name)).join(", ");
    const rows = noted(shown, table);
    for (const row of yield* all(`SELECT ${list} FROM ${identifier(table.table.name)}`)) {
      const key = row.slice(0, table.keyColumns.length);
      const text = keyText(key);
      if (!rows.has(text)) rows.set(text, { key, row });
    }
  }
}

/** Notes the rows that a page names. */
export function* noteGroups(groups: readonly BoundGroup[], shown: ShownRows): Core<void> {
  for (const { table, values, count } of groups) {
    const keyValues = values.slice(0, table.keyColumns.length);
    yield* noteKeys(
      table,
      Array.from({ length: count }, (_, i) => keyValues.map((column) => column[i] ?? null)),
      shown,
    );
  }
}

/** Notes the rows of images, before a rewind. */
export function* noteImages(images: BaseImages, shown: ShownRows): Core<void> {
  const keys = new Map<DeviceTable, Key[]>();
  for (const { table, key } of images.values()) keys.set(table, [...(keys.get(table) ?? []), key]);
  for (const [table, list] of keys) yield* noteKeys(table, list, shown);
}

/** Notes rows that a replay's cascade took along: they were shown as the base had them. */
export function noteTouched(images: BaseImages, shown: ShownRows): void {
  for (const { table, key, here, values } of images.values()) {
    const rows = noted(shown, table);
    const text = keyText(key);
    if (!rows.has(text)) rows.set(text, { key, row: here ? values : undefined });
  }
}

/** The rows that are shown differently now. */
export function* changedRows(shown: ShownRows): Core<readonly ChangedRow[]> {
  const changed: ChangedRow[] = [];
  for (const [table, before] of shown) {
    const now = yield* readRows(
      table,
      [...before.values()].map(({ key }) => key),
    );
    for (const [text, { key, row }] of before) {
      const after = now.get(text);
      if (!row && after) changed.push({ table: table.key, kind: "insert", key });
      else if (row && !after) changed.push({ table: table.key, kind: "delete", key });
      else if (row && after && !row.every((value, index) => identical(value, after[index] ?? null)))
        changed.push({ table: table.key, kind: "update", key });
    }
  }
  return changed;
}

function* noteKeys(table: DeviceTable, keys: readonly Key[], shown: ShownRows): Core<void> {
  const rows = noted(shown, table);
  const unknown = keys.filter((key) => !rows.has(keyText(key)));
  const found = yield* readRows(table, unknown);
  for (const key of unknown) rows.set(keyText(key), { key, row: found.get(keyText(key)) });
}

function noted(
  shown: ShownRows,
  table: DeviceTable,
): Map<string, { readonly key: Key; readonly row: readonly Value[] | undefined }> {
  let rows = shown.get(table);
  if (!rows) shown.set(table, (rows = new Map()));
  return rows;
}
