import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { PushRequest } from "../protocol/push.ts";
import {
  allScopes,
  comments,
  lists,
  expectBase,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestWorld,
} from "../testing/device-world.ts";
import type { Transport } from "./transport.ts";

const titles = ({ db }: Pick<TestDevice, "db">): readonly string[] =>
  db
    .select()
    .from(todos)
    .orderBy(todos.id)
    .all()
    .map((row) => row.title);

/** A transport that fails as told, and remembers what it was asked. */
function flaky() {
  const state = {
    fail: {} as Partial<Record<"handshake" | "pull" | "push", SyncError | undefined>>,
    pulls: [] as PullRequest[],
    pushes: [] as PushRequest[],
    beforePull: undefined as undefined | ((answer: PullAnswer) => Promise<PullAnswer>),
  };
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    async handshake(request, options) {
      if (state.fail.handshake) throw state.fail.handshake;
      return await transport.handshake(request, options);
    },
    async pull(request, options) {
      state.pulls.push(request);
      if (state.fail.pull) throw state.fail.pull;
      const answer = await transport.pull(request, options);
      return state.beforePull ? await state.beforePull(answer) : answer;
    },
    async push(request, options) {
      state.pushes.push(request);
      if (state.fail.push) throw state.fail.push;
      return await transport.push(request, options);
    },
  });
  return { state, wrap };
}

async function seeded(): Promise<TestWorld> {
  const world = await openSeededWorld();
  world.server.db.insert(comments).values({ id: "c", todoId: "2", body: "hm" }).run();
  return world;
}

describe("scopes", () => {
  test("U1: rows of a lost scope leave the device, its unsent edits stay queued", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    world.rights["ann"] = { read: ["list:a"], write: allScopes };
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "2")).run();
    await device.client.sync();
    await expectBase(world, device, ["list:a"]);
    expect(titles(device)).toEqual(["one"]);
    // It was pushed before, under the right to write.
    expect(titles(world.server)).toEqual(["one", "mine"]);
  });

  test("R2: a gained scope arrives with everything that inherits it", async () => {
    await using world = await seeded();
    world.rights["ann"] = { read: ["list:a"], write: [] };
    const device = world.device("ann");
    await device.client.sync();
    await expectBase(world, device, ["list:a"]);
    world.rights["ann"] = { read: allScopes, write: [] };
    await device.client.sync();
    await expectBase(world, device);
    expect(device.db.select().from(comments).all()).toHaveLength(1);
  });

  test("on demand, only held scopes are synced, the urgent first, and released ones after a while no more", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { hold: "on-demand", wrap });
    const later = device.client.hold("list:a", { ttlMs: 1000 });
    const first = device.client.hold("list:b", { priority: 1 });
    device.client.start();
    await Promise.all([later.ready, first.ready]);
    await settle(() => device.client.state.status === "synced");
    expect(state.pulls.filter((pull) => !pull.round).map((pull) => pull.wanted)).toEqual([
      ["list:b"],
      ["list:a", "list:b"],
    ]);
    await expectBase(world, device, ["list:a", "list:b"]);
    later.release();
    await device.client.sync();
    await expectBase(world, device, ["list:a", "list:b"]);
    await world.clock.advance(1001, () => settle());
    await device.client.sync();
    await expectBase(world, device, ["list:b"]);
    const refused = device.client.hold("list:nobody");
    await expect(refused.ready).rejects.toMatchObject({ code: "FORBIDDEN" });
  });

  test("what was held is kept over a restart until its time is up", async () => {
    await using world = await seeded();
    const device = world.device("ann", { hold: "on-demand" });
    device.client.hold("list:b", { ttlMs: 60_000 });
    await device.client.sync();
    const again = world.device("ann", { hold: "on-demand", from: device.raw.serialize() });
    await device.client.close();
    await again.client.sync();
    await expectBase(world, again, ["list:b"]);
    await world.clock.advance(60_001);
    await again.client.sync();
    await expectBase(world, again, []);
  });

  test("with everything wanted, an urgent scope comes first on the first sync", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    device.client.hold("list:b", { priority: 2 });
    await device.client.sync();
    expect(state.pulls[0]?.wanted).toEqual(["list:b"]);
    expect(state.pulls[1]?.wanted).toBeUndefined();
    await expectBase(world, device);
  });
});

