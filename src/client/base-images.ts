/**
 * Base images: what the base holds for rows whose visible form may differ from it (rule C4). The user's tables hold visible
 * rows, so the base of a row with pending changes has no other place. Images of fresh local writes are not made when the
 * app writes but when the engine first needs them, by undoing the log's entries, which hold the old values.
 *
 * @module
 */

import { all, each, run, type Core } from "../plugin/core.ts";
import type { DeviceEntry, DeviceTransaction } from "../plugin/device-log.ts";
import { PREFIX } from "../plugin/names.ts";
import type { SyncColumn } from "../plugin/table.ts";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import { completeImages } from "./migrated-images.ts";
import { deleteSql, readRows, selectWhereSql, updateSql } from "./row-sql.ts";
import { overwriteRows } from "./row-writer.ts";

/** The base of one row. */
export interface BaseImage {
  readonly table: DeviceTable;
  readonly key: Key;
  /** Whether the base has the row. */
  readonly here: boolean;
  /** The row's columns, the key's first; with `here` false those of its last form, or none. */
  readonly columns: readonly SyncColumn[];
  readonly values: readonly Value[];
  /** What the device's own (excluded) columns held when the row was last shown: no page and no replay brings it back. */
  readonly own?: OwnValues;
}

/** Values of excluded columns. */
export interface OwnValues {
  readonly columns: readonly SyncColumn[];
  readonly values: readonly Value[];
}

/** Base images by table and key text. */
export type BaseImages = Map<string, BaseImage>;

const BASE = `${PREFIX}base`;

/** The name under which a row stands in {@link BaseImages}. */
export function imageName(table: DeviceTable, key: Key): string {
  return `${table.key}\n${keyText(key)}`;
}

/** Reads all stored images. */
export function* loadImages(schema: DeviceSchema): Core<BaseImages> {
  const images: BaseImages = new Map();
  for (const [tableKey, here, body] of yield* all(`SELECT tbl, here, body FROM ${BASE}`)) {
    const table = schema.byKey.get(String(tableKey));
    // A table that left the schema has no rows to show.
    if (table) addStored(images, table, here, body);
  }
  return images;
}

/** Reads the stored images of the rows that transactions name. */
export function* loadImagesOf(schema: DeviceSchema, transactions: readonly DeviceTransaction[]): Core<BaseImages> {
  const images: BaseImages = new Map();
  if (transactions.length === 0 || (yield* all(`SELECT 1 FROM ${BASE} LIMIT 1`)).length === 0) return images;
  for (const { entries } of transactions) {
    for (const {
      table: { key: tableKey },
      key,
    } of entries) {
      const table = schema.byKey.get(tableKey);
      if (!table || images.has(imageName(table, key))) continue;
      const [row] = yield* all(`SELECT here, body FROM ${BASE} WHERE tbl = ? AND row_key = ?`, [
        tableKey,
        keyText(key),
      ]);
      if (row) addStored(images, table, row[0], row[1]);
    }
  }
  return images;
}

function addStored(images: BaseImages, table: DeviceTable, here: Value | undefined, body: Value | undefined): void {
  const [key, columnKeys, values, ownKeys, ownValues] = decodeCbor(body as Uint8Array) as StoredBody;
  const own = ownKeys && known(table, ownKeys, ownValues ?? []);
  images.set(imageName(table, key), {
    table,
    key,
    here: here === 1,
    ...known(table, columnKeys, values),
    ...(own ? { own } : {}),
  });
}

/** Key, column keys, values; and the same of the device's own columns, where the table has some. */
type StoredBody = readonly [Key, readonly string[], readonly Value[], (readonly string[])?, (readonly Value[])?];

/** The columns that the table still has. */
function known(table: DeviceTable, columnKeys: readonly string[], values: readonly Value[]): OwnValues {
  const columns: SyncColumn[] = [];
  const kept: Value[] = [];
  columnKeys.forEach((columnKey, index) => {
    const column = table.table.columnByKey.get(columnKey);
    if (!column) return;
    columns.push(column);
    kept.push(values[index] ?? null);
  });
  return { columns, values: kept };
}

/** Replaces all stored images. */
export function* storeImages(images: BaseImages): Core<void> {
  yield* run(`DELETE FROM ${BASE}`);
  yield* each(
    `INSERT INTO ${BASE} (tbl, row_key, here, body) VALUES (?, ?, ?, ?)`,
    [...images.values()].map(({ table, key, here, columns, values, own }) => {
      const body: StoredBody = own
        ? [key, keysOf(columns), values, keysOf(own.columns), own.values]
        : [key, keysOf(columns), values];
      return [table.key, keyText(key), here ? 1 : 0, encodeCbor(body)];
    }),
  );
}

const keysOf = (columns: readonly SyncColumn[]): readonly string[] => columns.map((column) => column.key);

/** Forgets the stored images of the same rows. */
export function* removeImages(images: BaseImages): Core<void> {
  yield* each(
    `DELETE FROM ${BASE} WHERE tbl = ? AND row_key = ?`,
    [...images.values()].map(({ table, key }) => [table.key, keyText(key)]),
  );
}

/**
 * Adds the images of rows that were first written since the last rebase, by undoing their entries from the visible rows. A
 * rebase leaves an image of every row that a pending transaction names, so a row without one has fresh entries only.
 */
