import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import type { LiveFrame } from "../protocol/live.ts";
import {
  allScopes,
  ddl,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestWorld,
} from "../testing/device-world.ts";
import type { OnlineChange, OnlineSource } from "./online.ts";
import type { Transport } from "./transport.ts";

const never = new Promise<never>(() => undefined);
const serverTags = (world: TestWorld): readonly string[] =>
  world.server.db
    .select()
    .from(tags)
    .orderBy(tags.id)
    .all()
    .map((row) => row.id);
const isSynced =
  ({ client }: TestDevice) =>
  (): boolean =>
    client.state.status === "synced";
const tag = (id: string) => ({ id, name: id });

/** The platform's word on the network, said by the test. */
function switchedNetwork(isOnline = true): OnlineSource & { tell(change: OnlineChange): void } {
  let tell = (_change: OnlineChange): void => undefined;
  return {
    isOnline: () => isOnline,
    subscribe(listener) {
      tell = listener;
      return () => undefined;
    },
    tell: (change) => tell(change),
  };
}

/** A database file that several connections open. */
function databaseFile(): Disposable & { open(timeout?: number): Database.Database } {
  const folder = mkdtempSync(join(tmpdir(), "drizzle-sync-"));
  const path = join(folder, "device.db");
  const first = new Database(path);
  first.pragma("journal_mode = wal");
  first.exec(ddl);
  first.close();
  return {
    open: (timeout = 5000) => new Database(path, { timeout }),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}

describe("`sync`", () => {
  test("rejects when the network goes in the middle of it", async () => {
    await using world = await openSeededWorld();
    const online = switchedNetwork();
    const device = world.device("ann", { online, wrap: (transport) => ({ ...transport, pull: () => never }) });
    const rejected = expect(device.client.sync()).rejects.toMatchObject({ code: "OFFLINE" });
    await settle();
    online.tell("offline");
    await rejected;
    expect(device.client.state.cursor).toBeUndefined();
  });

  test("rejects when the client is closed in the middle of it", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { wrap: (transport) => ({ ...transport, pull: () => never }) });
    const rejected = expect(device.client.sync()).rejects.toMatchObject({ code: "CLOSED" });
    await settle();
    await device.client.close();
    await rejected;
  });

  test("begins again after a sign-in, once, unless the client was started", async () => {
    await using world = await openSeededWorld();
    world.rights["ann"] = null;
    const device = world.device("ann");
    await expect(device.client.sync()).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    world.rights["ann"] = { read: allScopes, write: allScopes };
    await device.client.sync();
    expect(device.client.state.status).toBe("idle");
  });

  test("begins again after an error and after an update, and goes on only where the client was started", async () => {
    await using world = await openSeededWorld();
    let fail: SyncError | undefined = new SyncError({ code: "INVALID_MESSAGE", message: "No." });
    const wrap = (transport: Transport): Transport => ({
      ...transport,
      handshake: (request, options) => (fail ? Promise.reject(fail) : transport.handshake(request, options)),
    });
    const once = world.device("ann", { wrap });
    await expect(once.client.sync()).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
    const started = world.device("bob", { wrap });
    fail = new SyncError({
      code: "PROTOCOL_UNSUPPORTED",
      message: "Update the app.",
      details: { offered: [1], supported: [2] },
    });
    started.client.start();
    await settle(() => started.client.state.status === "update-needed");
    await expect(started.client.sync()).rejects.toMatchObject({ code: "PROTOCOL_UNSUPPORTED" });
    expect(started.client.state.error?.code).toBe("PROTOCOL_UNSUPPORTED");
    fail = undefined;
    await once.client.sync();
    expect(once.client.state.status).toBe("idle");
    await started.client.sync();
    expect(started.client.state.status).toBe("synced");
  });

  test("pushes what another connection wrote just before", async () => {
    await using world = await openSeededWorld();
    using file = databaseFile();
    const device = world.device("ann", { from: file.open() });
    device.client.start();
    await settle(isSynced(device));
    using other = closing(file.open());
    other.database.exec("INSERT INTO tags (id, name) VALUES ('s', 'stranger')");
    await device.client.sync();
    expect(serverTags(world)).toEqual(["s"]);
  });
});

const closing = (database: Database.Database): Disposable & { readonly database: Database.Database } => ({
  database,
  [Symbol.dispose]: () => void database.close(),
});

