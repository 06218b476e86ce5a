import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import type { TxRef } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { ddl, definition, tags } from "../testing/device-world.ts";
import { applyPage, basisOf, type ApplyContext, type PageResult } from "./apply.ts";
import { requireCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase, restartRound } from "./device-state.ts";

const tag = (...ids: string[]) => group("tags", "row", ["id", "name", "color"], ...ids.map((id) => [id, "tag", null]));
const open = (): Promise<DeviceFixture> => openDeviceFixture(definition, ddl);
const shown = (device: DeviceFixture): unknown[] => device.raw.prepare("SELECT id FROM tags ORDER BY id").pluck().all();
const write = (device: DeviceFixture, ...ids: string[]): void => {
  for (const id of ids) device.db.insert(tags).values({ id, name: "mine" }).run();
};
const restart = (device: DeviceFixture): Promise<Checkpoint> =>
  Promise.resolve(
    transact(device.sync.connection, "write", function* () {
      return yield* restartRound(yield* requireCheckpoint());
    }),
  );
const reset = (device: DeviceFixture): Promise<Checkpoint> =>
  Promise.resolve(
    transact(device.sync.connection, "write", function* () {
      return yield* resetBase(yield* requireCheckpoint(), undefined, "CURSOR_UNKNOWN");
    }),
  );
const refs = async (device: DeviceFixture): Promise<readonly TxRef[]> => [
  { number: 0, stamp: 0 },
  ...(await device.pending()).map(({ number, stamp }) => ({ number, stamp })),
];
const ref = (of: readonly TxRef[], number: number): TxRef => of[number] ?? { number, stamp: 0 };

/** Applies a page of the device's own basis, at a time, with what is kept given up after a while. */
async function applyAt(device: DeviceFixture, page: Page, context: Partial<ApplyContext>): Promise<PageResult> {
  const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
  return await transact(device.sync.connection, "apply", () =>
    applyPage(device.sync, page, basis, { declaration: "0123456789abcdef", nowMs: 1, ...context }),
  );
}

describe("what is not a page for this device", () => {
  test("A1: one that was computed for another schema is dropped", async () => {
    using device = await open();
    await device.apply([tag("a")]);
    expect((await device.apply([tag("b")], { schema: "0000000000000000" })).kind).toBe("stale");
    expect(shown(device)).toEqual(["a"]);
  });

  test("A1: a frame of a snapshot is dropped by a device that has a base", async () => {
    using device = await open();
    await device.apply([tag("a")]);
    const { from: _from, ...page } = await device.page([tag("b")]);
    const { request: _request, ...stream } = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    expect((await device.applyTo(stream, page)).kind).toBe("stale");
    expect(shown(device)).toEqual(["a"]);
  });

  test("I3: a snapshot that comes late, and lacks what has been handled since, is dropped", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "1", "2");
    const of = await refs(device);
    await device.apply([tag("1")], { lastTx: ref(of, 1) });
    await reset(device);
    const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    const late = await device.page([tag("1")], { lastTx: ref(of, 1) });
    // Asked for twice: the other answer was here first, and another reset has come since.
    await device.apply([tag("1", "2")], { lastTx: ref(of, 2) });
    await reset(device);
    expect(await device.applyTo(basis, late)).toEqual({ kind: "stale" });
    expect(shown(device)).toEqual(["1", "2"]);
    expect(await device.pending()).toEqual([]);
  });

  test("one that has neither an end nor a continuation is refused", async () => {
    using device = await open();
    const { to: _to, ...page } = await device.page([tag("a")]);
    const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    await expect(device.applyTo(basis, page)).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
    expect(shown(device)).toEqual([]);
  });

  test("I3: a page from the device's own cursor is one, also where its record was overtaken", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "mine");
    const { request: _request, ...stream } = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    const none = (await device.checkpoint()).handled;
    await device.apply([tag("mine")], { lastTx: await device.last() });
    expect((await device.applyTo(stream, await device.page([tag("b")], { lastTx: none }))).kind).toBe("applied");
    expect(shown(device)).toEqual(["b", "mine"]);
    expect(await device.pending()).toEqual([]);
  });
});

describe("a first sync (R4)", () => {
  test("that begins again empties the tables when its first page comes, and only then", async () => {
    using device = await open();
    expect(await device.stage([tag("a")])).toMatchObject({ kind: "staged", tables: new Set(["tags"]) });
    await device.stage([tag("b")]);
    expect(shown(device)).toEqual(["a", "b"]);
    await restart(device);
    await device.stage([tag("c")]);
    expect(shown(device)).toEqual(["c"]);
    await device.stage([tag("d")]);
    await restart(device);
    write(device, "mine");
    await device.apply([tag("e")]);
    expect(shown(device)).toEqual(["e", "mine"]);
    expect(await device.base()).toMatchObject({ tags: [{ id: "e" }] });
  });

  test("goes on where it was when the app is opened again", async () => {
    using device = await open();
    await device.stage([tag("a")]);
    const { epoch } = await device.checkpoint();
    const again = await openDeviceFixture(definition, device.raw);
    await again.apply([tag("b")], { ...(epoch && { epoch }) });
    expect(shown(again)).toEqual(["a", "b"]);
  });

  test("says how far it is: no cursor and a part of the base, then all of it", async () => {
    using device = await open();
    const { hash } = deviceSchema(device.sync);
    const page = await device.page([]);
    await device.stage([tag("a")]);
    expect(await device.checkpoint()).toMatchObject({
      epoch: page.epoch,
      base: "partial",
      cursor: undefined,
      roundSchema: hash,
      round: expect.any(String),
    });
    const last = await device.page([tag("b")]);
    await applyAt(device, last, { nowMs: 77 });
    expect(await device.checkpoint()).toMatchObject({
      epoch: page.epoch,
      base: "whole",
      cursor: last.to,
      held: '["everyone"]',
      baseSchema: hash,
      declaration: "0123456789abcdef",
      syncedAt: 77,
      round: undefined,
      roundSchema: undefined,
      displaced: undefined,
    });
  });
});

