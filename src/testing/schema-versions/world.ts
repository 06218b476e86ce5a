/**
 * A server and devices whose schemas are of different versions, and change while rows and queues stay. An upgrade is what it
 * is in life: the process ends, the next one has other code, migrates the same file and goes on.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import Database from "better-sqlite3";
import { drizzle as drizzleBetter } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzleLibsql } from "drizzle-orm/libsql";
import { createEngine } from "../../client/engine.ts";
import { readDefinition } from "../../client/browser/definition-tables.ts";
import type { SyncEngine } from "../../client/sync-engine.ts";
import type { Transport } from "../../client/transport.ts";
import { all, run, transact, type Core } from "../../plugin/core.ts";
import { createSyncDatabase } from "../../plugin/create-sync-database.ts";
import { closeDeviceTransaction } from "../../plugin/device-log.ts";
import { applyMigrations } from "../../plugin/migrate.ts";
import { closeTransaction } from "../../plugin/oplog.ts";
import { syncOf, type SyncDatabase } from "../../plugin/sync-database.ts";
import { withSync } from "../../plugin/with-sync.ts";
import type { SyncError } from "../../protocol/errors.ts";
import { hlcNow } from "../../protocol/hlc.ts";
import type { Value } from "../../protocol/ids.ts";
import { createSyncService, type SyncService } from "../../server/service.ts";
import { openMemoryConnection } from "../browser/memory-connection.ts";
import { inProcessTransport } from "../in-process-transport.ts";
import { readBase, type TableRows } from "../read-base.ts";
import { createVirtualClock, type VirtualClock } from "../virtual-clock.ts";
import { readColumn, type Version } from "./version.ts";

/** What a database of a test runs on. */
export type VersionedDriver = "better-sqlite3" | "libsql" | "wasm";

/** A database file that outlives the process of the app: what opens it, once for each version. */
interface VersionedFile {
  /** Opens it with the code of a version, and the library on top. */
  open(version: Version): Promise<SyncDatabase>;
  close(): Promise<void>;
  remove(): void;
}

/** A side of the test: its database, as the version that runs now sees it. */
export interface Side {
  readonly sync: SyncDatabase;
  readonly version: Version;
  /** Executes statements of the app in one transaction. */
  write(...statements: readonly string[]): Promise<void>;
  rows(query: string): Promise<readonly (readonly Value[])[]>;
}

/** The server of a world. */
export interface VersionedServer extends Side {
  readonly service: SyncService;
  /** Ends the process and starts the next one: other code, and the statements of its migration. */
  upgrade(version: Version, ...statements: readonly string[]): Promise<void>;
}

/** A device of a world. */
export interface VersionedDevice extends Side {
  readonly engine: SyncEngine;
  /** Of the engine, in their order. */
  readonly errors: readonly SyncError[];
  readonly base: () => Promise<TableRows>;
  upgrade(version: Version, ...statements: readonly string[]): Promise<void>;
  /** Ends the process; `upgrade` starts the next one. */
  stop(): Promise<void>;
}

/** Options of a device. */
export interface VersionedDeviceOptions {
  readonly driver?: VersionedDriver;
  readonly pageRows?: number;
  readonly live?: "pages";
  readonly subject?: string;
  readonly wrap?: (transport: Transport) => Transport;
}

/** The world of one test. */
export interface VersionedWorld extends AsyncDisposable {
  readonly server: VersionedServer;
  readonly clock: VirtualClock;
  /** Scopes that everybody may read and write; changed at will. */
  readonly scopes: string[];
  device(version: Version, options?: VersionedDeviceOptions): Promise<VersionedDevice>;
}

/** Opens a world whose server begins with a version. */
export async function openVersionedWorld(
  first: Version,
  { driver = "better-sqlite3" }: { readonly driver?: VersionedDriver } = {},
): Promise<VersionedWorld> {
  const clock = createVirtualClock();
  const scopes = ["everyone"];
  const closing: (() => Promise<void>)[] = [];
  const file = await openFile(driver, first.ddl);
  let migrated = 0;

  const server = { version: first } as { -readonly [K in keyof VersionedServer]: VersionedServer[K] };
  const serve = async (next: Version, statements: readonly string[]): Promise<void> => {
    const sync = await file.open(next);
    if (statements.length > 0) await migrate(sync, statements, ++migrated);
    await sync.install("server");
    const service = createSyncService({
      database: sync,
      onError: (error) => {
        throw error;
      },
    });
    Object.assign(server, { ...sideOf(sync, next), service });
  };
  server.upgrade = async (next, ...statements) => {
    server.service.close();
    await file.close();
    await serve(next, statements);
  };
  await serve(first, []);

  closing.push(async () => {
    server.service.close();
    await file.close();
    file.remove();
  });
  return {
    server,
    clock,
    scopes,
    async device(initial, options = {}) {
      const own = await openFile(options.driver ?? "better-sqlite3", initial.ddl);
      const connect = (): Transport =>
        inProcessTransport({
          service: () => server.service,
          caller: () => ({
            subject: options.subject ?? "ann",
            scopes: async () => ({ read: new Set(scopes), write: new Set(scopes) }),
          }),
          ...(options.live === undefined ? {} : { live: options.live }),
        });
      const device = {} as { -readonly [K in keyof VersionedDevice]: VersionedDevice[K] };
      let count = 0;
      let isRunning = false;
      const start = async (next: Version, statements: readonly string[]): Promise<void> => {
        const sync = await own.open(next);
        await sync.install("device");
        if (statements.length > 0) await migrate(sync, statements, ++count);
        const errors: SyncError[] = [];
        const transport = connect();
        const engine = createEngine({
          sync,
          transport: options.wrap?.(transport) ?? transport,
          clock,
          random: () => 0.5,
          onError: (error) => errors.push(error),
          ...(options.pageRows === undefined ? {} : { pageRows: options.pageRows }),
        });
        isRunning = true;
        Object.assign(device, { ...sideOf(sync, next), engine, errors, base: () => readBase(sync) });
      };
      device.stop = async () => {
        if (!isRunning) return;
        isRunning = false;
        await device.engine.close();
        await own.close();
      };
      device.upgrade = async (next, ...statements) => {
        await device.stop();
        await start(next, statements);
      };
      await start(initial, []);
      closing.unshift(async () => {
        await device.stop();
        own.remove();
      });
      return device;
    },
    async [Symbol.asyncDispose]() {
      for (const close of closing) await close();
    },
  };
}