test("an access that is refused once is asked for with a fresh token before the client counts as signed out", async () => {
  await using world = await openSeededWorld();
  let refusals = 1;
  const device = world.device("ann", {
    wrap: (transport) => ({
      ...transport,
      push(request, options) {
        if (refusals-- > 0)
          return Promise.reject(new SyncError({ code: "UNAUTHORIZED", message: "The token expired on the way." }));
        return transport.push(request, options);
      },
    }),
  });
  device.client.start();
  await settle(isSynced(device));
  device.db.insert(tags).values(tag("t")).run();
  await settle(() => device.client.state.pending === 0);
  expect(serverTags(world)).toEqual(["t"]);
  refusals = Number.POSITIVE_INFINITY;
  device.db.insert(tags).values(tag("u")).run();
  await settle(() => device.client.state.status === "signed-out");
  expect(device.client.state).toMatchObject({ status: "signed-out", pending: 1, error: { code: "UNAUTHORIZED" } });
});

describe("signing out with a flush", () => {
  test("keeps a queue of an earlier process that cannot be sent", async () => {
    await using world = await openSeededWorld();
    const first = world.device("ann");
    await first.client.sync();
    first.db.insert(tags).values(tag("t")).run();
    await first.client.pending.list();
    const online = switchedNetwork();
    const device = world.device("ann", {
      from: first.raw.serialize(),
      online,
      wrap: (transport) => ({ ...transport, handshake: () => never }),
    });
    const rejected = expect(device.client.signOut({ pending: "flush", wipe: true })).rejects.toMatchObject({
      code: "OFFLINE",
    });
    await settle();
    online.tell("offline");
    await rejected;
    expect(await device.client.pending.list()).toHaveLength(1);
    expect(device.db.select().from(tags).all()).toHaveLength(1);
  });

  test("sends what is written while it is under way before it wipes", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { live: "pages" });
    device.client.start();
    await settle(isSynced(device));
    const stop = device.client.subscribe(({ status }) => {
      if (status !== "signed-out") return;
      stop();
      device.db.insert(tags).values(tag("late")).run();
    });
    await device.client.signOut({ pending: "flush", wipe: true });
    expect(serverTags(world)).toEqual(["late"]);
    expect(device.db.select().from(tags).all()).toEqual([]);
    expect(device.client.state).toMatchObject({ status: "signed-out", pending: 0 });
  });

  test("sends what another connection wrote before it wipes", async () => {
    await using world = await openSeededWorld();
    using file = databaseFile();
    const device = world.device("ann", { from: file.open(), live: "pages" });
    device.client.start();
    await settle(isSynced(device));
    using other = closing(file.open());
    other.database.exec("INSERT INTO tags (id, name) VALUES ('s', 'stranger')");
    await device.client.signOut({ pending: "flush", wipe: true });
    expect(serverTags(world)).toEqual(["s"]);
    expect(device.raw.prepare("SELECT count(*) FROM tags").pluck().get()).toBe(0);
  });

  test("wipes nothing while something is written again and again", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    device.client.start();
    await settle(isSynced(device));
    let n = 0;
    let before = "";
    device.client.subscribe(({ status }) => {
      const isNew = status !== before;
      before = status;
      if (isNew && status === "signed-out")
        device.db
          .insert(tags)
          .values(tag(`t${n++}`))
          .run();
    });
    await expect(device.client.signOut({ pending: "flush", wipe: true })).rejects.toMatchObject({ code: "ABORTED" });
    expect(device.db.select().from(tags).all()).toHaveLength(n);
    expect(await device.client.pending.list()).toHaveLength(1);
  });
});

describe("retrying an outcome", () => {
  test("that was resolved already is refused, discarding it is not", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
    await device.client.sync();
    const [outcome] = await device.client.outcomes.list();
    const { id = "", operations = [] } = outcome ?? {};
    await device.client.outcomes.resolve(id, { retry: operations });
    device.db.update(todos).set({ title: "newer" }).where(eq(todos.id, "1")).run();
    await expect(device.client.outcomes.resolve(id, { retry: operations })).rejects.toMatchObject({
      code: "OUTCOME_GONE",
    });
    await device.client.outcomes.resolve(id, "discard");
    expect(device.db.select().from(todos).where(eq(todos.id, "1")).get()?.title).toBe("newer");
  });

  test("that breaks a local constraint says on which table and keeps the outcome", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ slot: "s" }).where(eq(todos.id, "2")).run();
    await device.client.sync();
    const [outcome] = await device.client.outcomes.list();
    const retry = (outcome?.operations ?? []).map((operation) => ({ ...operation, values: { slot: "s" } }));
    await expect(device.client.outcomes.resolve(outcome?.id ?? "", { retry })).rejects.toThrow(
      /constraint of table `todos`/,
    );
    expect(await device.client.outcomes.list()).toHaveLength(1);
  });
});

