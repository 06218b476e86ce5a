import { describe, expect, test } from "vitest";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import { clientWins } from "../protocol/conflict.ts";
import type { Value } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { HandDevice, HandOperation } from "../testing/hand-device.ts";
import { openServer, type ServerFixture, type ServerFixtureOptions } from "../testing/server-fixture.ts";

const rows = [
  `INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL), ('c', 'C', NULL)`,
  `INSERT INTO todos (id, list_id, title, secret, created_by) VALUES ('t1', 'a', 'One', 'hidden', 'zoe'), ('t2', 'a', 'Two', 'hidden', 'zoe'), ('t3', 'b', 'Three', 'hidden', 'zoe'), ('t4', 'c', 'Four', 'hidden', 'zoe')`,
  `INSERT INTO comments VALUES ('c1', 't1', 'Hello'), ('c3', 't3', 'There'), ('c4', 't4', 'Far')`,
  `INSERT INTO users VALUES ('u1', 'Uma', 'hash')`,
];
const todo = {
  listId: "a",
  assignee: null,
  title: "New",
  notes: null,
  done: 0,
  rank: null,
  slug: null,
  createdBy: null,
  updatedAt: null,
};

/** Ann reads lists a and b, and writes a alone; of c she knows nothing. */
async function openPair(options: ServerFixtureOptions = {}): Promise<{ server: ServerFixture; device: HandDevice }> {
  const server = await openServer({ sql: rows, ...options });
  server.grants.set("ann", { read: ["list:a", "list:b", "everyone"], write: ["list:a", "everyone"] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  return { server, device };
}

const codes = (outcomes: readonly Outcome[]): unknown[] =>
  outcomes.map((outcome) => (outcome.status === "rejected" ? outcome.code : outcome.status));
const snapshot = async (server: ServerFixture): Promise<unknown> => [
  await server.all("SELECT * FROM lists"),
  await server.all("SELECT * FROM todos"),
  await server.all("SELECT * FROM comments"),
  await server.all("SELECT * FROM users"),
];

describe("P9: rights to write", () => {
  test("a row is neither moved into, nor out of, nor changed or deleted in a scope that is not writable", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const before = await snapshot(server);
    const t3 = device.row("todos", "t3") ?? {};
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, listId: "b" })),
      device.tx(device.update("todos", "t1", { listId: ["a", "b"] })),
      device.tx(device.update("todos", "t3", { listId: ["b", "a"] })),
      device.tx(device.update("todos", "t3", { title: ["Three", "Drei"] })),
      device.tx(device.delete("todos", "t3", t3)),
      device.tx(device.delete("lists", "b", device.row("lists", "b") ?? {})),
      device.tx(device.update("todos", "t1", { assignee: [null, "bob"] })),
      device.tx(device.insert("lists", "z", { name: "Z", ownerId: null })),
    );
    expect(codes(outcomes)).toEqual(Array.from({ length: 8 }, () => "SCOPE_NOT_WRITABLE"));
    expect(await snapshot(server)).toEqual(before);
  });

  test("nor in steps: moved out of a forbidden scope first, then changed, deleted or made anew", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const before = await snapshot(server);
    const t3 = { ...device.row("todos", "t3"), listId: "a" };
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t3", { listId: ["b", "a"] }), device.delete("todos", "t3", t3)),
      device.tx(device.delete("todos", "t3", device.row("todos", "t3") ?? {}), device.insert("todos", "t3", todo)),
      device.tx(
        device.update("todos", "t1", { listId: ["a", "b"] }),
        device.update("todos", "t1", { listId: ["b", "b"] }),
      ),
      device.tx(device.insert("todos", "n1", todo), device.update("todos", "n1", { listId: ["a", "b"] })),
    );
    expect(codes(outcomes)).toEqual(Array.from({ length: 4 }, () => "SCOPE_NOT_WRITABLE"));
    expect(await snapshot(server)).toEqual(before);
  });

  test("nor through a parent: children are in the scopes of the row that they hang on", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const before = await snapshot(server);
    const outcomes = await device.sync(
      device.tx(device.insert("comments", "n1", { todoId: "t3", body: "x" })),
      device.tx(device.update("comments", "c3", { body: ["There", "x"] })),
      device.tx(device.update("comments", "c3", { todoId: ["t3", "t1"] })),
      device.tx(device.update("comments", "c1", { todoId: ["t1", "t3"] })),
      device.tx(device.insert("comments", "n2", { todoId: "nothing", body: "x" })),
    );
    expect(codes(outcomes)).toEqual(Array.from({ length: 5 }, () => "SCOPE_NOT_WRITABLE"));
    expect(await snapshot(server)).toEqual(before);
  });

  test("a row in two scopes is written by who may write one of them, and moved only by who may write what it enters and leaves", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await server.run(`UPDATE todos SET assignee = 'bob' WHERE id = 't1'`);
    await device.pull();
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })),
      device.tx(device.update("todos", "t1", { assignee: ["bob", null] })),
    );
    expect(codes(outcomes)).toEqual(["SCOPE_NOT_WRITABLE"]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "Uno", assignee: "bob" });
  });

  test("a row that may not be read is not shown, and a conflict tells nothing about it", async () => {
    const { server, device } = await openPair({ conflict: clientWins() });
    await using _ = server;
    const before = await snapshot(server);
    const guess = { ...todo, listId: "c", title: "Four", createdBy: "zoe" };
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "t4", guess)),
      device.tx(device.insert("todos", "t4", { ...guess, title: "Wrong" })),
      device.tx(device.update("todos", "t4", { title: ["Four", "x"] })),
      device.tx(device.update("todos", "t4", { title: ["Wrong", "x"] })),
      device.tx(device.delete("todos", "t4", guess)),
    );
    expect(codes(outcomes)).toEqual(Array.from({ length: 5 }, () => "SCOPE_NOT_WRITABLE"));
    expect(outcomes.every((outcome) => outcome.status === "rejected" && outcome.operation?.server === undefined)).toBe(
      true,
    );
    expect(await snapshot(server)).toEqual(before);
  });

  test("lost rights refuse what was written while they were there", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const tx = device.tx(device.update("todos", "t1", { title: ["One", "Uno"] }));
    server.grants.set("ann", { read: ["list:a"], write: [] });
    expect(codes(await device.sync(tx))).toEqual(["SCOPE_NOT_WRITABLE"]);
  });

  test("`authorize` refuses for good, with the app's words, and sees typed values", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const seen: unknown[] = [];
    const caller = {
      ...device.caller,
      authorize: async (transaction: { readonly number: number }) => {
        seen.push(transaction);
        return transaction.number === 1 ? ({ code: "NOT_AUTHORIZED", message: "Not on Sundays." } as const) : undefined;
      },
    };
    await server.service.push(
      caller,
      device.message([
        device.tx(device.update("todos", "t1", { done: [0, 1] })),
        device.tx(device.insert("todos", "n1", todo)),
      ]),
    );
    await device.pull();
    expect(device.outcomes).toMatchObject([{ number: 1, code: "NOT_AUTHORIZED", message: "Not on Sundays." }]);
    expect(seen).toMatchObject([
      { number: 1, operations: [{ table: "todos", kind: "update", key: { id: "t1" }, values: { done: true } }] },
      { number: 2 },
    ]);
    expect(device.row("todos", "n1")).toBeDefined();
  });
});

