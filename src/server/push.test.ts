import type Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { knownTables } from "../plugin/known-tables.ts";
import { clientWins, lastWriteWins } from "../protocol/conflict.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import { type Cursor, formatCursor, makeEpoch } from "../protocol/ids.ts";
import {
  drivers,
  newTodo,
  one,
  openPair,
  type ServerFixture,
  type ServerFixtureOptions,
  someRows,
} from "../testing/server-fixture.ts";
import { groupLimits } from "./limits.ts";

const all = ["list:a", "list:b", "list:gone", "everyone", "user:ann", "user:bob"];
const todo = newTodo;
const rows = someRows;
const open = (options: ServerFixtureOptions = {}): ReturnType<typeof openPair> =>
  openPair(options, { read: all, write: all });

describe.each(drivers)("push over %s", (driver) => {
  test("P10: transactions are applied in order, each whole, and lastTx moves with their effects", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const first = device.tx(
      device.insert("todos", "n1", todo),
      device.insert("comments", "k1", { todoId: "n1", body: "Hi" }),
    );
    const second = device.tx(
      device.update("todos", "n1", { title: ["New", "Newer"], done: [0, 1] }),
      device.delete("todos", "t2", device.row("todos", "t2") ?? {}),
    );
    const answer = await device.push(first, second);
    expect(answer).toMatchObject({ kind: "ok", lastTx: { number: 2, stamp: second.stamp } });
    await device.pull();
    expect(device.lastTx).toEqual({ number: 2, stamp: second.stamp });
    expect(device.row("todos", "n1")).toMatchObject({ title: "Newer", done: 1 });
    expect(device.row("todos", "t2")).toBeUndefined();
    expect(device.row("comments", "k1")).toMatchObject({ todoId: "n1" });
    expect(device.outcomes).toEqual([]);
  });

  test("P3: what was handled is skipped, and a gap is told", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const first = device.tx(device.insert("todos", "n1", todo));
    const second = device.tx(device.update("todos", "n1", { title: ["New", "Newer"] }));
    const third = device.tx(device.update("todos", "n1", { title: ["Newer", "Newest"] }));
    await device.push(first);
    expect(await device.push(third)).toMatchObject({ kind: "gap", lastTx: { number: 1, stamp: first.stamp } });
    await device.push(first, second);
    await device.push(first, second, third);
    await server.run(`UPDATE todos SET title = 'Other' WHERE id = 'n1'`);
    expect(await device.push(first, second, third)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
    expect(await one(server, `SELECT title FROM todos WHERE id = 'n1'`)).toBe("Other");
    // Not even its schema is asked for.
    const fourth = device.tx(device.insert("todos", "n4", todo));
    expect(await device.push({ ...third, schema: "0123456789abcdef" }, fourth)).toMatchObject({ kind: "ok" });
  });

  test("P9: a refused transaction leaves nothing and holds back none of those behind it", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(
        device.update("todos", "t1", { title: ["One", "Uno"] }),
        device.insert("todos", "n2", { ...todo, title: "forbidden" }),
      ),
      device.tx(device.insert("todos", "n3", { ...todo, listId: "gone" })),
      device.tx(device.insert("todos", "n4", todo)),
    );
    expect(outcomes).toMatchObject([
      {
        number: 2,
        status: "rejected",
        code: "CONSTRAINT",
        operation: { index: 1, table: "todos", kind: "insert", key: ["n2"] },
      },
      { number: 3, status: "rejected", code: "CONSTRAINT" },
    ]);
    expect(device.rows("todos").map((row) => row["id"])).toEqual(expect.arrayContaining(["n1", "n4"]));
    expect(device.row("todos", "t1")).toMatchObject({ title: "One" });
    expect(device.row("todos", "n2")).toBeUndefined();
  });

  test("P2: foreign keys are judged at the end of a transaction, whatever the order of its operations", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(device.insert("comments", "k1", { todoId: "n2", body: "early" }), device.insert("todos", "n2", todo)),
      device.tx(device.insert("todos", "n3", todo)),
    );
    expect(outcomes).toEqual([]);
    expect(device.row("comments", "k1")).toBeDefined();
    expect(device.row("todos", "n3")).toBeDefined();
  });

  test("I4: another transaction under a number that was handled is a fork", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const first = device.tx(device.insert("todos", "n1", todo));
    await device.push(first);
    const other = { ...first, stamp: first.stamp + 77, operations: [device.insert("todos", "n9", todo)] };
    expect((await device.push(other)).kind).toBe("forked");
    const next = device.message([device.tx(device.insert("todos", "n2", todo))], { previous: { number: 1, stamp: 5 } });
    expect((await server.service.push(device.caller, next)).kind).toBe("forked");
    expect(await one(server, `SELECT count(*) FROM todos WHERE id IN ('n2', 'n9')`)).toBe(0);
  });

  test("P7: a deleted parent takes its children along, whose own deletes are not judged", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    const seen = {
      c: device.row("comments", "c1") ?? {},
      r: device.row("replies", "r1") ?? {},
      t: device.row("todos", "t1") ?? {},
    };
    await server.run(`UPDATE replies SET body = 'Changed meanwhile' WHERE id = 'r1'`);
    const outcomes = await device.sync(
      device.tx(
        device.delete("replies", "r1", seen.r),
        device.delete("comments", "c1", seen.c),
        device.delete("todos", "t1", seen.t),
      ),
    );
    expect(outcomes).toEqual([]);
    expect(await one(server, `SELECT count(*) FROM replies WHERE id = 'r1'`)).toBe(0);
  });

  test("P12: an `authorize` that throws changes nothing of its transaction, and those before it are handled", async () => {
    const { server, device } = await open({ driver });
    await using _ = server;
    let isDown = true;
    const service = {
      ...device.caller,
      authorize: async ({ number }: { readonly number: number }) => {
        if (number === 2 && isDown) throw new Error("The directory does not answer.");
        return undefined;
      },
    };
    const message = device.message([1, 2, 3].map((i) => device.tx(device.insert("todos", `n${i}`, todo))));
    await expect(server.service.push(service, message)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(await one(server, `SELECT count(*) FROM todos WHERE id LIKE 'n%'`)).toBe(1);
    isDown = false;
    expect(await server.service.push(service, message)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
  });
});

