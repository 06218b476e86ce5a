import { describe, expect, onTestFinished, test } from "vitest";
import Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SyncError } from "../protocol/errors.ts";
import type { PullRequest } from "../protocol/pull.ts";
import type { PushRequest } from "../protocol/push.ts";
import { openCrashDatabase, reopen } from "../testing/crash-database.ts";
import {
  ddl,
  definition,
  expectBase,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestServer,
  type TestWorld,
} from "../testing/device-world.ts";
import { openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { transact } from "../plugin/core.ts";
import type { TxRef } from "../protocol/ids.ts";
import type { Outcome as ServerOutcome } from "../protocol/outcome.ts";
import { basisOf } from "./apply.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import type { Outcome } from "./client.ts";
import { deviceSchema } from "./device-schema.ts";
import { resetBase } from "./device-state.ts";
import { judgeIdentity, type Identity, type IdentityClaim } from "./identity.ts";
import type { Transport } from "./transport.ts";

const day = 24 * 60 * 60 * 1000;

/** One transaction that inserts a tag of this name. */
const write = (device: TestDevice, ...ids: readonly string[]): void => {
  for (const id of ids)
    device.db
      .insert(tags)
      .values({ id, name: `${id} by the device` })
      .run();
};
const tagsOf = ({ db }: TestServer | TestDevice): readonly string[] =>
  db
    .select()
    .from(tags)
    .all()
    .map(({ id }) => id)
    .sort();
const nameOf = ({ db }: TestServer | TestDevice, id: string): string | undefined =>
  db
    .select()
    .from(tags)
    .all()
    .find((tag) => tag.id === id)?.name;
const meta = ({ raw }: TestDevice, key: string): unknown =>
  raw.prepare("SELECT v FROM _sync_meta WHERE k = ?").pluck().get(key);
const idOf = (device: TestDevice): unknown => meta(device, "device.id");
const lastTxOf = ({ raw }: TestServer, device: TestDevice): unknown =>
  raw.prepare("SELECT last_tx FROM _sync_devices WHERE device_id = ?").pluck().get(idOf(device));

/** Listens to what a device sends. */
function recorder(): {
  readonly pushes: PushRequest[];
  readonly pulls: PullRequest[];
  readonly wrap: (t: Transport) => Transport;
} {
  const pushes: PushRequest[] = [];
  const pulls: PullRequest[] = [];
  return {
    pushes,
    pulls,
    wrap: (transport) => ({
      ...transport,
      push(request, options) {
        pushes.push(request);
        return transport.push(request, options);
      },
      pull(request, options) {
        pulls.push(request);
        return transport.pull(request, options);
      },
    }),
  };
}

/** The transactions sent, as `number` or `from-number`, with their count of operations. */
const sent = (pushes: readonly PushRequest[]): readonly string[] =>
  pushes.flatMap(({ txs }) =>
    txs.map(({ number, from, ops }) => `${from === undefined ? "" : `${from}-`}${number}:${ops.length}`),
  );

async function synced(world: TestWorld, device: TestDevice): Promise<void> {
  await device.client.sync();
  expect(await device.client.pending.list()).toEqual([]);
  expect(device.client.state.pending).toBe(0);
  await expectBase(world, device);
  // Nothing pending, so what is shown is the base.
  expect(tagsOf(device)).toEqual(tagsOf(world.server));
}

describe("a server restored from a backup", () => {
  test("I3: gets again what it had handled, under the same numbers, before what was pending", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    const device = world.device("ann", { wrap });
    write(device, "one");
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "two", "three");
    await synced(world, device);
    await world.replaceServer(backup);
    world.server.db.insert(tags).values({ id: "new", name: "written since" }).run();
    write(device, "four");
    pushes.length = 0;
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["four", "new", "one", "three", "two"]);
    expect(sent(pushes).slice(-3)).toEqual(["2:1", "3:1", "4:1"]);
    expect(lastTxOf(world.server, device)).toBe(4);
    expect(await device.client.outcomes.list()).toEqual([]);
  });

  test("I3: also when nothing is pending, and when the stream is the first to hear of it", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { live: "pages" });
    const backup = world.server.raw.serialize();
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    write(device, "one");
    await settle(() => device.client.state.pending === 0 && tagsOf(world.server).includes("one"));
    const old = world.server;
    await world.replaceServer(backup);
    old.service.close();
    await settle();
    await world.clock.advance(60_000, () => settle());
    await settle(() => device.client.state.status === "synced" && device.client.state.pending === 0);
    expect(tagsOf(world.server)).toEqual(["one"]);
    await expectBase(world, device);
  });

  test("I3: what a page covered and what was only uploaded go again in one order", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    let drops = false;
    const device = world.device("ann", {
      wrap: (transport) =>
        wrap({
          ...transport,
          pull: (request, options) =>
            drops && request.cursor !== undefined
              ? Promise.reject(new Error("the page is lost"))
              : transport.pull(request, options),
        }),
    });
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "covered");
    await synced(world, device);
    drops = true;
    write(device, "uploaded");
    await expect(device.client.sync()).rejects.toBeDefined();
    expect(tagsOf(world.server)).toEqual(["covered", "uploaded"]);
    drops = false;
    await world.replaceServer(backup);
    pushes.length = 0;
    await synced(world, device);
    expect(sent(pushes)).toEqual(["1:1", "2:1"]);
    expect(tagsOf(world.server)).toEqual(["covered", "uploaded"]);
  });

  test("I3: what was uploaded and lost is sent again although the cursor is still good", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const backup = world.server.raw.serialize();
    let isLost = false;
    const other = world.device("ann", {
      from: device.raw.serialize(),
      wrap: (transport) => ({
        ...transport,
        async push(request, options) {
          const answer = await transport.push(request, options);
          if (!isLost) await world.replaceServer(backup);
          isLost = true;
          return answer;
        },
      }),
    });
    write(other, "one");
    await synced(world, other);
    expect(tagsOf(world.server)).toEqual(["one"]);
  });

  test("I3: a rejected transaction goes back as an empty one, and is not reported again", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    world.rights["ann"] = { read: ["list:a", "list:b", "everyone"], write: ["everyone"] };
    const device = world.device("ann", { wrap });
    const told: Outcome[] = [];
    device.client.outcomes.subscribe((outcome) => told.push(outcome));
    await synced(world, device);
    const backup = world.server.raw.serialize();
    device.db.insert(todos).values({ id: "no", listId: "a", title: "not allowed" }).run();
    write(device, "yes");
    await synced(world, device);
    const [rejected] = await device.client.outcomes.list();
    expect(rejected?.status).toBe("rejected");
    await world.replaceServer(backup);
    // Now it would be allowed: the user has been told otherwise.
    delete world.rights["ann"];
    world.rights["ann"] = { read: ["list:a", "list:b", "everyone"], write: ["list:a", "everyone"] };
    pushes.length = 0;
    await synced(world, device);
    expect(sent(pushes)).toEqual(["1:0", "2:1"]);
    expect(world.server.db.select().from(todos).all()).toHaveLength(2);
    expect(tagsOf(world.server)).toEqual(["yes"]);
    await settle();
    expect(told.map(({ status }) => status)).toEqual(["rejected"]);
    expect(await device.client.pending.settled(rejected?.id ?? "")).toMatchObject({ status: "rejected" });
  });

  test("I3: a transaction that is judged again is reported again, and marked so", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    const told: Outcome[] = [];
    device.client.outcomes.subscribe((outcome) => told.push(outcome));
    await synced(world, device);
    const backup = world.server.raw.serialize();
    const rename = (title: string): void => void world.server.db.update(todos).set({ title }).run();
    rename("by the server");
    device.db.update(todos).set({ title: "by the device" }).run();
    await synced(world, device);
    await world.replaceServer(backup);
    rename("by the restored server");
    await synced(world, device);
    await settle();
    expect(told.map(({ status, again }) => [status, again])).toEqual([
      ["merged", undefined],
      ["merged", true],
    ]);
    // The later one has taken the earlier one's place.
    expect(await device.client.outcomes.list()).toEqual([told[1]]);
    expect(new Set(told.map(({ id }) => id)).size).toBe(1);
  });

  test("I3: what is kept no longer is reported as lost, once, and goes as an empty range", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    const device = world.device("ann", { wrap });
    const told: Outcome[] = [];
    device.client.outcomes.subscribe((outcome) => told.push(outcome));
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "old", "older");
    await synced(world, device);
    await world.clock.advance(8 * day, () => settle());
    write(device, "young");
    await synced(world, device);
    await world.replaceServer(backup);
    write(device, "pending");
    pushes.length = 0;
    await synced(world, device);
    expect(sent(pushes).slice(-3)).toEqual(["1-2:0", "3:1", "4:1"]);
    expect(tagsOf(world.server)).toEqual(["pending", "young"]);
    await settle();
    expect(told).toMatchObject([{ operations: [], status: "lost", count: 2 }]);
    expect(told[0]).not.toHaveProperty("again");
    expect(await device.client.outcomes.list()).toEqual(told);
    const id = told[0]?.id ?? "";
    expect(await device.client.pending.settled(id)).toEqual({ status: "lost", outcome: told[0] });
    await device.client.outcomes.resolve(id, "discard");
    expect(await device.client.outcomes.list()).toEqual([]);
  });

  test("I3: with nothing kept, all of it is lost, and the numbers go on", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { keepSentMs: 0 });
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "one", "two", "three");
    await synced(world, device);
    await world.replaceServer(backup);
    await synced(world, device);
    expect(await device.client.outcomes.list()).toMatchObject([{ status: "lost", count: 3 }]);
    expect(tagsOf(device)).toEqual([]);
    expect(lastTxOf(world.server, device)).toBe(3);
    write(device, "four");
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["four"]);
    // A second restore reports what it reported before as that.
    await world.replaceServer(backup);
    await synced(world, device);
    expect(await device.client.outcomes.list()).toMatchObject([
      { status: "lost", count: 3 },
      { status: "lost", count: 4 },
    ]);
  });

  test("I3: a server that moves forward again, to a later backup, has what it says", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const early = world.server.raw.serialize();
    write(device, "one", "two");
    await synced(world, device);
    write(device, "three");
    // So that it acknowledges what it was told.
    await synced(world, device);
    await synced(world, device);
    const late = world.server.raw.serialize();
    await world.replaceServer(early);
    const before = idOf(device);
    let isDown = true;
    const again = world.device("ann", {
      from: device.raw.serialize(),
      wrap: (transport) => ({
        ...transport,
        push: (request, options) =>
          isDown ? Promise.reject(new Error("no network")) : transport.push(request, options),
      }),
    });
    await expect(again.client.sync()).rejects.toBeDefined();
    expect((await again.client.pending.list()).map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(tagsOf(again)).toEqual(["one", "three", "two"]);
    await world.replaceServer(late);
    isDown = false;
    await synced(world, again);
    expect(idOf(again)).toBe(before);
    expect(await again.client.outcomes.list()).toEqual([]);
  });

  test("I3, P6: an update of a row that the backup lacks brings the row back whole where the client wins", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const backup = world.server.raw.serialize();
    world.server.db.insert(tags).values({ id: "t", name: "red", color: "#f00" }).run();
    await synced(world, device);
    device.db.update(tags).set({ name: "dark red" }).run();
    await synced(world, device);
    await world.replaceServer(backup);
    await synced(world, device);
    expect(world.server.db.select().from(tags).all()).toEqual([{ id: "t", name: "dark red", color: "#f00" }]);
    expect(await device.client.outcomes.list()).toMatchObject([{ status: "merged", again: true }]);
  });

  test("I3, A3: what comes back and breaks a constraint on the restored base is judged like anything", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const backup = world.server.raw.serialize();
    // A row whose unique value another one has taken since: as it once was it could not be put back on the way.
    device.db.update(todos).set({ slot: "s" }).where(eq(todos.id, "1")).run();
    await synced(world, device);
    device.db.delete(todos).where(eq(todos.id, "1")).run();
    device.db.update(todos).set({ slot: "s" }).where(eq(todos.id, "2")).run();
    await synced(world, device);
    await world.replaceServer(backup);
    world.server.db.insert(todos).values({ id: "3", listId: "b", title: "three", slot: "s" }).run();
    write(device, "after");
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["after"]);
    expect(world.server.db.select({ id: todos.id, slot: todos.slot }).from(todos).orderBy(todos.id).all()).toEqual([
      { id: "1", slot: null },
      { id: "2", slot: null },
      { id: "3", slot: "s" },
    ]);
    expect((await device.client.outcomes.list()).map(({ status, again }) => [status, again])).toEqual([
      ["rejected", true],
      // The delete of a row that had the slot when it was deleted.
      ["merged", true],
      ["rejected", true],
    ]);
  });

  test("I3: the database of another epoch gets what is kept, too", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    write(device, "one");
    await synced(world, device);
    await world.replaceServer();
    write(device, "two");
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["one", "two"]);
  });

  test("I2, I3: a file copied over the database of a server that goes on writing", async () => {
    const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const path = (name: string): string => join(folder, name);
    await using world = await openSeededWorld();
    const image = world.server.raw.serialize();
    await world.replaceServer(new Database(image));
    const open = async (name: string): Promise<TestServer> => {
      const raw = new Database(path(name));
      raw.pragma("journal_mode = WAL");
      return await world.replaceServer(raw);
    };
    await world.server.raw.backup(path("server.db"));
    const server = await open("server.db");
    const device = world.device("ann");
    const other = world.device("bob");
    write(device, "one");
    await synced(world, device);
    await synced(world, other);
    // A plain copy of the file; the log may not lag behind in another one.
    server.raw.pragma("wal_checkpoint(TRUNCATE)");
    copyFileSync(path("server.db"), path("copy.db"));
    write(device, "two");
    await synced(world, device);
    write(other, "three");
    await synced(world, other);
    await synced(world, device);
    // As many new entries as were lost, so that every cursor has an entry at its place.
    const restored = await open("copy.db");
    const head = (raw: TestServer["raw"]): number =>
      Number(raw.prepare("SELECT max(seq) FROM _sync_log").pluck().get());
    for (let i = 0; head(restored.raw) < head(server.raw) + 5; i++)
      restored.db
        .insert(tags)
        .values({ id: `new ${i}`, name: "since" })
        .run();
    await synced(world, device);
    await synced(world, other);
    await synced(world, device);
    expect(tagsOf(restored).filter((id) => !id.startsWith("new"))).toEqual(["one", "three", "two"]);
    for (const each of [device, other]) expect(await each.client.outcomes.list()).toEqual([]);
    expect(restored.raw.pragma("integrity_check", { simple: true })).toBe("ok");
  });
});

