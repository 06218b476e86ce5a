import { describe, expect, test } from "vitest";
import { newTodo, one, openPair, type ServerFixtureOptions, someRows } from "../testing/server-fixture.ts";

const all = ["list:a", "list:b", "list:gone", "everyone", "user:ann", "user:bob"];
const todo = newTodo;
const rows = someRows;
const open = (options: ServerFixtureOptions = {}): ReturnType<typeof openPair> =>
  openPair(options, { read: all, write: all });

describe("conflicts by value", () => {
  test("P4: updates of different columns merge without a word", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })))).toEqual([]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "Uno", notes: "theirs" });
  });

  test("P4: an update of a column that changed is a conflict, and the server wins by default", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "mine"], notes: ["n1", "more"] })),
    );
    expect(outcomes).toMatchObject([
      {
        status: "merged",
        number: 1,
        conflicts: [
          {
            table: "todos",
            key: ["t1"],
            kind: "update",
            columns: ["title"],
            winner: "server",
            client: { title: "mine", notes: "more" },
            server: { id: "t1", title: "theirs", notes: "n1" },
          },
        ],
      },
    ]);
    expect(JSON.stringify(outcomes)).not.toContain("secret");
    expect(device.row("todos", "t1")).toMatchObject({ title: "theirs", notes: "n1" });
  });

  test("P4: the same value on both sides is no conflict", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'same' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "same"] })))).toEqual([]);
  });

  test("P1: long values travel as their hash and are judged by it", async () => {
    const long = "x".repeat(100);
    const { server, device } = await open({ sql: [...rows, `UPDATE todos SET notes = '${long}'`] });
    await using _ = server;
    expect(await device.sync(device.tx(device.update("todos", "t1", { notes: [long, "short"] })))).toEqual([]);
    await server.run(`UPDATE todos SET notes = '${long}y' WHERE id = 't2'`);
    expect(await device.sync(device.tx(device.update("todos", "t2", { notes: [long, "short"] })))).toMatchObject([
      { status: "merged" },
    ]);
  });

  test("P4: an insert over another row, a delete of a changed row and an update of a missing one are conflicts", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = device.row("todos", "t2") ?? {};
    await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('n1', 'a', 'theirs')`);
    await server.run(`UPDATE todos SET rank = 3 WHERE id = 't2'`);
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(device.delete("todos", "t2", seen)),
      device.tx(device.update("todos", "t1", { title: ["One", "mine"] })),
    );
    expect(outcomes).toMatchObject([
      { conflicts: [{ kind: "insert", winner: "server", client: { title: "New" }, server: { title: "theirs" } }] },
      { conflicts: [{ kind: "delete", winner: "server", client: null, server: { rank: 3 } }] },
      { conflicts: [{ kind: "update", winner: "server", server: null }] },
    ]);
    expect(device.row("todos", "t2")).toBeDefined();
    expect(device.row("todos", "t1")).toBeUndefined();
  });

  test("P4: the same insert again, and a delete of a missing row, are nothing", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = device.row("todos", "t2") ?? {};
    await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('n1', 'a', 'New')`);
    await server.run(`DELETE FROM todos WHERE id = 't2'`);
    expect(
      await device.sync(device.tx(device.insert("todos", "n1", todo), device.delete("todos", "t2", seen))),
    ).toEqual([]);
  });

  test("P2: a row is judged once, on its net change", async () => {
    const { server, device } = await open();
    await using _ = server;
    const t1 = device.row("todos", "t1") ?? {};
    const outcomes = await device.sync(
      // Two updates of one column: the user saw the first before-value.
      device.tx(
        device.update("todos", "t1", { title: ["One", "Uno"] }),
        device.update("todos", "t1", { title: ["Uno", "Ein"], rank: [null, 2] }),
      ),
      // Updated, then deleted: the hash shows the row with the update.
      device.tx(
        device.update("todos", "t2", { title: ["Two", "Due"] }),
        device.delete("todos", "t2", { ...device.row("todos", "t2"), title: "Due" }),
      ),
      // Inserted and deleted again: not at all.
      device.tx(
        device.insert("todos", "n1", { ...todo, title: "forbidden" }),
        device.delete("todos", "n1", { ...todo, title: "forbidden" }),
      ),
      // Deleted and inserted again: as a whole.
      device.tx(
        device.delete("todos", "t1", { ...t1, title: "Ein", rank: 2 }),
        device.insert("todos", "t1", { ...todo, title: "Again" }),
      ),
    );
    expect(outcomes).toEqual([]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "Again", notes: null });
    expect(device.row("todos", "t2")).toBeUndefined();
  });

  test("P2: a row deleted and made again keeps what the server keeps to itself", async () => {
    const { server, device } = await open({ sql: [...rows, `UPDATE todos SET created_by = 'zoe'`] });
    await using _ = server;
    const seen = device.row("todos", "t2") ?? {};
    await device.sync(
      device.tx(device.delete("todos", "t2", seen), device.insert("todos", "t2", { ...todo, createdBy: "ann" })),
    );
    expect((await server.all(`SELECT title, created_by, secret FROM todos WHERE id = 't2'`))[0]).toEqual([
      "New",
      "zoe",
      "s",
    ]);
  });

  test("P2: a row changed by somebody else before it was deleted and made again is a conflict", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = device.row("todos", "t2") ?? {};
    await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't2'`);
    expect(
      await device.sync(device.tx(device.delete("todos", "t2", seen), device.insert("todos", "t2", todo))),
    ).toMatchObject([{ status: "merged" }]);
  });

  test("P5: what the database made of a device's value counts as what the device wrote", async () => {
    const trigger = `CREATE TRIGGER shout AFTER UPDATE OF title ON todos WHEN NEW.title <> upper(NEW.title) BEGIN UPDATE todos SET title = upper(NEW.title) WHERE id = NEW.id; END`;
    const { server, device } = await open({ sql: [...rows, trigger] });
    await using _ = server;
    // Both are written before any page comes: the second one's before-value is what the first wrote.
    expect(await device.push(device.tx(device.update("todos", "t1", { title: ["One", "uno"] })))).toMatchObject({
      kind: "ok",
    });
    expect(await device.push(device.tx(device.update("todos", "t1", { title: ["uno", "due"] })))).toMatchObject({
      kind: "ok",
    });
    await device.pull();
    expect(device.row("todos", "t1")).toMatchObject({ title: "DUE" });
    expect(device.outcomes).toEqual([]);
    // A value of somebody else's is none of ours.
    await server.run(`UPDATE todos SET title = 'OTHER' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["due", "tre"] })))).toMatchObject([
      { status: "merged" },
    ]);
  });

  test("P7: when the child hangs elsewhere by now, that is a conflict, and it stays", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = { c: device.row("comments", "c1") ?? {}, t: device.row("todos", "t1") ?? {} };
    await server.run(`DELETE FROM replies`);
    await server.run(`UPDATE comments SET todo_id = 't2' WHERE id = 'c1'`);
    expect(
      await device.sync(device.tx(device.delete("comments", "c1", seen.c), device.delete("todos", "t1", seen.t))),
    ).toMatchObject([{ status: "merged", conflicts: [{ table: "comments", kind: "delete", winner: "server" }] }]);
    expect(device.row("comments", "c1")).toBeDefined();
    expect(device.row("todos", "t1")).toBeUndefined();
  });

  test("P7: when a resolver keeps the parent, its children stay with it", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = {
      c: device.row("comments", "c1") ?? {},
      r: device.row("replies", "r1") ?? {},
      t: device.row("todos", "t1") ?? {},
    };
    await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(
        device.delete("replies", "r1", seen.r),
        device.delete("comments", "c1", seen.c),
        device.delete("todos", "t1", seen.t),
      ),
    );
    expect(outcomes).toMatchObject([{ conflicts: [{ table: "todos", kind: "delete", winner: "server" }] }]);
    expect(device.row("comments", "c1")).toBeDefined();
    expect(device.row("replies", "r1")).toBeDefined();
  });

  test("P8: a row that is gone at the end is UNDONE", async () => {
    const trigger = `CREATE TRIGGER vanish AFTER INSERT ON todos WHEN NEW.title = 'vanish' BEGIN DELETE FROM todos WHERE id = NEW.id; END`;
    const { server, device } = await open({ sql: [...rows, trigger] });
    await using _ = server;
    expect(await device.sync(device.tx(device.insert("todos", "n1", { ...todo, title: "vanish" })))).toMatchObject([
      { status: "rejected", code: "UNDONE" },
    ]);
  });

  test("P8: what depends on a refused insert is refused with that cause, until it was acknowledged", async () => {
    const { server, device } = await open();
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, title: "forbidden" })),
      device.tx(device.update("todos", "n1", { title: ["forbidden", "fine"] })),
      device.tx(device.insert("comments", "k1", { todoId: "n1", body: "lost" })),
      device.tx(device.update("comments", "k1", { body: ["lost", "found"] })),
    );
    expect(outcomes).toMatchObject([
      { number: 1, code: "CONSTRAINT" },
      { number: 2, code: "DEPENDS_ON_REJECTED", cause: 1 },
      { number: 3, code: "DEPENDS_ON_REJECTED", cause: 1 },
      { number: 4, code: "DEPENDS_ON_REJECTED", cause: 3 },
    ]);
    // Inserted again, under another transaction, it depends on nothing any more.
    await device.sync(
      device.tx(device.insert("todos", "n1", todo)),
      device.tx(device.update("todos", "n1", { title: ["New", "fine"] })),
    );
    expect(device.row("todos", "n1")).toMatchObject({ title: "fine" });
    expect(await one(server, `SELECT count(*) FROM _sync_rejected_keys WHERE tbl = 'todos'`)).toBe(0);
  });
});

describe("without foreign keys", () => {
  test("P7: where the database does not cascade, every delete is judged and done by itself", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run("PRAGMA foreign_keys = OFF");
    const service = server.another();
    const tx = device.tx(
      device.delete("replies", "r1", device.row("replies", "r1") ?? {}),
      device.delete("comments", "c1", device.row("comments", "c1") ?? {}),
      device.delete("todos", "t1", device.row("todos", "t1") ?? {}),
    );
    expect(await service.push(device.caller, device.message([tx]))).toMatchObject({ kind: "ok" });
    await device.pull();
    expect(device.outcomes).toEqual([]);
    expect(
      await one(
        server,
        `SELECT (SELECT count(*) FROM replies WHERE id = 'r1') + (SELECT count(*) FROM comments WHERE id = 'c1')`,
      ),
    ).toBe(0);
  });
});