describe("I4: a fork", () => {
  test("is told before anybody is asked about what it pushes", async () => {
    const { server, device } = await open();
    await using _ = server;
    await device.push(device.tx(device.insert("todos", "n1", todo)));
    let asked = 0;
    const caller = { ...device.caller, authorize: async () => void asked++ };
    const next = device.tx(device.insert("todos", "n2", todo));
    const push = (tx: typeof next & { readonly schema?: string }) =>
      server.service.push(caller, device.message([tx], { previous: { number: 1, stamp: 5 } }));
    expect((await push(next)).kind).toBe("forked");
    expect(asked).toBe(0);
    // Nor for the schema of a device that is another one.
    expect((await push({ ...next, schema: "0123456789abcdef" })).kind).toBe("forked");
  });

  test("that comes up while the app is asked writes nothing", async () => {
    const { server, device } = await open();
    await using _ = server;
    const tx = device.tx(device.insert("todos", "n1", todo));
    const copy = { ...tx, stamp: tx.stamp + 77, operations: [device.insert("todos", "n9", todo)] };
    const authorize = async () => void (await device.push(copy));
    const behind = device.tx(device.insert("todos", "n2", todo));
    const answer = await server.service.push({ ...device.caller, authorize }, device.message([tx, behind]));
    expect(answer.kind).toBe("forked");
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n9"]]);
  });
});