test("an outcome whose listener was not reached is told again", async () => {
  await using world = await openSeededWorld();
  const device = world.device("ann");
  await device.client.sync();
  device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
  world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
  await device.client.sync();
  let file: Buffer | undefined;
  // The process ends inside the listener.
  device.client.outcomes.subscribe(() => (file = device.raw.serialize()));
  await settle(() => file !== undefined);
  const again = world.device("ann", { from: file as Buffer });
  const told: string[] = [];
  again.client.outcomes.subscribe((outcome) => told.push(outcome.id));
  await settle(() => told.length > 0);
  expect(told).toHaveLength(1);
});

test("promise 4: a transaction that is larger than the server takes is rejected on the device and blocks nothing behind it", async () => {
  await using world = await openSeededWorld();
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    push: (request, options) =>
      JSON.stringify(request).length > 5000
        ? Promise.reject(new SyncError({ code: "TOO_LARGE", message: "Too large." }))
        : transport.push(request, options),
  });
  const device = world.device("ann", { wrap });
  await device.client.sync();
  device.db
    .insert(tags)
    .values({ id: "big", name: "x".repeat(10_000) })
    .run();
  for (const id of ["s1", "s2", "s3"]) device.db.insert(tags).values(tag(id)).run();
  const [big] = await device.client.pending.list();
  const settled = device.client.pending.settled(big?.id ?? "");
  await device.client.sync();
  expect(serverTags(world)).toEqual(["s1", "s2", "s3"]);
  expect(await settled).toMatchObject({ status: "rejected" });
  expect(await device.client.outcomes.list()).toMatchObject([
    {
      id: big?.id,
      status: "rejected",
      code: "INVALID_VALUE",
      message: expect.stringContaining("larger than the server accepts"),
      operations: [{ table: "tags", key: { id: "big" } }],
    },
  ]);
  expect(device.db.select().from(tags).all()).toHaveLength(3);
  expect(await device.base()).toEqual(world.expected(allScopes));
});

test("promise 4: what was once found too large stays so over a restart", async () => {
  await using world = await openSeededWorld();
  let isOnline = true;
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    push(request, options) {
      if (JSON.stringify(request).length > 5000)
        return Promise.reject(new SyncError({ code: "TOO_LARGE", message: "Too large." }));
      return isOnline
        ? transport.push(request, options)
        : Promise.reject(new SyncError({ code: "OFFLINE", message: "Cut." }));
    },
  });
  const device = world.device("ann", { wrap });
  await device.client.sync();
  isOnline = false;
  device.db
    .insert(tags)
    .values({ id: "big", name: "x".repeat(10_000) })
    .run();
  await expect(device.client.sync()).rejects.toMatchObject({ code: "OFFLINE" });
  const again = world.device("ann", { from: device.raw.serialize() });
  await device.client.close();
  await again.client.sync();
  expect(serverTags(world)).toEqual([]);
  expect(await again.client.outcomes.list()).toMatchObject([{ status: "rejected", code: "INVALID_VALUE" }]);
  expect(again.raw.prepare("SELECT v FROM _sync_meta WHERE k = 'device.refused'").pluck().get()).toBe("[]");
});

test("a page tells listeners of changed rows", async () => {
  await using world = await openSeededWorld();
  const device = world.device("ann");
  await device.client.sync();
  const names: unknown[] = [];
  device.db.$sync.onChange(["tags"], (changes) => {
    for (const change of changes) names.push(change.kind === "delete" ? undefined : change.row.name);
  });
  world.server.db.insert(tags).values(tag("remote")).run();
  await device.client.sync();
  await settle(() => names.length > 0);
  expect(names).toEqual(["remote"]);
});

describe("a stream whose first words lead nowhere is opened later and later", () => {
  const first: Record<
    string,
    (epoch: string | undefined, cursor: string | undefined, schema: string) => readonly LiveFrame[]
  > = {
    "need-held": (epoch) => [{ kind: "need-held", epoch } as LiveFrame],
    reset: (epoch) => [{ kind: "reset", reason: "CURSOR_UNKNOWN", epoch } as LiveFrame],
    "end: upgrade": () => [{ kind: "end", reason: "upgrade" }],
    "a heartbeat, then end: pull": () => [{ kind: "heartbeat" }, { kind: "end", reason: "pull" }],
    "end: auth": () => [{ kind: "end", reason: "auth" }],
    "a page of a foreign epoch": (_epoch, cursor, schema) =>
      [
        {
          kind: "page",
          epoch: "AAAAAAAAAAAAAAAAAAAAAA",
          schema,
          from: cursor,
          to: cursor,
          scopes: allScopes,
          changes: [],
        },
      ] as unknown as readonly LiveFrame[],
  };
  test.each(Object.keys(first))("%s", async (name) => {
    await using world = await openSeededWorld();
    let opened = 0;
    let requests = 0;
    const device = world.device("ann", {
      live: "pages",
      wrap: (transport) => ({
        ...transport,
        handshake: (request, options) => (requests++, transport.handshake(request, options)),
        pull: (request, options) => (requests++, transport.pull(request, options)),
        async *live(request) {
          opened++;
          yield* first[name]?.(request.epoch, request.cursor, request.schema) ?? [];
        },
      }),
    });
    device.client.start();
    await settle();
    expect(opened).toBe(1);
    expect(requests).toBeLessThan(6);
    expect(device.client.state.status).toBe("synced");
    await world.clock.advance(1001, () => settle());
    expect(opened).toBe(2);
    await world.clock.advance(1001, () => settle());
    expect(opened).toBe(2);
  });
});

