/**
 * Makes a {@link SyncDatabase} of tables and a connection. `withSync` puts one beneath a Drizzle database; the browser's
 * worker, which has no Drizzle database, uses it directly.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { hashValues } from "../protocol/hash.ts";
import { stepAsync, stepSync, first, transact, type Connection, type Core } from "./core.ts";
import { createCommits, isBusyError } from "./commits.ts";
import { readLayout, type Layout } from "./layouts.ts";
import { isMissingTable } from "./sqlite/missing-table.ts";
import { readHeadSeq, tablesSince } from "./sqlite/oplog-reader.ts";
import { inspect, install, readLayoutRows, type Installed, type InstallOptions } from "./sqlite/install.ts";
import type { Safeguards } from "./sqlite/safeguards.ts";
import type { InstallCause, Role, SyncDatabase } from "./sync-database.ts";
import type { SyncTable } from "./table.ts";

/** What a {@link SyncDatabase} is made of. */
export interface SyncDatabaseOptions {
  readonly tables: readonly SyncTable[];
  readonly connection: Connection;
  /** @default Date.now */
  readonly now?: () => number;
  /** Whether a transaction of the app is open on the connection, so that nothing can be looked up beside it. */
  readonly isBusy?: () => boolean;
  /** Told of what failed while nobody waited for it; it is tried again. */
  readonly onError?: ((error: unknown) => void) | undefined;
  /** Safeguards to leave out; for tests alone. */
  readonly without?: Safeguards;
}