describe("groups of transactions", () => {
  /** The device's last transaction after each commit of the server from now on. */
  function lastTxAtCommits({ database, db }: ServerFixture): unknown[] {
    const seen: unknown[] = [];
    const { connection } = database;
    const raw = (db as { readonly $client: Database.Database }).$client;
    const transaction = connection.transaction as (...args: unknown[]) => unknown;
    Object.assign(connection, {
      transaction(...args: unknown[]) {
        const result = transaction.apply(connection, args);
        if (args[0] === "write") seen.push(raw.prepare("SELECT last_tx FROM _sync_devices").pluck().get());
        return result;
      },
    });
    return seen;
  }

  test("P10: share a commit, up to so many that others have their turn; one that is applied by itself counts as several", async () => {
    const { server, device } = await open();
    await using _ = server;
    const { transactions, alone } = groupLimits;
    const decided = 10;
    const fine = transactions - decided * alone;
    const seen = lastTxAtCommits(server);
    const outcomes = await device.sync(
      ...Array.from({ length: fine }, (_each, i) => device.tx(device.insert("todos", `n${i}`, todo))),
      ...Array.from({ length: decided * 2 }, () => device.tx(device.update("todos", "t1", { title: ["not so", "x"] }))),
    );
    expect(outcomes).toHaveLength(decided * 2);
    expect(seen).toEqual([fine + decided, fine + 2 * decided]);
  });

  test("promise 4: one that breaks a foreign key is handled in a commit of its own, and no other is", async () => {
    const { server, device } = await open();
    await using _ = server;
    const orphan = device.insert("todos", "n3", { ...todo, listId: "gone" });
    const child = device.insert("comments", "k1", { todoId: "n3", body: "x" });
    const seen = lastTxAtCommits(server);
    const fine = (id: string) => device.tx(device.insert("todos", id, todo));
    const txs = [fine("n1"), fine("n2"), device.tx(orphan, child), fine("n4"), fine("n5")];
    expect(await device.sync(...txs)).toMatchObject([
      { number: 3, code: "CONSTRAINT", message: expect.stringContaining("It writes `todos`, `comments`.") },
    ]);
    expect(seen).toEqual([2, 3, 5]);
  });

  test("tell subscribers of the tables that they changed, those of the app's triggers too", async () => {
    const { server, device } = await open({
      // Where nobody looks into the log at once.
      driver: "libsql",
      sql: [...rows, `CREATE TRIGGER app AFTER INSERT ON todos BEGIN UPDATE lists SET name = 'B+' WHERE id = 'b'; END`],
    });
    await using _ = server;
    const told: unknown[] = [];
    const stop = server.database.onCommit((tables) => told.push([...tables].sort()));
    await device.push(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(device.insert("todos", "n2", { ...todo, title: "forbidden" })),
    );
    stop();
    expect(told[0]).toEqual(["lists", "todos"]);
  });

  test("of which nothing was applied tell nobody, but move the head for streams elsewhere", async () => {
    const { server, device } = await open();
    await using _ = server;
    let told = 0;
    const stop = server.database.onCommit(() => told++);
    const head = async () => Number(await one(server, "SELECT max(seq) FROM _sync_log"));
    const before = await head();
    const tx = device.tx(device.insert("todos", "n1", { ...todo, title: "forbidden" }));
    await device.push(tx);
    expect(await head()).toBe(before + 1);
    await device.push(tx);
    expect(await head()).toBe(before + 1);
    stop();
    expect(told).toBe(0);
  });

  test("P11: are logged with the time of each transaction where last-write-wins asks for it, else as one", async () => {
    for (const [conflict, expected] of [
      [lastWriteWins(), [1000, 3000]],
      [clientWins(), [3000]],
    ] as const) {
      const { server, device } = await open({ conflict });
      await using _ = server;
      // With a refused row on record, each is applied by itself.
      await server.run(`INSERT INTO _sync_rejected_keys VALUES ('${device.id}', 'lists', 'nobody', 0)`);
      const before = Number(await one(server, "SELECT max(seq) FROM _sync_log"));
      await device.push(
        { ...device.tx(device.insert("todos", "n1", todo)), hlc: 1000 },
        { ...device.tx(device.insert("todos", "n2", todo)), hlc: 3000 },
      );
      const times = await server.all(`SELECT mask FROM _sync_log WHERE t = 0 AND seq > ${before} ORDER BY seq`);
      expect(times.flat()).toEqual(expected);
    }
  });

  test("P8: what hangs on a row that was refused is refused, also where no foreign key holds", async () => {
    const { server, device } = await open({ sql: [...rows, "PRAGMA foreign_keys = OFF"] });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(
        device.insert("lists", "gone", { name: "Gone", ownerId: null }),
        device.insert("todos", "n1", { ...todo, title: "forbidden" }),
      ),
      device.tx(device.insert("todos", "n2", { ...todo, listId: "gone" })),
    );
    expect(outcomes).toMatchObject([{ number: 1 }, { number: 2, code: "DEPENDS_ON_REJECTED", cause: 1 }]);
  });
});

describe("what is written while the app is asked", () => {
  test("P3: and was handled meanwhile, is skipped, and what is behind it is not", async () => {
    const { server, device } = await open();
    await using _ = server;
    const first = device.tx(device.update("todos", "t1", { title: ["One", "Uno"] }));
    const second = device.tx(device.insert("todos", "n1", todo));
    let asked = 0;
    const authorize = async () => {
      if (++asked > 1) return undefined;
      await device.push(first);
      await server.run(`UPDATE todos SET title = 'Other' WHERE id = 't1'`);
      return undefined;
    };
    const answer = await server.service.push({ ...device.caller, authorize }, device.message([first, second]));
    expect(answer).toMatchObject({ kind: "ok", lastTx: { number: 2 } });
    await device.pull();
    expect(device.outcomes).toEqual([]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "Other" });
    expect(device.row("todos", "n1")).toBeDefined();
  });
});

