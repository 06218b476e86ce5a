/**
 * `defineSync`: the one definition that server and devices share. It says which tables are synced, in which scopes their
 * rows are, and how conflicts are settled; everything else is inferred from the Drizzle tables. A scope is data, not a
 * function: from it follow trigger SQL, a condition that uses the app's own index, and a function in memory.
 *
 * What can be seen in the declaration alone is checked here; what needs the database (casing, indexes) when it is
 * installed.
 *
 * @module
 */

import { is, Table, type InferSelectModel } from "drizzle-orm";
import { isSyncError } from "../protocol/errors.ts";
import type { Resolver } from "../protocol/conflict.ts";
import { readTables, type TableRules } from "./read-tables.ts";

type Columns<TTable extends Table> = TTable["_"]["columns"];

/** Column types whose text is the same in SQLite, Postgres and JavaScript. */
type ScopableType =
  | "SQLiteText"
  | "SQLiteInteger"
  | "SQLiteBoolean"
  | "PgText"
  | "PgVarchar"
  | "PgUUID"
  | "PgInteger"
  | "PgBigInt64"
  | "PgBoolean"
  | "PgEnumColumn";

/** The keys of a table's columns. */
export type ColumnKey<TTable extends Table> = keyof Columns<TTable> & string;

/** The keys of those columns that may name a scope: text, uuid, enum, integer, boolean. */
export type ScopeColumnKey<TTable extends Table> = {
  [K in ColumnKey<TTable>]: Columns<TTable>[K]["_"]["columnType"] extends ScopableType ? K : never;
}[ColumnKey<TTable>];

/**
 * The scopes of a table's rows. A string is a constant scope. In an object each property is a scope kind:
 * `{ list: "listId" }` puts a row into `list:<listId>`, `{ shelf: ["libraryId", "shelf"] }` into one compound scope.
 * A row with NULL in a column is not in that scope.
 */
export type ScopeDeclaration<TTable extends Table> =
  | string
  | { readonly [kind: string]: ScopeColumnKey<TTable> | readonly ScopeColumnKey<TTable>[] };

interface CommonRules<TTable extends Table> {
  /**
   * Who wins when a device changed what somebody else changed meanwhile.
   * @default serverWins()
   */
  readonly conflict?: Resolver<InferSelectModel<TTable>>;
  /** Columns that devices do not update; on insert the server's `assign` gives their value. */
  readonly readonly?: readonly ColumnKey<TTable>[];
  /** Columns that never leave the server. They must be nullable or have a default, since a device has no value for them. */
  readonly exclude?: readonly ColumnKey<TTable>[];
  /**
   * `"server"`: devices only read the table.
   * @default "device"
   */
  readonly write?: "device" | "server";
  /** `"app"`: an integer primary key is given by the app, not by the database. Without it such a key is refused. */
  readonly keys?: "app";
  /** Refuses a change of a device with a message. Pure; runs on the server, when it is pushed. `before` is absent for an insert, `after` for a delete. */
  readonly check?: (change: {
    readonly before?: InferSelectModel<TTable>;
    readonly after?: InferSelectModel<TTable>;
  }) => string | undefined;
}

/** The rules of one table: its own scopes, or those of the row that a foreign key names. */
export type TableSync<TTable extends Table> = CommonRules<TTable> &
  (
    | { readonly scope: ScopeDeclaration<TTable>; readonly scopeFrom?: never }
    /** The column whose foreign key names the row from which this one inherits its scopes. */
    | { readonly scopeFrom: ColumnKey<TTable>; readonly scope?: never }
  );

/** The keys of a schema object that are tables. */
export type TableKey<TSchema> = { [K in keyof TSchema]: TSchema[K] extends Table ? K : never }[keyof TSchema] & string;

/** The rules that a schema takes. */
export type TablesSync<TSchema> = {
  readonly [K in TableKey<TSchema>]?: TSchema[K] extends Table ? TableSync<TSchema[K]> : never;
};

/** What `defineSync` returns; given to `withSync`, to the browser database and to its worker. */
export interface SyncDefinition<TSchema, TTables = unknown> {
  readonly schema: TSchema;
  readonly tables: TTables;
}

type ScopesOf<TRules> = TRules extends { readonly scope: infer TScope }
  ? TScope extends string
    ? TScope
    : { [K in keyof TScope & string]: `${K}:${string}` }[keyof TScope & string]
  : never;

/** The scopes that a definition can grant, as a type: `` "everyone" | `list:${string}` ``. */
export type Scope<TDefinition> =
  TDefinition extends SyncDefinition<infer _TSchema, infer TTables>
    ? { [K in keyof TTables]: ScopesOf<TTables[K]> }[keyof TTables]
    : never;

/**
 * Declares what is synced. Throws a `SyncError` that names table, column and remedy when the declaration cannot be used.
 *
 * @example
 * export const sync = defineSync(schema, {
 *   lists: { scope: { list: "id" } },
 *   todos: { scope: { list: "listId" } },
 *   comments: { scopeFrom: "todoId" },
 * });
 */
export function defineSync<TSchema extends Record<string, unknown>, const TTables extends TablesSync<TSchema>>(
  schema: TSchema,
  tables: TTables & { readonly [K in keyof TTables]: K extends TableKey<TSchema> ? unknown : never },
): SyncDefinition<TSchema, TTables> {
  // The same reading that a database does, with column names as written: throws what can be known without one.
  readTables(schema, tables, undefined);
  return { schema, tables };
}

/** The definition of a database that was given none: every table with a usable key, in the scope `everyone`. */
export function defaultDefinition<TSchema extends Record<string, unknown>>(schema: TSchema): SyncDefinition<TSchema> {
  const tables: Record<string, TableRules> = {};
  for (const [key, table] of Object.entries(schema)) {
    if (!is(table, Table)) continue;
    const rules: TableRules = { scope: "everyone" };
    try {
      readTables(schema, { [key]: rules }, undefined);
    } catch (error) {
      if (isSyncError(error)) continue;
      throw error;
    }
    tables[key] = rules;
  }
  return { schema, tables };
}