/** Makes a database. It installs nothing before it is asked to. */
export function createSyncDatabase(options: SyncDatabaseOptions): SyncDatabase {
  const { tables, connection, now = Date.now, isBusy = () => false } = options;
  let installed: Installed | undefined;
  let installing: Promise<void> | undefined;
  let layouts: ReadonlyMap<number, Layout> = new Map();
  const scopeListeners = new Set<(subject: string) => void>();

  const wanted = (role: Role, cause: InstallCause = {}): InstallOptions => ({
    tables,
    role,
    now: now(),
    generation: installed?.generation,
    without: options.without,
    ...cause,
  });
  const take = (found: Installed): void => {
    installed = found;
    ({ layouts } = found);
  };
  const isRole = (role: Role): boolean => installed !== undefined && (role === "server" || installed.role === "device");
  function* isCurrent(role: Role): Core<boolean> {
    return isRole(role) && Number((yield* first("PRAGMA schema_version"))?.[0]) === installed?.schemaVersion;
  }
  // Nothing is written, and no lock awaited, where all is in order.
  function* check(role: Role): Core<boolean> {
    const found = yield* inspect(wanted(role));
    if (found.work.length > 0) return false;
    take(found.installed);
    return true;
  }
  function* mend(role: Role): Core<void> {
    take(yield* install(wanted(role)));
  }
  const installSync = (role: Role): void => {
    if (connection.kind !== "sync") return;
    if (stepSync(connection, isCurrent(role)) || transact(connection, "read", () => check(role))) return;
    try {
      transact(connection, "write", () => mend(role));
    } catch (error) {
      throw installFailure(error);
    }
  };
  const installAsync = async (role: Role): Promise<void> => {
    if (connection.kind !== "async") return;
    if ((await stepAsync(connection, isCurrent(role))) || (await transact(connection, "read", () => check(role))))
      return;
    try {
      await transact(connection, "write", () => mend(role));
    } catch (error) {
      throw installFailure(error);
    }
  };

  // Where the log stood when it was last looked at.
  let seen: number | undefined;
  function* look(): Core<ReadonlySet<string> | undefined> {
    const head = yield* readHeadSeq(sync);
    const before = seen;
    seen = head;
    if (before === undefined || head === before) return undefined;
    return head < before ? new Set() : ((yield* tablesSince(sync, before, 10_000)) ?? new Set());
  }
  const lookNow = (): ReadonlySet<string> | undefined => {
    if (connection.kind !== "sync") return undefined;
    try {
      return stepSync(connection, look());
    } catch (error) {
      reported(error);
      return undefined;
    }
  };
  const step = <T>(core: Core<T>): T | Promise<T> =>
    connection.kind === "sync" ? stepSync(connection, core) : stepAsync(connection, core);
  // The same trouble is told once, not ten times a second.
  let reportedLast: string | undefined;
  const reported = (error: unknown): void => {
    const text = String(error);
    if (text === reportedLast || isBusyError(error)) return;
    reportedLast = text;
    options.onError?.(error);
  };
  const lookFailed = async (error: unknown): Promise<ReadonlySet<string> | undefined> => {
    // The app closed its database, or began a transaction on its only connection, while we were looking.
    if (isBusy()) return undefined;
    reported(error);
    if (!isMissingTable(error)) return undefined;
    try {
      await sync.install(sync.role ?? "server");
    } catch (failure) {
      reported(failure);
    }
    // What the lost log told is unknown, and the new one is looked at from its beginning.
    seen = 0;
    return new Set();
  };
  const commits = createCommits({
    look: async () => {
      if (isBusy()) return undefined;
      try {
        const found = await step(look());
        reportedLast = undefined;
        return found;
      } catch (error) {
        return await lookFailed(error);
      }
    },
    begin: () => {
      seen = undefined;
    },
  });

  const sync: SyncDatabase = {
    tables,
    tableByKey: new Map(tables.map((table) => [table.key, table])),
    declaration: hashDeclaration(tables),
    connection,
    now,
    install(role) {
      if (connection.kind === "sync") return installSync(role);
      // One at a time; whoever waits finds all in order.
      const next = (installing ?? Promise.resolve()).then(
        () => installAsync(role),
        () => installAsync(role),
      );
      installing = next;
      return next;
    },
    *installHere(role, cause) {
      take(yield* install(wanted(role, cause)));
    },
    get role() {
      return installed?.role;
    },
    get schemaVersion() {
      return installed?.schemaVersion;
    },
    get layouts() {
      return layouts;
    },
    *reloadLayouts() {
      layouts = new Map((yield* readLayoutRows()).map((row) => [row.number, readLayout(row, tables)]));
    },
    onCommit: (listener, { rows = false } = {}) => commits.on(listener, rows),
    get isWatched() {
      return commits.isWatched;
    },
    get isFollowed() {
      return commits.isFollowed;
    },
    committed(changed, applied) {
      // What the log says goes along, or the next look would tell it once more.
      const logged =
        commits.isWatched && connection.kind === "sync" && installed !== undefined && !isBusy() ? lookNow() : undefined;
      commits.committed(logged === undefined ? changed : new Set([...changed, ...logged]), applied);
    },
    lookForCommits() {
      if (!commits.isWatched) return undefined;
      const tell = (found: ReadonlySet<string> | undefined): void =>
        void (found !== undefined && commits.committed(found));
      // The commit that is told of stands, whatever becomes of the looking.
      if (connection.kind === "async") return stepAsync(connection, look()).then(tell, reported);
      return tell(lookNow());
    },
    reported,
    onScopesChanged(listener) {
      const own = (subject: string): void => listener(subject);
      scopeListeners.add(own);
      return () => void scopeListeners.delete(own);
    },
    scopesChanged(subject) {
      for (const listener of [...scopeListeners]) listener(subject);
    },
  };
  return sync;
}

/** Whoever may not write cannot install either, and should hear that this is what is missing. */
function installFailure(error: unknown): unknown {
  if (!(error instanceof Error && "code" in error && String(error.code).startsWith("SQLITE_READONLY"))) return error;
  return new SyncError({
    code: "NOT_INSTALLED",
    message:
      "The log's tables or triggers are missing, and this connection may not write. Open the database once with one that may.",
    cause: error,
  });
}

/** What a device's base depends on besides rows and scopes: another one means that it must be fetched anew. */
function hashDeclaration(tables: readonly SyncTable[]): string {
  return hashValues(
    [...tables]
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .flatMap((table) => [
        table.key,
        table.parent === undefined ? "" : `${table.parent.table.key}.${table.parent.column.key}`,
        ...table.scopes.map((rule) =>
          rule.kind === "constant"
            ? rule.scope
            : `${rule.name}:${rule.compound ? "+" : ""}${rule.columns.map((column) => column.key).join(",")}`,
        ),
      ]),
  );
}