describe("V3: a row without a value that it must have", () => {
  /** A device that has written such a row, and what it knew then. */
  async function openOld() {
    const { server } = await open();
    const tables = knownTables(server.database.tables);
    const { todos: columns = [], ...others } = tables;
    const old = { ...others, todos: columns.filter((column) => column !== "title") };
    const device = server.device("ann", { tables: old });
    await device.handshake();
    const tx = device.tx(device.insert("todos", "n1", todo));
    const announce = (now: KnownTables) => server.device("ann", { tables: now, id: device.id }).handshake();
    return { server, device, tables, old, others, tx, announce };
  }

  test("waits for the update that brings it, whatever else an update has brought", async () => {
    const { server, device, old, others, tx, announce } = await openOld();
    await using _ = server;
    const push = () => device.push(tx);
    const waits = { code: "SCHEMA_MISMATCH", details: { tooOld: "device", table: "todos", column: "title" } };
    await expect(push()).rejects.toMatchObject(waits);
    await announce({ ...old, todos: old.todos.filter((column) => column !== "notes") });
    await expect(push()).rejects.toMatchObject(waits);
    await announce(others);
    await expect(push()).rejects.toMatchObject(waits);
    await server.run("DELETE FROM _sync_devices");
    await expect(push()).rejects.toMatchObject(waits);
    expect(await one(server, "SELECT count(*) FROM _sync_outcomes")).toBe(0);
  });

  test("is refused once that has been made, and keeps nobody waiting", async () => {
    const { server, device, tables, tx, announce } = await openOld();
    await using _ = server;
    await announce(tables);
    const behind = device.tx(device.update("todos", "t1", { notes: ["n1", "mine"] }));
    const [outcome, ...more] = await device.sync(tx, behind);
    expect(outcome).toMatchObject({ number: 1, code: "CONSTRAINT", message: expect.stringMatching(/todos.+title/) });
    expect(more).toEqual([]);
    expect(await one(server, "SELECT notes FROM todos WHERE id = 't1'")).toBe("mine");
  });
});

describe("rights that change meanwhile", () => {
  test("P9: a commit to what decides them, between asking and applying, is asked about again", async () => {
    const { server, device } = await open({ scopesDependOn: new Set(["lists"]) });
    await using _ = server;
    let asked = 0;
    const caller = {
      ...device.caller,
      scopes: async () => {
        const granted = await device.caller.scopes();
        if (++asked === 1) {
          server.grants.set("ann", { read: ["list:a"], write: [] });
          await server.run(`UPDATE lists SET owner_id = 'bob' WHERE id = 'a'`);
        }
        return granted;
      },
    };
    await server.service.push(
      caller,
      device.message([device.tx(device.update("todos", "t1", { title: ["One", "Uno"] }))]),
    );
    expect(asked).toBe(2);
    expect(await one(server, `SELECT title FROM todos WHERE id = 't1'`)).toBe("One");
    asked = 0;
    const page = await server.service.pull(caller, device.request({ held: device.held }));
    expect(page).toMatchObject({ scopes: ["list:a"] });
  });
});

