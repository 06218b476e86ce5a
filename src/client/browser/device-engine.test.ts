import { expect, test } from "vitest";
import { SyncError } from "../../protocol/errors.ts";
import { openMemoryConnection } from "../../testing/browser/memory-connection.ts";
import { migrations, sync } from "../../testing/browser/web-schema.ts";
import type { Transport } from "../transport.ts";
import { createDeviceEngine, type DeviceEngine } from "./device-engine.ts";
import { createGate } from "./gate.ts";
import type { SyncCall } from "./sync-calls.ts";

const unreachable = (): Promise<never> =>
  Promise.reject(new SyncError({ code: "OFFLINE", message: "There is no server." }));
const transport: Transport = { handshake: unreachable, pull: unreachable, push: unreachable };

async function open(): Promise<{ readonly engine: DeviceEngine; call(one: Partial<SyncCall>): Promise<unknown> }> {
  const engine = await createDeviceEngine({
    connection: await openMemoryConnection(),
    gate: createGate(),
    sync,
    migrations,
    transport,
    askToken: () => Promise.resolve(null),
    online: { isOnline: () => false, subscribe: () => () => {} },
    emit: () => {},
    onCommit: () => {},
  });
  return {
    engine,
    call: (one) =>
      engine.call("page", { ...one, wishes: { hasToken: false, engine: { hold: "on-demand" } } } as SyncCall),
  };
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
