import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import type { Transport } from "./transport.ts";
import { openSeededWorld, settle, tags } from "../testing/device-world.ts";

/** Runs something once, after all was pushed and before the page that covers it is asked for. */
function beforePull(isDue: () => boolean, then: () => void): (transport: Transport) => Transport {
  let isDone = false;
  let isPushed = false;
  return (transport) => ({
    ...transport,
    push(request, options) {
      isPushed ||= isDue();
      return transport.push(request, options);
    },
    pull(request, options) {
      if (isPushed && !isDone) {
        isDone = true;
        then();
      }
      return transport.pull(request, options);
    },
  });
}

test("P6: a row that this device inserted and somebody deleted before it came back is sent whole", async () => {
  const world = await openSeededWorld();
  await using _ = world;
  const device = world.device("ann", {
    wrap: beforePull(
      () => true,
      () => {
        world.server.db.delete(tags).where(eq(tags.id, "x")).run();
        device.db.update(tags).set({ color: "red" }).where(eq(tags.id, "x")).run();
      },
    ),
  });
  device.db.insert(tags).values({ id: "x", name: "X" }).run();
  await device.client.sync();
  await settle();
  await device.client.sync();
  expect(world.server.db.select().from(tags).all()).toEqual([{ id: "x", name: "X", color: "red" }]);
  expect(device.db.select().from(tags).all()).toEqual([{ id: "x", name: "X", color: "red" }]);
});

test("P6: a row that is gone is sent as the user saw it, with what has left the queue since", async () => {
  const world = await openSeededWorld();
  await using _ = world;
  world.server.db.insert(tags).values({ id: "x", name: "X", color: "blue" }).run();
  const device = world.device("ann", {
    wrap: beforePull(
      () => true,
      () => {
        world.server.db.delete(tags).where(eq(tags.id, "x")).run();
        device.db.update(tags).set({ color: "red" }).where(eq(tags.id, "x")).run();
      },
    ),
  });
  await device.client.sync();
  device.db.update(tags).set({ name: "Y" }).where(eq(tags.id, "x")).run();
  await device.client.sync();
  await settle();
  await device.client.sync();
  expect(world.server.db.select().from(tags).all()).toEqual([{ id: "x", name: "Y", color: "red" }]);
});