describe("a server that lost its record of a device", () => {
  test("I1, I3: whose log has the cursor lost nothing: only numbers are missing, and newer values stay", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    const device = world.device("ann", { wrap });
    write(device, "one", "two");
    await synced(world, device);
    world.server.db.update(tags).set({ name: "changed since" }).run();
    await synced(world, device);
    world.server.raw.exec("DELETE FROM _sync_devices");
    const before = idOf(device);
    write(device, "three");
    pushes.length = 0;
    await synced(world, device);
    expect(sent(pushes)).toEqual(["3:1", "1-2:0", "3:1"]);
    expect(nameOf(world.server, "one")).toBe("changed since");
    expect(tagsOf(world.server)).toEqual(["one", "three", "two"]);
    expect(await device.client.outcomes.list()).toEqual([]);
    expect(idOf(device)).toBe(before);
    expect(lastTxOf(world.server, device)).toBe(3);
  });

  test("I3: and was restored: all that is kept goes again", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    const backup = world.server.raw.serialize();
    write(device, "one", "two");
    await synced(world, device);
    await world.replaceServer(backup);
    world.server.raw.exec("DELETE FROM _sync_devices");
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["one", "two"]);
  });

  test("I3: and is restored before the empty range arrives, does not take it", async () => {
    await using world = await openSeededWorld();
    let onPush = (): Promise<void> => Promise.resolve();
    const { pushes, wrap } = recorder();
    const device = world.device("ann", {
      wrap: (transport) =>
        wrap({
          ...transport,
          async push(request, options) {
            await onPush();
            return transport.push(request, options);
          },
        }),
    });
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "one");
    await synced(world, device);
    world.server.raw.exec("DELETE FROM _sync_devices");
    write(device, "two");
    // The range is on its way when the network fails; then the server is restored.
    onPush = () => (pushes.length === 2 ? Promise.reject(new Error("no network")) : Promise.resolve());
    pushes.length = 0;
    await expect(device.client.sync()).rejects.toBeDefined();
    expect(sent(pushes)).toEqual(["2:1", "1-1:0", "2:1"]);
    onPush = () => Promise.resolve();
    await world.replaceServer(backup);
    world.server.raw.exec("DELETE FROM _sync_devices");
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["one", "two"]);
  });
});

