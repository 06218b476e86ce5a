import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { knownTables } from "../plugin/known-tables.ts";
import { metaKeys } from "../plugin/names.ts";
import { hashSchema, hashScopes } from "../protocol/hash.ts";
import { type Cursor, formatCursor, makeEpoch, parseCursor } from "../protocol/ids.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import type { PullRequest } from "../protocol/pull.ts";
import { newTodo, one, openPair, pageOf, type ServerFixture } from "../testing/server-fixture.ts";
import { writeAcknowledgement } from "./pull.ts";

const setMeta = (server: ServerFixture, key: string, value: string): Promise<void> =>
  server.run(`INSERT INTO _sync_meta (k, v) VALUES ('${key}', ${value}) ON CONFLICT DO UPDATE SET v = excluded.v`);
const positionOf = (device: HandDevice) => parseCursor(device.cursor as Cursor);

describe("a cursor", () => {
  test("I2: at the horizon itself is good, one below it is not", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const { seq, stamp } = positionOf(device);
    await setMeta(server, metaKeys.horizon, `'[${seq},${stamp}]'`);
    expect((await device.ask()).kind).toBe("page");
    expect(await device.ask({ cursor: formatCursor({ seq: seq - 1, stamp }) })).toMatchObject({
      kind: "reset",
      reason: "CURSOR_EXPIRED",
    });
  });

  test("I2: from where the declaration changed is good, one from before is not", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const { seq } = positionOf(device);
    await setMeta(server, metaKeys.declaredSince, `${seq}`);
    expect((await device.ask()).kind).toBe("page");
    await setMeta(server, metaKeys.declaredSince, `${seq + 1}`);
    expect(await device.ask()).toMatchObject({ kind: "reset", reason: "DECLARATION_CHANGED" });
  });
});

test("I2: a cursor of another history, or of another database, is answered with a reset", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const { seq, stamp } = positionOf(device);
  const { epoch, ...without } = device.request();
  const other = formatCursor({ seq, stamp: stamp + 1 });
  expect(await device.ask({ cursor: other })).toEqual({ kind: "reset", epoch, reason: "CURSOR_UNKNOWN" });
  expect(await device.ask({ epoch: makeEpoch() })).toEqual({ kind: "reset", epoch, reason: "EPOCH_CHANGED" });
  // One that does not say of which database it is, is vouched for by its stamp.
  expect((await server.service.pull(device.caller, without)).kind).toBe("page");
});

test("V1: a schema that the server does not know is asked for", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  expect(await device.ask({ schema: "0123456789abcdef" })).toEqual({ kind: "need-schema", epoch: device.epoch });
});

describe("what a device says that it holds", () => {
  test("U4: counts as far as it is in the target, as a list and as a hash", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
    // Held and not readable: nothing of it is sent, and what is held besides is not sent again.
    const page = pageOf(await device.ask({ held: ["everyone", "list:a", "list:b"] }));
    expect(page.scopes).toEqual(["everyone", "list:a"]);
    expect(page.changes).toMatchObject([{ table: "todos", kind: "update", columns: ["id", "title"] }]);
    // Not held: it comes whole.
    const whole = pageOf(await device.ask({ held: ["everyone"] }));
    expect(whole.changes.find(({ table }) => table === "lists")).toMatchObject({
      kind: "row",
      values: [["a"], ["A"], [null]],
    });
    expect((await device.ask({ held: hashScopes(["everyone"]) })).kind).toBe("need-held");
    expect((await device.ask({ held: hashScopes(["everyone", "list:a"]) })).kind).toBe("page");
  });
});

describe("what a page says of itself", () => {
  test("R1: how many entries of the log are left, where only such are", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    for (const id of ["t1", "t2", "t1"]) await server.run(`UPDATE todos SET title = title || '!' WHERE id = '${id}'`);
    const { round, remaining } = pageOf(await device.ask({ limit: 1 }));
    expect(round?.phase).toBe("log");
    expect(remaining).toBe(await one(server, `SELECT count(*) FROM _sync_log WHERE seq > ${round?.next}`));
    expect(remaining).toBeGreaterThan(0);
    const fresh = server.device("ann");
    await fresh.handshake();
    const first = pageOf(await fresh.ask({ limit: 1 }));
    expect(first.round?.phase).toBe("snapshot");
    expect(first).not.toHaveProperty("remaining");
  });

  test("V2: over which columns it was computed, where the server has not all that the device knows", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    expect(pageOf(await device.ask())).toMatchObject({ schema: device.schema });
    expect(pageOf(await device.ask())).not.toHaveProperty("shared");
    const tables = knownTables(server.database.tables);
    const wider = server.device("ann", { tables: { ...tables, lists: [...(tables["lists"] ?? []), "color"] } });
    await wider.handshake();
    await wider.pull();
    expect(wider.pages).toMatchObject([{ schema: wider.schema, shared: hashSchema(tables) }]);
    // It has all of them: nothing comes again. Of a base that nobody knows, everything does.
    expect(pageOf(await wider.ask()).changes).toEqual([]);
    await server.run("DELETE FROM _sync_schemas");
    expect(pageOf(await wider.ask()).changes).toEqual([]);
    const all = pageOf(await wider.ask({ baseSchema: "0123456789abcdef" })).changes;
    expect(all.map(({ table }) => table)).toEqual(wider.pages[0]?.changes.map(({ table }) => table));
  });
});

describe("an acknowledgement", () => {
  test("I5: is looked at again when it is written: the log may be another one by then", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await device.push(device.tx(device.insert("todos", "n1", { ...newTodo, title: "forbidden" })));
    const write = async (request: PullRequest): Promise<readonly unknown[]> => {
      await transact(server.database.connection, "write", () => writeAcknowledgement(request, "ann"));
      return server.all("SELECT number FROM _sync_outcomes");
    };
    const { seq, stamp } = positionOf(device);
    expect(await write(device.request({ ackedTx: 1, cursor: formatCursor({ seq, stamp: stamp + 1 }) }))).toEqual([[1]]);
    expect(await write(device.request({ ackedTx: 2 }))).toEqual([[1]]);
    const { cursor: _cursor, ...without } = device.request({ ackedTx: 1 });
    expect(await write(without)).toEqual([[1]]);
    expect(await write(device.request({ ackedTx: 1 }))).toEqual([]);
  });

  test("I5: of a part of the outcomes drops that part; an older one, or one beyond what was handled, drops none", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await device.push(
      device.tx(device.insert("todos", "n1", { ...newTodo, title: "forbidden" })),
      device.tx(device.insert("todos", "n2", { ...newTodo, title: "forbidden" })),
    );
    const stored = async (): Promise<readonly unknown[]> => server.all(`SELECT number FROM _sync_outcomes ORDER BY 1`);
    expect(await stored()).toEqual([[1], [2]]);
    expect(pageOf(await device.ask({ ackedTx: 1 })).outcomes).toMatchObject([{ number: 2 }]);
    expect(await stored()).toEqual([[2]]);
    // An older request that comes late takes nothing back, and one beyond what was handled is nobody's.
    expect(pageOf(await device.ask({ ackedTx: 0 }))).toMatchObject({ ackedTx: 1 });
    expect(pageOf(await device.ask({ ackedTx: 3 })).ackedTx).toBe(1);
    expect(await stored()).toEqual([[2]]);
  });
});
