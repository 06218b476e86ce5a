/**
 * Rebase: base + pending = visible. The tables hold the base; the pending transactions are replayed on them in their order,
 * each under a savepoint, change by change as it was written. One that breaks a local constraint on the way is withheld whole
 * (rule A3): not shown, still queued, tried again at the next rebase.
 *
 * A replayed update whose row is gone shows nothing; an insert over an existing row shows as an update (rule A2).
 *
 * @module
 */

import { run, type Core } from "../plugin/core.ts";
import type { DeviceEntry, DeviceTransaction } from "../plugin/device-log.ts";
import { PREFIX } from "../plugin/names.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { Key, Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import { imageName, readOwn, type BaseImages } from "./base-images.ts";
import { BrokenKey, checkKeys, deleteCascading, noteReferences, updateCascading, type KeyWatch } from "./cascade.ts";
import type { DeviceSchema, DeviceTable } from "./device-schema.ts";
import { putRow, readRow, readRows, updateSql } from "./row-sql.ts";
import { isConstraintError } from "./storage-error.ts";

/** What a replay left behind. */
export interface Replay {
  /** Base images of every row that a pending transaction names or a cascade touched. */
  readonly images: BaseImages;
  /** Ids of the transactions that are not shown. */
  readonly withheld: ReadonlySet<number>;
  /** Whether a cascade touched a row that no transaction names. */
  readonly cascaded: boolean;
}

const SAVEPOINT = `${PREFIX}replay`;

/**
 * Replays transactions on the tables, which hold the base. `earlier` are the images from before: the last form of a row
 * that a page took away stays with the row's pending operations (rule P6).
 */
export function* replay(
  schema: DeviceSchema,
  transactions: readonly DeviceTransaction[],
  earlier: BaseImages,
): Core<Replay> {
  const images = yield* imagesOfEntries(schema, transactions, earlier);
  const named = images.size;
  const withheld = new Set<number>();
  for (const transaction of transactions) {
    if (transaction.entries.length === 0) continue;
    yield* run(`SAVEPOINT ${SAVEPOINT}`);
    try {
      yield* replayOne(schema, transaction, images, earlier);
    } catch (error) {
      if (!(error instanceof BrokenKey) && !isConstraintError(error)) throw error;
      withheld.add(transaction.id);
      yield* run(`ROLLBACK TO ${SAVEPOINT}`);
    }
    yield* run(`RELEASE ${SAVEPOINT}`);
  }
  return { images, withheld, cascaded: images.size > named };
}

/** The base images of all rows that entries name, read from the tables before anything is replayed. */
function* imagesOfEntries(
  schema: DeviceSchema,
  transactions: readonly DeviceTransaction[],
  earlier: BaseImages,
): Core<BaseImages> {
  const named = new Map<DeviceTable, Map<string, Key>>();
  for (const { entries } of transactions) {
    for (const entry of entries) {
      const table = schema.byKey.get(entry.table.key);
      if (!table) continue;
      let keys = named.get(table);
      if (!keys) named.set(table, (keys = new Map()));
      keys.set(keyText(entry.key), entry.key);
    }
  }
  const images: BaseImages = new Map();
  for (const [table, keys] of named) {
    const rows = yield* readRows(table, [...keys.values()]);
    for (const [text, key] of keys) setImage(images, table, key, rows.get(text), earlier);
  }
  return images;
}

function setImage(
  images: BaseImages,
  table: DeviceTable,
  key: Key,
  row: readonly Value[] | undefined,
  earlier: BaseImages,
): void {
  const name = imageName(table, key);
  const last = earlier.get(name);
  const own = last?.own ? { own: last.own } : {};
  if (row) images.set(name, { table, key, here: true, columns: table.columns, values: row, ...own });
  else images.set(name, { table, key, here: false, columns: last?.columns ?? [], values: last?.values ?? [], ...own });
}

function* replayOne(
  schema: DeviceSchema,
  transaction: DeviceTransaction,
  images: BaseImages,
  earlier: BaseImages,
): Core<void> {
  const watch: KeyWatch = {
    children: [],
    parents: [],
    *touch(table, key) {
      // First touched, so the table still holds the row's base. A rolled-back touch left it so too.
      const name = imageName(table, key);
      if (images.has(name)) return;
      const row = yield* readRow(table, key);
      const own = yield* readOwn(table, key);
      setImage(images, table, key, row, earlier);
      const image = images.get(name);
      if (image && own && !image.own) images.set(name, { ...image, own });
    },
  };
  for (const entry of transaction.entries) {
    const table = schema.byKey.get(entry.table.key);
    if (table) yield* replayEntry(table, entry, watch);
  }
  yield* checkKeys(watch);
}

function* replayEntry(table: DeviceTable, entry: DeviceEntry, watch: KeyWatch): Core<void> {
  if (entry.kind === "delete") return yield* deleteCascading(table, entry.key, watch);
  const { columns, values } = syncedPart(entry);
  if (entry.kind === "update" && columns.length === 0) return;
  const isReferenced = table.referencedBy.some(({ targetColumns }) =>
    targetColumns.some((column) => columns.includes(column)),
  );
  const before = isReferenced ? yield* readRow(table, entry.key) : undefined;
  if (entry.kind === "insert") yield* putRow(table, [...table.keyColumns, ...columns], [...entry.key, ...values]);
  else if ((yield* run(updateSql(table, columns), [...values, ...entry.key])) === 0) return;
  if (before) yield* updateCascading(table, columns, entry.key, before, watch);
  if (table.references.length > 0) {
    const row = yield* readRow(table, entry.key);
    if (row) noteReferences(table, entry.kind === "insert" ? table.columns : columns, row, watch);
  }
}

/** The entry's columns that sync. */
function syncedPart(entry: DeviceEntry): {
  readonly columns: readonly SyncColumn[];
  readonly values: readonly Value[];
} {
  if (!entry.columns.some((column) => column.excluded)) return entry;
  const at = entry.columns.flatMap((column, index) => (column.excluded ? [] : [index]));
  return {
    columns: at.map((index) => entry.columns[index] as SyncColumn),
    values: at.map((index) => entry.values[index] ?? null),
  };
}
