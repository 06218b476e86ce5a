import { expect, test } from "vitest";
import { expectBase, openPair, openServer, pageOf, someRows } from "../testing/server-fixture.ts";
import { maxPageBytes } from "./limits.ts";

test("U2: columns that changed one after the other travel once each, with their values now", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(`UPDATE todos SET notes = 'n' WHERE id = 't1'`);
  await server.run(`UPDATE todos SET title = 'x' WHERE id = 't2'`);
  await server.run(`UPDATE todos SET title = 'early' WHERE id = 't1'`);
  await server.run(`UPDATE todos SET title = 'late', notes = 'n2' WHERE id = 't1'`);
  expect(pageOf(await device.ask()).changes).toEqual([
    { table: "todos", kind: "update", columns: ["id", "title", "notes"], values: [["t1"], ["late"], ["n2"]] },
    { table: "todos", kind: "update", columns: ["id", "title"], values: [["t2"], ["x"]] },
  ]);
});

test("U2: a row that left the scopes and came back is sent whole, whatever came before", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(`UPDATE todos SET title = 'x' WHERE id = 't1'`);
  await server.run(`UPDATE todos SET list_id = 'b' WHERE id = 't1'`);
  await server.run(`UPDATE todos SET list_id = 'a' WHERE id = 't1'`);
  await server.run(`UPDATE todos SET notes = 'n' WHERE id = 't1'`);
  const todos = pageOf(await device.ask()).changes.filter(({ table }) => table === "todos");
  expect(todos).toHaveLength(1);
  expect(todos[0]?.kind).toBe("row");
  expect(todos[0]?.values.slice(0, 5)).toEqual([["t1"], ["a"], [null], ["x"], ["n"]]);
  await device.pull();
  await expectBase(server, device);
});

test("V1: a change of columns, or of a table, that a device does not know sends it nothing", async () => {
  await using server = await openServer({ sql: someRows });
  server.grants.set("ann", { read: ["list:a"], write: [] });
  const device = server.device("ann", {
    tables: { lists: ["id", "name"], todos: ["id", "listId", "assignee", "title"] },
  });
  await device.handshake();
  await device.pull();
  await server.run(`UPDATE todos SET notes = 'n' WHERE id = 't1'`);
  await server.run(`UPDATE comments SET body = 'x' WHERE id = 'c1'`);
  await server.run(`UPDATE todos SET title = 'x', notes = 'n' WHERE id = 't2'`);
  expect(pageOf(await device.ask()).changes).toEqual([
    { table: "todos", kind: "update", columns: ["id", "title"], values: [["t2"], ["x"]] },
  ]);
});

test("R1: a row that is larger than a page comes in a page of its own, and what is behind it with the next", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(`UPDATE todos SET notes = hex(zeroblob(${maxPageBytes})) WHERE id = 't1'`);
  await server.run(`UPDATE todos SET title = 'x' WHERE id = 't2'`);
  await device.pull();
  expect(device.pages.map(({ changes }) => changes.map(({ values }) => values[0]))).toEqual([[["t1"]], [["t2"]]]);
  await expectBase(server, device);
});

test("C3: rows are counted once, so a page holds as many as were asked for", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  for (let i = 0; i < 3; i++)
    for (const id of ["t1", "t2"]) await server.run(`UPDATE todos SET rank = ${i} WHERE id = '${id}'`);
  await server.run(`INSERT INTO todos (id, list_id, title) VALUES ('n1', 'a', 'New')`);
  await device.pull({ limit: 2 });
  const [first] = device.pages;
  expect(first?.changes.flatMap(({ values }) => values[0])).toEqual(["t1", "t2"]);
  await expectBase(server, device);
});
