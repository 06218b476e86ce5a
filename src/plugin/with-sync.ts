/**
 * `withSync`: the same Drizzle database, with the same type, whose changes are captured, and `db.$sync`.
 *
 * @module
 */

import { is, Table, type Column, type InferSelectModel } from "drizzle-orm";
import type { BaseSQLiteDatabase } from "drizzle-orm/sqlite-core";
import { SyncError } from "../protocol/errors.ts";
import { formatCursor } from "../protocol/ids.ts";
import type { Cursor } from "../protocol/ids.ts";
import type { Core } from "./core.ts";
import { createSyncDatabase } from "./create-sync-database.ts";
import { defaultDefinition, type Scope, type SyncDefinition, type TableKey } from "./define-sync.ts";
import { detectDriver } from "./detect-dialect.ts";
import { migrateDatabase, type MigrateOptions } from "./migrate.ts";
import { watchChanges, type ChangeInfo } from "./on-change.ts";
import { readHead } from "./oplog.ts";
import { readAtHead } from "./read-at-head.ts";
import { readTables, type ColumnNaming, type TableRules } from "./read-tables.ts";
import { betterSqlite3Connection, type BetterDatabase } from "./sqlite/better-sqlite3.ts";
import { hookBetterSqlite3 } from "./sqlite/better-sqlite3-hook.ts";
import { hookLibsql } from "./sqlite/libsql-hook.ts";
import { createTurns, libsqlConnection, type LibsqlClient } from "./sqlite/libsql.ts";
import type { Safeguards } from "./sqlite/safeguards.ts";
import { connectionOf, syncSymbol, type SyncDatabase } from "./sync-database.ts";

/** Any Drizzle database over SQLite; its parameters are Drizzle's own and say nothing here. */
// oxlint-disable-next-line typescript/no-explicit-any -- the border to Drizzle's generics, which `unknown` would not fit.
export type AnySqliteDatabase = BaseSQLiteDatabase<any, any, any, any>;

/** Whether a database answers at once or with promises. */
export type DatabaseKind<TDb> =
  TDb extends BaseSQLiteDatabase<infer TKind, infer _TRun, infer _TSchema, infer _TTables> ? TKind : never;

/** The schema that a database was made with; one made without takes a definition over any. */
export type DatabaseSchema<TDb> =
  TDb extends BaseSQLiteDatabase<infer _TKind, infer _TRun, infer TSchema, infer _TTables>
    ? string extends keyof TSchema
      ? // oxlint-disable-next-line typescript/no-explicit-any -- a schema that is not known.
        Record<string, any>
      : TSchema
    : never;

/** A result of a database of that kind. */
export type ResultOf<TKind, T> = TKind extends "sync" ? T : Promise<T>;

/** A committed change of one row, with the row as it is now. A deleted row is known by its key alone. */
export type ChangeOf<TSchema, TKey extends TableKey<TSchema>> = {
  [K in TKey]: TSchema[K] extends Table
    ? | { readonly table: K; readonly kind: "insert" | "update"; readonly row: InferSelectModel<TSchema[K]> }
      | { readonly table: K; readonly kind: "delete"; readonly key: Partial<InferSelectModel<TSchema[K]>> }
    : never;
}[TKey];

/** The scopes that a definition's tables can grant; any text where none is known. */
export type TablesScope<TTables> = [Scope<SyncDefinition<unknown, TTables>>] extends [never]
  ? string
  : Scope<SyncDefinition<unknown, TTables>>;

/** `db.$sync`. */
export interface SyncHandle<TSchema, TKind, TScope = string> {
  /** Installs the log and the triggers now, rather than at the first write; resolves when they are there. */
  readonly ready: Promise<void>;
  /**
   * Runs Drizzle's migrations from a folder, with foreign keys off (a rebuilt table would otherwise take its children
   * along, and the deletes would be synced) and checked before it commits. Captured like any other write.
   */
  migrate(folder: string, options?: MigrateOptions): ResultOf<TKind, void>;
  /**
   * Tells of committed changes of some tables, whoever made them: other connections and processes within a tenth of a
   * second. `info.isComplete` is false when changes went by untold, because the log was trimmed meanwhile. Returns the
   * function that ends it.
   */
  onChange<const TKey extends TableKey<TSchema>>(
    tables: readonly TKey[],
    listener: (changes: readonly ChangeOf<TSchema, TKey>[], info: ChangeInfo) => void,
  ): () => void;
  /** The position of the newest commit: what `client.reached(cursor)` on a device waits for. */
  cursor(): ResultOf<TKind, Cursor>;
  /** Tells live devices of a subject that what it may hold has changed. */
  scopesChanged(subject: string): void;
  /** Never there: it only carries the type of the scopes to `createSyncRouter`, which checks what the app grants. */
  readonly "~scope"?: TScope;
}

