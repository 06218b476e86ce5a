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
