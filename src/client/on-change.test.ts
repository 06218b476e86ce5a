import { expect, test } from "vitest";
import { openTestWorld, settle, tags } from "../testing/device-world.ts";

test("`onChange` on a device tells of rows that were pulled, once, and of own ones when they are written", async () => {
  const world = await openTestWorld();
  const device = world.device("ann");
  await device.client.sync();
  const told: unknown[] = [];
  const stop = device.db.$sync.onChange(["tags"], (changes) => void told.push(...changes));
  world.server.db.insert(tags).values({ id: "s", name: "theirs" }).run();
  await device.client.sync();
  await settle();
  expect(told).toMatchObject([{ kind: "insert", row: { id: "s", name: "theirs" } }]);
  device.db.insert(tags).values({ id: "m", name: "mine" }).run();
  await device.client.sync();
  world.server.db.delete(tags).run();
  await device.client.sync();
  await settle();
  expect(told.slice(1)).toMatchObject([
    { kind: "insert", row: { id: "m" } },
    { kind: "delete", key: { id: "s" } },
    { kind: "delete", key: { id: "m" } },
  ]);
  stop();
  await device.client.close();
});