describe("interruptions", () => {
  test("a server that cannot be reached is tried again after a back-off", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    state.fail.handshake = new SyncError({ code: "OFFLINE", message: "No network." });
    device.client.start();
    await settle(() => device.client.state.status === "offline");
    expect(device.client.state.error?.code).toBe("OFFLINE");
    state.fail.handshake = undefined;
    await world.clock.advance(1000, () => settle());
    expect(device.client.state.status).toBe("synced");
    expect(device.client.state.error).toBeUndefined();
    await expectBase(world, device);
  });

  test("promise 4: a push that cannot be taken now neither stops downloads nor is lost", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    state.fail.push = new SyncError({ code: "UNAVAILABLE", message: "Not now." });
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "2")).run();
    await settle(() => device.client.state.status === "synced" && titles(device)[1] === "theirs");
    expect(titles(device)).toEqual(["mine", "theirs"]);
    const [waiting] = await device.client.pending.list();
    expect(waiting).toMatchObject({ attempts: 1, lastError: { code: "UNAVAILABLE" }, isUploaded: false });
    expect(waiting?.nextTryAt).toBeGreaterThan(world.clock.now());
    await expectBase(world, device);
    const settled = device.client.pending.settled(waiting?.id ?? "");
    state.fail.push = undefined;
    await world.clock.advance(2000, () => settle());
    expect(await settled).toEqual({ status: "applied" });
    expect(titles(world.server)).toEqual(["mine", "theirs"]);
  });

  test("a push that is too large is sent in smaller ones", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", {
      wrap: (transport) => {
        const inner = wrap(transport);
        return {
          ...inner,
          async push(request, options) {
            if (request.txs.length > 3) throw new SyncError({ code: "TOO_LARGE", message: "Too large." });
            return await inner.push(request, options);
          },
        };
      },
    });
    await device.client.sync();
    for (let i = 0; i < 20; i++)
      device.db
        .insert(todos)
        .values({ id: `t${i}`, listId: "a", title: "x".repeat(200) })
        .run();
    device.client.start();
    expect(device.client.state.pending).toBe(20);
    await settle(() => device.client.state.pending === 0 && device.client.state.status === "synced");
    expect(device.client.state.pending).toBe(0);
    expect(titles(world.server)).toHaveLength(22);
    expect(state.pushes.every((push) => push.txs.length <= 3)).toBe(true);
    await expectBase(world, device);
  });

  test("without a token the client is signed out, queues on, and resumes", async () => {
    await using world = await seeded();
    world.rights["ann"] = null;
    const device = world.device("ann");
    device.client.start();
    await settle(() => device.client.state.status === "signed-out");
    device.db.insert(tags).values({ id: "t", name: "red" }).run();
    await settle(() => device.client.state.pending === 1);
    expect(device.client.state).toMatchObject({ status: "signed-out", pending: 1, error: { code: "UNAUTHORIZED" } });
    world.rights["ann"] = { read: allScopes, write: allScopes };
    device.client.resume();
    await settle(() => device.client.state.status === "synced" && device.client.state.pending === 0);
    await expectBase(world, device);
  });

  test("a paused client queues, and pushes when it is resumed", async () => {
    await using world = await seeded();
    const device = world.device("ann", { live: "pages" });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    device.client.pause();
    device.db.update(todos).set({ done: true }).run();
    await settle();
    expect(device.client.state).toMatchObject({ status: "paused", pending: 1 });
    await expect(device.client.sync()).rejects.toMatchObject({ code: "ABORTED" });
    device.client.resume();
    await settle(() => device.client.state.pending === 0);
    expect(
      world.server.db
        .select()
        .from(todos)
        .all()
        .every((row) => row.done),
    ).toBe(true);
  });

  test("what is written while nobody follows a paused client is told to who subscribes, and pushed later on", async () => {
    await using world = await seeded();
    const device = world.device("ann", { live: "pages" });
    const { client, db } = device;
    client.start();
    await settle(() => client.state.status === "synced");
    client.pause();
    for (const done of [true, false, true]) {
      db.update(todos).set({ done }).run();
      await settle();
    }
    const told: number[] = [];
    const stop = client.subscribe(({ pending }) => told.push(pending));
    await settle();
    db.insert(tags).values({ id: "t", name: "t" }).run();
    await settle();
    expect(told).toEqual([3, 4]);
    stop();
    for (const id of ["u", "v"]) {
      db.insert(tags).values({ id, name: id }).run();
      await settle();
    }
    expect(client.state.pending).toBe(6);
    client.resume();
    await settle(() => client.state.pending === 0);
    expect(world.server.db.select().from(tags).all()).toHaveLength(3);
    db.insert(tags).values({ id: "w", name: "w" }).run();
    await settle(() => client.state.pending === 0);
    expect(world.server.db.select().from(tags).all()).toHaveLength(4);
  });

  test("a paused client goes on with `start` as well", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    device.client.pause();
    world.server.db.insert(tags).values({ id: "t", name: "t" }).run();
    await settle();
    expect(device.client.state.status).toBe("paused");
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    expect(device.db.select().from(tags).all()).toHaveLength(1);
  });

  test("a stream that falls silent is opened again", async () => {
    await using world = await seeded();
    let opened = 0;
    const device = world.device("ann", {
      live: "pages",
      wrap: (transport) => ({
        ...transport,
        async *live(request, options) {
          opened++;
          if (opened > 1) return yield* transport.live?.(request, options) ?? [];
          await new Promise<void>((resolve) => options.signal.addEventListener("abort", () => resolve()));
        },
      }),
    });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    world.server.db.insert(tags).values({ id: "t", name: "red" }).run();
    await settle();
    expect(device.db.select().from(tags).all()).toEqual([]);
    await world.clock.advance(160_000, () => settle());
    expect(opened).toBe(2);
    await expectBase(world, device);
  });

  test("own changes that do not come back on the stream are fetched", async () => {
    await using world = await seeded();
    const device = world.device("ann", {
      live: "pages",
      wrap: (transport) => ({
        ...transport,
        async *live(_request, options) {
          yield { kind: "heartbeat" as const };
          await new Promise<void>((resolve) => options.signal.addEventListener("abort", () => resolve()));
        },
      }),
    });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    device.db.insert(tags).values({ id: "t", name: "red" }).run();
    await settle();
    expect(device.client.state.pending).toBe(1);
    await world.clock.advance(10_001, () => settle());
    expect(device.client.state.pending).toBe(0);
  });

  test("`reached` resolves when the device has what a server action wrote", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    world.server.db.insert(tags).values({ id: "t", name: "red" }).run();
    const cursor = world.server.db.$sync.cursor();
    await device.client.reached(cursor);
    expect(device.db.select().from(tags).all()).toHaveLength(1);
    await device.client.reached(cursor);
    await expect(device.client.reached("nonsense")).rejects.toMatchObject({ code: "INVALID_CONFIG" });
    const controller = new AbortController();
    const waiting = device.client.reached("999999.1", { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "ABORTED" });
  });
});

