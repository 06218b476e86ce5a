import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import {
  allScopes,
  comments,
  expectBase,
  lists,
  openSeededWorld,
  settle,
  todos,
  type TestDevice,
  type TestWorld,
} from "../testing/device-world.ts";
import { transact } from "../plugin/core.ts";
import { readTransactions } from "../plugin/device-log.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { localDatabase } from "./local-database.ts";
import { createOutcomeFeed } from "./outcome-feed.ts";
import { removeOutcome, storeOutcome, storeOutcomeAgain, transactionId } from "./outcomes.ts";
import type { Transport } from "./transport.ts";

const todo = (db: TestDevice["db"], id: string) => db.select().from(todos).where(eq(todos.id, id)).get();

/** An update of a row that is gone on the server: the server wins, and the outcome waits. */
async function updateOfGoneRow(world: TestWorld, device: TestDevice) {
  await device.client.sync();
  world.server.db.delete(todos).where(eq(todos.id, "1")).run();
  device.db.update(todos).set({ done: true }).where(eq(todos.id, "1")).run();
  device.db.update(todos).set({ title: "precious" }).where(eq(todos.id, "1")).run();
  await device.client.sync();
  expect(todo(device.db, "1")).toBeUndefined();
  return await device.client.outcomes.list();
}

describe("promise 3: retrying an update whose row is gone", () => {
  test("brings the row back whole, as it was written here", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    const [, outcome] = await updateOfGoneRow(world, device);
    expect(outcome?.operations).toMatchObject([
      { kind: "update", values: { title: "precious" }, row: { listId: "a", title: "precious", done: true } },
    ]);
    await device.client.outcomes.resolve(outcome?.id ?? "", { retry: outcome?.operations ?? [] });
    await device.client.sync();
    expect(todo(world.server.db, "1")).toMatchObject({ listId: "a", title: "precious", done: true });
    await expectBase(world, device);
  });

  test("brings it back with the app's edit on top, also when a page took it away before the push, after a restart", async () => {
    await using world = await openSeededWorld();
    let isDown = true;
    const wrap = (transport: Transport): Transport => ({
      ...transport,
      push: (request, given) =>
        isDown
          ? Promise.reject(new SyncError({ code: "UNAVAILABLE", message: "Down." }))
          : transport.push(request, given),
    });
    const first = world.device("ann", { wrap });
    await first.client.sync();
    first.db.update(todos).set({ title: "precious" }).where(eq(todos.id, "1")).run();
    world.server.db.delete(todos).where(eq(todos.id, "1")).run();
    await first.client.sync().catch(() => undefined);
    isDown = false;
    await first.client.sync();
    const device = world.device("ann", { from: first.raw.serialize() });
    const [outcome] = await device.client.outcomes.list();
    const retry = (outcome?.operations ?? []).map((operation) => ({ ...operation, values: { title: "edited" } }));
    await device.client.outcomes.resolve(outcome?.id ?? "", { retry });
    await device.client.sync();
    expect(todo(world.server.db, "1")).toMatchObject({ listId: "a", title: "edited", done: false });
  });

  test("is refused as ROW_GONE where nobody knows it whole; the outcome is kept and nothing written", async () => {
    await using world = await openSeededWorld();
    const device = world.device("ann");
    const [outcome] = await updateOfGoneRow(world, device);
    const retry = (outcome?.operations ?? []).map(({ row: _row, ...operation }) => operation);
    await expect(device.client.outcomes.resolve(outcome?.id ?? "", { retry })).rejects.toMatchObject({
      code: "ROW_GONE",
      details: { table: "todos" },
    });
    expect(await device.client.outcomes.list()).toHaveLength(2);
    expect(await device.client.pending.list()).toEqual([]);
  });
});