describe("P9: what is not written by devices", () => {
  test("read-only and excluded columns, tables of the server, and keys", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const before = await snapshot(server);
    const raw = (
      table: string,
      kind: "insert" | "update",
      columns: string[],
      id: Value,
      values: Value[],
      seen: Value[] = [],
    ): HandOperation => ({ shape: { table, kind, columns }, key: [id], values, before: seen });
    const outcomes = await device.sync(
      device.tx(raw("todos", "update", ["createdBy"], "t1", ["ann"], ["zoe"])),
      device.tx(raw("todos", "update", ["secret"], "t1", ["x"], ["hidden"])),
      device.tx(raw("todos", "insert", ["listId", "title", "secret"], "n1", ["a", "x", "x"])),
      device.tx(raw("users", "update", ["name"], "u1", ["x"], ["Uma"])),
      device.tx(raw("users", "insert", ["name"], "u2", ["x"])),
      device.tx(raw("todos", "update", ["id"], "t1", ["t9"], ["t1"])),
      device.tx(raw("todos", "insert", ["id", "listId", "title"], "n1", ["t1", "a", "x"])),
      device.tx(raw("todos", "update", [`title" = 'x', "list_id`], "t1", ["x"], ["One"])),
      device.tx(raw("todos", "update", ["constructor"], "t1", ["x"], ["One"])),
    );
    expect(codes(outcomes)).toEqual([
      "COLUMN_READ_ONLY",
      "COLUMN_READ_ONLY",
      "COLUMN_READ_ONLY",
      "TABLE_READ_ONLY",
      "TABLE_READ_ONLY",
      "INVALID_VALUE",
      "INVALID_VALUE",
      "INVALID_VALUE",
      "INVALID_VALUE",
    ]);
    expect(await snapshot(server)).toEqual(before);
  });

  test("`assign` decides over what a device writes, and the device's later changes are judged by what it wrote", async () => {
    const server = await openServer({ sql: rows });
    await using _ = server;
    server.grants.set("ann", { read: ["list:a"], write: ["list:a"] });
    const createdBy = server.database.tableByKey.get("todos")?.columnByKey.get("createdBy");
    const device = server.device("ann", {
      assign: (table) => (table.key === "todos" && createdBy !== undefined ? new Map([[createdBy, "ann"]]) : undefined),
    });
    await device.handshake();
    await device.pull();
    await device.push(device.tx(device.insert("todos", "n1", { ...todo, createdBy: "zoe" })));
    await device.push(device.tx(device.delete("todos", "n1", { ...todo, createdBy: "zoe" })));
    await device.push(device.tx(device.insert("todos", "n2", { ...todo, createdBy: "zoe" })));
    await device.pull();
    expect(device.outcomes).toEqual([]);
    expect(device.row("todos", "n1")).toBeUndefined();
    expect(device.row("todos", "n2")).toMatchObject({ createdBy: "ann" });
  });

  test("a row brought back whole by clientWins is the device's word: read-only columns are assigned, values checked", async () => {
    const server = await openServer({ sql: rows, conflict: clientWins() });
    await using _ = server;
    server.grants.set("ann", { read: ["list:a"], write: ["list:a"] });
    const createdBy = server.database.tableByKey.get("todos")?.columnByKey.get("createdBy");
    const device = server.device("ann", {
      assign: (table) => (table.key === "todos" && createdBy !== undefined ? new Map([[createdBy, "ann"]]) : undefined),
    });
    await device.handshake();
    await device.pull();
    const row = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM todos`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "back"] }, { ...row, createdBy: "root" })),
      device.tx(device.update("todos", "t2", { title: ["Two", "back"] }, { ...row, done: "yes" })),
    );
    expect(codes(outcomes)).toEqual(["merged", "INVALID_VALUE"]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "back", createdBy: "ann" });
  });

  test("`check` refuses with the app's words, also when it fails", async () => {
    const { server, device } = await openPair({
      check: ({ before, after }) => {
        if (after?.title === "throw") throw new Error("no");
        return after === undefined
          ? "Todos are not deleted."
          : before?.done === true && after.done
            ? "Done is done."
            : undefined;
      },
    });
    await using _ = server;
    await server.run(`UPDATE todos SET done = 1 WHERE id = 't2'`);
    await device.pull();
    const outcomes = await device.sync(
      device.tx(device.delete("todos", "t1", device.row("todos", "t1") ?? {})),
      device.tx(device.update("todos", "t2", { title: ["Two", "Due"] })),
      device.tx(device.insert("todos", "n1", { ...todo, title: "throw" })),
      device.tx(device.insert("todos", "n2", todo)),
    );
    expect(outcomes).toMatchObject([
      { code: "INVALID_VALUE", message: "Todos are not deleted." },
      { message: "Done is done." },
      { code: "INVALID_VALUE" },
    ]);
    expect(device.row("todos", "n2")).toBeDefined();
    expect(server.errors).toHaveLength(1);
  });
});

describe("P9: values", () => {
  test("that their column cannot hold, or its codec not read, are refused", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const id = (n: number): Uint8Array => new Uint8Array([n]);
    const thing = { kind: "a", data: null, big: null, bytes: null, ratio: null };
    const bad: HandOperation[] = [
      device.insert("things", id(1), { ...thing, kind: "c" }),
      device.insert("things", id(1), { ...thing, data: "{not json" }),
      device.insert("things", id(1), { ...thing, data: 5 }),
      device.insert("things", id(1), { ...thing, big: 1.5 }),
      device.insert("things", id(1), { ...thing, big: "5" }),
      device.insert("things", id(1), { ...thing, bytes: "text" }),
      device.insert("things", id(1), { ...thing, ratio: Number.NaN }),
      device.insert("things", id(1), { ...thing, ratio: "1" }),
      device.insert("things", "text", thing),
      device.insert("things", null, thing),
      device.insert("todos", 5, todo),
      device.insert("todos", "n1", { ...todo, done: 7 }),
      device.insert("todos", "n1", { ...todo, updatedAt: "yesterday" }),
      device.insert("todos", "n1", { ...todo, title: new Uint8Array([1]) }),
    ];
    const outcomes = await device.sync(...bad.map((operation) => device.tx(operation)));
    expect(codes(outcomes)).toEqual(bad.map(() => "INVALID_VALUE"));
    expect(JSON.stringify(outcomes)).not.toContain("not json");
    expect(await device.sync(device.tx(device.insert("todos", "n1", { ...todo, title: null })))).toMatchObject([
      { code: "CONSTRAINT" },
    ]);
  });

  test("of every class come back as they were", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const key = new Uint8Array([0, 255]);
    const thing = {
      kind: "b",
      data: '{"b":1,"a":[null]}',
      big: 2n ** 60n + 1n,
      bytes: new Uint8Array([0, 1, 2]),
      ratio: Number.POSITIVE_INFINITY,
    };
    expect(await device.sync(device.tx(device.insert("things", key, thing)))).toEqual([]);
    const row = device.rows("things")[0];
    expect(row).toMatchObject({ ...thing, bytes: expect.anything(), id: expect.anything() });
    expect([...(row?.["bytes"] as Uint8Array)]).toEqual([0, 1, 2]);
    // Judged in their column's form: other spellings of the same JSON are the same.
    expect(
      await device.sync(device.tx(device.update("things", key, { data: ['{ "a": [null], "b": 1 }', "{}"] }))),
    ).toEqual([]);
  });
});

describe("V3: schemas", () => {
  test("a table or column that the server lacks holds pushing back, with nothing of it done, and what came before handled", async () => {
    const { server } = await openPair();
    await using _ = server;
    const known = {
      lists: ["id", "name", "ownerId"],
      todos: ["id", "listId", "assignee", "title", "notes", "done", "rank", "slug", "createdBy", "updatedAt", "color"],
      tags: ["id"],
    };
    const device = server.device("ann", { tables: known });
    const { tables } = await device.handshake();
    expect(tables?.["todos"]).not.toContain("color");
    await device.pull();
    const fine = device.tx(device.update("todos", "t1", { title: ["One", "Uno"] }));
    const tooNew = device.tx(device.update("todos", "t2", { title: ["Two", "Due"], color: ["red", "blue"] }));
    await expect(device.push(fine, tooNew)).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "server", table: "todos", column: "color" },
    });
    expect(
      (await server.all(`SELECT title FROM todos WHERE id IN ('t1', 't2') ORDER BY id`)).map(([title]) => title),
    ).toEqual(["Uno", "Two"]);
    await expect(
      device.push({ ...tooNew, operations: [device.delete("todos", "t1", device.row("todos", "t1") ?? {})] }),
    ).rejects.toMatchObject({ code: "SCHEMA_MISMATCH" });
    await expect(device.push({ ...tooNew, operations: [device.insert("tags", "x", {})] })).rejects.toMatchObject({
      details: { tooOld: "server", table: "tags" },
    });
  });

  test("a column that never leaves the server any more tells a device that knew it to update", async () => {
    const { server } = await openPair();
    await using _ = server;
    const device = server.device("ann", {
      tables: { lists: ["id", "name", "ownerId"], todos: ["id", "listId", "assignee", "title", "secret"] },
    });
    expect(await device.handshake()).toMatchObject({ outdated: { todos: ["secret"] } });
    await device.pull();
    const tooOld = { code: "SCHEMA_MISMATCH", details: { tooOld: "device", table: "todos", column: "secret" } };
    const written = device.tx(device.update("todos", "t1", { secret: ["s", "mine"] }));
    await expect(device.push(written)).rejects.toMatchObject(tooOld);
    // Its hash covers what the server does not tell.
    const deleted = device.delete("todos", "t1", device.row("todos", "t1") ?? {});
    await expect(device.push({ ...written, operations: [deleted] })).rejects.toMatchObject(tooOld);
  });

  test("a device too old to make a row is told, and still writes what it can", async () => {
    const { server } = await openPair();
    await using _ = server;
    const device = server.device("ann", {
      tables: { lists: ["id", "ownerId"], todos: ["id", "listId", "assignee", "title"], comments: ["id", "body"] },
    });
    await device.handshake();
    await device.pull();
    expect(
      await device.sync(
        device.tx(device.insert("todos", "n1", { listId: "a", assignee: null, title: "New" })),
        device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })),
      ),
    ).toEqual([]);
    await expect(device.push(device.tx(device.insert("lists", "a2", { ownerId: null })))).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "lists", column: "name" },
    });
    const again = server.device("ann", { id: device.id, tables: device.tables });
    Object.assign(again, { epoch: device.epoch });
    await expect(
      server.service.push(
        device.caller,
        device.message([{ ...device.tx(device.update("comments", "c1", { body: ["Hello", "x"] })), number: 3 }]),
      ),
    ).rejects.toMatchObject({ details: { tooOld: "device", table: "comments" } });
  });
});

describe("V1: a hash that others made to meet", () => {
  test("INVALID_MESSAGE: nobody is matched with tables that are not its own, in whatever order they are named", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const turned = Object.fromEntries(Object.entries(device.tables).reverse());
    await server.device("ann", { tables: turned }).handshake();
    await server.run(
      `UPDATE ${serverTables.schemas} SET tables = '{"todos":["id","forged"]}' WHERE hash = '${device.schema}'`,
    );
    await expect(server.device("bob").handshake()).rejects.toMatchObject({
      code: "INVALID_MESSAGE",
      message: expect.stringContaining(serverTables.schemas),
    });
    await server.run(`DELETE FROM ${serverTables.schemas} WHERE hash = '${device.schema}'`);
    await server.device("bob").handshake();
  });
});

describe("messages that contradict themselves", () => {
  test("are refused before anything is handled", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const fine = device.message([device.tx(device.insert("todos", "n1", todo))]);
    const tx = fine.txs[0] as (typeof fine.txs)[number];
    const broken = [
      { ...tx, ops: [[7, ["x"], [], []] as never] },
      { ...tx, ops: [[0, ["x", "y"], tx.ops[0]?.[2], []] as never] },
      { ...tx, ops: [[0, ["x"], ["too few"], []] as never] },
    ];
    for (const each of broken)
      await expect(server.service.push(device.caller, { ...fine, txs: [each] })).rejects.toMatchObject({
        code: "INVALID_MESSAGE",
      });
    const [limit] = [1000];
    const many = Array.from({ length: limit + 1 }, (_, i) => ({ ...tx, number: i + 1, ops: [] }));
    await expect(server.service.push(device.caller, { ...fine, txs: many })).rejects.toMatchObject({
      code: "TOO_LARGE",
      details: { limit },
    });
    expect((await server.all(`SELECT count(*) FROM todos WHERE id IN ('n1', 'x')`))[0]).toEqual([0]);
  });
});
