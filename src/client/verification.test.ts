import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import {
  comments,
  expectBase,
  openSeededWorld,
  settle,
  tags,
  todos,
  type TestDevice,
  type TestDeviceOptions,
  type TestWorld,
} from "../testing/device-world.ts";
import type { Transport } from "./transport.ts";

/** Changes rows as damage does: nobody is told, nothing is logged. */
function damage({ raw }: TestDevice, sql: string): void {
  raw.pragma("foreign_keys = OFF");
  raw.transaction(() => {
    raw.exec("INSERT INTO _sync_mute(x) VALUES (1)");
    raw.exec(sql);
    raw.exec("DELETE FROM _sync_mute");
  })();
  raw.pragma("foreign_keys = ON");
}

/** A device whose pushes do not arrive until it is told. */
function unpushed(world: TestWorld) {
  const push = { isDown: true };
  const errors: SyncError[] = [];
  const device = world.device("bob", {
    onError: (error) => errors.push(error),
    wrap: (transport) => ({
      ...transport,
      push: (request, given) =>
        push.isDown
          ? Promise.reject(new SyncError({ code: "UNAVAILABLE", message: "Down." }))
          : transport.push(request, given),
    }),
  });
  return { push, device, errors };
}

async function open(options: TestDeviceOptions = {}) {
  const world = await openSeededWorld();
  world.server.db.insert(comments).values({ id: "c", todoId: "2", body: "hm" }).run();
  world.server.db.insert(tags).values({ id: "t", name: "tag" }).run();
  const errors: SyncError[] = [];
  const pulls: PullRequest[] = [];
  const answers: ((answer: PullAnswer) => PullAnswer)[] = [];
  const wrap = (transport: Transport): Transport => ({
    ...transport,
    async pull(request, given) {
      pulls.push(request);
      const answer = await transport.pull(request, given);
      return answers.shift()?.(answer) ?? answer;
    },
  });
  const device = world.device("ann", { wrap, onError: (error) => errors.push(error), ...options });
  await device.client.sync();
  pulls.length = 0;
  return { world, device, errors, pulls, answers, [Symbol.asyncDispose]: () => world[Symbol.asyncDispose]() };
}

const codes = (errors: readonly SyncError[]): readonly string[] => errors.map(({ code }) => code);

/** Everything is as the server has it, with what was written offline still to come. */
async function expectHealed(world: TestWorld, device: TestDevice): Promise<void> {
  await expectBase(world, device);
  expect(device.raw.pragma("foreign_key_check")).toEqual([]);
}

