import { expect, test, vi } from "vitest";
import { serverTables } from "../plugin/sqlite/server-ddl.ts";
import { newTodo, openPair } from "../testing/server-fixture.ts";

test("P8: of the rows that were refused a push reads those that it names, however many there are", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const refused = 5000;
  await server.run(
    `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${refused})
     INSERT INTO ${serverTables.rejectedKeys} (device_id, tbl, row_key, number) SELECT '${device.id}', 'todos', 'k' || i, 1 FROM c`,
  );
  const { connection } = server.database;
  const spy = vi.spyOn(connection, "all");
  const answer = await device.push(
    device.tx(device.insert("todos", "bad", { ...newTodo, listId: "b" })),
    device.tx(device.insert("comments", "c8", { todoId: "bad", body: "Under a row that was refused" })),
    device.tx(device.insert("comments", "c9", { todoId: "t1", body: "Under one that is there" })),
  );
  const most = Math.max(...spy.mock.results.map(({ value }) => (value as readonly unknown[]).length));
  spy.mockRestore();
  expect(answer).toMatchObject({ kind: "ok", lastTx: { number: 3 } });
  expect(most).toBeLessThan(100);
  await device.pull();
  expect(device.outcomes).toMatchObject([
    { number: 1, code: "SCOPE_NOT_WRITABLE" },
    { number: 2, code: "DEPENDS_ON_REJECTED", cause: 1 },
  ]);
});
