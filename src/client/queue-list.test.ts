import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import type { PushRequest } from "../protocol/push.ts";
import { createRandom } from "../testing/random.ts";
import {
  comments,
  ddl,
  expectBase,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestWorld,
} from "../testing/device-world.ts";
import type { Transport } from "./transport.ts";

const tag = (id: string) => ({ id, name: id });
const serverTags = (world: TestWorld): readonly string[] =>
  world.server.db
    .select()
    .from(tags)
    .orderBy(tags.id)
    .all()
    .map(({ id }) => id);

/** A transport whose pushes fail as told. */
function failing() {
  const state = {
    fails: (_request: PushRequest): SyncError | undefined => undefined,
    pushes: [] as PushRequest[],
    isGone: false,
  };
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    async handshake(request, given) {
      if (state.isGone) throw new SyncError({ code: "OFFLINE", message: "No network." });
      return await transport.handshake(request, given);
    },
    async push(request, given) {
      state.pushes.push(request);
      const error = state.fails(request);
      if (error) throw error;
      return await transport.push(request, given);
    },
  });
  return { state, wrap };
}

const down = new SyncError({ code: "UNAVAILABLE", message: "Down." });

/** A transaction that the server never judges: its `authorize` always throws for this one. */
const poisonous = ({ txs, shapes }: PushRequest): SyncError | undefined =>
  txs.some(({ ops }) => ops.some(([shape, key]) => shapes[shape]?.table === "tags" && key[0] === "poison"))
    ? down
    : undefined;

