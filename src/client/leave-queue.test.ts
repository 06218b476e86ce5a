import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import type { TxRef } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { ddl, definition, tags } from "../testing/device-world.ts";
import { applyPage, basisOf } from "./apply.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase } from "./device-state.ts";
import { transactionId } from "./outcomes.ts";

interface Written extends TxRef {
  readonly id: number;
}

/** A device with this many transactions in its queue, each of which inserts a tag. */
async function written(count: number): Promise<{ readonly device: DeviceFixture; readonly txs: readonly Written[] }> {
  const device = await openDeviceFixture(definition, ddl);
  await device.apply([]);
  for (let i = 1; i <= count; i++)
    device.db
      .insert(tags)
      .values({ id: `${i}`, name: "mine" })
      .run();
  return { device, txs: (await device.pending()).map(({ id, number, stamp }) => ({ id, number, stamp })) };
}
const ref = ({ number, stamp }: TxRef): TxRef => ({ number, stamp });
const at = (txs: readonly Written[], number: number): Written => txs[number - 1] as Written;
const rejected = (tx: TxRef): Outcome => ({ status: "rejected", ...ref(tx), code: "CONSTRAINT", message: "No." });
const merged = (tx: TxRef): Outcome => ({ status: "merged", ...ref(tx), conflicts: [] });
const inserted = (id: string): object => ({ operations: [{ table: "tags", kind: "insert", key: [id] }] });
const tag = (...ids: string[]) => group("tags", "row", ["id", "name", "color"], ...ids.map((id) => [id, "mine", null]));
const stored = (device: DeviceFixture): unknown =>
  device.raw.prepare("SELECT count(*) FROM _sync_outcomes").pluck().get();

async function settled(device: DeviceFixture, lastTx: TxRef, outcomes: readonly Outcome[]): Promise<unknown> {
  const result = await device.apply([], { lastTx: ref(lastTx), outcomes });
  return result.kind === "applied" ? result.settled : undefined;
}

/** The server has lost everything: a fresh snapshot takes back what is kept. */
async function restore(device: DeviceFixture): Promise<unknown> {
  await transact(device.sync.connection, "write", function* () {
    yield* resetBase(yield* requireCheckpoint(), undefined, "CURSOR_UNKNOWN");
  });
  return await settled(device, { number: 0, stamp: 0 }, []);
}

describe("transactions that leave the queue (promise 2)", () => {
  test("leave in their order, each with what became of it, if that is not what was written", async () => {
    const { device, txs } = await written(4);
    using _ = device;
    const result = await device.apply([tag("1", "4")], {
      lastTx: ref(at(txs, 4)),
      outcomes: [merged(at(txs, 3)), rejected(at(txs, 2))],
    });
    expect(result).toMatchObject({
      settled: [
        { id: at(txs, 1).id },
        { id: at(txs, 2).id, outcome: { id: transactionId(at(txs, 2).id), ...inserted("2") } },
        { id: at(txs, 3).id, outcome: { outcome: { status: "merged" }, ...inserted("3") } },
        { id: at(txs, 4).id },
      ],
    });
    expect(result.kind === "applied" && result.settled.map((each) => "outcome" in each)).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(stored(device)).toBe(2);
    expect(await device.pending()).toEqual([]);
  });

  test("I4: an outcome under another stamp is another's", async () => {
    const { device, txs } = await written(2);
    using _ = device;
    const result = await settled(device, at(txs, 2), [
      rejected({ number: 1, stamp: at(txs, 1).stamp + 1 }),
      rejected(at(txs, 2)),
    ]);
    expect(result).toMatchObject([{ id: at(txs, 1).id }, { outcome: inserted("2") }]);
    expect(stored(device)).toBe(1);
  });

  test("leave with what they wrote into rows that are gone, so that they can be brought back", async () => {
    const { device, txs } = await written(1);
    using _ = device;
    await device.apply([tag("1")], { lastTx: ref(at(txs, 1)) });
    device.db.update(tags).set({ color: "red" }).run();
    const last = await device.last();
    const result = await device.apply([group("tags", "removal", ["id"], ["1"])], {
      lastTx: last,
      outcomes: [merged(last)],
    });
    expect(result).toMatchObject({ settled: [{ outcome: { operations: [{ row: { name: "mine", color: "red" } }] } }] });
  });
});