describe("crashes", () => {
  test("R4: a first sync goes on where it was cut", async () => {
    await using world = await seeded();
    for (let i = 0; i < 30; i++)
      world.server.db
        .insert(todos)
        .values({ id: `x${i}`, listId: "a", title: `${i}` })
        .run();
    const { state, wrap } = flaky();
    let answered = 0;
    state.beforePull = async (answer) => {
      if (++answered > 3) throw new SyncError({ code: "OFFLINE", message: "Cut." });
      return answer;
    };
    const device = world.device("ann", { wrap, pageRows: 5 });
    await expect(device.client.sync()).rejects.toMatchObject({ code: "OFFLINE" });
    expect(device.client.state.cursor).toBeUndefined();
    const second = flaky();
    const again = world.device("ann", { wrap: second.wrap, pageRows: 5, from: device.raw.serialize() });
    await device.client.close();
    await again.client.sync();
    expect(second.state.pulls[0]?.round?.phase).toBe("snapshot");
    await expectBase(world, again);
  });

  test("R1: a round that is cut shows nothing of itself, and goes on after a restart", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap, pageRows: 5 });
    await device.client.sync();
    world.server.db.transaction((tx) => {
      for (let i = 0; i < 30; i++)
        tx.insert(todos)
          .values({ id: `x${i}`, listId: "a", title: `${i}` })
          .run();
    });
    let answered = 0;
    state.beforePull = async (answer) => {
      if (++answered > 3) throw new SyncError({ code: "OFFLINE", message: "Cut." });
      return answer;
    };
    await expect(device.client.sync()).rejects.toMatchObject({ code: "OFFLINE" });
    expect(titles(device)).toEqual(["one", "two"]);
    const second = flaky();
    const again = world.device("ann", { wrap: second.wrap, pageRows: 5, from: device.raw.serialize() });
    await device.client.close();
    await again.client.sync();
    expect(second.state.pulls[0]?.round?.phase).toBe("log");
    await expectBase(world, again);
  });

  test("outcomes survive a restart and are told once", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
    await device.client.sync();
    const again = world.device("ann", { from: device.raw.serialize() });
    const told: string[] = [];
    again.client.outcomes.subscribe((outcome) => told.push(outcome.id));
    await settle(() => told.length > 0);
    const third = world.device("ann", { from: again.raw.serialize() });
    third.client.outcomes.subscribe((outcome) => told.push(outcome.id));
    await settle();
    expect(told).toHaveLength(1);
    expect(await third.client.outcomes.list()).toHaveLength(1);
    await third.client.outcomes.resolve(told[0] ?? "", "discard");
    expect(await third.client.outcomes.list()).toEqual([]);
  });
});