export function* addFreshImages(
  schema: DeviceSchema,
  images: BaseImages,
  transactions: readonly DeviceTransaction[],
): Core<void> {
  yield* completeImages(images, transactions);
  const fresh = new Map<string, { readonly table: DeviceTable; readonly key: Key; readonly entries: DeviceEntry[] }>();
  for (const transaction of transactions) {
    for (const entry of transaction.entries) {
      const table = schema.byKey.get(entry.table.key);
      if (!table) continue;
      const name = imageName(table, entry.key);
      if (images.has(name)) continue;
      const known = fresh.get(name);
      if (known) known.entries.push(entry);
      else fresh.set(name, { table, key: entry.key, entries: [entry] });
    }
  }
  // Only a row whose last entry is an update needs to be read: the others say themselves what was there.
  const toRead = new Map<DeviceTable, Key[]>();
  for (const { table, key, entries } of fresh.values()) {
    if (entries[entries.length - 1]?.kind !== "update") continue;
    const keys = toRead.get(table);
    if (keys) keys.push(key);
    else toRead.set(table, [key]);
  }
  const visible = new Map<DeviceTable, Map<string, readonly Value[]>>();
  for (const [table, keys] of toRead) visible.set(table, yield* readRows(table, keys));
  for (const [name, { table, key, entries }] of fresh) {
    const row = visible.get(table)?.get(keyText(key));
    images.set(name, undo(table, key, row, entries));
  }
}

function undo(
  table: DeviceTable,
  key: Key,
  visible: readonly Value[] | undefined,
  entries: readonly DeviceEntry[],
): BaseImage {
  let row: Map<SyncColumn, Value> | undefined =
    visible && new Map(table.columns.map((column, index) => [column, visible[index] ?? null]));
  for (let i = entries.length - 1; i >= 0; i--) {
    const entry = entries[i] as DeviceEntry;
    if (entry.kind === "insert") row = undefined;
    else if (entry.kind === "delete") row = wholeRow(table, entry);
    else if (row) entry.columns.forEach((column, index) => row?.set(column, entry.before[index] ?? null));
  }
  return row
    ? { table, key, here: true, columns: [...row.keys()], values: [...row.values()] }
    : { table, key, here: false, columns: [], values: [] };
}

function wholeRow(table: DeviceTable, entry: DeviceEntry): Map<SyncColumn, Value> {
  const row = new Map<SyncColumn, Value>();
  table.keyColumns.forEach((column, index) => row.set(column, entry.key[index] ?? null));
  entry.columns.forEach((column, index) => {
    if (!column.excluded) row.set(column, entry.before[index] ?? null);
  });
  return row;
}

/**
 * Makes the tables hold the base again: every row that an image is of becomes what its image says. What the device's own
 * columns held goes into the images, so that {@link restoreOwn} finds it when a row that was taken out is there again.
 */
export function* rewind(images: BaseImages): Core<void> {
  yield* keepOwn(images);
  yield* putBack(images);
}

/** The second half of {@link rewind}, after {@link keepOwn}: for some of the images, where not all of their rows have to change. */
export function* putBack(images: BaseImages): Core<void> {
  const gone = new Map<DeviceTable, Key[]>();
  const here = new Map<
    string,
    { readonly table: DeviceTable; readonly columns: readonly SyncColumn[]; readonly rows: (readonly Value[])[] }
  >();
  for (const { table, key, here: isHere, columns, values } of images.values()) {
    if (isHere) {
      const name = `${table.key}\n${columns.map((column) => column.index).join()}`;
      const group = here.get(name);
      if (group) group.rows.push(values);
      else here.set(name, { table, columns, rows: [values] });
    } else {
      const keys = gone.get(table);
      if (keys) keys.push(key);
      else gone.set(table, [key]);
    }
  }
  for (const [table, keys] of gone) yield* each(deleteSql(table), keys);
  for (const { table, columns, rows } of here.values()) yield* overwriteRows(table, columns, rows);
  yield* restoreOwn(images);
}

/** Puts back what the device's own columns held, in the rows that are there again. */
export function* restoreOwn(images: BaseImages): Core<void> {
  const rows = new Map<string, (readonly Value[])[]>();
  for (const { table, key, own } of images.values()) {
    if (!own || own.columns.length === 0) continue;
    const sql = updateSql(table, own.columns);
    const group = rows.get(sql);
    if (group) group.push([...own.values, ...key]);
    else rows.set(sql, [[...own.values, ...key]]);
  }
  for (const [sql, group] of rows) yield* each(sql, group);
}

/** Notes what the device's own columns hold: the part of {@link rewind} that is left where the base is replaced as a whole. */
export function* keepOwn(images: BaseImages): Core<void> {
  for (const [name, image] of images) {
    if (image.table.own.length === 0) continue;
    const own = yield* readOwn(image.table, image.key);
    if (own) images.set(name, { ...image, own });
  }
}

/** What the device's own columns hold in a row; undefined where there is none. */
export function* readOwn(table: DeviceTable, key: Key): Core<OwnValues | undefined> {
  if (table.own.length === 0) return undefined;
  const [values] = yield* all(selectWhereSql(table, table.own, table.keyColumns), key);
  return values && { columns: table.own, values };
}
