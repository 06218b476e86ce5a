import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { expect, test } from "vitest";
import { syncOf } from "../../plugin/sync-database.ts";
import { withSync } from "../../plugin/with-sync.ts";
import { SyncError } from "../../protocol/errors.ts";
import { createSyncService } from "../../server/service.ts";
import { openMemoryConnection } from "../../testing/browser/memory-connection.ts";
import { inProcessTransport } from "../../testing/in-process-transport.ts";
import { lists, migrations, schema, sync } from "../../testing/browser/web-schema.ts";
import type { Transport } from "../transport.ts";
import { createDeviceEngine, type DeviceEngine } from "./device-engine.ts";
import { createGate } from "./gate.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";
import type { SyncCall } from "./sync-calls.ts";

const unreachable = (): Promise<never> =>
  Promise.reject(new SyncError({ code: "OFFLINE", message: "There is no server." }));
const transport: Transport = { handshake: unreachable, pull: unreachable, push: unreachable };

interface Opened {
  readonly engine: DeviceEngine;
  readonly connection: WorkerConnection;
  call(one: Partial<SyncCall>): Promise<unknown>;
}

async function open(reached: Transport = transport, isOnline = false): Promise<Opened> {
  const connection = await openMemoryConnection();
  const engine = await createDeviceEngine({
    connection,
    gate: createGate(),
    sync,
    migrations,
    transport: reached,
    askToken: () => Promise.resolve(null),
    online: { isOnline: () => isOnline, subscribe: () => () => {} },
    emit: () => {},
    onCommit: () => {},
  });
  const hold = isOnline ? "all" : "on-demand";
  return {
    engine,
    connection,
    call: (one) => engine.call("page", { ...one, wishes: { hasToken: false, engine: { hold } } } as SyncCall),
  };
}

/** Waits until the engine, which goes through the gate, has no transaction open. */
async function idle(connection: WorkerConnection): Promise<void> {
  for (;;) {
    try {
      return connection.transaction("read", () => undefined);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

test("a question for a hold that this leader was not told of yet waits for it", async () => {
  const { engine, call } = await open();
  let isReady = false;
  const ready = call({ verb: "hold-ready", hold: "h" }).then(
    () => (isReady = true),
    (error: unknown) => error,
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(isReady).toBe(false);
  await call({ verb: "hold", hold: "h", scope: "list:a", options: {} });
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(isReady).toBe(false);
  await engine.close();
  expect(await ready).toMatchObject({ code: "CLOSED" });
});

test("a question for a hold that is released meanwhile is refused", async () => {
  const { engine, call } = await open();
  const ready = call({ verb: "hold-ready", hold: "h" }).catch((error: unknown) => error);
  await call({ verb: "release", hold: "h" });
  expect(await ready).toMatchObject({ code: "ABORTED" });
  const other = call({ verb: "hold-ready", hold: "i" }).catch((error: unknown) => error);
  engine.clientGone("page");
  expect(await other).toMatchObject({ code: "ABORTED" });
  await engine.close();
});

test("a page verifies the worker's rows, which heal, and discards what is pending", async () => {
  const raw = new Database(":memory:");
  for (const { statements } of migrations) for (const statement of statements) raw.exec(statement);
  const db = withSync(drizzle(raw, { schema }), sync);
  const service = createSyncService({
    database: syncOf(db),
    onError: (error) => {
      throw error;
    },
  });
  await syncOf(db).install("server");
  db.insert(lists).values({ id: "a", title: "A" }).run();
  const scopes = new Set(["list:a"]);
  const caller = { subject: "ann", scopes: async () => ({ read: scopes, write: scopes }) };
  const { engine, connection, call } = await open(
    inProcessTransport({ service: () => service, caller: () => caller }),
    true,
  );
  expect(await call({ verb: "verify" })).toEqual({ checked: 1, mismatched: [] });
  await idle(connection);
  connection.transaction("write", () => {
    connection.run("INSERT INTO _sync_mute(x) VALUES (1)", []);
    connection.run("UPDATE lists SET title = 'damaged'", []);
    connection.run("DELETE FROM _sync_mute", []);
  });
  expect(await call({ verb: "verify", scopes: ["list:a"] })).toEqual({ checked: 1, mismatched: ["list:a"] });
  expect(connection.all("SELECT title FROM lists", [])).toEqual([["A"]]);

  await idle(connection);
  connection.transaction("write", () => {
    connection.run("UPDATE lists SET title = 'given up'", []);
    engine.closeTransaction();
  });
  const [queued] = (await call({ verb: "pending" })) as readonly { readonly id: string }[];
  await call({ verb: "discard-pending", id: queued?.id ?? "" });
  expect(connection.all("SELECT title FROM lists", [])).toEqual([["A"]]);
  expect(await call({ verb: "settled", id: queued?.id ?? "" })).toEqual({ status: "discarded" });
  await expect(call({ verb: "discard-pending", id: "nobody" })).rejects.toMatchObject({ code: "NOT_PENDING" });
  await engine.close();
  service.close();
  raw.close();
});
