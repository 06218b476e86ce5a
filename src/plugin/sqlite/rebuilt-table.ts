/**
 * A migration that rebuilds a table (`CREATE __new_x`, `INSERT … SELECT`, `DROP x`, `RENAME`) takes its triggers along, and
 * what the copying changed is in no log. Run by ourselves it need not make every device fetch its rows anew: the rows are
 * set aside before the table is dropped, compared when it is there again, and those that differ are logged as updated.
 *
 * Only where every row is there again, under the same key and in the same scopes, and none is new: then nothing that
 * inherits from them has moved either. Otherwise positions from before are good for nothing, as when a table was rebuilt
 * behind our back. All of it happens in the migration's transaction, which lets no other writer in.
 *
 * @module
 */

import { hlcNow } from "../../protocol/hlc.ts";
import { first, run, type Core } from "../core.ts";
import { writeMeta } from "../meta.ts";
import { LAST_MASK_BIT, LOG, MARKER, PREFIX, STAMP_SQL, kindNumbers, metaKeys } from "../names.ts";
import type { SyncDatabase } from "../sync-database.ts";
import type { SyncTable } from "../table.ts";
import { readLayoutRows } from "./install.ts";
import { isSameName } from "./install-triggers.ts";
import { readLiveTable } from "./live-table.ts";
import { identifier } from "./quote.ts";
import { scopeSql } from "./scope-sql.ts";

/** The rows of a table that a migration is about to drop. */
export interface TableCopy {
  readonly table: SyncTable;
  /** The temporary table that holds them: keys, values, scopes. */
  readonly name: string;
  /** Names of the columns in it, the key's first. */
  readonly columns: readonly string[];
}

const dropTable =
  /^(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*drop\s+table\s+(?:if\s+exists\s+)?(?:"?main"?\s*\.\s*)?[`"[]?([^`"\]\s;]+)/i;

/**
 * The tables that will not be captured once a statement has run: the synced one that it drops, and those that inherit from it,
 * which nobody can tell the scopes of while it is away. Empty for another statement.
 */
export function* findDropped(sync: SyncDatabase, sql: string): Core<readonly SyncTable[]> {
  const name = dropTable.exec(sql)?.[1];
  const dropped = name === undefined ? undefined : sync.tables.find((each) => isSameName(each.name, name));
  if (dropped === undefined) return [];
  const tables: SyncTable[] = [];
  // What is not captured now has been set aside already, or is not to be vouched for.
  for (const table of sync.tables) if (isWithin(table, dropped) && (yield* isCaptured(table))) tables.push(table);
  return tables;
}

function isWithin(table: SyncTable, ancestor: SyncTable): boolean {
  return table === ancestor || (table.parent !== undefined && isWithin(table.parent.table, ancestor));
}

/** Sets the rows of a table aside. Its columns are untyped, so that each value stays what it is. */
export function* copyRows(table: SyncTable, number: number): Core<TableCopy | undefined> {
  const live = yield* readLiveTable(table, "server");
  if (live === undefined) return undefined;
  const stored = new Set(live.columns.map(({ name }) => name));
  const declared = table.columns.map(({ name }) => name).filter((name) => stored.has(name));
  const keys = table.keyColumns.map(({ name }) => name);
  const columns = [...keys, ...declared.filter((name) => !keys.includes(name))];
  const copy = { table, name: `temp.${identifier(`${PREFIX}was_${number}`)}`, columns };
  yield* run(
    `CREATE TEMP TABLE ${identifier(`${PREFIX}was_${number}`)}(${columns.map((_, i) => `v${i}`).join(", ")}, s)`,
  );
  yield* run(
    `INSERT INTO ${copy.name} SELECT ${columns.map((name) => `x.${identifier(name)}`).join(", ")}, ${scopeSql(table, "x")} FROM ${identifier(table.name)} AS x`,
  );
  return copy;
}

/** Whether a table is there with its triggers. */
export function* isCaptured(table: SyncTable): Core<boolean> {
  const trigger = yield* first(
    `SELECT 1 FROM main.sqlite_master WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE AND substr(name, 1, ?) = ? LIMIT 1`,
    [table.name, PREFIX.length, PREFIX],
  );
  return trigger !== undefined;
}

/** Logs the rows that differ from the copy; where that cannot tell everything, resets every cursor from before. */
export function* compareRows(sync: SyncDatabase, copy: TableCopy): Core<void> {
  if (!(yield* logDifferences(copy))) {
    yield* run(`INSERT INTO ${LOG}(stamp, t, kind, mask) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?)`, [
      hlcNow(0, sync.now()),
    ]);
    yield* writeMeta(metaKeys.declaredSince, Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0]));
  }
  yield* dropCopy(copy);
}

/** Forgets a copy. */
export function* dropCopy(copy: TableCopy): Core<void> {
  yield* run(`DROP TABLE ${copy.name}`);
}

function* logDifferences({ table, name, columns }: TableCopy): Core<boolean> {
  const live = yield* readLiveTable(table, "server");
  if (live === undefined) return false;
  const names = live.columns.map((column) => column.name);
  const layout = (yield* readLayoutRows())
    .reverse()
    .find((row) => row.name === table.name && JSON.stringify(row.columns) === JSON.stringify(names));
  if (layout === undefined) return false;
  const keyCount = table.keyColumns.length;
  const now = (column: string): string => `x.${identifier(column)}`;
  const keys = columns.slice(0, keyCount);
  // The first finds the row by its index; the second leaves nothing to affinities and collations.
  const joined =
    `${name} AS w CROSS JOIN ${identifier(table.name)} AS x ON ${keys.map((key, i) => `${now(key)} = w.v${i}`).join(" AND ")} ` +
    `AND ${keys.map((key, i) => isSame(now(key), `w.v${i}`)).join(" AND ")}`;
  const counts = yield* first(
    `SELECT (SELECT count(*) FROM ${name}), (SELECT count(*) FROM ${identifier(table.name)}), ` +
      `(SELECT count(*) FROM ${joined} AND w.s IS ${scopeSql(table, "x")})`,
  );
  if (counts === undefined || counts[0] !== counts[1] || counts[1] !== counts[2]) return false;
  const stored = new Set(names);
  const before = new Set(columns);
  // Who knew a column before the server had it has never been sent its values.
  const isGaining = table.columns.some((column) => stored.has(column.name) && !before.has(column.name));
  const differs = columns.flatMap((column, i) =>
    i >= keyCount && stored.has(column) ? [`NOT (${isSame(now(column), `w.v${i}`)})`] : [],
  );
  if (!isGaining && differs.length === 0) return true;
  const mask = (1n << BigInt(Math.min(names.length - keyCount, LAST_MASK_BIT + 1))) - 1n;
  yield* run(
    `INSERT INTO ${LOG}(stamp, t, kind, mask, ${keys.map((_, i) => `k${i}`).join(", ")}, sb, sa) ` +
      `SELECT ${STAMP_SQL}, ${layout.number}, ${kindNumbers.update}, ${mask}, ${keys.map((_, i) => `w.v${i}`).join(", ")}, w.s, w.s ` +
      `FROM ${joined}${isGaining ? "" : ` WHERE ${differs.join(" OR ")}`}`,
  );
  return true;
}

/** Compares storage class and value; a plus takes a column's affinity away. */
function isSame(left: string, right: string): string {
  return `(typeof(${left}) = typeof(${right}) AND +${left} IS +${right} COLLATE BINARY)`;
}