describe("an answer", () => {
  async function written(count: number): Promise<DeviceFixture> {
    const device = await openDeviceFixture(definition, ddl);
    await device.apply([]);
    for (let i = 1; i <= count; i++)
      device.db
        .insert(tags)
        .values({ id: `${i}`, name: "tag" })
        .run();
    return device;
  }
  const judge = (device: DeviceFixture, claim: IdentityClaim, handledThen: number): Promise<Identity> =>
    Promise.resolve(
      transact(device.sync.connection, "read", function* () {
        return yield* judgeIdentity(yield* requireCheckpoint(), claim, handledThen);
      }),
    );

  test("I3: that a stream has overtaken says nothing; one that ends before what its request said does", async () => {
    using device = await written(3);
    const [first, second, third] = await device.pending();
    const ref = (of: typeof first): TxRef => ({ number: of?.number ?? 0, stamp: of?.stamp ?? 0 });
    await device.apply([], { lastTx: ref(second) });
    expect(await judge(device, { lastTx: ref(first) }, 0)).toBe("overtaken");
    expect(await judge(device, { lastTx: ref(first) }, 1)).toBe("overtaken");
    expect(await judge(device, { lastTx: ref(first) }, 2)).toBe("behind");
    expect(await judge(device, { lastTx: { number: 0, stamp: 0 } }, 2)).toBe("behind");
    expect(await judge(device, { lastTx: ref(third) }, 2)).toBe("same");
    // I4: under one of our numbers, handled or not, another's stamp; a number that we never gave; more than we were told.
    for (const lastTx of [
      { number: 1, stamp: 5 },
      { number: 2, stamp: 5 },
      { number: 3, stamp: 5 },
      { number: 4, stamp: 5 },
    ])
      expect(await judge(device, { lastTx }, 2)).toBe("forked");
    expect(await judge(device, { ackedTx: 2 }, 2)).toBe("same");
    expect(await judge(device, { ackedTx: 3 }, 2)).toBe("forked");
  });

  test("I3: a snapshot that was overtaken is dropped", async () => {
    using device = await written(1);
    const [first] = await device.pending();
    const lastTx = { number: 1, stamp: first?.stamp ?? 0 };
    const reset = (): unknown =>
      transact(device.sync.connection, "write", function* () {
        yield* resetBase(yield* requireCheckpoint());
      });
    await reset();
    const basis = basisOf(await device.checkpoint(), deviceSchema(device.sync).hash);
    const early = await device.page([]);
    await device.applyTo(basis, await device.page([], { lastTx }));
    await reset();
    expect((await device.applyTo(basis, early)).kind).toBe("stale");
    expect((await device.checkpoint()).handled).toEqual(lastTx);
  });

  test("I3: with another outcome of what has left the queue is reported again, once", async () => {
    using device = await written(1);
    const [first] = await device.pending();
    const { number, stamp } = first ?? { number: 0, stamp: 0 };
    const rejected = { status: "rejected", number, stamp, code: "CONSTRAINT", message: "No." } as const;
    await device.apply([], { lastTx: { number, stamp } });
    const settled = async (outcomes: readonly ServerOutcome[]): Promise<unknown> => {
      const result = await device.apply([], { outcomes });
      return result.kind === "applied" ? result.settled : undefined;
    };
    expect(await settled([{ ...rejected, stamp: 5 }])).toEqual([]);
    expect(await settled([rejected])).toMatchObject([
      { outcome: { outcome: rejected, again: true, operations: [{ kind: "insert", key: ["1"] }] } },
    ]);
    expect(await settled([rejected])).toEqual([]);
  });
});

