/**
 * Transactions that were written before a migration of this device (rule V3). They are pushed over the columns of then, as
 * far as the server has them, whatever became of them here: a column that is gone from the device goes out with what was
 * written to it. The handshake announces each of those schemas, since the server may never have heard of them; what it
 * answers is the schema that such a transaction is sent under.
 *
 * @module
 */

import { all, type Core } from "../plugin/core.ts";
import type { DeviceEntry } from "../plugin/device-log.ts";
import { LOG, MARKER } from "../plugin/names.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import { readWrittenSchema, spokenToday, writtenHashes, type WrittenTable } from "../plugin/written-schema.ts";
import type { HandshakeAnswer, KnownTables } from "../protocol/handshake.ts";
import { hashSchema } from "../protocol/hash.ts";
import type { Value } from "../protocol/ids.ts";
import { deviceSchema, type DeviceTable } from "./device-schema.ts";

/** What a handshake came to, with the tables that were agreed upon, also where those are all that were announced. */
export type Agreement = HandshakeAnswer & { readonly tables: KnownTables };

/** A schema of the queue that is not the present one. */
export interface WrittenSchema {
  /** The hash in the transactions' markers. */
  readonly hash: string;
  readonly tables: readonly WrittenTable[];
  /** The same tables as they are spoken of today. */
  readonly known: KnownTables;
}

/** What was agreed about transactions of one schema: the schema that they are sent under, and what of it both sides have. */
export interface SentAs {
  readonly schema: string;
  readonly tables: KnownTables;
  readonly outdated?: KnownTables;
  /** The tables as they were; absent for the present schema. */
  readonly written?: readonly WrittenTable[];
}

/** The schemas, besides the present one, that transactions of the log were written with. */
export function* readWrittenSchemas(sync: SyncDatabase): Core<readonly WrittenSchema[]> {
  const present = deviceSchema(sync).hash;
  const others = new Set((yield* writtenHashes()).filter((hash) => hash !== present));
  if (others.size === 0) return [];
  const found: WrittenSchema[] = [];
  for (const [name] of yield* all(`SELECT DISTINCT c0 FROM ${LOG} WHERE t = ${MARKER}`)) {
    const hash = String(name);
    const tables = others.has(hash) ? yield* readWrittenSchema(hash) : undefined;
    if (tables !== undefined) found.push({ hash, tables, known: spokenToday(tables, sync.tables) });
  }
  return found;
}

/**
 * How transactions of a schema are sent, by the answer to its handshake. What the server does not take is what it does not
 * take from the present schema: one that was too old then is not too old any more.
 */
export function sentAs({ tables: written }: WrittenSchema, { tables }: Agreement, present: Agreement): SentAs {
  const { outdated } = present;
  return { schema: hashSchema(tables), tables, ...(outdated === undefined ? {} : { outdated }), written };
}

/** An entry's columns as they are sent; names and forms are all that is needed of them. */
export interface SpokenEntry {
  readonly columns: readonly Pick<SyncColumn, "key" | "form">[];
  readonly values: readonly Value[];
  readonly before: readonly Value[];
}

/** What an entry says about columns that sync; with those that are gone from this device and not from the server. */
export function speak(entry: DeviceEntry, table: DeviceTable, as: SentAs): SpokenEntry {
  const columns: Pick<SyncColumn, "key" | "form">[] = [];
  const values: Value[] = [];
  const before: Value[] = [];
  entry.columns.forEach((column, at) => {
    if (column.excluded) return;
    columns.push(column);
    values.push(entry.values[at] ?? null);
    before.push(entry.before[at] ?? null);
  });
  if (as.written === undefined) return { columns, values, before };
  const shared = as.tables[table.key] ?? [];
  const then = as.written.find(({ name }) => name === table.table.name);
  for (const gone of entry.gone ?? []) {
    const column = then?.columns.find(({ name }) => name === gone.name);
    // What neither side has any more says nothing to either.
    if (!column || !shared.includes(column.key) || columns.some(({ key }) => key === column.key)) continue;
    columns.push(column);
    values.push(gone.value);
    before.push(gone.before);
  }
  return entry.kind === "delete" ? inOrder({ columns, values, before }, shared) : { columns, values, before };
}

/** A whole row, given over the device's columns of today, over those that the transaction is sent with (rule P6). */
export function speakRow(row: readonly Value[], entry: DeviceEntry, table: DeviceTable, as: SentAs): readonly Value[] {
  if (as.written === undefined) return row;
  const said = speak(entry, table, as);
  return (as.tables[table.key] ?? []).slice(table.keyColumns.length).map((key) => {
    const now = table.rest.findIndex((column) => column.key === key);
    return (now >= 0 ? row[now] : said.before[said.columns.findIndex((column) => column.key === key)]) ?? null;
  });
}

/** The hash of a deleted row covers the columns of the schema, in its order (rule P1). */
function inOrder({ columns, before }: SpokenEntry, shared: readonly string[]): SpokenEntry {
  const at = shared.map((key) => columns.findIndex((column) => column.key === key)).filter((index) => index >= 0);
  return {
    columns: at.map((index) => columns[index] as Pick<SyncColumn, "key" | "form">),
    values: [],
    before: at.map((index) => before[index] ?? null),
  };
}
