/**
 * Everything that a database holds, as rows: a backup, a copied file. Rows are put back into the same connection, where
 * statements stay prepared; that is what makes a simulated restore cheap.
 *
 * @module
 */

import type Database from "better-sqlite3";
import { MUTE } from "../../plugin/names.ts";
import { switchKeys } from "../crash-database.ts";

/** The tables of the app first, whose triggers write into the library's. */
export type Contents = readonly {
  readonly name: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}[];

/** Reads everything that is committed. */
export function readContents(raw: Database.Database): Contents {
  const names = raw
    .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY substr(name, 1, 6) = '_sync_', rowid")
    .pluck()
    .all() as string[];
  return names.map((name) => {
    const statement = raw.prepare(`SELECT * FROM "${name}"`).raw().safeIntegers();
    return { name, columns: statement.columns().map((column) => column.name), rows: statement.all() as unknown[][] };
  });
}

/** Makes a database of the same schema hold exactly this. Foreign keys are off from then on. */
export function writeContents(raw: Database.Database, contents: Contents): void {
  const run = (sql: string, ...params: unknown[]): unknown => prepared(raw, sql).run(...params);
  const own = contents.filter(({ name }) => name.startsWith("_sync_"));
  const app = contents.filter((table) => !own.includes(table));
  switchKeys(raw, "off");
  run("BEGIN");
  run(`INSERT OR IGNORE INTO ${MUTE} VALUES (1)`);
  for (const tables of [app, own]) {
    for (const { name } of tables) run(`DELETE FROM "${name}"`);
    for (const { name, columns, rows } of tables) {
      const insert = `INSERT INTO "${name}" ("${columns.join('", "')}") VALUES (${columns.map(() => "?").join(", ")})`;
      for (const row of rows) run(insert, ...row);
    }
  }
  run("COMMIT");
}

const statements = new WeakMap<Database.Database, Map<string, Database.Statement>>();

function prepared(raw: Database.Database, sql: string): Database.Statement {
  let known = statements.get(raw);
  if (known === undefined) statements.set(raw, (known = new Map<string, Database.Statement>()));
  let statement = known.get(sql);
  if (statement === undefined) known.set(sql, (statement = raw.prepare(sql)));
  return statement;
}
