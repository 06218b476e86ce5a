import { expect, test } from "vitest";
import { encodeCbor } from "../protocol/cbor.ts";
import { encodePullAnswer } from "../protocol/page-codec.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { openPair, type ServerFixture } from "../testing/server-fixture.ts";
import { outcomeLimits } from "./limits.ts";

const long = "x".repeat(40_000);

test("P9: of a row that is large, an outcome does not show the server's version", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(`UPDATE todos SET notes = '${long}' WHERE id = 't1'`);
  await device.pull();
  server.grants.set("ann", { read: ["list:a"], write: [] });
  const outcomes = await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })));
  expect(outcomes).toMatchObject([{ code: "SCOPE_NOT_WRITABLE", operation: { table: "todos", key: ["t1"] } }]);
  expect(encodeCbor(outcomes).length).toBeLessThan(outcomeLimits.bytes);
  expect(outcomes[0]).not.toHaveProperty("operation.server");
});

test("P9: of a conflict on large values, an outcome tells columns and winner, and the values that are short", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't1'`);
  const outcomes = await device.sync(
    device.tx(device.update("todos", "t1", { notes: ["n1", long], title: ["One", "Uno"] })),
  );
  expect(outcomes).toMatchObject([
    { conflicts: [{ columns: ["notes"], winner: "server", client: { title: "Uno" }, server: { notes: "theirs" } }] },
  ]);
  expect(encodeCbor(outcomes).length).toBeLessThan(outcomeLimits.bytes);
});

/** Refused transactions whose outcomes are as large as they get, 300 of them: twice what a page holds. */
async function refuseMany(server: ServerFixture, device: HandDevice): Promise<number> {
  await server.run(`UPDATE todos SET notes = '${"y".repeat(14_000)}' WHERE id = 't1'`);
  await device.pull();
  server.grants.set("ann", { read: ["list:a", "everyone"], write: [] });
  const count = 300;
  await device.push(
    ...Array.from({ length: count }, () => device.tx(device.update("todos", "t1", { title: ["One", "Uno"] }))),
  );
  return count;
}
const numbers = (device: HandDevice): number[] => device.outcomes.map(({ number }) => number);
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test("U3: outcomes that do not fit one page come with the pages after it, each with the lastTx that it tells of", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const count = await refuseMany(server, device);
  let pulls = 0;
  for (let before = -1; before < device.lastTx.number; pulls++) {
    before = device.lastTx.number;
    await device.pull();
    const [page] = device.pages;
    expect(page === undefined ? 0 : encodePullAnswer(page).length).toBeLessThan(1.2 * outcomeLimits.pageBytes);
    if (device.lastTx.number > before)
      expect(device.outcomes.at(-1)).toMatchObject({ number: device.lastTx.number, stamp: device.lastTx.stamp });
  }
  expect(numbers(device)).toEqual(range(count));
  expect(pulls).toBeGreaterThan(2);
});

test("U3: a device that has outcomes which it could not acknowledge is not told an earlier lastTx than it knows", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const count = await refuseMany(server, device);
  while (device.lastTx.number < count) await device.pull();
  // The acknowledgement never came: the outcomes are all there, and the cursor is gone.
  await server.run(`UPDATE _sync_devices SET acked_tx = 0`);
  const other = await refuseAgain(device);
  expect(other.lastTx).toMatchObject({ number: count + 1 });
});

async function refuseAgain(device: HandDevice) {
  await device.push(device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })));
  device.cursor = undefined;
  await device.pull();
  return device;
}

test("U3: on a live stream the rest follows in pages without changes", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const signal = new AbortController().signal;
  const stream = server.service.stream(device.caller, device.request(), { carries: "pages", signal });
  const count = 300;
  const next = async (): Promise<void> => {
    const frame = (await stream.next()).value?.frame;
    if (frame?.kind !== "page") throw new Error(`Not a page but ${frame?.kind}.`);
    device.apply([frame]);
  };
  const waiting = next();
  await server.run(`UPDATE todos SET notes = '${"y".repeat(14_000)}' WHERE id = 't1'`);
  await waiting;
  const last = next();
  // A column that devices may not write: refused, whatever the rights are.
  await device.push(
    ...Array.from({ length: count }, () => device.tx(device.update("todos", "t1", { createdBy: [null, "me"] }))),
  );
  await last;
  let pages = 1;
  for (; device.lastTx.number < count; pages++) await next();
  expect([...new Set(numbers(device))].sort((a, b) => a - b)).toEqual(range(count));
  expect(pages).toBeGreaterThan(2);
});
