/** Every implementation of a dialect's connection there is, run through the one suite. */

import { createClient } from "@libsql/client";
import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle as drizzleBetter } from "drizzle-orm/better-sqlite3";
import { drizzle as drizzleLibsql } from "drizzle-orm/libsql";
import { describe, test } from "vitest";
import { createGatedConnection } from "../client/browser/gated-connection.ts";
import { createGate } from "../client/browser/gate.ts";
import type { Connection } from "../plugin/core.ts";
import { createSyncDatabase } from "../plugin/create-sync-database.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import { openMemoryConnection } from "./browser/memory-connection.ts";
import { capture, ddl, schema, sync, temporaryFile } from "./capture-fixture.ts";
import { dialectConformance, type DialectLimit, type OpenDialect, type OpenedDialect } from "./dialect-conformance.ts";

/** Opens a connection, and by `another` more of them, which are closed with it. */
async function openAll(one: () => Promise<OpenedDialect>): Promise<OpenedDialect> {
  const others: OpenedDialect[] = [];
  const first = await one();
  return {
    ...first,
    another: async () => {
      const other = await one();
      others.push(other);
      return other;
    },
    close: async () => {
      for (const other of others) await other.close();
      await first.close();
    },
  };
}

/** Makes the file with the schema, opens it, and removes it in the end. */
async function inFile(one: (path: string) => Promise<OpenedDialect>): Promise<OpenedDialect> {
  const file = temporaryFile();
  const raw = new Database(file.path);
  raw.pragma("journal_mode = WAL");
  raw.exec(ddl);
  raw.close();
  const opened = await openAll(() => one(file.path));
  return {
    ...opened,
    path: file.path,
    close: async () => {
      await opened.close();
      file[Symbol.dispose]();
    },
  };
}

async function betterSqlite3(path: string): Promise<OpenedDialect> {
  const raw = new Database(path, { timeout: 1000 });
  if (path === ":memory:") raw.exec(ddl);
  const db = withSync(drizzleBetter(raw, { schema }), sync);
  const internal = syncOf(db);
  return {
    connection: internal.connection,
    sync: internal,
    app: {
      execute: async (text) => void db.run(sql.raw(text)),
      transaction: async (statements, failure) =>
        db.transaction((tx) => {
          for (const text of statements) tx.run(sql.raw(text));
          if (failure !== undefined) throw failure;
        }),
    },
    close: async () => void raw.close(),
  };
}

/**
 * The driver reads a text up to its first NUL, and a connection that met a lock cannot commit before its failed statement
 * was collected as garbage: the next try, which the engine makes by itself, may fail as busy once more.
 */
const libsqlLimits = new Set<DialectLimit>(["nul-in-text", "busy-until-collected"]);

async function libsql(path: string): Promise<OpenedDialect> {
  const client = createClient({ url: path === ":memory:" ? path : `file:${path}` });
  if (path === ":memory:") await client.executeMultiple(ddl);
  const db = withSync(drizzleLibsql(client, { schema }), sync);
  const internal = syncOf(db);
  return {
    connection: internal.connection,
    sync: internal,
    limits: libsqlLimits,
    app: {
      execute: async (text) => void (await db.run(sql.raw(text))),
      transaction: (statements, failure) =>
        db.transaction(async (tx) => {
          for (const text of statements) await tx.run(sql.raw(text));
          if (failure !== undefined) throw failure;
        }),
    },
    close: async () => client.close(),
  };
}

/** The worker's connection: as the leader uses it, or as the sync engine sees it. */
async function wasm(isGated: boolean): Promise<OpenedDialect> {
  const worker = await openMemoryConnection();
  worker.script(ddl);
  const connection: Connection = isGated ? createGatedConnection(worker, createGate(), () => {}) : worker;
  const { tables } = tablesOf();
  return {
    connection,
    sync: createSyncDatabase({ tables, connection }),
    close: async () => worker.close(),
  };
}

/** The tables of the definition, as `withSync` reads them. */
function tablesOf(): Pick<ReturnType<typeof syncOf>, "tables"> {
  using it = capture();
  return { tables: it.sync.tables };
}

const implementations: Readonly<Record<string, OpenDialect>> = {
  "better-sqlite3 in memory": () => betterSqlite3(":memory:"),
  "better-sqlite3 over a file": () => inFile(betterSqlite3),
  "libSQL in memory": () => libsql(":memory:"),
  "libSQL over a file": () => inFile(libsql),
  "the browser's worker": () => wasm(false),
  "the browser's worker, as the engine sees it": () => wasm(true),
};

for (const [name, open] of Object.entries(implementations)) {
  describe(name, async () => {
    const sample = await open();
    await sample.close();
    for (const one of dialectConformance) {
      if (one.needs?.some((need) => sample[need] === undefined) === true) continue;
      if (one.limit !== undefined && sample.limits?.has(one.limit) === true) continue;
      test(one.name, async () => {
        const it = await open();
        try {
          await one.run(it);
        } finally {
          await it.close();
        }
      });
    }
  });
}