describe("another outcome of what has left the queue (I3, I4)", () => {
  test("is reported again, with what was written, also where it was rejected at first", async () => {
    const { device, txs } = await written(3);
    using _ = device;
    await settled(device, at(txs, 2), [rejected(at(txs, 1))]);
    expect(await settled(device, at(txs, 2), [merged(at(txs, 1))])).toMatchObject([
      { id: at(txs, 1).id, outcome: { again: true, outcome: { status: "merged" }, ...inserted("1") } },
    ]);
    // It takes the place of the first one, and is not told twice.
    expect(stored(device)).toBe(1);
    expect(await settled(device, at(txs, 2), [merged(at(txs, 1))])).toEqual([]);
  });

  test("comes before those that leave with the page, which are reported once", async () => {
    const { device, txs } = await written(2);
    using _ = device;
    await settled(device, at(txs, 1), []);
    const result = await settled(device, at(txs, 2), [rejected(at(txs, 2)), rejected(at(txs, 1))]);
    expect(result).toMatchObject([
      { id: at(txs, 1).id, outcome: { again: true, ...inserted("1") } },
      { id: at(txs, 2).id, outcome: inserted("2") },
    ]);
    expect((result as { outcome: object }[]).map(({ outcome }) => "again" in outcome)).toEqual([true, false]);
  });

  test("is another's where its stamp is another", async () => {
    const { device, txs } = await written(2);
    using _ = device;
    await settled(device, at(txs, 2), []);
    expect(await settled(device, at(txs, 2), [rejected({ number: 1, stamp: at(txs, 1).stamp + 1 })])).toEqual([]);
    expect(stored(device)).toBe(0);
  });

  test("says nothing of what is kept no longer", async () => {
    const { device, txs } = await written(2);
    using _ = device;
    await settled(device, at(txs, 2), []);
    device.raw.exec("DELETE FROM _sync_log WHERE seq < (SELECT max(seq) FROM _sync_log)");
    expect(await settled(device, at(txs, 2), [rejected(at(txs, 1))])).toEqual([]);
    expect(stored(device)).toBe(0);
  });
});

describe("what is kept for a server that loses it (I3)", () => {
  test("is told again, marked so, when it is handled again; what was rejected goes as an empty one, and untold", async () => {
    const { device, txs } = await written(3);
    using _ = device;
    await settled(device, at(txs, 2), [rejected(at(txs, 1))]);
    expect(await restore(device)).toEqual([]);
    expect((await device.pending()).map(({ number, entries }) => [number, entries.length])).toEqual([
      [1, 0],
      [2, 1],
      [3, 1],
    ]);
    const result = await settled(device, at(txs, 3), [merged(at(txs, 2)), merged(at(txs, 3))]);
    expect(result).toMatchObject([
      { id: at(txs, 2).id, outcome: inserted("2") },
      { id: at(txs, 3).id, outcome: inserted("3") },
    ]);
    expect((result as { outcome: object }[]).map(({ outcome }) => "again" in outcome)).toEqual([true, false]);
  });

  test("is kept for seven days, when nothing else is said", async () => {
    const day = 24 * 60 * 60 * 1000;
    for (const [nowMs, lost] of [
      [7 * day, []],
      [7 * day + 1, [{ outcome: { outcome: { status: "lost", from: 1, number: 1 } } }]],
    ] as const) {
      const { device, txs } = await written(2);
      using _ = device;
      // The first one leaves in the first millisecond.
      await settled(device, at(txs, 1), []);
      const page = await device.page([], { lastTx: ref(at(txs, 2)) });
      const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
      await transact(device.sync.connection, "apply", () =>
        applyPage(device.sync, page, basis, { declaration: "0123456789abcdef", nowMs }),
      );
      const result = await restore(device);
      expect(result).toMatchObject(lost);
      expect(result).toHaveLength(lost.length);
    }
  });
});
