/**
 * An oracle that never complains proves nothing: here each of them is shown what it must complain of.
 */

import { expect, test } from "vitest";
import { createVirtualClock } from "../virtual-clock.ts";
import { checkPush, type Writers } from "./check-push.ts";
import type { DeviceNode } from "./device.ts";
import { startDevice } from "./device-node.ts";
import type { LocalTransaction } from "./local-transaction.ts";
import { makePlan, type Circumstances } from "./plan.ts";
import { grants, todos } from "./schema.ts";
import { startServer, type ServerNode } from "./server-node.ts";
import { describeDifference, difference, inOrder, replay, type Row, type State } from "./state.ts";

interface Scene extends AsyncDisposable {
  readonly server: ServerNode;
  readonly device: DeviceNode;
}

/** A server with one row that a device has fetched. */
async function scene(): Promise<Scene> {
  const circumstances: Circumstances = {
    ...makePlan(1).circumstances,
    policy: "server",
    live: "none",
    bytes: true,
    onDemand: [],
  };
  const clock = createVirtualClock();
  const server = await startServer(circumstances, clock, new Map(), () => undefined);
  server.db.insert(grants).values({ subject: "ann", scope: "list:red", read: 1, write: 1 }).run();
  server.db.insert(todos).values({ id: "t1", list: "red", title: "v1", note: "v2" }).run();
  const device = await startDevice({
    index: 0,
    subject: "ann",
    seed: 1,
    circumstances,
    transport: server.transport("ann"),
    clock,
    witness: server.witness,
    mishaps: { restores: 0, forgotten: 0, copies: 0 },
    library: new Map(),
    names: new Map(),
    step: () => 1,
  });
  await device.client.sync();
  return {
    server,
    device,
    [Symbol.asyncDispose]: async () => {
      await device.close();
      server.close();
    },
  };
}

/** Changes the device's tables behind the engine's back. */
function tamper({ device }: Scene, sql: string): void {
  device.database.raw.exec(`INSERT INTO _sync_mute VALUES (1); ${sql}; DELETE FROM _sync_mute;`);
  device.database.handle.exec("SELECT 1");
}

test("a device that holds what the server has passes", async () => {
  await using all = await scene();
  expect(() => all.device.check(2)).not.toThrow();
});

test("promise 1: a base that differs from the server's state in one value is noticed", async () => {
  await using all = await scene();
  tamper(all, "UPDATE todos SET title = 'other'");
  expect(() => all.device.check(2)).toThrow(/todos\/t1.title is other, expected v1/);
});

test("promise 1: a row that is missing, or one too many, is noticed", async () => {
  await using all = await scene();
  tamper(all, "DELETE FROM todos");
  expect(() => all.device.check(2)).toThrow(/todos\/t1 is missing/);
  tamper(all, "INSERT INTO notices VALUES ('n1', 'v3')");
  expect(() => all.device.check(3)).toThrow(/notices\/n1 should not be there/);
});

test("promise 1: a pending transaction that is not shown is noticed", async () => {
  await using all = await scene();
  all.device.write(2, (observed) => observed(() => void all.device.db.update(todos).set({ title: "v3" }).run()));
  all.device.check(2);
  tamper(all, "UPDATE todos SET title = 'other'");
  expect(() => all.device.check(3)).toThrow(/does not show its base and its pending/);
});

const row = (title: string, cells: object = {}): Row => ({
  table: "todos",
  cells: { id: "t1", list: "red", assignee: null, title, owner: null, ...cells },
});
const state = (...rows: Row[]): State => new Map(rows.map((each) => [`todos/${String(each.cells["id"])}`, each]));
const change = {
  id: "todos/t1",
  table: "todos",
  kind: "update",
  cells: { title: "v9" },
  before: row("v1").cells,
} as const;
const written = (seenAt?: number): LocalTransaction => ({
  stamp: 5,
  number: 1,
  step: 3,
  changes: [change],
  device: "ann's device",
  subject: "ann",
  seenAt: () => seenAt,
});
const handled = (before: State, after: State) => ({
  before,
  after,
  handled: { deviceId: "d", from: 0, to: 1, sent: [{ number: 1, stamp: 5, isEmpty: false }], outcomes: new Map() },
});
const writer = (seenAt?: number): Writers => ({
  transaction: () => written(seenAt),
  writable: () => new Set(["list:red"]),
});