describe("identity", () => {
  test("I4: two devices with one id both keep what they wrote", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    const copy = world.device("ann", { from: device.raw.serialize() });
    device.db.insert(tags).values({ id: "one", name: "one" }).run();
    copy.db.insert(tags).values({ id: "two", name: "two" }).run();
    copy.db.insert(tags).values({ id: "three", name: "three" }).run();
    await device.client.sync();
    await copy.client.sync();
    await device.client.sync();
    expect(
      world.server.db
        .select()
        .from(tags)
        .all()
        .map((row) => row.id)
        .sort(),
    ).toEqual(["one", "three", "two"]);
    await expectBase(world, device);
    await expectBase(world, copy);
    const id = (raw: TestDevice["raw"]): unknown =>
      raw.prepare("SELECT v FROM _sync_meta WHERE k = 'device.id'").pluck().get();
    expect(id(device.raw)).not.toBe(id(copy.raw));
  });

  test("I2: a restored server makes the device take a fresh snapshot, and what waits is pushed", async () => {
    await using world = await seeded();
    const errors: string[] = [];
    const device = world.device("ann", { onError: (error) => errors.push(error.code) });
    await device.client.sync();
    const backup = world.server.raw.serialize();
    device.db.insert(tags).values({ id: "lost", name: "lost" }).run();
    world.server.db.insert(todos).values({ id: "3", listId: "a", title: "three" }).run();
    await device.client.sync();
    await world.replaceServer(backup);
    world.server.db
      .insert(todos)
      .values([
        { id: "4", listId: "a", title: "four" },
        { id: "5", listId: "b", title: "five" },
        { id: "6", listId: "b", title: "six" },
      ])
      .run();
    device.db.insert(tags).values({ id: "kept", name: "kept" }).run();
    await device.client.sync();
    await expectBase(world, device);
    expect(errors).toContain("CURSOR_UNKNOWN");
    expect(
      world.server.db
        .select()
        .from(tags)
        .all()
        .map((row) => row.id),
    ).toContain("kept");
  });

  test("A1: a server with another epoch replaces the base and gets the queue", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    await world.replaceServer();
    world.server.db.insert(lists).values({ id: "a", name: "new" }).run();
    device.db.insert(tags).values({ id: "t", name: "red" }).run();
    await device.client.sync();
    await expectBase(world, device);
    expect(world.server.db.select().from(tags).all()).toHaveLength(1);
    expect(device.db.select().from(lists).all()).toEqual([{ id: "a", name: "new" }]);
  });

  test("A1: an answer to a state that is gone is dropped", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    await device.client.sync();
    world.server.db.insert(tags).values({ id: "t", name: "red" }).run();
    let isFirst = true;
    state.beforePull = async (answer) => {
      if (isFirst) {
        isFirst = false;
        await device.client.reset();
      }
      return answer;
    };
    await device.client.sync();
    // The late answer was thrown away; a fresh snapshot was asked for.
    expect(state.pulls.at(-1)?.cursor).toBeUndefined();
    await expectBase(world, device);
  });
});

