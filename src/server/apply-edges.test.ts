import { expect, test } from "vitest";
import { composite, custom } from "../protocol/conflict.ts";
import { newTodo as todo, openPair, someRows, type todos } from "../testing/server-fixture.ts";

type Todo = typeof todos.$inferSelect;

test("P4: a unique clash with a row that the subject may not read is refused, and no resolver is asked", async () => {
  const asked: unknown[] = [];
  const unique = custom<Todo>((conflict) => {
    asked.push(conflict);
    return "server";
  });
  const { server, device } = await openPair(
    { conflict: composite<Todo>({ unique }), sql: [...someRows, `UPDATE todos SET slug = id`] },
    { read: ["list:a"], write: ["list:a"] },
  );
  await using _ = server;
  const outcomes = await device.sync(
    device.tx(device.insert("todos", "n1", { ...todo, slug: "t3" })),
    device.tx(device.insert("todos", "n2", { ...todo, slug: "t2" })),
  );
  expect(outcomes).toMatchObject([
    { number: 1, status: "rejected", code: "CONSTRAINT" },
    { number: 2, status: "merged", conflicts: [{ kind: "unique", server: { id: "t2" } }] },
  ]);
  expect(asked).toMatchObject([{ kind: "unique", server: { id: "t2" } }]);
});

test("P5: what the database made of an inserted value counts as what the device wrote, too", async () => {
  const trigger = `CREATE TRIGGER shout AFTER INSERT ON todos WHEN NEW.title <> upper(NEW.title) BEGIN UPDATE todos SET title = upper(NEW.title) WHERE id = NEW.id; END`;
  const { server, device } = await openPair({ sql: [...someRows, trigger] });
  await using _ = server;
  // Both were written before any page came.
  await device.push(device.tx(device.insert("todos", "n1", { ...todo, title: "uno" })));
  await device.push(device.tx(device.update("todos", "n1", { title: ["uno", "due"] })));
  await device.pull();
  expect(device.outcomes).toEqual([]);
  expect(device.row("todos", "n1")).toMatchObject({ title: "due" });
});

test("C5: what strangers left open is closed before a push, with the server's time and not the device's", async () => {
  const { server, device } = await openPair({ now: () => 1_000_000 });
  await using _ = server;
  // Past the wrapper, as another tool does it.
  await server.database.connection.run("UPDATE todos SET notes = 'theirs' WHERE id = 't2'", []);
  await device.push({ ...device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })), hlc: 4321 });
  const closedAt = async (id: string): Promise<unknown> => {
    const after = `(SELECT max(seq) FROM _sync_log WHERE k0 = '${id}')`;
    return (await server.all(`SELECT mask FROM _sync_log WHERE t = 0 AND seq > ${after} ORDER BY seq LIMIT 1`))[0]?.[0];
  };
  expect(await closedAt("t1")).toBe(4321);
  expect(Number(await closedAt("t2"))).toBeGreaterThanOrEqual(1_000_000 * 1024);
});