describe("empty ranges and lost state", () => {
  test("an empty range moves lastTx and does nothing", async () => {
    const { server, device } = await open();
    await using _ = server;
    const range = { ...device.tx(), from: 1, number: 5, stamp: 0 };
    expect(await device.push(range)).toMatchObject({ kind: "ok", lastTx: { number: 5, stamp: 0 } });
  });

  test("I3: a server that lost handled transactions is told from its answer, and gets them again, judged by value", async () => {
    const { server, device } = await open();
    await using _ = server;
    const first = device.tx(device.insert("todos", "n1", todo));
    await device.sync(first);
    await server.run(`UPDATE _sync_devices SET last_tx = 0, last_stamp = 0, last_seq = 0`);
    const second = device.tx(device.insert("todos", "n2", todo));
    expect(await device.push(second)).toMatchObject({ kind: "gap", lastTx: { number: 0 } });
    expect(await device.push(first, second)).toMatchObject({ kind: "ok", lastTx: { number: 2 } });
    expect(await one(server, `SELECT count(*) FROM todos WHERE id IN ('n1', 'n2')`)).toBe(2);
  });

  test("I3: an empty range is taken only where the log has the device's cursor", async () => {
    const { server, device } = await open();
    await using _ = server;
    const range = { ...device.tx(), from: 1, number: 5, stamp: 7 };
    const [[seq, stamp] = []] = await server.all(`SELECT seq, stamp FROM _sync_log ORDER BY seq DESC LIMIT 1`);
    const push = (cursor: Cursor) => server.service.push(device.caller, device.message([range], { cursor }));
    const unknown = formatCursor({ seq: Number(seq), stamp: Number(stamp) + 1 });
    expect(await push(unknown)).toMatchObject({ kind: "gap", lastTx: { number: 0 } });
    const known = formatCursor({ seq: Number(seq), stamp: Number(stamp) });
    expect(await push(known)).toMatchObject({ kind: "ok", lastTx: { number: 5, stamp: 7 } });
  });

  test("I3: a device whose record was lost is registered by its push", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`DELETE FROM _sync_devices`);
    expect(await device.push(device.tx(device.insert("todos", "n1", todo)))).toMatchObject({ kind: "ok" });
    expect(await one(server, `SELECT subject FROM _sync_devices`)).toBe("ann");
  });

  test("a foreign epoch and an unknown schema are answered before anything is written", async () => {
    const { server, device } = await open();
    await using _ = server;
    const tx = device.tx(device.insert("todos", "n1", todo));
    expect(await server.service.push(device.caller, device.message([tx], { epoch: makeEpoch() }))).toMatchObject({
      kind: "reset",
      reason: "EPOCH_CHANGED",
    });
    expect(await device.push({ ...tx, schema: "0123456789abcdef" })).toMatchObject({ kind: "need-schema" });
    expect(await one(server, `SELECT count(*) FROM todos WHERE id = 'n1'`)).toBe(0);
  });

  test("a hundred and more transactions of one push are applied in their order", async () => {
    const { server, device } = await open();
    await using _ = server;
    const txs = [device.tx(device.insert("todos", "n1", { ...todo, rank: 0 }))];
    for (let i = 1; i < 250; i++) txs.push(device.tx(device.update("todos", "n1", { rank: [i - 1, i] })));
    expect(await device.sync(...txs)).toEqual([]);
    expect(device.row("todos", "n1")).toMatchObject({ rank: 249 });
    expect(device.lastTx.number).toBe(250);
  });

  test("C5: what strangers wrote before a push is closed apart from it, and a push carries its device's time", async () => {
    const { server, device } = await open({ now: () => 1_000_000 });
    await using _ = server;
    await device.push({ ...device.tx(device.insert("todos", "n1", todo)), hlc: 4321 });
    const times = (await server.all(`SELECT mask FROM _sync_log WHERE t = 0 ORDER BY seq DESC LIMIT 1`)).map(
      ([hlc]) => hlc,
    );
    expect(times).toEqual([4321]);
  });

  test("P11: a device's clock that runs ahead is bounded by the server's", async () => {
    const { server, device } = await open({ now: () => 1_000_000 });
    await using _ = server;
    await device.push({ ...device.tx(device.insert("todos", "n1", todo)), hlc: Number.MAX_SAFE_INTEGER });
    expect(Number(await one(server, `SELECT mask FROM _sync_log WHERE t = 0 ORDER BY seq DESC LIMIT 1`))).toBeLessThan(
      1_100_000 * 1024,
    );
  });
});

describe("faults of the database", () => {
  test("P12: a locked database changes nothing", async () => {
    const { server, device } = await open();
    await using _ = server;
    const tx = device.tx(device.insert("todos", "n1", todo));
    const { connection } = server.database;
    const busy = Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
    const transaction = connection.transaction as (...args: unknown[]) => unknown;
    let calls = 0;
    Object.assign(connection, {
      transaction: (...args: unknown[]) => {
        if (args[0] === "write" && ++calls === 1) throw busy;
        return transaction.apply(connection, args);
      },
    });
    await expect(device.push(tx)).rejects.toBe(busy);
    expect(await device.push(tx)).toMatchObject({ kind: "ok", lastTx: { number: 1 } });
  });

  test("a trigger that rolls the whole transaction back spoils only the one at fault", async () => {
    const trigger = `CREATE TRIGGER stop BEFORE INSERT ON todos WHEN NEW.title = 'stop' BEGIN SELECT RAISE(ROLLBACK, 'stopped'); END`;
    const { server, device } = await open({ sql: [...rows, trigger] });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(device.insert("todos", "n2", { ...todo, title: "stop" })),
      device.tx(device.insert("todos", "n3", todo)),
    );
    expect(outcomes).toMatchObject([{ number: 2, code: "CONSTRAINT" }]);
    expect(device.row("todos", "n1")).toBeDefined();
    expect(device.row("todos", "n3")).toBeDefined();
    expect(await device.sync(device.tx(device.insert("todos", "n4", { ...todo, title: "stop" })))).toMatchObject([
      { number: 4, code: "CONSTRAINT" },
    ]);
  });
});