describe("two devices with one id", () => {
  test("I4: both keep what they wrote, and what the server has is not written again", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    write(device, "common");
    await synced(world, device);
    const { pushes, wrap } = recorder();
    const copy = world.device("ann", { from: device.raw.serialize(), wrap });
    world.server.db.update(tags).set({ name: "changed since" }).run();
    write(device, "one");
    write(copy, "two", "three");
    await synced(world, device);
    await synced(world, copy);
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["common", "one", "three", "two"]);
    expect(nameOf(world.server, "common")).toBe("changed since");
    expect(idOf(device)).not.toBe(idOf(copy));
    // The first one is refused; under the fresh id the numbers go on.
    expect(sent(pushes)).toEqual(["2:1", "3:1", "1-1:0", "2:1", "3:1"]);
    expect(lastTxOf(world.server, copy)).toBe(3);
  });

  test("I4: an acknowledgement beyond what the device was told is somebody else's", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const copy = world.device("ann", { from: device.raw.serialize() });
    write(device, "one");
    await synced(world, device);
    await synced(world, device);
    const before = idOf(copy);
    await synced(world, copy);
    expect(idOf(copy)).not.toBe(before);
  });

  test("I4: a device restored from its own backup loses nothing that is in it", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    write(device, "one");
    await synced(world, device);
    write(device, "in the backup");
    const image = device.raw.serialize();
    await synced(world, device);
    write(device, "after it");
    await synced(world, device);
    await device.client.close();
    const restored = world.device("ann", { from: image });
    write(restored, "written there");
    await synced(world, restored);
    expect(tagsOf(world.server)).toEqual(["after it", "in the backup", "one", "written there"]);
    expect(await restored.client.outcomes.list()).toEqual([]);
  });

  test("I4: one restored from an old backup does not write everything again, though its cursor is too old to tell", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    write(device, "one");
    await synced(world, device);
    const image = device.raw.serialize();
    write(device, "two");
    await synced(world, device);
    world.server.db.update(tags).set({ name: "changed since" }).run();
    const { raw } = world.server;
    const [seq, stamp] = raw.prepare("SELECT seq, stamp FROM _sync_log ORDER BY seq DESC LIMIT 1").raw().get() as [
      number,
      number,
    ];
    raw.prepare("UPDATE _sync_meta SET v = ? WHERE k = 'horizon'").run(JSON.stringify([seq, stamp]));
    raw.prepare("DELETE FROM _sync_log WHERE seq < ?").run(seq);
    const restored = world.device("ann", { from: image });
    write(restored, "three");
    await synced(world, restored);
    expect(nameOf(world.server, "one")).toBe("changed since");
    expect(tagsOf(world.server)).toEqual(["one", "three", "two"]);
    expect(await restored.client.outcomes.list()).toEqual([]);
  });

  test("I3, I4: a copy, and a server restored from before it: each sends what the server lost", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    const backup = world.server.raw.serialize();
    write(device, "common");
    await synced(world, device);
    const copy = world.device("ann", { from: device.raw.serialize() });
    await world.replaceServer(backup);
    world.server.db.insert(tags).values({ id: "new", name: "since" }).run();
    write(device, "one");
    write(copy, "two");
    await synced(world, device);
    world.server.db.delete(tags).run();
    await synced(world, copy);
    await synced(world, device);
    // The copy's own, and what it had kept, which the restored server's log denies.
    expect(tagsOf(world.server)).toEqual(["common", "two"]);
    expect(idOf(device)).not.toBe(idOf(copy));
  });

  test("I4: discarding what is pending takes a fresh id, and nothing discarded ever comes back", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    const backup = world.server.raw.serialize();
    write(device, "kept");
    await synced(world, device);
    write(device, "discarded");
    await device.client.signOut({ pending: "discard" });
    expect(tagsOf(device)).toEqual(["kept"]);
    await synced(world, device);
    write(device, "later");
    await synced(world, device);
    await world.replaceServer(backup);
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["later"]);
    // What was kept before is given up with it, and not in silence.
    expect(await device.client.outcomes.list()).toMatchObject([{ status: "lost", count: 1 }]);
  });

  test("I1: after discarding, another subject never sends what the one before had written", async () => {
    await using world = await openSeededWorld();
    const ann = world.device("ann");
    await synced(world, ann);
    const backup = world.server.raw.serialize();
    write(ann, "of ann");
    await synced(world, ann);
    write(ann, "discarded");
    await ann.client.signOut({ pending: "discard" });
    const { pushes, wrap } = recorder();
    const bob = world.device("bob", { from: ann.raw.serialize(), wrap });
    await synced(world, bob);
    await world.replaceServer(backup);
    await synced(world, bob);
    expect(pushes.flatMap(({ txs }) => txs.flatMap(({ ops }) => ops))).toEqual([]);
    expect(tagsOf(world.server)).toEqual([]);
  });

  test("I4: what one of them has discarded is not lost on the other", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    write(device, "precious");
    const copy = world.device("ann", { from: device.raw.serialize() });
    const [{ id } = { id: "" }] = await device.client.pending.list();
    await device.client.pending.discard(id);
    await synced(world, device);
    await synced(world, copy);
    expect(tagsOf(world.server)).toEqual(["precious"]);
    await synced(world, device);
    expect(await device.client.pending.settled(id)).toEqual({ status: "discarded" });
  });

  test("I4: nor is it when a later transaction that both have is pushed behind it", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await synced(world, device);
    write(device, "precious");
    write(device, "later");
    const copy = world.device("ann", { from: device.raw.serialize() });
    const [{ id } = { id: "" }, { id: later } = { id: "" }] = await device.client.pending.list();
    await device.client.pending.discard(id);
    await synced(world, device);
    expect(tagsOf(world.server)).toEqual(["later"]);
    await synced(world, copy);
    expect(tagsOf(world.server)).toEqual(["later", "precious"]);
    expect(await copy.client.pending.settled(id)).toEqual({ status: "applied" });
    await synced(world, device);
    // The id is the app's: it stays what it was.
    expect(await device.client.pending.settled(later)).toEqual({ status: "applied" });
    expect(await device.client.pending.settled(id)).toEqual({ status: "discarded" });
    await synced(world, device);
    await synced(world, copy);
    expect(tagsOf(device)).toEqual(tagsOf(copy));
  });

  test("I4: what was handled before an earlier one was discarded is not handled again, whatever was discarded since", async () => {
    await using world = await openSeededWorld();
    const { pushes, wrap } = recorder();
    let isCut = false;
    const device = world.device("ann", {
      wrap: (transport) => {
        const recorded = wrap(transport);
        const lose = async <T>(answer: Promise<T>): Promise<T> => {
          const given = await answer;
          if (isCut) throw new SyncError({ code: "OFFLINE", message: "The answer was lost." });
          return given;
        };
        return {
          ...recorded,
          push: (request, given) => lose(recorded.push(request, given)),
          pull: (request, given) => lose(recorded.pull(request, given)),
        };
      },
    });
    await synced(world, device);
    write(device, "one");
    write(device, "two");
    write(device, "three");
    isCut = true;
    await device.client.sync().catch(() => undefined);
    expect(tagsOf(world.server)).toEqual(["one", "three", "two"]);
    write(device, "four");
    const ids = (await device.client.pending.list()).map(({ id }) => id);
    await device.client.pending.discard(ids[0] ?? "");
    await device.client.pending.discard(ids[1] ?? "");
    await device.client.pending.discard(ids[3] ?? "");
    expect((await device.client.pending.list()).map(({ id }) => id)).toEqual(ids);
    // Somebody else deletes what was handled: a second time it would come back.
    world.server.db.delete(tags).where(eq(tags.id, "three")).run();
    isCut = false;
    const { deviceId } = pushes.at(-1) ?? {};
    await synced(world, device);
    expect(pushes.at(-1)?.deviceId).toBe(deviceId);
    expect(tagsOf(world.server)).toEqual(["one", "two"]);
    expect(lastTxOf(world.server, device)).toBe(4);
    expect(device.db.select().from(tags).all()).toHaveLength(2);
    expect(await device.client.pending.settled(ids[2] ?? "")).toEqual({ status: "applied" });
    expect(await device.client.outcomes.list()).toEqual([]);
  });

  test("a wiped device forgets what it sent", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    write(device, "secret");
    await synced(world, device);
    await device.client.signOut({ pending: "flush", wipe: true });
    expect(device.raw.prepare("SELECT count(*) FROM _sync_log WHERE t <> 0").pluck().get()).toBe(0);
    expect(device.raw.prepare("SELECT count(*) FROM _sync_sent").pluck().get()).toBe(0);
    device.client.resume();
    write(device, "next");
    await synced(world, device);
    expect(lastTxOf(world.server, device)).toBe(1);
  });
});