/** Applies a migration as the worker and `$sync.migrate` do. */
async function migrate(sync: SyncDatabase, statements: readonly string[], when: number): Promise<void> {
  await transact(sync.connection, "apply", () => applyMigrations(sync, [{ statements, when, hash: `${when}` }]));
}

function sideOf(sync: SyncDatabase, version: Version): Side {
  return {
    sync,
    version,
    async write(...statements) {
      await transact(sync.connection, "write", function* (): Core<void> {
        for (const statement of statements) yield* run(statement);
        if (sync.role === "device") yield* closeDeviceTransaction(sync);
        else yield* closeTransaction(sync, hlcNow(0, sync.now()));
      });
      sync.committed(new Set());
    },
    rows: async (query) => await transact(sync.connection, "read", () => all(query)),
  };
}

async function openFile(driver: VersionedDriver, ddl: readonly string[]): Promise<VersionedFile> {
  if (driver === "wasm") {
    // One connection is the file: in memory there is nothing else that could outlive it.
    const connection = await openMemoryConnection();
    for (const statement of ddl) connection.script(statement);
    return {
      open: async ({ definition }) =>
        createSyncDatabase({ tables: readDefinition(definition, undefined), connection, isBusy: () => true }),
      close: async () => undefined,
      remove: () => connection.close(),
    };
  }
  const folder = mkdtempSync(join(tmpdir(), "sync-versions-"));
  const path = join(folder, "app.db");
  const raw = new Database(path);
  for (const statement of ["PRAGMA journal_mode = WAL", ...ddl]) raw.exec(statement);
  raw.close();
  let close = (): void => undefined;
  return {
    async open({ schema, definition }) {
      if (driver === "libsql") {
        const client = createClient({ url: `file:${path}` });
        close = () => client.close();
        return syncOf(withSync(drizzleLibsql(client, { schema }), definition));
      }
      const database = new Database(path);
      database.pragma("foreign_keys = ON");
      // Power does not fail in these tests.
      database.pragma("synchronous = OFF");
      close = () => void database.close();
      return syncOf(withSync(drizzleBetter(database, { schema }), definition));
    },
    close: async () => close(),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** The rows of the server's tables that a device can have: columns that both know, in the scope `everyone` or one given. */
export async function sharedRows(server: Side, device: Version): Promise<TableRows> {
  const shared: Record<string, TableRows[string]> = {};
  for (const [table, columns] of Object.entries(sharedColumns(server.version, device))) {
    const names = columns.map((column) => readColumn(column).name);
    const keys = ["id", ...columns.map((column) => readColumn(column).key)];
    const rows = await server.rows(`SELECT ${["id", ...names].join(", ")} FROM ${table} ORDER BY id`);
    shared[table] = rows.map((row) => Object.fromEntries(keys.map((key, i) => [key, row[i] ?? null])));
  }
  return shared;
}

/** A device's base over the columns that the server knows. */
export async function sharedBase(server: Version, device: VersionedDevice): Promise<TableRows> {
  const base = await device.base();
  return Object.fromEntries(
    Object.entries(sharedColumns(server, device.version)).map(([table, columns]) => {
      const keys = ["id", ...columns.map((column) => readColumn(column).key)];
      return [table, (base[table] ?? []).map((row) => Object.fromEntries(keys.map((key) => [key, row[key] ?? null])))];
    }),
  );
}

function sharedColumns(server: Version, device: Version): Readonly<Record<string, readonly string[]>> {
  return Object.fromEntries(
    Object.entries(device.tables).flatMap(([table, { columns }]) => {
      const there = server.tables[table];
      if (there === undefined) return [];
      const keys = new Set(columns.map((column) => readColumn(column).key));
      const closed = new Set(there.exclude ?? []);
      return [
        [
          table,
          there.columns.filter((column) => keys.has(readColumn(column).key) && !closed.has(readColumn(column).key)),
        ],
      ];
    }),
  );
}