test("pulls that keep answering reset are tried later and later, though every handshake agrees", async () => {
  await using world = await openSeededWorld();
  let pulls = 0;
  const device = world.device("ann", {
    wrap: (transport) => ({
      ...transport,
      async pull(request, options) {
        pulls++;
        const { epoch } = await transport.pull(request, options);
        return { kind: "reset", reason: "CURSOR_UNKNOWN", epoch };
      },
    }),
  });
  device.client.start();
  await settle();
  const atOnce = pulls;
  await world.clock.advance(1001, () => settle());
  await world.clock.advance(2001, () => settle());
  const before = pulls;
  expect(before).toBeGreaterThan(atOnce);
  await world.clock.advance(1001, () => settle());
  expect(pulls).toBe(before);
});

describe("the local database", () => {
  test("with an open transaction of the app is waited for", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann", { live: "pages" });
    device.client.start();
    await settle(isSynced(device));
    device.db.$client.exec("BEGIN");
    device.db.insert(tags).values(tag("mine")).run();
    world.server.db.insert(tags).values(tag("theirs")).run();
    await settle();
    device.db.$client.exec("COMMIT");
    await world.clock.advance(60_000, () => settle());
    expect(device.client.state).toMatchObject({ status: "synced", pending: 0 });
    expect(serverTags(world)).toEqual(["mine", "theirs"]);
    expect(await device.base()).toEqual(world.expected(allScopes));
  });

  test("that is locked while the client opens is opened later", async () => {
    await using world = await openSeededWorld();
    using file = databaseFile();
    using other = closing(file.open());
    other.database.exec("BEGIN IMMEDIATE");
    const device = world.device("ann", { from: file.open(20) });
    await settle();
    expect(device.client.state.error?.code).toBe("UNAVAILABLE");
    other.database.exec("COMMIT");
    device.client.start();
    await settle(isSynced(device));
    await world.clock.advance(1000, () => settle());
    expect(device.client.state.status).toBe("synced");
    expect(device.client.state.error).toBeUndefined();
    expect(await device.base()).toEqual(world.expected(allScopes));
  });
});

describe("the state", () => {
  test("counts what was written in the same tick, and still tells its subscribers", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    expect(device.client.state.pending).toBe(0);
    const told: number[] = [];
    device.client.subscribe((state) => told.push(state.pending));
    device.db.insert(tags).values(tag("t")).run();
    expect(device.client.state.pending).toBe(1);
    expect(device.client.state).toBe(device.client.state);
    await settle();
    expect(told).toEqual([1]);
  });

  test("is right from the first tick, with a queue of an earlier process", async () => {
    await using world = await openSeededWorld();
    const first = world.device("ann");
    await first.client.sync();
    first.db.insert(tags).values(tag("t")).run();
    const again = world.device("ann", { from: first.raw.serialize() });
    expect(again.client.state).toMatchObject({ pending: 1, cursor: first.client.state.cursor });
  });
});

describe("a hold", () => {
  test.each(["all", "on-demand"] as const)(
    "of what the device has is ready at once, without a network (%s)",
    async (hold) => {
      await using world = await openSeededWorld();
      const first = world.device("ann");
      await first.client.sync();
      const device = world.device("ann", { hold, from: first.raw.serialize(), online: switchedNetwork(false) });
      const { ready } = device.client.hold("list:a");
      device.client.start();
      await ready;
      expect(device.client.state.status).toBe("offline");
    },
  );

  test.each(["all", "on-demand"] as const)(
    "of what the subject may not read is refused while the stream stands (%s)",
    async (hold) => {
      await using world = await openSeededWorld();
      const device = world.device("ann", { hold, live: "pages" });
      device.client.start();
      await settle(isSynced(device));
      await expect(device.client.hold("list:nobody").ready).rejects.toMatchObject({ code: "FORBIDDEN" });
    },
  );
});
