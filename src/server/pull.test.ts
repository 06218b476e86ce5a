import { describe, expect, test } from "vitest";
import { hashScopes } from "../protocol/hash.ts";
import type { Page } from "../protocol/pull.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { drivers, expectBase, openServer, pageOf, type ServerFixture, someRows } from "../testing/server-fixture.ts";

const rows = someRows;

async function openDevice(server: ServerFixture, read = ["list:a", "everyone"]): Promise<HandDevice> {
  server.grants.set("ann", { read, write: [] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  return device;
}

describe.each(drivers)("pull over %s", (driver) => {
  test("R2: a first sync gets every row of its scopes, inherited ones too, and no excluded column", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    expect(device.rows("lists")).toEqual([{ id: "a", name: "A", ownerId: null }]);
    expect(device.rows("users")).toEqual([{ id: "u1", name: "Uma" }]);
    expect(device.row("todos", "t1")).not.toHaveProperty("secret");
    expect(device.rows("replies")).toEqual([{ id: "r1", commentId: "c1", body: "Yes" }]);
    await expectBase(server, device);
  });

  test("U2: an update travels as its changed columns, with their values now", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    await server.run(`UPDATE todos SET title = 'Ein' WHERE id = 't1'`);
    const page = pageOf(await device.ask());
    expect(page.changes).toEqual([
      { table: "todos", kind: "update", columns: ["id", "title"], values: [["t1"], ["Ein"]] },
    ]);
    await device.pull();
    await expectBase(server, device);
  });

  test("U2: a row that was inserted, or moved between scopes, is sent whole", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET list_id = 'a' WHERE id = 't3'`);
    await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('t4', 'a', 'Four')`);
    const page = pageOf(await device.ask());
    expect(
      page.changes.filter((group) => group.table === "todos").map(({ kind, values }) => [kind, values[0]]),
    ).toEqual([["row", ["t3", "t4"]]]);
    await device.pull();
    expect(
      device
        .rows("replies")
        .map((row) => row["id"])
        .sort(),
    ).toEqual(["r1", "r3"]);
    await expectBase(server, device);
  });

  test("U2: a row that left the scopes, or is gone, is a removal, and so are its descendants", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET list_id = 'b' WHERE id = 't1'`);
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    const page = pageOf(await device.ask());
    expect(page.changes.every((group) => group.kind === "removal")).toBe(true);
    await device.pull();
    expect(device.rows("comments")).toEqual([]);
    await expectBase(server, device);
  });

  test("U2: a change outside the scopes sends nothing", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET title = 'Drei' WHERE id = 't3'`);
    expect(pageOf(await device.ask()).changes).toEqual([]);
  });

  test("U2: a row in two scopes stays with a device that holds one of them", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server, ["list:b", "user:ann"]);
    await server.run(`UPDATE todos SET assignee = 'ann' WHERE id = 't1'`);
    await device.pull();
    await expectBase(server, device);
    await server.run(`UPDATE todos SET list_id = 'b' WHERE id = 't1'`);
    await server.run(`UPDATE todos SET assignee = NULL WHERE id = 't1'`);
    await device.pull();
    await expectBase(server, device);
    expect(device.row("todos", "t1")).toBeDefined();
  });

  test("U1: a scope that is gained comes with all its rows, one that is lost takes them along", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET title = 'Uno' WHERE id = 't1'`);
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    expect(await device.pull()).toEqual(["need-held", "page"]);
    expect(device.held).toEqual(["list:a", "list:b"]);
    await expectBase(server, device);
    expect(device.rows("users")).toEqual([]);
    server.grants.set("ann", { read: ["list:b"], write: [] });
    await device.pull();
    expect(device.held).toEqual(["list:b"]);
    await expectBase(server, device);
  });

  test("U1: only what is wanted and readable is sent", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server, ["list:a", "list:b"]);
    device.wanted = ["list:b", "list:zzz"];
    await device.pull();
    expect(device.held).toEqual(["list:b"]);
    await expectBase(server, device);
  });

  test("U4: held scopes travel as a hash while both sides agree", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    expect(await device.pull()).toEqual(["page"]);
    expect((await device.ask({ held: hashScopes(["list:zzz"]) })).kind).toBe("need-held");
  });

  test("U4: an answer names the scopes only where they are not those of the request's hash", async () => {
    await using server = await openServer({ driver, sql: [...rows, many(20)] });
    const device = await openDevice(server);
    const { held } = device;
    expect(device.pages.map(({ scopes }) => scopes)).toEqual(device.pages.map(() => held));
    await server.run(`UPDATE todos SET title = 'new'`);
    expect((await device.pull({ limit: 5 })).length).toBeGreaterThan(2);
    for (const page of device.pages) expect(page).not.toHaveProperty("scopes");
    expect(device.held).toEqual(held);
    expect(pageOf(await device.ask({ held })).scopes).toEqual(held);
    server.grants.set("ann", { read: [...held, "list:b"], write: [] });
    expect(await device.pull()).toContain("need-held");
    for (const { scopes } of device.pages) expect(scopes).toEqual([...held, "list:b"].sort());
    await expectBase(server, device);
  });

  test("R1: a long first sync comes in pages, whose order and sum are those of one page", async () => {
    await using server = await openServer({ driver, sql: [...rows, many(40)] });
    server.grants.set("ann", { read: ["list:a", "list:b", "everyone"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    device.limit = 7;
    const met = await device.pull();
    expect(met.length).toBeGreaterThan(6);
    expect(
      device.pages
        .slice(0, -1)
        .every((page) => page.round?.phase === "snapshot" && page.to === undefined && page.lastTx === undefined),
    ).toBe(true);
    expect(
      device.pages.every((page) => page.changes.reduce((sum, group) => sum + (group.values[0]?.length ?? 0), 0) <= 7),
    ).toBe(true);
    await expectBase(server, device);
  });

  test("R2: what happens during a round is in its last pages", async () => {
    await using server = await openServer({ driver, sql: [...rows, many(20)] });
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    const stage = [pageOf(await device.ask({ limit: 5 }))];
    for (const statement of [
      `UPDATE todos SET title = 'moved', list_id = 'b' WHERE id = 'm01'`,
      `DELETE FROM todos WHERE id = 't1'`,
      `UPDATE todos SET rank = 5 WHERE id = 'm02'`,
      `INSERT INTO todos (id, list_id, title) VALUES ('aaa', 'a', 'First')`,
    ]) {
      await server.run(statement);
      stage.push(pageOf(await device.ask({ limit: 5, round: stage.at(-1)?.round as never })));
    }
    while (stage.at(-1)?.to === undefined)
      stage.push(pageOf(await device.ask({ limit: 5, round: stage.at(-1)?.round as never })));
    device.apply(stage);
    await expectBase(server, device);
  });

  test("R2: an added scope is fetched in a round of log, snapshot and log again, while rows move between all of them", async () => {
    await using server = await openServer({ driver, sql: [...rows, many(20)] });
    const device = await openDevice(server, ["list:a"]);
    await server.run(`UPDATE todos SET list_id = 'b' WHERE id IN ('m00', 'm01', 'm02', 'm03', 'm04')`);
    await server.run(`UPDATE todos SET list_id = 'a' WHERE id = 't3'`);
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    const phases: (string | undefined)[] = [];
    let round: Page["round"];
    const stage: Page[] = [];
    const changes = [
      `UPDATE todos SET list_id = 'a' WHERE id = 'm04'`,
      `UPDATE todos SET list_id = 'b' WHERE id = 'm11'`,
      `DELETE FROM todos WHERE id = 'm02'`,
      `UPDATE todos SET title = 'x' WHERE id = 't3'`,
    ];
    for (;;) {
      const page = pageOf(await device.ask({ limit: 2, held: device.held, ...(round === undefined ? {} : { round }) }));
      stage.push(page);
      phases.push(page.round?.phase);
      if (page.to !== undefined) break;
      round = page.round;
      const change = changes.shift();
      if (change !== undefined) await server.run(change);
    }
    expect(new Set(phases)).toEqual(new Set(["log0", "snapshot", "log", undefined]));
    device.apply(stage);
    await expectBase(server, device);
  });

  test("U2: what an earlier page of a round brought is taken back when it is gone before its end", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server, ["list:a"]);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't3'`);
    await server.run(`UPDATE todos SET title = 'y' WHERE id = 't1'`);
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    const first = pageOf(await device.ask({ limit: 1, held: device.held }));
    expect(first.changes.map(({ kind, values }) => [kind, values[0]])).toEqual([["row", ["t3"]]]);
    await server.run(`DELETE FROM todos WHERE id = 't3'`);
    const stage = [first];
    while (stage.at(-1)?.to === undefined)
      stage.push(pageOf(await device.ask({ limit: 1, held: device.held, round: stage.at(-1)?.round as never })));
    device.apply(stage);
    await expectBase(server, device);
  });

  test("U2: a row that moved within a stretch is sent whole, since an earlier page may have taken it away", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server, ["list:a"]);
    for (const set of [
      `title = '1' WHERE id = 't1'`,
      `title = '2' WHERE id = 't2'`,
      `title = '3' WHERE id = 't1'`,
      `list_id = 'b' WHERE id = 't1'`,
    ])
      await server.run(`UPDATE todos SET ${set}`);
    const stage = [pageOf(await device.ask({ limit: 1 }))];
    expect(stage[0]?.changes).toMatchObject([{ kind: "removal", values: [["t1"]] }]);
    await server.run(`UPDATE todos SET list_id = 'a' WHERE id = 't1'`);
    stage.push(pageOf(await device.ask({ round: stage[0]?.round as never })));
    device.apply(stage);
    expect(device.row("todos", "t1")).toBeDefined();
    await expectBase(server, device);
  });

  test("C3: a row changed a thousand times is one row of one page", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    for (let i = 0; i < 30; i++) await server.run(`UPDATE todos SET rank = ${i} WHERE id = 't1'`);
    expect(await device.pull({ limit: 5 })).toEqual(["page"]);
    expect(device.pages[0]?.changes).toEqual([
      { table: "todos", kind: "update", columns: ["id", "rank"], values: [["t1"], [29]] },
    ]);
  });

  test("C7: when a key moves, its children are there under the new one", async () => {
    await using server = await openServer({ driver, sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE todos SET id = 'moved' WHERE id = 't1'`);
    await device.pull();
    await expectBase(server, device);
    expect(device.row("comments", "c1")).toMatchObject({ todoId: "moved" });
  });
});

function many(count: number): string {
  const values = Array.from({ length: count }, (_, i) => `('m${String(i).padStart(2, "0")}', 'a', 'Many ${i}')`);
  return `INSERT INTO todos (id, list_id, title) VALUES ${values.join(", ")}`;
}
