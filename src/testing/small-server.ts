/**
 * A server over tables that a test declares itself, and a device of it. For tests of the server that want another schema
 * than {@link openServer}'s.
 *
 * @module
 */

import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { knownTables } from "../plugin/known-tables.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { openSync } from "../plugin/with-sync.ts";
import { makeDeviceId } from "../protocol/ids.ts";
import { readRights } from "../server/scopes.ts";
import { createSyncService, type SyncCaller } from "../server/service.ts";
import { HandDevice } from "./hand-device.ts";

/** Opens a server in memory, with a device of one subject that has pulled. */
export async function openSmallServer(options: {
  readonly schema: Record<string, unknown>;
  readonly sync: Parameters<typeof openSync>[1];
  readonly sql: readonly string[];
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  readonly caller?: Partial<SyncCaller>;
}) {
  const { schema, sync, sql, read = ["everyone"], write = ["everyone"] } = options;
  const raw = new Database(":memory:");
  raw.pragma("foreign_keys = ON");
  const statements = sql.filter((statement) => statement.startsWith("CREATE"));
  for (const statement of statements) raw.exec(statement);
  const database = syncOf(openSync(drizzle(raw, { schema }), sync));
  await database.install("server");
  for (const statement of sql) if (!statements.includes(statement)) raw.exec(statement);
  const errors: unknown[] = [];
  const service = createSyncService({ database, onError: (error) => errors.push(error) });
  const caller: SyncCaller = {
    subject: "ann",
    scopes: async () => readRights({ read, write }),
    ...options.caller,
  };
  const device = new HandDevice(service, caller, knownTables(database.tables), database, makeDeviceId());
  await device.handshake();
  await device.pull();
  return {
    raw,
    database,
    service,
    device,
    errors,
    all: (statement: string): readonly unknown[] => raw.prepare(statement).raw(true).all(),
    async [Symbol.asyncDispose]() {
      service.close();
      raw.close();
    },
  };
}
