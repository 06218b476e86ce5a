/**
 * Compares the base with the server's checksums: for each scope, the sum of the hashes of its rows. It runs in the transaction
 * that has just applied the page which brought them, so the base is the one they speak of (rule A1).
 *
 * What counts is the base, never what is shown: pending changes are undone under a savepoint and put back by its rollback, so
 * that inherited scopes are read from the base's parents as well. Every table is read once, and rows stay the arrays that
 * the driver gives.
 *
 * @module
 */

import { all, run, type Core, type Rows } from "../plugin/core.ts";
import { lastTransaction, readTransactions } from "../plugin/device-log.ts";
import { muted } from "../plugin/mute.ts";
import { LIMIT_SQL, PREFIX } from "../plugin/names.ts";
import { splitScopes } from "../plugin/scope-text.ts";
import { identifier } from "../plugin/sqlite/quote.ts";
import { scopeSql } from "../plugin/sqlite/scope-sql.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import { addRow, emptyRowSum, rowSumText, type RowSum } from "../protocol/hash.ts";
import type { Value } from "../protocol/ids.ts";
import { addFreshImages, loadImages, rewind } from "./base-images.ts";
import { heldScopes, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema, type DeviceTable } from "./device-schema.ts";
import { isConstraintError } from "./storage-error.ts";

/** Stands among the scopes for rows that are in no scope which the device holds: there can be none. */
export const STRAY = "";

const SAVEPOINT = `${PREFIX}verify`;
const chunk = 2000;

/**
 * Gives the scopes whose rows differ, {@link STRAY} among them where rows are in none. `tables`: what the server sends this
 * device, as the handshake's answer names it. In `apply` mode, on a whole base.
 */
export function* findMismatches(
  sync: SyncDatabase,
  checkpoint: Checkpoint,
  checksums: Readonly<Record<string, string>>,
  tables: KnownTables,
): Core<readonly string[]> {
  const scopes = Object.keys(checksums);
  let sums: ScopeSums;
  try {
    sums = yield* atBase(sync, checkpoint, sumScopes(sync, new Set(heldScopes(checkpoint)), scopes, tables));
  } catch (error) {
    // What was undone does not fit beside the other rows: they cannot all be the server's.
    if (isConstraintError(error)) return scopes;
    throw error;
  }
  const mismatched = scopes.filter(
    (scope) => rowSumText(sums.byScope.get(scope) ?? emptyRowSum()) !== checksums[scope],
  );
  return sums.hasStrays ? [...mismatched, STRAY] : mismatched;
}

/** Runs a core that only reads while the tables hold the base. */
function* atBase<T>(sync: SyncDatabase, checkpoint: Checkpoint, core: Core<T>): Core<T> {
  const after = checkpoint.handled.number;
  if ((yield* lastTransaction()).number <= after) return yield* core;
  const schema = deviceSchema(sync);
  const images = yield* loadImages(schema);
  const pending = yield* readTransactions(sync, { after, limit: Number.MAX_SAFE_INTEGER });
  yield* addFreshImages(schema, images, pending);
  yield* run(`SAVEPOINT ${SAVEPOINT}`);
  try {
    yield* muted(rewind(images));
    return yield* core;
  } finally {
    yield* run(`ROLLBACK TO ${SAVEPOINT}`);
    yield* run(`RELEASE ${SAVEPOINT}`);
  }
}

interface ScopeSums {
  readonly byScope: ReadonlyMap<string, RowSum>;
  readonly hasStrays: boolean;
}

function* sumScopes(
  sync: SyncDatabase,
  held: ReadonlySet<string>,
  scopes: readonly string[],
  tables: KnownTables,
): Core<ScopeSums> {
  const byScope = new Map(scopes.map((scope) => [scope, emptyRowSum()]));
  let hasStrays = false;
  for (const table of deviceSchema(sync).tables) {
    const columns = sentColumns(table, tables[table.key]);
    if (columns === undefined) continue;
    const forms = columns.map((column) => column.form);
    // A table has far fewer sets of scopes than rows.
    const concerned = new Map<Value, readonly RowSum[]>();
    let after: readonly Value[] | undefined;
    for (;;) {
      const rows: Rows = yield* all(scanSql(table, columns, after !== undefined), [...(after ?? []), chunk]);
      for (const row of rows) {
        const text = row[columns.length] ?? null;
        let sums = concerned.get(text);
        if (sums === undefined) {
          const own = splitScopes(text);
          hasStrays ||= !own.some((scope) => held.has(scope));
          sums = own.flatMap((scope) => byScope.get(scope) ?? []);
          concerned.set(text, sums);
        }
        if (sums.length > 0) addRow(sums, row, forms);
      }
      if (rows.length < chunk) break;
      after = rows.at(-1)?.slice(0, table.keyColumns.length);
    }
  }
  return { byScope, hasStrays };
}

/** The columns that the server sums, in its order; undefined for a table that it does not send. */
function sentColumns(table: DeviceTable, keys: readonly string[] | undefined): readonly SyncColumn[] | undefined {
  return keys?.flatMap((key) => table.table.columnByKey.get(key) ?? []);
}

function scanSql({ table, keyColumns }: DeviceTable, columns: readonly SyncColumn[], isNext: boolean): string {
  const fields = [...columns.map(({ name }) => `r.${identifier(name)}`), scopeSql(table, "r")].join(", ");
  const keys = keyColumns.map(({ name }) => `r.${identifier(name)}`).join(", ");
  const where = isNext ? ` WHERE (${keys}) > (${keyColumns.map(() => "?").join(", ")})` : "";
  return `SELECT ${fields} FROM ${identifier(table.name)} AS r${where} ORDER BY ${keys} ${LIMIT_SQL}`;
}