describe("what is kept", () => {
  test("I3: is given up in small steps, and the log does not grow for ever", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { keepSentMs: day });
    const rows = (): number => Number(device.raw.prepare("SELECT count(*) FROM _sync_log").pluck().get());
    const most: number[] = [];
    for (let i = 0; i < 20; i++) {
      write(device, `a${i}`, `b${i}`);
      await synced(world, device);
      most.push(rows());
      await world.clock.advance(day / 4, () => settle());
    }
    // Two transactions of two rows each, for four times and the present one.
    expect(Math.max(...most)).toBeLessThanOrEqual(20);
    expect(device.raw.prepare("SELECT count(*) FROM _sync_sent").pluck().get()).toBeLessThanOrEqual(5);
  });
});

describe("a device that dies while it takes back what the server lost", () => {
  test("I3: at any statement: nothing is lost and nothing is doubled", async () => {
    for (let at = 1, hasCrashed = true; hasCrashed; at += 3) {
      await using world = await openSeededWorld();
      let database = openCrashDatabase();
      database.raw.exec(ddl);
      const first = world.device("ann", { from: database.handle });
      await synced(world, first);
      const backup = world.server.raw.serialize();
      write(first, "one", "two");
      await synced(world, first);
      await world.replaceServer(backup);
      world.server.db.insert(tags).values({ id: "new", name: "since" }).run();
      write(first, "three");
      database.crashAfter(at);
      await first.client.sync().catch(() => undefined);
      hasCrashed = database.hasCrashed;
      database.crashAfter(undefined);
      database = reopen(database);
      const second = world.device("ann", { from: database.handle });
      await synced(world, second);
      expect(tagsOf(world.server)).toEqual(["new", "one", "three", "two"]);
      expect(lastTxOf(world.server, second)).toBe(3);
      expect(await second.client.outcomes.list()).toEqual([]);
      await first.client.close().catch(() => undefined);
    }
  }, 120_000);
});
