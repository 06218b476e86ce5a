import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { isSyncError } from "../protocol/errors.ts";
import { comments, lists, expectBase, openTestWorld, settle, todos } from "../testing/device-world.ts";
import { createSyncClient } from "./client.ts";
import { trpcTransport } from "./trpc-transport.ts";
import type { Transport } from "./transport.ts";

describe("one cycle", () => {
  test("a first sync brings the rows of the readable scopes and nothing else", async () => {
    await using world = await openTestWorld();
    world.server.db
      .insert(lists)
      .values([
        { id: "a", name: "A" },
        { id: "b", name: "B" },
        { id: "c", name: "C" },
      ])
      .run();
    world.server.db
      .insert(todos)
      .values([
        { id: "1", listId: "a", title: "one" },
        { id: "2", listId: "c", title: "two" },
      ])
      .run();
    const device = world.device("ann");
    expect(device.client.state.status).toBe("idle");
    await device.client.sync();
    expect(device.client.state).toMatchObject({ status: "idle", pending: 0 });
    expect(
      device.db
        .select()
        .from(todos)
        .all()
        .map((row) => row.id),
    ).toEqual(["1"]);
    await expectBase(world, device);
  });

  test("a local transaction reaches the server and another device", async () => {
    await using world = await openTestWorld();
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    const one = world.device("ann");
    const two = world.device("bob");
    await one.client.sync();
    await two.client.sync();
    one.db.transaction((tx) => {
      tx.insert(todos)
        .values({ id: "1", listId: "a", title: "one", at: new Date(5) })
        .run();
      tx.insert(comments).values({ id: "c", todoId: "1", body: "hm" }).run();
    });
    const [waiting] = await one.client.pending.list();
    expect(waiting).toMatchObject({
      isWithheld: false,
      attempts: 0,
      operations: [
        { table: "todos", kind: "insert", values: { title: "one", done: false, at: new Date(5) } },
        { table: "comments" },
      ],
    });
    await one.client.sync();
    expect(one.client.state.pending).toBe(0);
    expect(await one.client.pending.settled(waiting?.id ?? "")).toEqual({ status: "applied" });
    expect(world.server.db.select().from(todos).all()).toHaveLength(1);
    await two.client.sync();
    expect(two.db.select().from(comments).all()).toEqual([{ id: "c", todoId: "1", body: "hm" }]);
    await expectBase(world, one);
    await expectBase(world, two);
  });

  test("a round of many pages arrives whole, and bootstraps page by page", async () => {
    await using world = await openTestWorld();
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    for (let i = 0; i < 50; i++)
      world.server.db
        .insert(todos)
        .values({ id: `t${i}`, listId: "a", title: `todo ${i}` })
        .run();
    const device = world.device("ann", { pageRows: 7 });
    await device.client.sync();
    await expectBase(world, device);
    for (let i = 0; i < 50; i++)
      world.server.db
        .update(todos)
        .set({ title: `again ${i}` })
        .where(eq(todos.id, `t${i}`))
        .run();
    world.server.db.delete(todos).where(eq(todos.id, "t7")).run();
    device.db.update(todos).set({ done: true }).where(eq(todos.id, "t3")).run();
    await device.client.sync();
    await expectBase(world, device);
    expect(device.db.select().from(todos).where(eq(todos.id, "t3")).get()).toMatchObject({
      title: "again 3",
      done: true,
    });
    expect(device.db.select().from(todos).where(eq(todos.id, "t7")).get()).toBeUndefined();
  });
});