test("promise 2: a transaction that counts as applied, but is not there, is noticed", () => {
  expect(() => checkPush(handled(state(row("v1")), state(row("v9"))), writer(1))).not.toThrow();
  expect(() => checkPush(handled(state(row("v1")), state(row("v1"))), writer(1))).toThrow(/title is v1, not v9/);
});

test("P2: a column that a transaction writes, and writes back, is left to others", () => {
  const moved = { ...change, cells: { title: "v9", list: "blue" } };
  const back = { ...change, cells: { list: "red" }, before: row("v9", { list: "blue" }).cells };
  const there = { ...written(1), changes: [moved, back] };
  const byOthers = handled(state(row("v1", { list: "green" })), state(row("v9", { list: "green" })));
  const all = { transaction: () => there, writable: () => new Set(["list:green"]) };
  expect(() => checkPush(byOthers, all)).not.toThrow();
  expect(() => checkPush(handled(state(row("v1")), state(row("v1"))), all)).toThrow(/title is v1, not v9/);
});

test("a retried transaction is seen in an order that explains its end: what is hung elsewhere first, or written anew", () => {
  const comment = (id: string, todoId: string): Row => ({ table: "comments", cells: { id, todoId, body: "v1" } });
  const todo = (id: string): Row => ({ table: "todos", cells: { ...row("v1").cells, id } });
  const before: State = new Map([
    ["todos/t1", todo("t1")],
    ["todos/t2", todo("t2")],
    ["comments/c1", comment("c1", "t1")],
  ]);
  const after: State = new Map([
    ["todos/t2", todo("t2")],
    ["comments/c1", comment("c1", "t2")],
  ]);
  const kinds = (writtenAfterDeletes: readonly string[]): string[] => {
    const changes = inOrder(before, after, difference(before, after), new Set(writtenAfterDeletes));
    expect(describeDifference(replay(before, changes), after)).toBe("");
    return changes.map(({ kind, id }) => `${kind} ${id}`);
  };
  expect(kinds([])).toEqual(["update comments/c1", "delete todos/t1"]);
  expect(kinds(["comments/c1"])).toEqual(["delete todos/t1", "delete comments/c1", "insert comments/c1"]);
});

test("a process that dies after a wipe was committed is known to have wiped, and a copy to have died as often", async () => {
  await using all = await scene();
  const { device } = all;
  device.write(2, (observed) => observed(() => void device.db.insert(todos).values({ id: "t2", list: "red" }).run()));
  await device.client.sync();
  expect(device.memory.written.size).toBe(1);
  // It dies of the first statement after the commit.
  device.database.onSettled = () => {
    if (device.database.raw.prepare("SELECT count(*) FROM todos").pluck().get() === 0) device.database.crash();
  };
  await expect(device.signOut({ pending: "flush", wipe: true })).rejects.toThrow();
  expect(device.memory.written.size).toBe(1);
  await device.restart();
  expect(device.memory.written.size).toBe(0);
  expect(device.image()?.memory.crashes).toBe(1);
});

test("promise 3: a value that its writer had not seen, or saw too late, is not overwritten unnoticed", () => {
  expect(() => checkPush(handled(state(row("v2")), state(row("v9"))), writer())).toThrow(/never shown/);
  expect(() => checkPush(handled(state(row("v2")), state(row("v9"))), writer(4))).toThrow(/never shown/);
});

test("P9: a row that a push takes into a scope that is not its writer's is noticed", () => {
  const after = state(row("v9", { list: "blue" }));
  expect(() => checkPush(handled(state(row("v1")), after), writer(1))).toThrow(/P9/);
  expect(() => checkPush(handled(state(row("v1")), state(row("v9", { owner: "bob" }))), writer(1))).toThrow(/owner/);
});

test("P9: a row that a push deletes from a scope that is not its writer's is noticed", () => {
  const deleted = { ...written(1), changes: [{ ...change, kind: "delete" as const, cells: {} }] };
  const deleting = { ...writer(1), transaction: () => deleted };
  const before = state(row("v1", { assignee: "ann" }));
  expect(() => checkPush(handled(before, state()), deleting)).toThrow(/P9/);
  const writable = (): Set<string> => new Set(["list:red", "assignee:ann"]);
  expect(() => checkPush(handled(before, state()), { ...deleting, writable })).not.toThrow();
});
