/**
 * Versions of an app's schema, written down as lists of columns: the Drizzle tables, the definition and the statements that
 * create them. For tests in which servers and devices are of different versions.
 *
 * @module
 */

import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { defineSync, type SyncDefinition } from "../../plugin/define-sync.ts";
import type { TableRules } from "../../plugin/read-tables.ts";

/**
 * A column: `title` is a text that may be NULL, `title!` one that may not, `count=0` an integer and `label='x'` a text with
 * a default. `label/name` is the column `name` in SQL. Each table has a text key `id` besides.
 */
export type ColumnSpec = string;

/** A table of a version: its rules, without them in the scope `everyone`. */
export interface TableSpec extends TableRules {
  readonly columns: readonly ColumnSpec[];
  /** Columns with a foreign key, and the tables that they name. */
  readonly references?: Readonly<Record<string, string>>;
}

/** A version: what the code of the app says, and what a fresh database of it looks like. */
export interface Version {
  readonly schema: Record<string, unknown>;
  readonly definition: SyncDefinition<Record<string, unknown>>;
  readonly ddl: readonly string[];
  readonly tables: Readonly<Record<string, TableSpec>>;
}

/** A column read. */
export interface ReadColumn {
  readonly key: string;
  readonly name: string;
  /** The SQL of its default. */
  readonly byDefault: string | undefined;
  readonly isRequired: boolean;
  /** As `ALTER TABLE … ADD COLUMN` takes it. */
  readonly sql: string;
}

/** Reads a column. */
export function readColumn(spec: ColumnSpec): ReadColumn {
  const [named = "", byDefault] = spec.split("=");
  const [key = "", name = key] = named.replace("!", "").split("/");
  const isRequired = named.includes("!") || byDefault !== undefined;
  const type = byDefault === undefined || byDefault.startsWith("'") ? "TEXT" : "INTEGER";
  const sql = `${name} ${type}${isRequired ? " NOT NULL" : ""}${byDefault === undefined ? "" : ` DEFAULT ${byDefault}`}`;
  return { key, name, byDefault, isRequired, sql };
}

/** Makes a version. Tables are created in the order given. */
export function version(tables: Readonly<Record<string, TableSpec>>): Version {
  const schema: Record<string, unknown> = {};
  const rules: Record<string, TableRules> = {};
  const ddl: string[] = [];
  for (const [key, spec] of Object.entries(tables)) {
    const { columns, references = {}, ...own } = spec;
    schema[key] = tableOf(key, spec, schema);
    rules[key] = own.scope === undefined && own.scopeFrom === undefined ? { ...own, scope: "everyone" } : own;
    ddl.push(createTable(key, spec));
    for (const column of columns.map(readColumn))
      if (references[column.key] !== undefined)
        ddl.push(`CREATE INDEX ${key}_${column.key} ON ${key} (${column.name})`);
  }
  // The rules are data here; their types follow from tables that are not known before.
  const definition = defineSync(schema, rules as Record<string, never>);
  return { schema, definition, ddl, tables };
}

/** The statement that creates a table of a spec under a name. */
export function createTable(name: string, { columns, references = {} }: TableSpec): string {
  const parts = columns.map((column) => {
    const read = readColumn(column);
    const target = references[read.key];
    return target === undefined ? read.sql : `${read.sql} REFERENCES ${target} (id) ON DELETE CASCADE`;
  });
  return `CREATE TABLE ${name} (${["id TEXT PRIMARY KEY NOT NULL", ...parts].join(", ")})`;
}

function tableOf(key: string, { columns, references = {} }: TableSpec, schema: Record<string, unknown>): unknown {
  const built = (column: ColumnSpec) => {
    const { name, byDefault, isRequired } = readColumn(column);
    if (byDefault !== undefined && !byDefault.startsWith("'"))
      return integer(name).notNull().default(Number(byDefault));
    const plain = text(name);
    if (byDefault !== undefined) return plain.notNull().default(byDefault.slice(1, -1));
    const target = references[readColumn(column).key];
    // The table was made just before.
    const linked =
      target === undefined
        ? plain
        : plain.references(() => (schema[target] as { id: never }).id, { onDelete: "cascade" });
    return isRequired ? linked.notNull() : linked;
  };
  return sqliteTable(
    key,
    {
      id: text("id").primaryKey(),
      ...Object.fromEntries(columns.map((column) => [readColumn(column).key, built(column)])),
    },
    (table) => Object.keys(references).map((column) => index(`${key}_${column}`).on(columnOf(table, column))),
  );
}

function columnOf(table: object, column: string): never {
  // Drizzle's types know columns that are written out; these are data.
  return (table as Readonly<Record<string, unknown>>)[column] as never;
}

/** What `drizzle-kit` writes to make one table of a spec into another, rows kept: a new table under the old one's name. */
export function rebuild(
  key: string,
  to: TableSpec,
  copied: readonly (readonly [to: string, from: string])[],
): string[] {
  return [
    "PRAGMA foreign_keys=OFF;",
    createTable(`__new_${key}`, to),
    `INSERT INTO __new_${key} (${["id", ...copied.map(([name]) => name)].join(", ")}) SELECT ${["id", ...copied.map(([, from]) => from)].join(", ")} FROM ${key};`,
    `DROP TABLE ${key};`,
    `ALTER TABLE __new_${key} RENAME TO ${key};`,
    "PRAGMA foreign_keys=ON;",
  ];
}