describe("the queue as it is listed", () => {
  test("tells attempts, the last error and the next try, at any time", async () => {
    await using world = await openSeededWorld();
    const { state, wrap } = failing();
    const device = world.device("ann", { wrap });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    const fresh = async () => (await device.client.pending.list())[0];

    state.fails = () => down;
    device.db.insert(tags).values(tag("t1")).run();
    const untried = await fresh();
    expect(untried).toMatchObject({ attempts: 0, isUploaded: false });
    expect(untried).not.toHaveProperty("lastError");
    await settle(() => state.pushes.length === 1 && device.client.state.status === "synced");
    const first = await fresh();
    expect(first).toMatchObject({ attempts: 1, lastError: { code: "UNAVAILABLE" } });
    expect(first?.nextTryAt).toBeGreaterThan(world.clock.now());
    // Written while the queue backs off: it goes with the same next try.
    device.db.insert(tags).values(tag("t2")).run();
    expect((await device.client.pending.list())[1]).toMatchObject({ attempts: 0, nextTryAt: first?.nextTryAt });
    await world.clock.advance((first?.nextTryAt ?? 0) - world.clock.now(), () => settle());
    expect(await fresh()).toMatchObject({ attempts: 2 });
    expect((await device.client.pending.list())[1]).toMatchObject({ attempts: 1 });

    device.client.pause();
    expect(await fresh()).toMatchObject({ attempts: 2, lastError: { code: "UNAVAILABLE" } });
    expect(await fresh()).not.toHaveProperty("nextTryAt");

    state.isGone = true;
    device.client.resume();
    await settle(() => device.client.state.status === "offline");
    expect((await fresh())?.nextTryAt).toBeGreaterThan(world.clock.now());

    const again = world.device("ann", { wrap, from: device.raw.serialize() });
    await device.client.close();
    const [kept] = await again.client.pending.list();
    expect(kept).toMatchObject({ attempts: 2, lastError: { code: "UNAVAILABLE", message: "Down." } });
    expect(kept).not.toHaveProperty("nextTryAt");
    state.isGone = false;
    state.fails = () => undefined;
    await again.client.sync();
    expect(await again.client.pending.list()).toEqual([]);
    again.db.insert(tags).values(tag("t3")).run();
    expect(await again.client.pending.list()).toMatchObject([{ attempts: 0 }]);
  });

  test("V3: says what holds it back while the server is too old, and nothing of when, also of one that was never sent", async () => {
    await using world = await openSeededWorld();
    const { state, wrap } = failing();
    const device = world.device("ann", { wrap, onError: () => undefined });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    state.fails = () =>
      new SyncError({ code: "SCHEMA_MISMATCH", message: "Too old.", details: { tooOld: "server", table: "tags" } });
    device.db.insert(tags).values(tag("t1")).run();
    await settle(() => state.pushes.length === 1 && device.client.state.status === "synced");
    device.db.insert(tags).values(tag("t2")).run();
    await settle();
    const held = await device.client.pending.list();
    expect(held).toMatchObject([
      { attempts: 1, lastError: { code: "SCHEMA_MISMATCH" } },
      { attempts: 0, lastError: { code: "SCHEMA_MISMATCH" } },
    ]);
    for (const transaction of held) expect(transaction).not.toHaveProperty("nextTryAt");
    expect(state.pushes).toHaveLength(1);

    state.fails = () => undefined;
    device.client.resume();
    await settle(() => device.client.state.pending === 0);
    device.client.pause();
    device.db.insert(tags).values(tag("t3")).run();
    expect((await device.client.pending.list())[0]).not.toHaveProperty("lastError");
  });

  test("P12: counts no attempt for what the server has handled before the one that it names", async () => {
    await using world = await openSeededWorld();
    const { state, wrap } = failing();
    const device = world.device("ann", { wrap });
    await device.client.sync();
    state.fails = () =>
      new SyncError({ code: "UNAVAILABLE", message: "`authorize` failed.", details: { transaction: 2 } });
    for (const id of ["t1", "t2", "t3"]) device.db.insert(tags).values(tag(id)).run();
    await device.client.sync().catch(() => undefined);
    expect((await device.client.pending.list()).map(({ attempts }) => attempts)).toEqual([0, 1, 1]);
  });

  test("reads only: while another process writes, it answers", async () => {
    const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
    const raw = new Database(join(folder, "device.db"), { timeout: 10 });
    raw.pragma("journal_mode = wal");
    raw.exec(ddl);
    const other = new Database(join(folder, "device.db"));
    try {
      await using world = await openSeededWorld();
      const device = world.device("ann", { from: raw });
      await device.client.sync();
      device.db.insert(tags).values(tag("t1")).run();
      await settle();
      other.exec("BEGIN IMMEDIATE");
      const [queued] = await device.client.pending.list();
      expect(queued).toMatchObject({ operations: [{ table: "tags" }] });
      expect(await device.client.pending.settled("nobody")).toEqual({ status: "unknown" });
      other.exec("COMMIT");
      // What a stranger left open is closed, and listed.
      other.exec("INSERT INTO tags (id, name) VALUES ('s', 's')");
      expect(await device.client.pending.list()).toHaveLength(2);
    } finally {
      other.close();
      rmSync(folder, { recursive: true });
    }
  });
});

describe("settled", () => {
  test("tells of what has settled, in this process or before, and that nothing is known", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await device.client.sync();
    device.db.insert(tags).values(tag("t1")).run();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
    const [applied = "", merged = ""] = (await device.client.pending.list()).map(({ id }) => id);
    const waiting = device.client.pending.settled(applied);
    await device.client.sync();
    expect(await waiting).toEqual({ status: "applied" });
    expect(await device.client.pending.settled(applied)).toEqual({ status: "applied" });
    const outcome = { status: "merged", outcome: { id: merged } };
    expect(await device.client.pending.settled(merged)).toMatchObject(outcome);
    const again = world.device("ann", { from: device.raw.serialize() });
    expect(await again.client.pending.settled(merged)).toMatchObject(outcome);
    expect(await again.client.pending.settled(applied)).toEqual({ status: "applied" });
    // Dealt with, nothing of it is kept.
    await again.client.outcomes.resolve(merged, "discard");
    expect(await again.client.pending.settled(merged)).toEqual({ status: "unknown" });
    expect(await again.client.pending.settled("zz zz")).toEqual({ status: "unknown" });
  });

  test("ends with ABORTED when the caller gives up, and is right for one that settles while it is looked for", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await device.client.sync();
    device.db.insert(tags).values(tag("t1")).run();
    const [{ id } = { id: "" }] = await device.client.pending.list();
    const given = new AbortController();
    const waiting = device.client.pending.settled(id, { signal: given.signal });
    given.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
    const [settled] = await Promise.all([device.client.pending.settled(id), device.client.sync()]);
    expect(settled).toEqual({ status: "applied" });
  });
});