describe("outcomes", () => {
  test("a conflict is kept with both versions and told once", async () => {
    await using world = await openTestWorld();
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    world.server.db.insert(todos).values({ id: "1", listId: "a", title: "one" }).run();
    const device = world.device("ann");
    await device.client.sync();
    const told: unknown[] = [];
    device.client.outcomes.subscribe((outcome) => told.push(outcome));
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    world.server.db.update(todos).set({ title: "theirs" }).where(eq(todos.id, "1")).run();
    await device.client.sync();
    await settle(() => told.length > 0);
    const list = await device.client.outcomes.list();
    expect(list).toEqual(told);
    expect(list).toMatchObject([
      {
        status: "merged",
        operations: [{ values: { title: "mine" }, before: { title: "one" } }],
        conflicts: [{ winner: "server", server: { title: "theirs" } }],
      },
    ]);
    expect(device.db.select().from(todos).get()).toMatchObject({ title: "theirs" });

    const [outcome] = list;
    const retry = (outcome?.operations ?? []).map((operation) => ({
      ...operation,
      values: { title: "mine after all" },
    }));
    await device.client.outcomes.resolve(outcome?.id ?? "", { retry });
    expect(await device.client.outcomes.list()).toEqual([]);
    await device.client.sync();
    expect(world.server.db.select().from(todos).get()).toMatchObject({ title: "mine after all" });
    expect(told).toHaveLength(1);
    await expectBase(world, device);
  });

  test("a refused transaction leaves the queue with its reason and blocks nothing behind it", async () => {
    await using world = await openTestWorld();
    world.rights["ann"] = { read: ["list:a", "list:b"], write: ["list:a"] };
    world.server.db
      .insert(lists)
      .values([
        { id: "a", name: "A" },
        { id: "b", name: "B" },
      ])
      .run();
    const device = world.device("ann");
    await device.client.sync();
    device.db.insert(todos).values({ id: "1", listId: "b", title: "no" }).run();
    device.db.insert(todos).values({ id: "2", listId: "a", title: "yes" }).run();
    await device.client.sync();
    expect(await device.client.outcomes.list()).toMatchObject([
      {
        status: "rejected",
        code: "SCOPE_NOT_WRITABLE",
        operations: [{ key: { id: "1" } }],
        refused: { index: 0, table: "todos" },
      },
    ]);
    expect(
      device.db
        .select()
        .from(todos)
        .all()
        .map((row) => row.id),
    ).toEqual(["2"]);
    expect(
      world.server.db
        .select()
        .from(todos)
        .all()
        .map((row) => row.id),
    ).toEqual(["2"]);
    await expectBase(world, device);
  });
});

describe("live", () => {
  test.each(["pages", "pokes"] as const)("a commit on the server appears through a stream of %s", async (live) => {
    await using world = await openTestWorld();
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    const one = world.device("ann", { live });
    const two = world.device("bob", { live });
    one.client.start();
    two.client.start();
    await settle(() => one.client.state.status === "synced" && two.client.state.status === "synced");
    world.server.db.insert(todos).values({ id: "1", listId: "a", title: "one" }).run();
    await settle(() => one.db.select().from(todos).all().length === 1);
    expect(one.db.select().from(todos).all()).toHaveLength(1);
    one.db.update(todos).set({ title: "changed" }).where(eq(todos.id, "1")).run();
    await settle(() => two.db.select().from(todos).get()?.title === "changed" && one.client.state.pending === 0);
    expect(two.db.select().from(todos).get()?.title).toBe("changed");
    expect(one.client.state).toMatchObject({ status: "synced", pending: 0 });
    await expectBase(world, one);
    await expectBase(world, two);
  });

  test("without a stream the engine polls", async () => {
    await using world = await openTestWorld();
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    const device = world.device("ann");
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    world.server.db.insert(todos).values({ id: "1", listId: "a", title: "one" }).run();
    await world.clock.advance(15_000, () => settle());
    expect(device.db.select().from(todos).all()).toHaveLength(1);
  });
});

test("a token that a tRPC client would not send is refused", async () => {
  await using world = await openTestWorld();
  const { db } = world.device("ann");
  const unused = { mutate: () => Promise.reject(new Error("not called")) };
  const transport = trpcTransport({ handshake: unused, pull: unused, push: unused });
  expect(() => createSyncClient({ db, transport, token: () => "secret" })).toThrowError(
    expect.objectContaining({ code: "INVALID_CONFIG" }),
  );
});

test("a client without a transport, or over another database than one of `withSync`, says so", async () => {
  await using world = await openTestWorld();
  const { db } = world.device("ann");
  expect(() => createSyncClient({ db })).toThrowError(expect.objectContaining({ code: "INVALID_CONFIG" }));
  try {
    createSyncClient({ db: {}, transport: {} as Transport });
  } catch (error) {
    expect(isSyncError(error, "INVALID_CONFIG")).toBe(true);
  }
});
