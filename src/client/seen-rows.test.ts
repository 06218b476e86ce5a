import { eq } from "drizzle-orm";
import { expect, test } from "vitest";
import { openSeededWorld, tags } from "../testing/device-world.ts";

test("P6: a long queue of transactions whose rows are wanted whole is not asked for them one by one", async () => {
  const world = await openSeededWorld();
  await using _ = world;
  const count = 60;
  const all = Array.from({ length: count }, (_unused, i) => ({ id: `t${i}`, name: `name ${i}`, color: "blue" }));
  world.server.db.insert(tags).values(all).run();
  let pushes = 0;
  const device = world.device("ann", {
    wrap: (transport) => ({
      ...transport,
      push(request, options) {
        pushes++;
        return transport.push(request, options);
      },
    }),
  });
  await device.client.sync();
  world.server.db.delete(tags).run();
  for (const { id } of all) device.db.update(tags).set({ color: "red" }).where(eq(tags.id, id)).run();
  // What comes after it is not wanted, and goes through.
  device.db.insert(tags).values({ id: "u", name: "last" }).run();
  await device.client.sync();
  expect(pushes).toBeLessThan(10);
  const wanted = [...all.map((row) => ({ ...row, color: "red" })), { id: "u", name: "last", color: null }];
  expect(world.server.db.select().from(tags).all()).toEqual(wanted);
  expect((await device.base())["tags"]).toHaveLength(count + 1);
});