describe("resolvers that need more", () => {
  test("P6: a row that is gone on the server is brought back whole when the client wins", async () => {
    await using world = await seeded();
    world.server.db.insert(tags).values({ id: "t", name: "red", color: "#f00" }).run();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    await device.client.sync();
    device.db.update(tags).set({ name: "dark red" }).run();
    world.server.db.delete(tags).run();
    await device.client.sync();
    expect(state.pushes.some((push) => push.txs.some((tx) => tx.ops.some((op) => op.length === 5)))).toBe(true);
    expect(world.server.db.select().from(tags).all()).toEqual([{ id: "t", name: "dark red", color: "#f00" }]);
    await expectBase(world, device);
  });

  test("P6: also when a page took the row away before the push", async () => {
    await using world = await seeded();
    world.server.db.insert(tags).values({ id: "t", name: "red", color: "#f00" }).run();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    state.fail.push = new SyncError({ code: "UNAVAILABLE", message: "Not now." });
    device.db.update(tags).set({ name: "dark red" }).run();
    world.server.db.delete(tags).run();
    await settle(() => device.db.select().from(tags).all().length === 0);
    expect(device.db.select().from(tags).all()).toEqual([]);
    state.fail.push = undefined;
    await world.clock.advance(5000, () => settle());
    expect(world.server.db.select().from(tags).all()).toEqual([{ id: "t", name: "dark red", color: "#f00" }]);
    expect(device.db.select().from(tags).all()).toHaveLength(1);
  });
});

