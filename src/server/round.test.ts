import { describe, expect, test } from "vitest";
import { type Cursor, formatCursor, makeEpoch, parseCursor } from "../protocol/ids.ts";
import type { Page } from "../protocol/pull.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { expectBase, openServer, pageOf, type ServerFixture, someRows } from "../testing/server-fixture.ts";

const rows = someRows;

async function openDevice(server: ServerFixture, read = ["list:a", "everyone"]): Promise<HandDevice> {
  server.grants.set("ann", { read, write: [] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  return device;
}

describe("positions", () => {
  test("I2: a cursor with another stamp is reset, a fresh one goes on", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    const { seq, stamp } = parseCursor(device.cursor as Cursor);
    for (const cursor of [formatCursor({ seq, stamp: stamp + 1 }), formatCursor({ seq: seq + 100, stamp })]) {
      expect(await device.ask({ cursor })).toMatchObject({ kind: "reset", reason: "CURSOR_UNKNOWN" });
    }
    expect((await device.ask()).kind).toBe("page");
  });

  test("I2: a restored backup is noticed although its log has grown past the cursor again", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    const head = parseCursor(device.cursor as Cursor);
    // Another history of the same length: what a plain copy of an older file with new writes on top amounts to.
    await server.run(`UPDATE _sync_log SET stamp = stamp + 1 WHERE seq = ${head.seq}`);
    await server.run(`UPDATE todos SET title = 'other' WHERE id = 't1'`);
    expect(await device.pull()).toEqual(["reset CURSOR_UNKNOWN", "page"]);
    await expectBase(server, device);
  });

  test("a foreign epoch is reset before anything else is looked at", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    expect(await device.ask({ epoch: makeEpoch() })).toMatchObject({ kind: "reset", reason: "EPOCH_CHANGED" });
  });

  test("a cursor below the horizon is reset; rows that are gone do not come back", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    const [[seq, stamp] = []] = await server.all(`SELECT max(seq), stamp FROM _sync_log`);
    await server.run(`UPDATE _sync_meta SET v = json_array(${seq}, ${stamp}) WHERE k = 'horizon'`);
    expect(await device.pull()).toEqual(["reset CURSOR_EXPIRED", "page"]);
    await expectBase(server, device);
  });

  test("a changed scope declaration resets devices once", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    await server.run(`UPDATE _sync_meta SET v = 'another' WHERE k = 'declaration'`);
    const service = server.another();
    const again = server.device("ann", { id: device.id, service });
    Object.assign(again, { cursor: device.cursor, epoch: device.epoch, held: device.held });
    expect(await again.pull()).toEqual(["reset DECLARATION_CHANGED", "page"]);
    expect(await again.pull()).toEqual(["page"]);
  });

  test("I2: what changed while triggers were missing reaches devices by a reset", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    const fresh = server.device("ann");
    await fresh.handshake();
    const { round } = pageOf(await fresh.ask({ limit: 1 }));
    if (round === undefined) throw new Error("One row is not all there is.");
    // Past the wrapper, as another tool does it.
    await server.database.connection.run("DROP TRIGGER _sync_d_todos", []);
    await server.database.connection.run("DELETE FROM todos WHERE id = 't2'", []);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    // A first sync has no cursor that could be reset.
    expect(await fresh.ask({ limit: 1, round })).toMatchObject({ kind: "restart" });
    expect(await device.pull()).toEqual(["reset DECLARATION_CHANGED", "page"]);
    await expectBase(server, device);
  });

  test("an unknown schema is asked for, and the base of a forgotten one counts as unknown", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    expect((await device.ask({ schema: "0123456789abcdef" })).kind).toBe("need-schema");
    const page = pageOf(await device.ask({ baseSchema: "0123456789abcdef" }));
    expect(page.changes.find((group) => group.table === "todos")).toMatchObject({
      kind: "row",
      values: [["t1", "t2"], [], [], [], [], [], [], [], [], []].map((column, i) =>
        i === 0 ? column : expect.anything(),
      ),
    });
  });
});