describe("P8: dependants of a refused insert", () => {
  test("are refused with the cause over several levels, pushes and pulls, and go through after the root when retried", async () => {
    await using world = await openSeededWorld();
    world.rights["ann"] = { read: [...allScopes, "list:c"], write: allScopes };
    let pushes = 0;
    // One transaction a push; every second push is lost before it arrives, so that pages and acknowledgements come between.
    const wrap = (transport: Transport): Transport => ({
      ...transport,
      async handshake(request, given) {
        const answer = await transport.handshake(request, given);
        return { ...answer, limits: { ...answer.limits, maxPushTransactions: 1 } };
      },
      push: (request, given) =>
        ++pushes % 2 === 0
          ? Promise.reject(new SyncError({ code: "UNAVAILABLE", message: "Lost." }))
          : transport.push(request, given),
    });
    const device = world.device("ann", { wrap });
    await device.client.sync();
    device.db.insert(lists).values({ id: "c", name: "C" }).run();
    device.db.insert(todos).values({ id: "c1", listId: "c", title: "one" }).run();
    device.db.insert(comments).values({ id: "k", todoId: "c1", body: "hm" }).run();
    device.db.update(comments).set({ body: "oh" }).where(eq(comments.id, "k")).run();
    device.db.update(todos).set({ title: "renamed" }).where(eq(todos.id, "c1")).run();
    for (let i = 0; i < 10; i++) await device.client.sync().catch(() => undefined);
    expect(await device.client.pending.list()).toEqual([]);
    const outcomes = await device.client.outcomes.list();
    expect(
      outcomes.map((outcome) => (outcome.status === "rejected" ? [outcome.code, outcome.cause] : outcome)),
    ).toEqual([
      ["SCOPE_NOT_WRITABLE", undefined],
      ["DEPENDS_ON_REJECTED", 1],
      ["DEPENDS_ON_REJECTED", 2],
      ["DEPENDS_ON_REJECTED", 3],
      ["DEPENDS_ON_REJECTED", 2],
    ]);
    await expectBase(world, device);

    world.rights["ann"] = { read: [...allScopes, "list:c"], write: [...allScopes, "list:c"] };
    for (const { id, operations } of outcomes) await device.client.outcomes.resolve(id, { retry: operations });
    for (let i = 0; i < 12; i++) await device.client.sync().catch(() => undefined);
    expect(await device.client.outcomes.list()).toEqual([]);
    expect(todo(world.server.db, "c1")).toMatchObject({ title: "renamed" });
    expect(world.server.db.select().from(comments).all()).toEqual([{ id: "k", todoId: "c1", body: "oh" }]);
    await expectBase(world, device, [...allScopes, "list:c"]);
  });
});

test("promise 2: every listener is told of each outcome once, one that throws as well, and after a restart nobody again", async () => {
  await using world = await openSeededWorld();
  const device = world.device("ann");
  const told: string[] = [];
  device.client.outcomes.subscribe((outcome) => told.push(`a ${outcome.id}`));
  device.client.outcomes.subscribe((outcome) => told.push(`b ${outcome.id}`));
  await updateOfGoneRow(world, device);
  await settle(() => told.length === 4);
  const ids = (await device.client.outcomes.list()).map(({ id }) => id);
  expect(told.sort()).toEqual([...ids.map((id) => `a ${id}`), ...ids.map((id) => `b ${id}`)].sort());
  await settle();
  const again = world.device("ann", { from: device.raw.serialize() });
  const repeated: string[] = [];
  again.client.outcomes.subscribe((outcome) => repeated.push(outcome.id));
  await settle();
  expect(repeated).toEqual([]);
  expect(await again.client.outcomes.list()).toHaveLength(2);
});

test("promise 2: what takes an outcome's place while others are told is told, and what was dealt with is not", async () => {
  await using world = await openSeededWorld();
  const { db } = world.device("ann");
  const sync = syncOf(db);
  for (const id of ["3", "4", "5"]) db.insert(lists).values({ id, name: id }).run();
  const queue = transact(sync.connection, "read", () => readTransactions(sync, { after: 0, limit: 3 }));
  const [one, two, three] = await queue;
  if (!one || !two || !three) throw new Error("Three were written.");
  const verdict = ({ number, stamp }: typeof one, status: "merged" | "rejected") =>
    status === "merged"
      ? ({ status, number, stamp, conflicts: [] } as const)
      : ({ status, number, stamp, code: "UNDONE", message: "No." } as const);
  for (const each of [one, two, three])
    await transact(sync.connection, "write", () => storeOutcome(each, verdict(each, "merged")));
  const told: string[] = [];
  const feed = createOutcomeFeed(localDatabase(sync, world.clock), (error) => {
    throw error;
  });
  feed.subscribe(({ id, outcome, again }) => {
    told.push(`${outcome.number} ${outcome.status}${again ? " again" : ""}`);
    if (told.length > 1) return;
    expect(id).toBe(transactionId(one.stamp));
    void transact(sync.connection, "write", function* () {
      yield* removeOutcome(transactionId(two.stamp));
      yield* storeOutcomeAgain(one, verdict(one, "rejected"));
      yield* storeOutcomeAgain(three, verdict(three, "rejected"));
    });
    feed.tell();
  });
  feed.tell();
  await settle();
  expect(told).toEqual(["1 merged", "1 rejected again", "3 rejected again"]);
});