describe("reset and signing out", () => {
  test("a reset keeps queue and rows, and replaces the base", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    await device.client.reset();
    expect(titles(device)).toEqual(["mine", "two"]);
    expect(await device.client.pending.list()).toHaveLength(1);
    await device.client.sync();
    expect(titles(world.server)).toEqual(["mine", "two"]);
    await expectBase(world, device);
  });

  test("signing out discards, keeps or flushes what waits, and wipes when asked", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    const [waiting] = await device.client.pending.list();
    const settled = device.client.pending.settled(waiting?.id ?? "");
    await device.client.signOut({ pending: "discard" });
    expect(await settled).toEqual({ status: "discarded" });
    expect(titles(device)).toEqual(["one", "two"]);
    expect(device.client.state).toMatchObject({ status: "signed-out", pending: 0 });

    device.db.update(todos).set({ title: "kept" }).where(eq(todos.id, "1")).run();
    await device.client.signOut({ pending: "keep" });
    expect(await device.client.pending.list()).toHaveLength(1);
    await expect(device.client.signOut({ pending: "keep", wipe: true })).rejects.toMatchObject({
      code: "INVALID_CONFIG",
    });

    device.client.resume();
    await settle(() => device.client.state.status === "synced");
    device.db.update(todos).set({ title: "flushed" }).where(eq(todos.id, "2")).run();
    await device.client.signOut({ pending: "flush", wipe: true });
    expect(titles(world.server)).toEqual(["kept", "flushed"]);
    expect(titles(device)).toEqual([]);
    expect(device.client.state).toMatchObject({ status: "signed-out", pending: 0 });
    expect(device.client.state.cursor).toBeUndefined();
    device.client.resume();
    await settle(() => device.client.state.status === "synced");
    await expectBase(world, device);
  });

  test("signing out leaves nothing behind: what was held, or too large for the server", async () => {
    await using world = await seeded();
    const device = world.device("ann", {
      hold: "on-demand",
      wrap: (transport) => ({
        ...transport,
        async push() {
          throw new SyncError({ code: "TOO_LARGE", message: "Too large." });
        },
      }),
    });
    const meta = (key: string): unknown =>
      device.raw.prepare("SELECT v FROM _sync_meta WHERE k LIKE ?").pluck().get(`%.${key}`);
    device.client.hold("list:a");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    await expect(device.client.sync()).rejects.toMatchObject({ code: "TOO_LARGE" });
    expect(meta("refused")).not.toBe("[]");
    await device.client.signOut({ pending: "discard" });
    expect(meta("refused")).toBe("[]");
    expect(meta("holds")).toContain("list:a");
    await device.client.signOut({ pending: "discard", wipe: true });
    expect(meta("holds")).toBeUndefined();
  });

  test("a closed client refuses every call", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    const waiting = device.client.reached("5.5");
    const rejected = expect(waiting).rejects.toMatchObject({ code: "CLOSED" });
    await settle();
    await device.client.close();
    await rejected;
    await expect(device.client.sync()).rejects.toMatchObject({ code: "CLOSED" });
    await expect(device.client.pending.list()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("the local database", () => {
  test("that is full ends in STORAGE_FULL, and goes on when there is room", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    const pages = device.raw.pragma("page_count", { simple: true }) as number;
    device.raw.pragma(`max_page_count = ${pages}`);
    for (let i = 0; i < 50; i++)
      world.server.db
        .insert(todos)
        .values({ id: `x${i}`, listId: "a", title: "x".repeat(500) })
        .run();
    device.client.start();
    await settle(() => device.client.state.status === "error");
    expect(device.client.state).toMatchObject({ status: "error", error: { code: "STORAGE_FULL" } });
    device.raw.pragma("max_page_count = 100000");
    device.client.resume();
    await settle(() => device.client.state.status === "synced");
    await expectBase(world, device);
  });

  test("that is damaged is an error, never an empty queue", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    for (let i = 0; i < 200; i++)
      device.db
        .insert(tags)
        .values({ id: `t${i}`, name: "x".repeat(100) })
        .run();
    const file = device.raw.serialize();
    const root = device.raw
      .prepare("SELECT rootpage FROM sqlite_master WHERE name = '_sync_log'")
      .pluck()
      .get() as number;
    const size = device.raw.pragma("page_size", { simple: true }) as number;
    file.fill(0xa5, (root - 1) * size, root * size);
    const errors: string[] = [];
    const damaged = world.device("ann", { from: file, onError: (error) => errors.push(error.code) });
    await expect(damaged.client.pending.list()).rejects.toMatchObject({ code: "STORAGE_FAILED" });
    damaged.client.start();
    await settle(() => damaged.client.state.status === "error");
    expect(damaged.client.state).toMatchObject({ status: "error", error: { code: "STORAGE_FAILED" } });
    expect(errors).toContain("STORAGE_FAILED");
  });

  test("A4: foreign keys are enforced for the app, and for nobody while pages are applied", async () => {
    await using world = await seeded();
    const device = world.device("ann");
    await device.client.sync();
    expect(device.raw.pragma("foreign_keys", { simple: true })).toBe(1);
    expect(() => device.db.insert(todos).values({ id: "z", listId: "nobody", title: "z" }).run()).toThrow();
    world.rights["ann"] = { read: ["everyone"], write: [] };
    await device.client.sync();
    await expectBase(world, device, ["everyone"]);
  });

  test("A3: a transaction that clashes with the server's rows is withheld, and judged by the server", async () => {
    await using world = await seeded();
    const { state, wrap } = flaky();
    const device = world.device("ann", { wrap });
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    state.fail.push = new SyncError({ code: "UNAVAILABLE", message: "Not now." });
    device.db.insert(todos).values({ id: "mine", listId: "a", title: "mine", slot: "s" }).run();
    world.server.db.insert(todos).values({ id: "theirs", listId: "a", title: "theirs", slot: "s" }).run();
    await settle(() => titles(device).includes("theirs"));
    expect(titles(device)).toEqual(["one", "two", "theirs"]);
    expect(await device.client.pending.list()).toMatchObject([{ isWithheld: true }]);
    await expectBase(world, device);
    state.fail.push = undefined;
    await world.clock.advance(5000, () => settle());
    expect(await device.client.outcomes.list()).toMatchObject([{ status: "rejected", code: "CONSTRAINT" }]);
    expect(device.client.state.pending).toBe(0);
  });
});

test("errors are SyncErrors, of whatever copy of the package", async () => {
  await using world = await seeded();
  world.rights["ann"] = null;
  const device = world.device("ann");
  const error: unknown = await device.client.sync().catch((reason: unknown) => reason);
  expect(isSyncError(error, "UNAUTHORIZED")).toBe(true);
});