/** A database with `$sync`. */
export type Synced<TDb, TTables = unknown> = TDb & {
  readonly $sync: SyncHandle<DatabaseSchema<TDb>, DatabaseKind<TDb>, TablesScope<TTables>>;
};

/**
 * Makes a Drizzle database a synced one. It stays what it was: the same type, synchronous or not, every way to query. It
 * installs itself at the first write. Without a definition, every table of its schema that has a usable key is synced,
 * in the scope `everyone`.
 *
 * @example
 * export const db = withSync(drizzle(new Database("app.db"), { schema }), sync);
 */
export function withSync<TDb extends AnySqliteDatabase, TTables = unknown>(
  db: TDb,
  sync?: SyncDefinition<NoInfer<DatabaseSchema<TDb>>, TTables>,
): Synced<TDb, TTables> {
  // The derived object has every member of `db`, by inheritance.
  return openSync(db, sync) as Synced<TDb, TTables>;
}

/** `withSync` with what tests replace. */
export interface OpenSyncOptions {
  readonly now?: () => number;
  /** Told of what failed while nobody waited for it; it is tried again. */
  readonly onError?: (error: unknown) => void;
  readonly without?: Safeguards;
}

/** What `withSync` does. @internal */
export function openSync(
  db: object,
  definition: SyncDefinition<unknown> | undefined,
  options: OpenSyncOptions = {},
): object {
  if (syncSymbol in db)
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: "This database was made by `withSync` already. Wrap it once.",
    });
  const { schema, tables: rules } = definition ?? defaultDefinition(schemaOf(db));
  const tables = readTables(schema as Record<string, unknown>, rules as Record<string, TableRules>, namingOf(db));
  const driver = detectDriver(db);
  const client = (db as { readonly $client?: unknown }).$client;
  const make = (connection: SyncDatabase["connection"], isBusy?: () => boolean): SyncDatabase =>
    createSyncDatabase({ tables, connection, ...options, ...(isBusy === undefined ? {} : { isBusy }) });
  let sync: SyncDatabase;
  let derived: object;
  switch (driver) {
    case "better-sqlite3": {
      const raw = client as BetterDatabase;
      const connection = betterSqlite3Connection(raw);
      // The app may close its database while a timer still looks at it.
      sync = make(connection, () => !raw.open || raw.inTransaction);
      derived = hookBetterSqlite3(db, sync, connection);
      break;
    }
    case "libsql": {
      const writers = createTurns(client as LibsqlClient);
      const connection = libsqlConnection(client as LibsqlClient, writers);
      let isBusy = (): boolean => false;
      sync = make(connection, () => isBusy());
      ({ db: derived, isBusy } = hookLibsql(db, sync, writers));
      break;
    }
    case "connection": {
      const connection = connectionOf(db);
      if (connection === undefined)
        throw new SyncError({ code: "UNSUPPORTED_DATABASE", message: "The database brings no connection." });
      sync = make(connection);
      derived = Object.create(db) as object;
      break;
    }
  }
  Object.defineProperty(derived, syncSymbol, { value: sync });
  Object.defineProperty(derived, "$sync", { value: createHandle(derived, sync) });
  return derived;
}

function createHandle(db: object, sync: SyncDatabase): SyncHandle<Record<string, Table>, "sync" | "async"> {
  const { connection } = sync;
  const isReady = (): void | Promise<void> => (sync.role === undefined ? sync.install("server") : undefined);
  const read = <T>(core: () => Core<T>): T | Promise<T> => {
    const waiting = isReady();
    return waiting === undefined ? readAtHead(connection, core) : waiting.then(() => readAtHead(connection, core));
  };
  return {
    get ready() {
      return Promise.resolve().then(isReady);
    },
    migrate: (folder, options) => migrateDatabase(sync, folder, options),
    onChange: (tables, listener) => watchChanges(sync, tables, listener as Parameters<typeof watchChanges>[2]),
    cursor: () =>
      read(function* (): Core<Cursor> {
        return formatCursor(yield* readHead());
      }),
    scopesChanged: (subject) => sync.scopesChanged(subject),
  };
}

function schemaOf(db: object): Record<string, unknown> {
  const schema = (db as { readonly _?: { readonly fullSchema?: Record<string, unknown> } })._?.fullSchema ?? {};
  if (Object.values(schema).some((value) => is(value, Table))) return schema;
  throw new SyncError({
    code: "INVALID_CONFIG",
    message:
      "`withSync` was given neither a definition nor a database with a schema. Pass `defineSync(schema, { … })` as its second argument.",
  });
}

// With Drizzle's `casing` option a column's `name` is not the one in the database.
function namingOf(db: object): ColumnNaming | undefined {
  const casing = (db as { readonly dialect?: { readonly casing?: { getColumnCasing(column: Column): string } } })
    .dialect?.casing;
  return casing === undefined ? undefined : (column) => casing.getColumnCasing(column);
}