describe("promise 4: discarding a transaction that never gets through", () => {
  test("undoes it and lets those behind it go; its number goes with nothing in it", async () => {
    await using world = await openSeededWorld();
    const { state, wrap } = failing();
    const device = world.device("ann", { wrap });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    state.fails = poisonous;
    device.db.insert(tags).values(tag("poison")).run();
    device.db.insert(tags).values(tag("fine")).run();
    await settle(() => state.pushes.length > 0 && device.client.state.status === "synced");
    const [poison] = await device.client.pending.list();
    expect(poison).toMatchObject({ attempts: 1, lastError: { code: "UNAVAILABLE" } });
    const settled = device.client.pending.settled(poison?.id ?? "");
    await device.client.pending.discard(poison?.id ?? "");
    expect(await settled).toEqual({ status: "discarded" });
    expect(device.db.select().from(tags).all()).toMatchObject([{ id: "fine" }]);
    await settle(() => serverTags(world).length > 0);
    expect(serverTags(world)).toEqual(["fine"]);
    expect(state.pushes.at(-1)?.txs).toMatchObject([{ number: 1, ops: [] }, { number: 2 }]);
    await settle(() => device.client.state.pending === 0);
    expect(await device.client.outcomes.list()).toEqual([]);
    expect(await device.client.pending.settled(poison?.id ?? "")).toEqual({ status: "discarded" });
    await expectBase(world, device);
  });

  test("keeps what was written after it, and survives a restart before it was sent", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await device.client.sync();
    const base = await device.base();
    device.db.update(todos).set({ title: "given up" }).where(eq(todos.id, "1")).run();
    device.db.update(todos).set({ done: true }).where(eq(todos.id, "1")).run();
    device.db.delete(todos).where(eq(todos.id, "2")).run();
    const [update = "", , removal = ""] = (await device.client.pending.list()).map(({ id }) => id);
    await device.client.pending.discard(update);
    await device.client.pending.discard(removal);
    expect(await device.base()).toEqual(base);
    expect(device.db.select().from(todos).orderBy(todos.id).all()).toMatchObject([
      { id: "1", title: "one", done: true },
      { id: "2", title: "two" },
    ]);
    const again = world.device("ann", { from: device.raw.serialize() });
    expect(await again.client.pending.list()).toMatchObject([
      { id: update, isDiscarded: true, operations: [] },
      { isDiscarded: false },
      { id: removal, isDiscarded: true, operations: [] },
    ]);
    await again.client.sync();
    expect(world.server.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({
      title: "one",
      done: true,
    });
    expect(await again.client.pending.settled(update)).toEqual({ status: "discarded" });
    await expectBase(world, again);
  });

  test("promise 2: has had its say; a verdict that the server had given before is not told", async () => {
    await using world = await openSeededWorld();
    world.rights["ann"] = { read: ["list:a", "everyone"], write: ["list:a"] };
    let isCut = false;
    const lose = async <T>(answer: Promise<T>): Promise<T> => {
      const given = await answer;
      if (isCut) throw down;
      return given;
    };
    const device = world.device("ann", {
      wrap: (transport) => ({
        ...transport,
        push: (request, given) => lose(transport.push(request, given)),
        pull: (request, given) => lose(transport.pull(request, given)),
      }),
    });
    await device.client.sync();
    isCut = true;
    device.db.insert(tags).values(tag("t1")).run();
    await expect(device.client.sync()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const [{ id } = { id: "" }] = await device.client.pending.list();
    await device.client.pending.discard(id);
    await device.client.pending.discard(id);
    isCut = false;
    device.db.update(todos).set({ title: "later" }).where(eq(todos.id, "1")).run();
    await device.client.sync();
    // A page may ask for it twice, when another tab takes over.
    await device.client.pending.discard(id);
    expect(await device.client.outcomes.list()).toEqual([]);
    expect(await device.client.pending.settled(id)).toEqual({ status: "discarded" });
    expect(world.server.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({ title: "later" });
    // Nobody else spoke: it is the same device.
    expect(world.server.raw.prepare("SELECT last_tx FROM _sync_devices").pluck().all()).toEqual([2]);
    await expectBase(world, device, ["list:a", "everyone"]);
  });

  test("is remembered while it is in the queue, however many others were", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    device.db.insert(tags).values(tag("t1")).run();
    device.db.insert(tags).values(tag("t2")).run();
    const ids = (await device.client.pending.list()).map(({ id }) => id);
    await device.client.pending.discard(ids[0] ?? "");
    const stored = "SELECT v FROM _sync_meta WHERE k = 'device.discarded'";
    const known = JSON.parse(String(device.raw.prepare(stored).pluck().get())) as readonly unknown[];
    const others = Array.from({ length: 1500 }, (_, i) => i);
    device.raw
      .prepare("UPDATE _sync_meta SET v = ? WHERE k = 'device.discarded'")
      .run(JSON.stringify([...known, ...others]));
    await device.client.pending.discard(ids[1] ?? "");
    expect(await device.client.pending.list()).toMatchObject(ids.map((id) => ({ id, isDiscarded: true })));
    expect((JSON.parse(String(device.raw.prepare(stored).pluck().get())) as readonly unknown[]).length).toBe(1002);
  });

  test("is refused for one that is not there, or that the server has", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", {
      // Pages stay away, so that it stays in the queue.
      wrap: (transport) => ({
        ...transport,
        pull: (request, given) =>
          serverTags(world).length > 0 ? Promise.reject(down) : transport.pull(request, given),
      }),
    });
    await device.client.sync();
    await expect(device.client.pending.discard("nobody")).rejects.toMatchObject({ code: "NOT_PENDING" });
    device.db.insert(tags).values(tag("t1")).run();
    await device.client.sync().catch(() => undefined);
    const [sent] = await device.client.pending.list();
    expect(sent?.isUploaded).toBe(true);
    await expect(device.client.pending.discard(sent?.id ?? "")).rejects.toThrow(/has this transaction already/);
    expect(device.db.select().from(tags).all()).toHaveLength(1);
  });

  test("C4: whatever is discarded, the base stays, and without a queue it is what is shown", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      await using world = await openSeededWorld();
      world.server.db.insert(comments).values({ id: "c", todoId: "1", body: "hm" }).run();
      const device = world.device("ann");
      await device.client.sync();
      const base = await device.base();
      const random = createRandom(seed);
      for (let i = 0; i < 8; i++) writeSomething(device, random.int);
      for (;;) {
        const queue = (await device.client.pending.list()).filter(({ isDiscarded }) => !isDiscarded);
        const chosen = queue[random.int(queue.length)];
        if (!chosen) break;
        await device.client.pending.discard(chosen.id);
        expect(await device.base(), `seed ${seed}`).toEqual(base);
      }
      expect(device.db.select().from(todos).orderBy(todos.id).all(), `seed ${seed}`).toEqual(
        world.server.db.select().from(todos).orderBy(todos.id).all(),
      );
      expect(device.db.select().from(comments).all()).toEqual(world.server.db.select().from(comments).all());
      await device.client.sync();
      await expectBase(world, device);
    }
  });
});

function writeSomething({ db }: TestDevice, int: (below: number) => number): void {
  const id = String(1 + int(3));
  switch (int(5)) {
    case 0:
      return void db
        .update(todos)
        .set({ title: `t${int(100)}` })
        .where(eq(todos.id, id))
        .run();
    case 1:
      return void db
        .update(todos)
        .set({ listId: int(2) === 0 ? "a" : "b" })
        .where(eq(todos.id, id))
        .run();
    case 2:
      return void db.delete(todos).where(eq(todos.id, id)).run();
    case 3:
      return void db.insert(todos).values({ id, listId: "a", title: "new" }).onConflictDoNothing().run();
    default:
      return db.transaction((tx) => {
        tx.delete(comments).run();
        tx.update(todos)
          .set({ done: true, slot: `s${id}` })
          .where(eq(todos.id, id))
          .run();
      });
  }
}
