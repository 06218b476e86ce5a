import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import type { TxRef } from "../protocol/ids.ts";
import { openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { ddl, definition, openSeededWorld, tags } from "../testing/device-world.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { judgeIdentity, takeBack, type TakenBack } from "./identity.ts";

/** A device whose transactions were all handled, with their references. */
async function handled(count: number): Promise<{ readonly device: DeviceFixture; readonly refs: readonly TxRef[] }> {
  const device = await openDeviceFixture(definition, ddl);
  await device.apply([]);
  for (let i = 1; i <= count; i++)
    device.db
      .insert(tags)
      .values({ id: `${i}`, name: "tag" })
      .run();
  const refs = [{ number: 0, stamp: 0 }, ...(await device.pending()).map(({ number, stamp }) => ({ number, stamp }))];
  await device.apply([], { lastTx: await device.last() });
  return { device, refs };
}
const ref = (refs: readonly TxRef[], number: number): TxRef => refs[number] ?? { number, stamp: 0 };

describe("what a server's record that ends early puts back into the queue", () => {
  const takeBackFrom = async (
    { device }: Awaited<ReturnType<typeof handled>>,
    change: Partial<Checkpoint>,
    lastTx: TxRef,
  ): Promise<TakenBack & { readonly before: Checkpoint; readonly queue: readonly number[] }> => {
    const before = { ...(await device.checkpoint()), ...change };
    const taken = await transact(device.sync.connection, "write", () => takeBack(before, lastTx));
    const queue = (await device.pending()).map(({ number }) => number);
    return { ...taken, before, queue };
  };

  test("I3: is what follows the record, also where a former id ended below it", async () => {
    const world = await handled(4);
    using _ = world.device;
    const { checkpoint, lost, queue } = await takeBackFrom(world, { former: ref(world.refs, 1) }, ref(world.refs, 3));
    expect(checkpoint).toMatchObject({ handled: ref(world.refs, 3), repeated: 4 });
    expect(queue).toEqual([4]);
    expect(lost).toBeUndefined();
  });

  test("I4: is not what was written under a former id, unless the log denies the cursor", async () => {
    for (const [isDenied, queue] of [
      [false, [3, 4]],
      [true, [2, 3, 4]],
    ] as const) {
      const world = await handled(4);
      using _ = world.device;
      const taken = await takeBackFrom(world, { former: ref(world.refs, 2), isDenied }, ref(world.refs, 1));
      expect(taken.queue).toEqual(queue);
    }
  });

  test("I4: is nothing where all was written under a former id, and nothing is marked as repeated", async () => {
    const world = await handled(4);
    using _ = world.device;
    const { checkpoint, before, queue } = await takeBackFrom(world, { former: ref(world.refs, 4) }, ref(world.refs, 1));
    expect(checkpoint).toEqual(before);
    expect(queue).toEqual([]);
    expect((await world.device.checkpoint()).repeated).toBe(0);
  });

  test("I3: the server's record as it is known speaks of this device", async () => {
    const { device, refs } = await handled(2);
    using _ = device;
    const checkpoint = await device.checkpoint();
    const judged = await transact(device.sync.connection, "read", () =>
      judgeIdentity(checkpoint, { lastTx: ref(refs, 2), ackedTx: 2 }, 2),
    );
    expect(judged).toBe("same");
  });
});

test("I3: a loss that is reported again is marked so, and only that", async () => {
  await using world = await openSeededWorld();
  const device = world.device("ann", { keepSentMs: 0 });
  await device.client.sync();
  const backup = world.server.raw.serialize();
  const write = (id: string): void => void device.db.insert(tags).values({ id, name: id }).run();
  write("one");
  await device.client.sync();
  const restore = async (): Promise<void> => {
    await world.replaceServer(backup);
    await device.client.sync();
  };
  await restore();
  await restore();
  write("two");
  await device.client.sync();
  await restore();
  const outcomes = await device.client.outcomes.list();
  expect(outcomes.map(({ status, again = false }) => [status, again])).toEqual([
    ["lost", false],
    ["lost", true],
    ["lost", false],
  ]);
});
