/**
 * Promise 4 and rule P12: what the server cannot apply is refused for good and blocks nothing, or it may pass and changes
 * nothing. Which it is, by every way we know to make a transaction fail.
 *
 * @module
 */

import type Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { custom } from "../protocol/conflict.ts";
import { newTodo, openPair, type ServerFixture } from "../testing/server-fixture.ts";

const clientOf = (server: ServerFixture): Database.Database =>
  (server.db as { readonly $client: Database.Database }).$client;

/** Refuses, or spoils, what a device writes into a todo titled "Poison". */
const trigger = (when: "BEFORE" | "AFTER", body: string): string =>
  `CREATE TRIGGER poison ${when} INSERT ON todos WHEN NEW.title = 'Poison' BEGIN ${body}; END`;

const poison = { ...newTodo, title: "Poison" };

describe("promise 4: refused for good, and nothing behind it waits", () => {
  test.each([
    ["a trigger that aborts", trigger("BEFORE", "SELECT RAISE(ABORT, 'no')"), {}, "CONSTRAINT"],
    ["a trigger that fails", trigger("AFTER", "SELECT RAISE(FAIL, 'no')"), {}, "CONSTRAINT"],
    ["a trigger that rolls back", trigger("AFTER", "SELECT RAISE(ROLLBACK, 'no')"), {}, "CONSTRAINT"],
    ["a trigger that ignores", trigger("BEFORE", "SELECT RAISE(IGNORE)"), {}, "UNDONE"],
    ["a trigger that deletes the row", trigger("AFTER", "DELETE FROM todos WHERE id = NEW.id"), {}, "UNDONE"],
    [
      "a trigger that breaks a CHECK",
      trigger("AFTER", "UPDATE todos SET title = 'forbidden' WHERE id = NEW.id"),
      {},
      "CONSTRAINT",
    ],
    ["a trigger that reads JSON", trigger("AFTER", "SELECT json(NEW.notes)"), { notes: "{" }, "INVALID_VALUE"],
    [
      "a trigger that follows a path",
      trigger("AFTER", "SELECT json_extract('{}', NEW.notes)"),
      { notes: "x" },
      "INVALID_VALUE",
    ],
    ["a trigger that counts too far", trigger("AFTER", "SELECT abs(-9223372036854775807 - 1)"), {}, "INVALID_VALUE"],
    [
      "a trigger that matches",
      trigger("AFTER", "SELECT 'x' LIKE 'x' ESCAPE NEW.notes"),
      { notes: "ab" },
      "INVALID_VALUE",
    ],
    ["a value of another class", "SELECT 1", { done: "maybe" }, "INVALID_VALUE"],
    ["a value that is missing", "SELECT 1", { title: null }, "CONSTRAINT"],
    ["a parent that is missing", "SELECT 1", { listId: "a", slug: "s1" }, undefined],
  ])("%s", async (_what, sql, values, code) => {
    const { server, device } = await openPair();
    await using _ = server;
    if (sql !== "SELECT 1") await server.run(sql);
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.insert("todos", "n2", { ...poison, ...values })),
      device.tx(device.insert("todos", "n3", newTodo)),
    );
    expect(outcomes).toMatchObject(code === undefined ? [] : [{ status: "rejected", number: 2, code }]);
    expect(device.row("todos", "n1")).toBeDefined();
    expect(device.row("todos", "n2") === undefined).toBe(code !== undefined);
    expect(device.row("todos", "n3")).toBeDefined();
  });

  test("a resolver that throws", async () => {
    const { server, device } = await openPair({
      conflict: custom(() => {
        throw new TypeError("no");
      }),
    });
    await using _ = server;
    await device.sync();
    await server.run(`UPDATE todos SET title = 'Theirs' WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "Mine"] })),
      device.tx(device.insert("todos", "n1", newTodo)),
    );
    expect(outcomes).toMatchObject([{ number: 1, code: "RESOLVER_FAILED" }]);
    expect(device.row("todos", "n1")).toBeDefined();
  });
});

describe("P12: what may pass changes nothing, and is told apart", () => {
  test("a disk without room: what fits is handled, the rest goes when there is some", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await device.sync();
    const raw = clientOf(server);
    const pages = Number(raw.pragma("page_count", { simple: true }));
    raw.pragma(`max_page_count = ${pages + 20}`);
    const message = device.message([
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.insert("todos", "n2", { ...newTodo, notes: "x".repeat(200_000) })),
      device.tx(device.insert("todos", "n3", newTodo)),
    ]);
    await expect(server.service.push(device.caller, message)).rejects.toMatchObject({ code: "SQLITE_FULL" });
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n1"]]);
    raw.pragma("max_page_count = 1000000");
    expect(await server.service.push(device.caller, message)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
    expect(await server.all(`SELECT count(*) FROM todos WHERE id LIKE 'n%'`)).toEqual([[3]]);
    expect(await device.sync()).toEqual([]);
  });

  test("a function of the app that fails for one row: those before it are handled, and an empty one in its place frees those behind", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    clientOf(server).function("judge", (title: unknown) => {
      if (title === "Poison") throw new Error("The judge is not well.");
      return 1;
    });
    await server.run("CREATE TRIGGER judged AFTER INSERT ON todos BEGIN SELECT judge(NEW.title); END");
    const message = device.message([
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.insert("todos", "n2", poison)),
      device.tx(device.insert("todos", "n3", newTodo)),
    ]);
    await expect(server.service.push(device.caller, message)).rejects.toThrow("The judge is not well.");
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n1"]]);
    const discarded = { ...message, txs: message.txs.map((tx) => (tx.number === 2 ? { ...tx, ops: [] } : tx)) };
    expect(await server.service.push(device.caller, discarded)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n1"], ["n3"]]);
  });

  test("an `authorize` that never answers for one: it is named, and an empty one in its place frees those behind", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const caller = {
      ...device.caller,
      authorize: ({ number }: { readonly number: number }) =>
        number === 2 ? Promise.reject(new Error("The directory does not answer.")) : Promise.resolve(undefined),
    };
    const message = device.message(["n1", "n2", "n3"].map((id) => device.tx(device.insert("todos", id, newTodo))));
    for (let i = 0; i < 3; i++) {
      await expect(server.service.push(caller, message)).rejects.toMatchObject({
        code: "UNAVAILABLE",
        details: { transaction: 2 },
      });
    }
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n1"]]);
    const discarded = { ...message, txs: message.txs.map((tx) => (tx.number === 2 ? { ...tx, ops: [] } : tx)) };
    expect(await server.service.push(caller, discarded)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
    expect(await server.all(`SELECT id FROM todos WHERE id LIKE 'n%'`)).toEqual([["n1"], ["n3"]]);
  });

  test("a lock that somebody holds is waited for once, not for every transaction", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const { connection } = server.database;
    const busy = Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" });
    const transaction = connection.transaction as (...args: unknown[]) => unknown;
    let isHeld = true;
    let attempts = 0;
    Object.assign(connection, {
      transaction: (...args: unknown[]) => {
        if (args[0] !== "write" || !isHeld) return transaction.apply(connection, args);
        attempts += 1;
        throw busy;
      },
    });
    const message = device.message(["n1", "n2", "n3"].map((id) => device.tx(device.insert("todos", id, newTodo))));
    await expect(server.service.push(device.caller, message)).rejects.toBe(busy);
    expect(attempts).toBe(1);
    isHeld = false;
    expect(await server.service.push(device.caller, message)).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
  });

  test("a table that is not there at the moment refuses nothing", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    await server.run(trigger("AFTER", "INSERT INTO audit VALUES (NEW.id)"));
    const tx = device.tx(device.insert("todos", "n1", poison));
    await expect(device.push(tx)).rejects.toThrow(/no such table/);
    await server.run("CREATE TABLE audit (id TEXT)");
    expect(await device.push(tx)).toMatchObject({ kind: "ok", lastTx: { number: 1 } });
  });

  test("rights that cannot be asked for", async () => {
    const { server, device } = await openPair();
    await using _ = server;
    const tx = device.tx(device.insert("todos", "n1", newTodo));
    const caller = {
      ...device.caller,
      scopes: () => Promise.reject(new Error("The directory does not answer.")),
    };
    await expect(server.service.push(caller, device.message([tx]))).rejects.toThrow("does not answer");
    expect(await server.all(`SELECT count(*) FROM todos WHERE id = 'n1'`)).toEqual([[0]]);
    expect(await device.push(tx)).toMatchObject({ kind: "ok" });
  });
});
