import { describe, expect, test } from "vitest";
import {
  clientWins,
  composite,
  type Conflict,
  custom,
  lastWriteWins,
  mergeFields,
  NEED_ROW,
  type Resolver,
  serverWins,
} from "../protocol/conflict.ts";
import { hlcAt } from "../protocol/hlc.ts";
import {
  newTodo as todo,
  one,
  openPair,
  type ServerFixtureOptions,
  someRows,
  type todos,
} from "../testing/server-fixture.ts";

type Todo = typeof todos.$inferSelect;
const all = ["list:a", "list:b", "everyone"];
const open = (options: ServerFixtureOptions = {}): ReturnType<typeof openPair> =>
  openPair(options, { read: all, write: all });

/** A resolver that remembers what it was shown. */
function watcher(
  needs: Resolver<Todo>["needs"] = { base: true, times: true },
  decision: "client" | "server" = "server",
): Resolver<Todo> & { readonly shown: Conflict<Todo>[] } {
  const shown: Conflict<Todo>[] = [];
  return { name: "watcher", needs, shown, resolve: (conflict) => (shown.push(conflict), decision) };
}

describe("what a resolver is shown", () => {
  test("P6: for an insert, the columns that differ, and no base", async () => {
    const resolver = watcher();
    const { server, device } = await open({ conflict: resolver });
    await using _ = server;
    await server.run(
      `INSERT INTO todos (id, list_id, title, notes, rank) VALUES ('n1', 'a', 'theirs', NULL, 1), ('n2', 'a', 'New', 'n', 2)`,
    );
    await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, rank: 1 })),
      device.tx(device.insert("todos", "n2", { ...todo, rank: 2, notes: "mine" })),
    );
    expect(resolver.shown.map(({ kind, columns }) => [kind, columns])).toEqual([
      ["insert", ["title"]],
      ["insert", ["notes"]],
    ]);
    for (const conflict of resolver.shown) expect(conflict).not.toHaveProperty("base");
  });

  test("P6: for a row that is gone, and for a delete, no columns", async () => {
    const resolver = watcher();
    const { server, device } = await open({ conflict: resolver });
    await using _ = server;
    const seen = device.row("todos", "t2") ?? {};
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't2'`);
    await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "mine"] })),
      device.tx(device.delete("todos", "t2", seen)),
    );
    expect(resolver.shown).toMatchObject([
      { kind: "update", columns: [], changed: ["title"], server: null },
      { kind: "delete", columns: [], changed: [], client: null, server: { title: "theirs" } },
    ]);
  });

  test("P6: columns of an insert over a row are decided one by one", async () => {
    const { server, device } = await open({ conflict: mergeFields<Todo>({ notes: clientWins() }, serverWins()) });
    await using _ = server;
    await server.run(`INSERT INTO todos (id, list_id, title, notes) VALUES ('n1', 'a', 'theirs', 'theirs')`);
    await device.sync(device.tx(device.insert("todos", "n1", { ...todo, title: "mine", notes: "mine" })));
    expect(device.row("todos", "n1")).toMatchObject({ title: "theirs", notes: "mine" });
  });

  test("P11: times of every column for a function of the app, of those in conflict for others, of none for who needs none", async () => {
    const keysOf = async (resolver: ReturnType<typeof watcher>): Promise<readonly string[]> => {
      const { server, device } = await open({ conflict: resolver });
      await using _ = server;
      await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
      await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })));
      return [...(resolver.shown[0]?.serverTimes.keys() ?? [])];
    };
    expect(await keysOf(watcher())).toEqual(expect.arrayContaining(["title", "notes", "rank"]));
    expect(await keysOf(watcher({ base: false, times: true }))).toEqual(["title"]);
    expect(await keysOf(watcher({ base: false, times: false }))).toEqual([]);
  });

  test("P11: a delete competes with the latest write of the row", async () => {
    const now = 1_000_000;
    const { server, device } = await open({ conflict: lastWriteWins(), now: () => now });
    await using _ = server;
    const seen = device.row("todos", "t1") ?? {};
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    const remove = { ...device.tx(device.delete("todos", "t1", seen)), hlc: hlcAt(now - 1) };
    expect(await device.sync(remove)).toMatchObject([{ conflicts: [{ kind: "delete", winner: "server" }] }]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "theirs" });
  });

  test("P11: a unique clash competes with the latest write of the row that holds the value", async () => {
    let now = 1_000_000;
    const unique = lastWriteWins<Todo>();
    const { server, device } = await open({ conflict: composite<Todo>({ unique }), now: () => now });
    await using _ = server;
    await server.run(`UPDATE todos SET slug = 'taken' WHERE id = 't1'`);
    now = 3_000_000;
    await server.run(`UPDATE todos SET title = 'later' WHERE id = 't1'`);
    const insert = device.tx(device.insert("todos", "n1", { ...todo, slug: "taken" }));
    expect(await device.sync({ ...insert, hlc: hlcAt(2_000_000) })).toMatchObject([
      { status: "merged", conflicts: [{ kind: "unique", winner: "server" }] },
    ]);
  });
});

describe("what a resolver asks for", () => {
  test("P6: a row that it has, or that no insert has, is not asked for again: its transaction is refused", async () => {
    const resolver: Resolver<Todo> = {
      name: "greedy",
      needs: { base: true, times: false },
      resolve: () => NEED_ROW,
    };
    const { server, device } = await open({ conflict: resolver });
    await using _ = server;
    const row = device.row("todos", "t1") ?? {};
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    const update = device.tx(device.update("todos", "t1", { title: ["One", "mine"] }));
    expect(await device.push(update)).toMatchObject({ kind: "need", number: 1 });
    const whole = { ...update, operations: [device.update("todos", "t1", { title: ["One", "mine"] }, row)] };
    expect(await device.sync(whole, device.tx(device.insert("todos", "t2", todo)))).toMatchObject([
      { number: 1, code: "RESOLVER_FAILED", message: "The resolver `greedy` of table `todos` failed." },
      { number: 2, code: "RESOLVER_FAILED" },
    ]);
    expect(server.errors.map(String)).toEqual(
      Array(2).fill("TypeError: The resolver `greedy` asks for a row that was sent."),
    );
  });
});

describe("what a resolver decides", () => {
  test("P6: a row that comes back is checked like a written one", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    const row = { ...device.row("todos", "t1"), done: "maybe" };
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] }, row)))).toMatchObject([
      {
        status: "rejected",
        code: "INVALID_VALUE",
        message: "Table `todos`: `done` wants 0 or 1, in the row that the resolver `clientWins` decided on.",
        operation: { index: 0 },
      },
    ]);
    expect(device.row("todos", "t1")).toBeUndefined();
  });

  test("P6: so is the row of a function of the app for one that is gone", async () => {
    const { server, device } = await open({
      conflict: custom<Todo>(({ client }) => ({ ...client, notes: 5 }) as never),
    });
    await using _ = server;
    const row = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] }, row)))).toMatchObject([
      { status: "rejected", code: "INVALID_VALUE" },
    ]);
    expect(device.row("todos", "t1")).toBeUndefined();
  });

  test("P6: what comes back unchanged is written whole, but for what the server alone decides", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    const row = { ...device.row("todos", "t1"), createdBy: "ann" };
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] }, row)));
    expect(device.row("todos", "t1")).toMatchObject({ title: "mine", notes: "n1", listId: "a", createdBy: null });
  });

  test.each([
    ["clientWins", clientWins<Todo>()],
    ["a row", custom<Todo>(({ client }) => ({ ...(client as Todo) }))],
  ])("P6: %s writes no more columns than differ", async (_name, conflict) => {
    const { server, device } = await open({
      conflict,
      sql: [
        ...someRows,
        `CREATE TABLE hits (n INTEGER)`,
        `CREATE TRIGGER hit AFTER UPDATE OF notes, rank, secret, created_by ON todos BEGIN INSERT INTO hits VALUES (1); END`,
      ],
    });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })));
    expect(device.row("todos", "t1")).toMatchObject({ title: "mine", notes: "n1" });
    expect(await one(server, `SELECT count(*) FROM hits`)).toBe(0);
  });

  test("P6: a row is this one whatever key it has, and a column without a value stays as it is", async () => {
    const conflict = custom<Todo>(() => ({ id: "t9", title: undefined, notes: "decided" }) as never);
    const { server, device } = await open({ conflict });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })))).toMatchObject([
      { status: "merged", conflicts: [{ winner: "merged", key: ["t1"], columns: ["title"] }] },
    ]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "theirs", notes: "decided" });
    expect(device.row("todos", "t9")).toBeUndefined();
  });

  test("P8: a row that a resolver wrote, but that the transaction takes away elsewhere, refuses it", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't3'`);
    const list = device.row("lists", "b") ?? {};
    const update = device.update("todos", "t3", { title: ["Three", "mine"] });
    expect(await device.sync(device.tx(update, device.delete("lists", "b", list)))).toMatchObject([
      { status: "rejected", code: "UNDONE", operation: { index: 0, table: "todos" } },
    ]);
    expect(device.row("todos", "t3")).toMatchObject({ title: "theirs" });
  });
});

describe("what a device is told", () => {
  test("P9: a conflict on a row that the subject may write, but not read, shows it nothing of that row", async () => {
    const { server, device } = await openPair({}, { read: ["list:a"], write: ["list:a", "list:b"] });
    await using _ = server;
    const [outcome] = await device.sync(device.tx(device.update("todos", "t3", { title: ["guess", "mine"] })));
    expect(outcome).toMatchObject({ status: "merged", conflicts: [{ winner: "server", client: { title: "mine" } }] });
    expect(outcome?.status === "merged" && outcome.conflicts[0]).not.toHaveProperty("server");
    expect(JSON.stringify(outcome)).not.toContain("Three");
  });

  test("P9: a deleted row has no version of the device's", async () => {
    const { server, device } = await open();
    await using _ = server;
    const seen = device.row("todos", "t1") ?? {};
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.delete("todos", "t1", seen)))).toMatchObject([
      { conflicts: [{ kind: "delete", client: null, server: { title: "theirs" } }] },
    ]);
  });
});
