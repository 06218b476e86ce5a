import { describe, expect, test } from "vitest";
import { syncOf } from "../plugin/sync-database.ts";
import type { PushRequest } from "../protocol/push.ts";
import { expectBase, openSeededWorld, settle, tags, type TestDevice, type TestWorld } from "../testing/device-world.ts";
import type { Transport } from "./transport.ts";

/** A device whose pushes hold two transactions, and wait until they are let go. */
async function open(): Promise<{
  readonly world: TestWorld;
  readonly device: TestDevice;
  readonly pushes: PushRequest[];
  /** What the transport was asked to prepare. */
  readonly prepared: PushRequest[];
  /** Waits until a push is on its way, and the next one is built. */
  readonly underWay: (count: number) => Promise<void>;
  readonly letGo: () => void;
  /** How often the queue was read for a push. */
  readonly reads: () => number;
}> {
  const world = await openSeededWorld();
  const pushes: PushRequest[] = [];
  const prepared: PushRequest[] = [];
  let letGo = (): void => undefined;
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    async handshake(request, options) {
      const answer = await transport.handshake(request, options);
      return { ...answer, limits: { ...answer.limits, maxPushTransactions: 2 } };
    },
    async push(request, options) {
      pushes.push(request);
      await new Promise<void>((resolve) => (letGo = resolve));
      return await transport.push(request, options);
    },
    prepare(request) {
      prepared.push(request);
      throw new Error("Said where it is sent.");
    },
  });
  const device = world.device("ann", { wrap });
  await device.client.sync();
  const { connection } = syncOf(device.db);
  if (connection.kind !== "sync") throw new Error("Not over this driver.");
  const own = connection.all.bind(connection);
  let reads = 0;
  connection.all = (sql, params) => {
    if (/\bo0\b.* FROM _sync_log WHERE seq > \? ORDER BY seq LIMIT/.test(sql)) reads++;
    return own(sql, params);
  };
  return {
    world,
    device,
    pushes,
    prepared,
    letGo: () => letGo(),
    reads: () => reads,
    async underWay(count) {
      await settle(() => pushes.length === count);
      await world.clock.advance(1, () => settle());
    },
  };
}
const write = (device: TestDevice, ...ids: readonly string[]): void => {
  for (const id of ids) device.db.insert(tags).values({ id, name: id }).run();
};
const keysOf = ({ txs }: PushRequest): readonly unknown[] => txs.map(({ ops }) => ops.map(([, key]) => key[0]).join());

describe("the push after the one under way", () => {
  test("is built meanwhile, and sent as it is", async () => {
    const { world, device, pushes, prepared, underWay, letGo, reads } = await open();
    await using _ = world;
    write(device, "a", "b", "c", "d", "e");
    const synced = device.client.sync();
    await underWay(1);
    const before = reads();
    letGo();
    await settle(() => pushes.length === 2);
    expect(reads()).toBe(before);
    await underWay(2);
    letGo();
    await underWay(3);
    letGo();
    await synced;
    expect(pushes.map(keysOf)).toEqual([["a", "b"], ["c", "d"], ["e"]]);
    expect(prepared.map((request) => pushes.indexOf(request))).toEqual([1, 2]);
    expect(pushes.map(({ previous }) => previous.number)).toEqual([0, 2, 4]);
    expect(pushes[1]?.previous.stamp).toBe(pushes[0]?.txs[1]?.stamp);
    await expectBase(world, device);
  });

  test("has what was written while it waited in the push after it", async () => {
    const { world, device, pushes, underWay, letGo } = await open();
    await using _ = world;
    write(device, "a", "b", "c");
    const synced = device.client.sync();
    await underWay(1);
    write(device, "late");
    letGo();
    await underWay(2);
    letGo();
    await underWay(3);
    letGo();
    await synced;
    expect(pushes.map(keysOf)).toEqual([["a", "b"], ["c"], ["late"]]);
    await expectBase(world, device);
  });

  test("I4: is built anew where something in it was discarded", async () => {
    const { world, device, pushes, underWay, letGo } = await open();
    await using _ = world;
    write(device, "a", "b", "c", "d");
    const synced = device.client.sync();
    await underWay(1);
    const [, , { id } = { id: "" }] = await device.client.pending.list();
    await device.client.pending.discard(id);
    letGo();
    await underWay(2);
    letGo();
    await synced;
    expect(pushes.map(keysOf)).toEqual([
      ["a", "b"],
      ["", "d"],
    ]);
    await expectBase(world, device);
  });

  test("is built anew where the one before it was answered otherwise", async () => {
    const { world, device, pushes, underWay, letGo } = await open();
    await using _ = world;
    write(device, "a", "b", "c");
    const synced = device.client.sync();
    await underWay(1);
    // The server was restored meanwhile: it has nothing of what it is sent, nor the device.
    await world.replaceServer();
    letGo();
    await underWay(2);
    letGo();
    await underWay(3);
    letGo();
    await synced;
    expect(pushes.at(1)?.previous.number).toBe(0);
    expect(
      world.server.db
        .select({ id: tags.id })
        .from(tags)
        .orderBy(tags.id)
        .all()
        .map(({ id }) => id),
    ).toEqual(["a", "b", "c"]);
    await expectBase(world, device);
  });
});