describe("a round over a base", () => {
  test("R1: is staged durably, and shows nothing before its last page", async () => {
    using device = await open();
    await device.apply([tag("a")]);
    const before = await device.checkpoint();
    expect(await device.stage([tag("b")])).toEqual({ kind: "staged", tables: new Set(), applied: [] });
    expect(await device.checkpoint()).toMatchObject({
      cursor: before.cursor,
      base: "whole",
      roundSchema: deviceSchema(device.sync).hash,
    });
    expect(shown(device)).toEqual(["a"]);
    // Again, with nothing of the round before.
    await restart(device);
    await device.stage([tag("c")]);
    await device.apply([tag("d")]);
    expect(shown(device)).toEqual(["a", "c", "d"]);
    expect(await device.checkpoint()).toMatchObject({ round: undefined, roundSchema: undefined });
  });

  test("R1: of a fresh snapshot takes the place of the base when it is whole", async () => {
    using device = await open();
    await device.apply([tag("a")]);
    await reset(device);
    await device.stage([tag("b")]);
    expect(shown(device)).toEqual(["a"]);
    await device.apply([tag("c")]);
    expect(shown(device)).toEqual(["b", "c"]);
  });

  test("V2: leaves a note of the columns that the base holds, where the server knows fewer", async () => {
    using device = await open();
    await device.apply([tag("a")], { shared: "00000000000000aa" });
    expect((await device.checkpoint()).baseSchema).toBe("00000000000000aa");
    await device.apply([tag("b")]);
    expect((await device.checkpoint()).baseSchema).toBe(deviceSchema(device.sync).hash);
  });
});

describe("what is known to be handled", () => {
  test("I3, I4: never becomes less by a page from the device's own cursor", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "1", "2");
    const of = await refs(device);
    await device.apply([tag("1", "2")], { lastTx: ref(of, 2) });
    await device.apply([], { lastTx: ref(of, 0), ackedTx: 0 });
    expect(await device.checkpoint()).toMatchObject({ handled: ref(of, 2), told: 2 });
    // So what was acknowledged of it is the device's own word.
    expect((await device.apply([], { lastTx: ref(of, 2), ackedTx: 2 })).kind).toBe("applied");
    expect(await device.pending()).toEqual([]);
  });

  test("U3: stays where a page says nothing of it", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "1", "2");
    const of = await refs(device);
    await device.apply([tag("1")], { lastTx: ref(of, 1) });
    const { lastTx: _lastTx, ackedTx: _ackedTx, ...page } = await device.page([tag("x")]);
    expect((await applyAt(device, page, {})).kind).toBe("applied");
    expect(await device.checkpoint()).toMatchObject({ handled: ref(of, 1), told: 1 });
    expect(shown(device)).toEqual(["1", "2", "x"]);
    await reset(device);
    const { lastTx: _last, ackedTx: _acked, from: _from, ...snapshot } = await device.page([tag("1", "x")]);
    await applyAt(device, snapshot, {});
    expect((await device.pending()).map(({ number }) => number)).toEqual([2]);
    expect(shown(device)).toEqual(["1", "2", "x"]);
  });

  test("I2, I3: what a fresh snapshot lacks goes back to the queue, on top of it; its log is not denied any more", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "1", "2", "3");
    const of = await refs(device);
    await device.apply([tag("1", "2", "3")], { lastTx: ref(of, 3) });
    expect((await reset(device)).isDenied).toBe(true);
    const result = await device.apply([tag("1")], { lastTx: ref(of, 1) });
    expect(result).toMatchObject({ kind: "applied", settled: [] });
    expect((await device.pending()).map(({ number }) => number)).toEqual([2, 3]);
    expect(shown(device)).toEqual(["1", "2", "3"]);
    expect(await device.base()).toMatchObject({ tags: [{ id: "1" }] });
    expect(await device.checkpoint()).toMatchObject({ handled: ref(of, 1), isDenied: false });
    // A snapshot that has it all takes nothing back.
    await device.apply([tag("2", "3")], { lastTx: ref(of, 3) });
    await reset(device);
    await device.apply([tag("1", "2", "3")], { lastTx: ref(of, 3) });
    expect(await device.pending()).toEqual([]);
  });

  test("I3: what is kept no longer is reported as lost, before what else has left the queue", async () => {
    using device = await open();
    await device.apply([]);
    write(device, "1", "2");
    const of = await refs(device);
    const leave = async (number: number, nowMs: number, keepSentMs: number) =>
      await applyAt(device, await device.page([tag(`${number}`)], { lastTx: ref(of, number) }), { nowMs, keepSentMs });
    await leave(1, 100, 50);
    // The first one is young enough at 140, and too old at 160.
    await leave(2, 140, 50);
    write(device, "3");
    const third = await device.last();
    await applyAt(device, await device.page([tag("3")], { lastTx: third }), { nowMs: 160, keepSentMs: 50 });
    write(device, "4");
    await reset(device);
    const result = await device.apply([], { lastTx: ref(of, 0) });
    expect(result).toMatchObject({ settled: [{ outcome: { outcome: { status: "lost", from: 1, number: 1 } } }] });
    expect((await device.pending()).map(({ number }) => number)).toEqual([2, 3, 4]);
    expect(shown(device)).toEqual(["2", "3", "4"]);
  });
});
