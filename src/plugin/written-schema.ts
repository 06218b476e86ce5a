/**
 * What a device's tables were when a transaction of its queue was written: kept under the schema's hash, which stands in
 * the transaction's marker, so that the queue can be pushed over those columns after a migration (rule V3). Small, and one
 * for each version of the app that has run here: never cleared.
 *
 * @module
 */

import type { KnownTables } from "../protocol/handshake.ts";
import type { CanonicalForm } from "../protocol/value.ts";
import { all, run, type Core } from "./core.ts";
import { readMeta, writeMeta } from "./meta.ts";
import { LAYOUT, META } from "./names.ts";
import type { SyncTable } from "./table.ts";

/** A column as it was. */
export interface WrittenColumn {
  /** The name on the wire. */
  readonly key: string;
  /** The name in SQL; follows renames. */
  readonly name: string;
  readonly form: CanonicalForm;
}

/** A table as it was. */
export interface WrittenTable {
  readonly key: string;
  readonly name: string;
  /** The columns that synced, the key's first. */
  readonly columns: readonly WrittenColumn[];
}

/** Begins the keys in the meta table; the schema's hash follows. */
export const SCHEMA_KEY = "schema.";

/** Tables as they are now, as JSON text. */
export function writtenText(tables: readonly SyncTable[]): string {
  return JSON.stringify(
    tables.map((table): WrittenTable => ({
      key: table.key,
      name: table.name,
      columns: table.columns
        .filter((column) => !column.excluded)
        .map(({ key, name, form }): WrittenColumn => ({ key, name, form })),
    })),
  );
}

/** Reads the tables behind a schema's hash; undefined for one that never ran here. */
export function* readWrittenSchema(hash: string): Core<readonly WrittenTable[] | undefined> {
  const text = yield* readMeta(SCHEMA_KEY + hash);
  return typeof text === "string" ? (JSON.parse(text) as readonly WrittenTable[]) : undefined;
}

/** Hashes of all schemas that have run here. */
export function* writtenHashes(): Core<readonly string[]> {
  const rows = yield* all(`SELECT k FROM ${META} WHERE k >= ? AND k < ?`, [SCHEMA_KEY, "schema/"]);
  return rows.map(([key]) => String(key).slice(SCHEMA_KEY.length));
}

/**
 * The written tables as they are spoken of today: a column that is still there under its key of today, one that is gone
 * under the key it had, one that is the device's own now (`exclude`) not at all.
 */
export function spokenToday(written: readonly WrittenTable[], tables: readonly SyncTable[]): KnownTables {
  return Object.fromEntries(
    written.map((then) => {
      const now = tables.find((table) => table.name === then.name) ?? tables.find((table) => table.key === then.key);
      const keys: string[] = [];
      for (const column of then.columns) {
        const today = now?.columns.find(({ name }) => name === column.name);
        const key = today?.key ?? column.key;
        if (today?.excluded !== true && !keys.includes(key)) keys.push(key);
      }
      return [now?.key ?? then.key, keys];
    }),
  );
}

/** Takes a rename of a column along, so that what was written before it is found under the new name. */
export function* renameWritten(table: string, from: string, to: string): Core<void> {
  for (const [number, name, text] of yield* all(`SELECT t, name, columns FROM ${LAYOUT}`)) {
    if (!isSame(String(name), table)) continue;
    const columns = (JSON.parse(String(text)) as readonly string[]).map((column) =>
      isSame(column, from) ? to : column,
    );
    yield* run(`UPDATE ${LAYOUT} SET columns = ? WHERE t = ?`, [JSON.stringify(columns), number ?? null]);
  }
  for (const hash of yield* writtenHashes()) {
    const tables = (yield* readWrittenSchema(hash)) ?? [];
    const renamed = tables.map((each) =>
      isSame(each.name, table)
        ? {
            ...each,
            columns: each.columns.map((column) => (isSame(column.name, from) ? { ...column, name: to } : column)),
          }
        : each,
    );
    yield* writeMeta(SCHEMA_KEY + hash, JSON.stringify(renamed));
  }
}

const renaming =
  /^[\s;]*alter\s+table\s+(\S+|"[^"]+"|`[^`]+`|\[[^\]]+\])\s+rename\s+(?:column\s+)?(?!to\s)(\S+|"[^"]+"|`[^`]+`|\[[^\]]+\])\s+to\s+(\S+|"[^"]+"|`[^`]+`|\[[^\]]+\])[\s;]*$/i;

/** The renaming of a column that a statement is, if it is one. */
export function renamedColumn(
  sql: string,
): { readonly table: string; readonly from: string; readonly to: string } | undefined {
  const found = renaming.exec(sql.replace(/--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\//g, " ").replace(/[\s;]*$/, ""));
  const [table, from, to] = found?.slice(1).map(unquoted) ?? [];
  return table === undefined || from === undefined || to === undefined ? undefined : { table, from, to };
}

const unquoted = (name: string): string => name.replace(/^["`[](.*)["`\]]$/, "$1");

/** SQLite's names ignore the case of ASCII letters. */
const isSame = (left: string, right: string): boolean => left.toLowerCase() === right.toLowerCase();