describe("checksums", () => {
  test("match after a sync", async () => {
    await using opened = await open();
    const { device, errors } = opened;
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: [] });
    expect(errors).toEqual([]);
    expect(device.client.state.mismatches).toBeUndefined();
  });

  test("are of the base: with pending changes of every kind, a row withheld, and children that moved along", async () => {
    await using opened = await open();
    const { world } = opened;
    const { device, errors, push } = unpushed(world);
    await device.client.sync();
    device.db.update(todos).set({ title: "mine", slot: "s" }).where(eq(todos.id, "1")).run();
    // Its comment inherits from it.
    device.db.update(todos).set({ listId: "a" }).where(eq(todos.id, "2")).run();
    device.db.insert(todos).values({ id: "3", listId: "a", title: "new", slot: "taken" }).run();
    device.db.delete(tags).run();
    // Withholds the third, and brings something for the page to change.
    world.server.db.insert(todos).values({ id: "4", listId: "b", title: "four", slot: "taken" }).run();
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: [] });
    expect((await device.client.pending.list()).map(({ isWithheld }) => isWithheld)).toEqual([
      false,
      false,
      true,
      false,
    ]);
    // Once more, with what was written since the last rebase.
    device.db.update(todos).set({ done: true }).where(eq(todos.id, "4")).run();
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: [] });
    expect(device.db.select().from(todos).orderBy(todos.id).all()).toMatchObject([
      { id: "1", title: "mine" },
      { id: "2", listId: "a" },
      { id: "4", done: true },
    ]);
    expect(codes(errors).filter((code) => code !== "UNAVAILABLE")).toEqual([]);
    push.isDown = false;
    await device.client.sync();
    await expectHealed(world, device);
  });

  test.each([
    ["a changed value", "UPDATE todos SET title = 'damaged' WHERE id = '1'", ["list:a"]],
    ["a value of another kind", "UPDATE todos SET done = 'x' WHERE id = '1'", ["list:a"]],
    ["a row that is gone", "DELETE FROM tags WHERE id = 't'", ["everyone"]],
    ["a row too many", "INSERT INTO tags (id, name) VALUES ('u', 'extra')", ["everyone"]],
    ["an inherited row", "UPDATE comments SET body = NULL WHERE id = 'c'", ["list:b"]],
    ["a row in a scope that is not held", "INSERT INTO lists (id, name) VALUES ('z', 'stray')", [""]],
    ["a row in no scope", "UPDATE comments SET todo_id = 'nowhere' WHERE id = 'c'", ["", "list:b"]],
  ])("find %s; it heals, and what is pending stays", async (_what, sql, mismatched) => {
    await using opened = await open();
    const { world, device, errors, pulls } = opened;
    // Offline, and not concerned by the damage.
    device.db.insert(tags).values({ id: "mine", name: "offline" }).run();
    damage(device, sql);
    // Without a push, so that it is pending while the base is compared.
    const found = await device.client.verify();
    expect(found).toEqual({ checked: 3, mismatched });
    expect(codes(errors)).toEqual(["CHECKSUM_MISMATCH"]);
    expect(errors[0]?.details).toMatchObject({ scopes: expect.arrayContaining(mismatched) });
    expect(pulls.map(({ because }) => because)).toContain("CHECKSUM_MISMATCH");
    expect(device.client.state.mismatches).toBe(1);
    await expectHealed(world, device);
    expect(world.server.db.select().from(tags).where(eq(tags.id, "mine")).all()).toHaveLength(1);
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: [] });
    expect((await world.server.service.stats()).resets).toMatchObject({ CHECKSUM_MISMATCH: 1 });
  });

  test("find damage below a pending change, which stays in the queue and on top", async () => {
    await using opened = await open();
    const { world } = opened;
    const { device, push } = unpushed(world);
    await device.client.sync();
    device.db.update(todos).set({ title: "mine" }).where(eq(todos.id, "1")).run();
    damage(device, "UPDATE todos SET done = 1 WHERE id = '1'");
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: ["list:a"] });
    await expectHealed(world, device);
    expect(device.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({ title: "mine", done: false });
    expect(await device.client.pending.list()).toMatchObject([{ operations: [{ values: { title: "mine" } }] }]);
    push.isDown = false;
    await device.client.sync();
    expect(world.server.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({ title: "mine" });
  });

  test("heal a base that cannot even be put back below what is pending", async () => {
    await using opened = await open();
    const { world } = opened;
    world.server.db.update(todos).set({ slot: "s1" }).where(eq(todos.id, "1")).run();
    const { device, push } = unpushed(world);
    await device.client.sync();
    device.db.update(todos).set({ slot: null }).where(eq(todos.id, "1")).run();
    damage(device, "INSERT INTO todos (id, list_id, title, slot) VALUES ('x', 'a', 'in the way', 's1')");
    const { mismatched } = await device.client.verify();
    expect(mismatched).toContain("list:a");
    expect(device.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({ slot: null });
    push.isDown = false;
    await device.client.sync();
    await expectHealed(world, device);
    expect(world.server.db.select().from(todos).where(eq(todos.id, "1")).get()).toMatchObject({ slot: null });
  });

  test("are asked for some scopes only, those that are held", async () => {
    await using opened = await open();
    const { device, pulls } = opened;
    expect(await device.client.verify(["list:a", "list:nowhere"])).toEqual({ checked: 1, mismatched: [] });
    expect(pulls.map(({ check }) => check)).toEqual([["list:a"]]);
  });

  test("wait for the last page of a round, and for the round after a reset meanwhile", async () => {
    await using opened = await open({ pageRows: 2 });
    const { world, device, pulls, answers } = opened;
    for (let i = 0; i < 7; i++)
      world.server.db
        .insert(tags)
        .values({ id: `n${i}`, name: "n" })
        .run();
    expect(await device.client.verify(["everyone"])).toEqual({ checked: 1, mismatched: [] });
    expect(pulls.length).toBeGreaterThan(3);
    pulls.length = 0;
    answers.push((answer) => ({ kind: "reset", epoch: answer.epoch, reason: "CURSOR_EXPIRED" }));
    damage(device, "DELETE FROM tags WHERE id = 't'");
    // The reset has healed it before anything was compared.
    expect(await device.client.verify(["everyone"])).toEqual({ checked: 1, mismatched: [] });
    await expectHealed(world, device);
  });

  test("are not compared with an answer that comes too late (A1)", async () => {
    await using opened = await open();
    const { device, errors, answers } = opened;
    let isReset = false;
    answers.push((answer) => {
      void device.client.reset();
      isReset = true;
      return answer;
    });
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: [] });
    expect(isReset).toBe(true);
    expect(errors).toEqual([]);
  });

  test("that differ from a fresh snapshot as well are told, and no reset follows another", async () => {
    await using opened = await open({ verifyRate: 1 });
    const { device, errors, pulls, answers } = opened;
    const wrong = (answer: PullAnswer): PullAnswer =>
      answer.kind === "page" && answer.checksums
        ? { ...answer, checksums: { ...answer.checksums, everyone: "0000000000000000" } }
        : answer;
    answers.push(...Array.from({ length: 10 }, () => wrong));
    await device.client.sync();
    expect(codes(errors)).toEqual(["CHECKSUM_MISMATCH", "CHECKSUM_MISMATCH"]);
    expect(errors[1]?.message).toMatch(/Even a fresh snapshot/);
    pulls.length = 0;
    await device.client.sync();
    await device.client.sync();
    expect(pulls.map(({ check }) => check)).toEqual([undefined, undefined]);
    expect(device.client.state.mismatches).toBe(1);
  });

  test("are asked for by chance, at the rate that was chosen, and by default never", async () => {
    let draw = 0;
    await using opened = await open({ verifyRate: 0.25, random: () => ((draw += 1) % 4) / 4 });
    const { device, pulls } = opened;
    for (let i = 0; i < 12; i++) await device.client.sync();
    expect(pulls.filter(({ check }) => check !== undefined).length).toBeGreaterThan(1);
    expect(pulls.filter(({ check }) => check === undefined).length).toBeGreaterThan(4);
    await using other = await open();
    await other.device.client.sync();
    expect(other.pulls.every(({ check }) => check === undefined)).toBe(true);
  });

  test("go by a pull beside a standing stream, which is opened again where it was", async () => {
    await using opened = await open({ live: "pages" });
    const { world, device } = opened;
    device.client.start();
    await settle(() => device.client.state.status === "synced");
    damage(device, "UPDATE tags SET name = 'damaged' WHERE id = 't'");
    expect(await device.client.verify()).toEqual({ checked: 3, mismatched: ["everyone"] });
    await settle(() => device.client.state.status === "synced");
    await expectHealed(world, device);
    world.server.db.insert(tags).values({ id: "later", name: "live" }).run();
    await settle(() => device.db.select().from(tags).all().length === 2);
    expect(device.db.select().from(tags).all()).toHaveLength(2);
  });

  test("cannot be asked for where the server cannot be reached", async () => {
    await using opened = await open();
    const { device } = opened;
    device.client.pause();
    await expect(device.client.verify()).rejects.toMatchObject({ code: "ABORTED" });
  });
});