describe("rounds as input", () => {
  test("R3: a state that does not fit rights, log or definition restarts the round", async () => {
    await using server = await openServer({ sql: [...rows, many(30)] });
    server.grants.set("ann", { read: ["list:a", "everyone"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    const first = pageOf(await device.ask({ limit: 5 }));
    const round = first.round as NonNullable<Page["round"]>;
    const head = parseCursor(round.head);
    const forged: Partial<typeof round>[] = [
      { scopes: ["list:a", "list:b"] },
      { s0: head.seq + 1 },
      { s0: 0 },
      { head: formatCursor({ seq: head.seq, stamp: head.stamp + 1 }) },
      { head: formatCursor({ seq: head.seq + 5, stamp: head.stamp }) },
      { table: "nothing" },
      { after: ["a", "b"] },
      { phase: "log", next: head.seq + 1 },
      { phase: "log", next: -1 },
      { fresh: false },
    ];
    for (const change of forged)
      expect(await device.ask({ limit: 5, round: { ...round, ...change } }), JSON.stringify(change)).toMatchObject({
        kind: "restart",
      });
    expect((await device.ask({ limit: 5, round })).kind).toBe("page");
  });

  test("R3: a forged state shows no row of a scope that is not readable", async () => {
    await using server = await openServer({ sql: [...rows, many(30)] });
    server.grants.set("ann", { read: ["list:b"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    const round = pageOf(await device.ask({ limit: 1 })).round as NonNullable<Page["round"]>;
    for (const change of [
      { added: ["list:a"] },
      { held: ["list:a"] },
      { added: ["list:a"], held: ["list:a"], phase: "log" as const, next: round.s0 },
    ]) {
      const answer = await device.ask({ limit: 100, round: { ...round, ...change } });
      expect(JSON.stringify(answer)).not.toContain("t1");
    }
  });

  test("U1: a right that is lost restarts a round in progress", async () => {
    await using server = await openServer({ sql: [...rows, many(30)] });
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    const { round } = pageOf(await device.ask({ limit: 5 }));
    server.grants.set("ann", { read: ["list:b"], write: [] });
    expect(await device.ask({ limit: 5, round: round as never })).toMatchObject({ kind: "restart" });
  });

  test("U1: a right that is gained waits for the next round", async () => {
    await using server = await openServer({ sql: [...rows, many(30)] });
    server.grants.set("ann", { read: ["list:b"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    const { round } = pageOf(await device.ask({ limit: 1 }));
    server.grants.set("ann", { read: ["list:a", "list:b"], write: [] });
    const page = pageOf(await device.ask({ round: round as never }));
    expect(page.scopes).toEqual(["list:b"]);
    expect(page.to).toBeDefined();
  });

  test("held scopes that are not readable give nothing away", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server, ["list:b"]);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    expect(pageOf(await device.ask({ held: ["list:a", "list:b"] })).changes).toEqual([]);
  });
});

describe("schemas", () => {
  const old = { lists: ["id", "name"], todos: ["id", "listId", "assignee", "title", "done"] };

  test("V1: a device is sent what it knows, and a table without its scope columns or its parent not at all", async () => {
    await using server = await openServer({ sql: rows });
    server.grants.set("ann", { read: ["list:a"], write: [] });
    const device = server.device("ann", {
      tables: {
        lists: ["id", "name"],
        todos: ["id", "title"],
        comments: ["id", "todoId", "body"],
        nonsense: ["id"],
        users: ["id", "passwordHash"],
      },
    });
    expect(await device.handshake()).toMatchObject({
      tables: { lists: ["id", "name"], todos: ["id", "title"], comments: ["id", "todoId", "body"], users: ["id"] },
      // What it knows too little of, and what it knows too much of.
      outdated: { todos: [], comments: [], users: ["passwordHash"] },
    });
    await device.pull();
    expect([...device.base.keys()]).toEqual(["lists"]);
  });

  test("V1: a device that knows nothing but what it is sent hears no tables", async () => {
    await using server = await openServer({ sql: rows });
    const known = await server.device("ann", { tables: old }).handshake();
    expect(known).not.toHaveProperty("tables");
    expect(known).not.toHaveProperty("outdated");
    const more = await server.device("ann", { tables: { ...old, lists: ["id", "name", "color"] } }).handshake();
    expect(more.tables).toEqual(old);
  });

  test("V2: a column and a table that a device gains come with whole rows", async () => {
    await using server = await openServer({ sql: rows });
    server.grants.set("ann", { read: ["list:a"], write: [] });
    const device = server.device("ann", { tables: old });
    await device.handshake();
    await device.pull();
    await server.run(`UPDATE todos SET title = 'Uno', notes = 'n' WHERE id = 't1'`);
    const newer = server.device("ann", { id: device.id });
    Object.assign(newer, { epoch: device.epoch, cursor: device.cursor, held: device.held, baseSchema: device.schema });
    for (const [table, shown] of device.base) newer.base.set(table, shown);
    await newer.handshake();
    newer.limit = 2;
    await newer.pull();
    await expectBase(server, newer);
    expect(newer.row("todos", "t2")).toHaveProperty("notes", null);
  });
});

describe("acknowledgements and devices", () => {
  test("I1: a device id belongs to the subject that registered it", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    server.grants.set("bob", { read: ["list:a"], write: [] });
    const thief = server.device("bob", { id: device.id });
    await expect(thief.handshake()).rejects.toMatchObject({ code: "DEVICE_TAKEN" });
    Object.assign(thief, { epoch: device.epoch, cursor: device.cursor });
    await expect(thief.ask()).rejects.toMatchObject({ code: "DEVICE_TAKEN" });
  });

  test("I3: a lost record is one with lastTx 0", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    await server.run(`DELETE FROM _sync_devices`);
    expect(pageOf(await device.ask())).toMatchObject({ lastTx: { number: 0, stamp: 0 }, ackedTx: 0, outcomes: [] });
  });

  test("I5: an outcome goes for an acknowledgement with a cursor that the log vouches for, and for no other", async () => {
    await using server = await openServer({ sql: rows });
    server.grants.set("ann", { read: ["list:a"], write: [] });
    const device = server.device("ann");
    await device.handshake();
    await device.pull();
    await device.push(device.tx(device.insert("lists", "z", { name: "Z" })));
    const stored = async (): Promise<number> =>
      Number((await server.all(`SELECT count(*) FROM _sync_outcomes`))[0]?.[0]);
    expect(pageOf(await device.ask({ ackedTx: 0 })).outcomes).toHaveLength(1);
    await device.ask({ ackedTx: 2 });
    expect(await stored()).toBe(1);
    const { seq, stamp } = parseCursor(device.cursor as Cursor);
    await device.ask({ ackedTx: 1, cursor: formatCursor({ seq, stamp: stamp + 1 }) });
    expect(await stored()).toBe(1);
    expect(pageOf(await device.ask({ ackedTx: 1 }))).toMatchObject({ outcomes: [], ackedTx: 1 });
    expect(await stored()).toBe(0);
  });

  test("a handshake whose hash is not that of its tables is refused, and so is one with no common protocol", async () => {
    await using server = await openServer();
    const device = server.device("ann");
    const request = {
      deviceId: device.id,
      protocol: [1],
      schema: { hash: "0123456789abcdef", tables: device.tables },
      time: 0,
    };
    await expect(server.service.handshake(device.caller, request)).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
    await expect(server.service.handshake(device.caller, { ...request, protocol: [99] })).rejects.toMatchObject({
      code: "PROTOCOL_UNSUPPORTED",
    });
  });

  test("checksums are of the scopes asked for that are in the target", async () => {
    await using server = await openServer({ sql: rows });
    const device = await openDevice(server);
    const before = pageOf(await device.ask({ check: ["list:a", "list:b"] })).checksums ?? {};
    expect(Object.keys(before)).toEqual(["list:a"]);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't3'`);
    expect(pageOf(await device.ask({ check: ["list:a"] })).checksums).toEqual(before);
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    expect(pageOf(await device.ask({ check: ["list:a"] })).checksums).not.toEqual(before);
  });
});

function many(count: number): string {
  const values = Array.from({ length: count }, (_, i) => `('m${String(i).padStart(2, "0")}', 'a', 'Many ${i}')`);
  return `INSERT INTO todos (id, list_id, title) VALUES ${values.join(", ")}`;
}
