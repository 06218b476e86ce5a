/**
 * What `server` and `client` know of a database made by `withSync`: its tables, its connection, its commits. Found with
 * {@link syncOf}; never part of the public surface.
 *
 * @module
 */

import type { Key } from "../protocol/ids.ts";
import { SyncError } from "../protocol/errors.ts";
import type { Connection, Core } from "./core.ts";
import type { Layout } from "./layouts.ts";
import type { SyncTable } from "./table.ts";

/** `server`: others pull from it. `device`: it follows a server. Written into the database at install, never mixed. */
export type Role = "server" | "device";

/** A row that a commit changed, by table key. */
export interface ChangedRow {
  readonly table: string;
  readonly kind: "insert" | "update" | "delete";
  readonly key: Key;
}

/**
 * Told after a commit became visible, by this connection or (empty set: unknown) by another process. `applied`: rows that
 * changed without being logged (a page on a device).
 */
export type CommitListener = (tables: ReadonlySet<string>, applied: readonly ChangedRow[]) => void;

/** Why something is to be mended, when that is known. */
export interface InstallCause {
  /** Triggers were taken away by ourselves, for a statement that fails while they are there: nothing went by. */
  readonly isLifted?: boolean;
  /** All was in order before the statement that has just run: a table that still has triggers has missed nothing. */
  readonly isSeen?: boolean;
  /** Names in SQL of tables whose rows are compared before and after by whoever asks: nothing goes by them. */
  readonly compared?: ReadonlySet<string>;
}

/** The internal side of `db.$sync`. */
export interface SyncDatabase {
  readonly tables: readonly SyncTable[];
  readonly tableByKey: ReadonlyMap<string, SyncTable>;
  /** Hash of the scope declaration (rules of every table); another one means a reset. */
  readonly declaration: string;
  /** Statements here do not pass the wrapper: the caller closes the transaction itself (`closeTransaction`). */
  readonly connection: Connection;
  /** Creates or mends log, state tables and triggers. Idempotent, under a lock; a promise on asynchronous drivers. */
  install(role: Role): void | Promise<void>;
  /** The same inside a transaction that is open already. */
  installHere(role: Role, options?: InstallCause): Core<void>;
  readonly role: Role | undefined;
  /** What `PRAGMA schema_version` said when the triggers were last checked. */
  readonly schemaVersion: number | undefined;
  /** What log entries speak of, by number. */
  readonly layouts: ReadonlyMap<number, Layout>;
  /** Reads the layouts again: another process has migrated. */
  reloadLayouts(): Core<void>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Subscribes to commits; returns the unsubscribe function. `rows`: whether the listener looks at `applied`. */
  onCommit(listener: CommitListener, options?: { readonly rows?: boolean }): () => void;
  /** Whether anybody is subscribed to commits. */
  readonly isWatched: boolean;
  /** Whether any of them looks at `applied`. */
  readonly isFollowed: boolean;
  /**
   * Tells subscribers of a commit that did not pass the wrapper (an applied page, a push). Table keys; `applied` names the
   * rows of an applied page, which are not in the log, for `db.$sync.onChange`.
   */
  committed(tables: ReadonlySet<string>, applied?: readonly ChangedRow[]): void;
  /** Looks for commits in the log now, and tells of them; does nothing while nobody is subscribed, and never fails. */
  lookForCommits(): void | Promise<void>;
  /** Told of what failed while nobody waited for it and is tried again later. Goes to the `onError` there is, if any. */
  reported(error: unknown): void;
  /** Subscribes to `db.$sync.scopesChanged(subject)`. */
  onScopesChanged(listener: (subject: string) => void): () => void;
  /** Tells subscribers that what a subject may hold has changed. */
  scopesChanged(subject: string): void;
}

/** The property that holds a {@link SyncDatabase} on a wrapped database; a symbol of all copies of this package. */
export const syncSymbol: unique symbol = Symbol.for("drizzle-sync.database") as never;

/** The property by which a database, or its `$client`, brings a {@link Connection} of its own. */
export const connectionSymbol: unique symbol = Symbol.for("drizzle-sync.connection") as never;

/** The internal side of a wrapped database. */
export function syncOf(db: object): SyncDatabase {
  const sync: unknown = (db as { readonly [syncSymbol]?: unknown })[syncSymbol];
  if (sync === undefined) {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: "This database was not made by `withSync`. Wrap it: `withSync(drizzle(…), sync)`.",
    });
  }
  // The property is written by `withSync` and by the browser database alone.
  return sync as SyncDatabase;
}

/** The connection that a database brings with it, if it does. */
export function connectionOf(db: object): Connection | undefined {
  const holder = db as {
    readonly [connectionSymbol]?: Connection;
    readonly $client?: { readonly [connectionSymbol]?: Connection };
  };
  return holder[connectionSymbol] ?? holder.$client?.[connectionSymbol];
}
