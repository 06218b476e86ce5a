import { describe, expect, test } from "vitest";
import { lastWriteHlc } from "../plugin/oplog.ts";
import { transact } from "../plugin/core.ts";
import { clientWins, composite, custom, lastWriteWins, mergeFields, serverWins } from "../protocol/conflict.ts";
import { hlcAt } from "../protocol/hlc.ts";
import {
  newTodo as todo,
  openPair,
  type ServerFixtureOptions,
  someRows,
  type todos,
} from "../testing/server-fixture.ts";

type Todo = typeof todos.$inferSelect;
const all = ["list:a", "list:b", "list:gone", "everyone"];
const open = (options: ServerFixtureOptions = {}): ReturnType<typeof openPair> =>
  openPair(options, { read: all, write: all });
const slugs = [...someRows, `UPDATE todos SET slug = id`];

describe("the net change of a row", () => {
  test("P2: a column that has its old value again is none that was changed", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    expect(
      await device.sync(
        device.tx(
          device.update("todos", "t1", { title: ["One", "tried"], notes: ["n1", "mine"] }),
          device.update("todos", "t1", { title: ["tried", "One"] }),
        ),
      ),
    ).toEqual([]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "theirs", notes: "mine" });
    // No note says that the server's value is what became of the device's.
    expect(await server.all(`SELECT * FROM _sync_notes`)).toEqual([]);
  });

  test("P2: a row that was changed and changed back may be gone", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    expect(
      await device.sync(
        device.tx(
          device.update("todos", "t1", { title: ["One", "tried"] }),
          device.update("todos", "t1", { title: ["tried", "One"] }),
          device.insert("todos", "n1", todo),
        ),
      ),
    ).toEqual([]);
    expect(device.row("todos", "t1")).toBeUndefined();
    expect(device.row("todos", "n1")).toBeDefined();
  });

  test("P4: the same row twice is no conflict over what the server alone decides", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run(`INSERT INTO todos (id, list_id, title, created_by) VALUES ('n1', 'a', 'New', 'zoe')`);
    expect(await device.sync(device.tx(device.insert("todos", "n1", { ...todo, createdBy: "ann" })))).toEqual([]);
    expect(device.row("todos", "n1")).toMatchObject({ createdBy: "zoe" });
  });

  test.each([
    ["serverWins", serverWins<Todo>(), "theirs"],
    ["clientWins", clientWins<Todo>(), "again"],
  ])(
    "P4: a row that was deleted and made again over a foreign change is decided whole by %s",
    async (_name, conflict, title) => {
      const { server, device } = await open({ conflict });
      await using _ = server;
      const seen = device.row("todos", "t1") ?? {};
      await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
      const outcomes = await device.sync(
        device.tx(device.delete("todos", "t1", seen), device.insert("todos", "t1", { ...todo, title: "again" })),
      );
      expect(outcomes).toMatchObject([
        { status: "merged", conflicts: [{ kind: "update", client: { title: "again" }, server: { title: "theirs" } }] },
      ]);
      expect(device.row("todos", "t1")).toMatchObject({ title });
    },
  );
});

describe("a resolver that is wrong", () => {
  test("P6: has a clear outcome each, is told of, and holds nothing back", async () => {
    const answers: Record<string, (conflict: { client: Todo | null; server: Todo | null }) => unknown> = {
      rejects: async () => {
        throw new Error("late");
      },
      undefined: () => undefined,
      null: () => null,
      word: () => "device",
      list: () => [],
      "a typo": ({ client }) => ({ ...client, titel: "x" }),
      "a number for a text": ({ client }) => ({ ...client, notes: 5 }),
      "no value for a column that must have one": ({ client }) => ({ ...client, title: null }),
      "what a constraint forbids": ({ client }) => ({ ...client, title: "forbidden" }),
      "out of reach": ({ client }) => ({ ...client, listId: "c" }),
      "what check refuses": ({ client }) => ({ ...client, title: "checked" }),
    };
    const conflict = custom<Todo>((c) => answers[c.client?.notes ?? ""]?.(c) as never);
    const check = ({ after }: { after?: Todo }) => (after?.title === "checked" ? "No." : undefined);
    const { server, device } = await open({
      conflict,
      check,
      sql: [...someRows, `INSERT INTO lists VALUES ('c', 'C', NULL)`],
    });
    await using _ = server;
    await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't1'`);
    const names = Object.keys(answers);
    const outcomes = await device.sync(
      ...names.map((name) => device.tx(device.update("todos", "t1", { notes: ["n1", name] }))),
      device.tx(device.insert("todos", "n1", todo)),
    );
    expect(outcomes.map((outcome) => outcome.status === "rejected" && outcome.code)).toEqual([
      ...names.slice(0, 6).map(() => "RESOLVER_FAILED"),
      "INVALID_VALUE",
      "CONSTRAINT",
      "CONSTRAINT",
      "SCOPE_NOT_WRITABLE",
      "INVALID_VALUE",
    ]);
    expect(server.errors.map(String)).toMatchObject([
      expect.stringContaining("must be synchronous"),
      expect.stringContaining("must return"),
      expect.stringContaining("must return"),
      expect.stringContaining("must return"),
      expect.stringContaining("must return"),
      expect.stringContaining("`titel`"),
    ]);
    expect(device.row("todos", "n1")).toBeDefined();
    expect(device.row("todos", "t1")).toMatchObject({ notes: "theirs" });
  });

  test("P9: a `check` that answers no text refuses its row, is told of, and holds nothing back", async () => {
    const answers: Record<string, () => unknown> = {
      late: async () => {
        throw new Error("late");
      },
      null: () => null,
      yes: () => true,
    };
    const check = ({ after }: { after?: Todo }) => answers[after?.title ?? ""]?.() as never;
    const { server, device } = await open({ check });
    await using _ = server;
    const outcomes = await device.sync(
      ...Object.keys(answers).map((title, i) => device.tx(device.insert("todos", `n${i}`, { ...todo, title }))),
      device.tx(device.insert("todos", "n9", todo)),
    );
    expect(outcomes).toMatchObject([{ code: "INVALID_VALUE" }, { code: "INVALID_VALUE" }, { code: "INVALID_VALUE" }]);
    expect(server.errors).toHaveLength(3);
    expect(device.row("todos", "n9")).toBeDefined();
  });

  test("P6: no resolver carries a device's word into a read-only column", async () => {
    const { server, device } = await open({ conflict: custom<Todo>(({ client }) => client) });
    await using _ = server;
    await server.run(`INSERT INTO todos (id, list_id, title, created_by) VALUES ('n1', 'a', 'theirs', 'zoe')`);
    expect(await device.sync(device.tx(device.insert("todos", "n1", { ...todo, createdBy: "ann" })))).toMatchObject([
      { conflicts: [{ winner: "client" }] },
    ]);
    expect(device.row("todos", "n1")).toMatchObject({ title: "New", createdBy: "zoe" });
  });

  test("P6: a row of which nothing is the device's is the server's", async () => {
    const { server, device } = await open({ conflict: custom<Todo>(({ server: row }) => ({ ...(row as Todo) })) });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })))).toMatchObject([
      { conflicts: [{ winner: "server" }] },
    ]);
  });
});

describe("a row that comes back", () => {
  test("P6: what is needed is asked for once, and what is behind it is handled with it", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    const seen = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    const first = device.tx(device.update("todos", "t1", { title: ["One", "back"] }));
    const second = device.tx(device.insert("todos", "n1", todo));
    expect(await device.push(first, second)).toMatchObject({ kind: "need", number: 1 });
    const whole = { ...first, operations: [device.update("todos", "t1", { title: ["One", "back"] }, seen)] };
    expect(await device.sync(whole, second)).toMatchObject([{ number: 1, status: "merged" }]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "back", notes: "n1" });
    // Its children went with it, and stay gone.
    expect(device.row("comments", "c1")).toBeUndefined();
    expect(device.row("todos", "n1")).toBeDefined();
  });

  test("P6: whose parent is gone is refused, and holds nothing back", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    const seen = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM lists WHERE id = 'a'`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "back"] }, seen)),
      device.tx(device.update("todos", "t3", { title: ["Three", "fine"] })),
    );
    expect(outcomes).toMatchObject([{ number: 1, status: "rejected", code: "CONSTRAINT" }]);
    expect(device.row("todos", "t3")).toMatchObject({ title: "fine" });
  });

  test("P8: no resolver brings back a row whose insert was refused, also after the device has heard of it", async () => {
    const { server, device } = await open({ conflict: clientWins() });
    await using _ = server;
    await device.sync(device.tx(device.insert("todos", "n1", { ...todo, title: "forbidden" })));
    await device.pull();
    expect(await server.all(`SELECT count(*) FROM _sync_outcomes`)).toEqual([[0]]);
    // Was in the queue already.
    expect(await device.sync(device.tx(device.update("todos", "n1", { title: ["forbidden", "fine"] })))).toMatchObject([
      { code: "DEPENDS_ON_REJECTED", cause: 1 },
    ]);
    expect(device.row("todos", "n1")).toBeUndefined();
  });

  test("P8: a child of a refused row is refused with the cause where the database checks no foreign keys, too", async () => {
    const { server, device } = await open();
    await using _ = server;
    await server.run("PRAGMA foreign_keys = OFF");
    const insert = (id: string, todoId: string) => device.insert("comments", id, { todoId, body: "b" });
    await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, title: "forbidden" })),
      device.tx(insert("k1", "n1")),
      device.tx(device.update("comments", "c1", { todoId: ["t1", "n1"] })),
      device.tx(device.insert("todos", "n1", todo), insert("k2", "n1")),
    );
    expect(device.outcomes).toMatchObject([
      { number: 1, code: "CONSTRAINT" },
      { number: 2, code: "DEPENDS_ON_REJECTED", cause: 1 },
      { number: 3, code: "DEPENDS_ON_REJECTED", cause: 1 },
    ]);
    expect(device.row("comments", "k2")).toBeDefined();
  });
});

describe("unique clashes", () => {
  test.each([
    ["serverWins", serverWins<Todo>(), { status: "merged", conflicts: [{ kind: "unique", winner: "server" }] }],
    ["clientWins", clientWins<Todo>(), { status: "rejected", code: "CONSTRAINT" }],
    ["mergeFields", mergeFields<Todo>({ slug: clientWins() }), { status: "merged", conflicts: [{ winner: "server" }] }],
    ["lastWriteWins", lastWriteWins<Todo>(), { status: "merged", conflicts: [{ winner: "server" }] }],
  ])("P4: by %s, no row takes its value from another", async (_name, unique, outcome) => {
    const { server, device } = await open({ conflict: composite<Todo>({ unique }), sql: slugs });
    await using _ = server;
    expect(
      await device.sync(device.tx(device.insert("todos", "n1", { ...todo, title: "mine", slug: "t1" }))),
    ).toMatchObject([outcome]);
    expect(device.row("todos", "n1")).toBeUndefined();
    expect(device.row("todos", "t1")).toMatchObject({ slug: "t1", title: "One" });
  });

  test("P4: a value that an earlier transaction of the same push took or gave up counts", async () => {
    const { server, device } = await open({
      conflict: composite<Todo>({ unique: custom(({ client }) => ({ ...(client as Todo), slug: "free" })) }),
      sql: slugs,
    });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { slug: ["t1", "x"] })),
      device.tx(device.insert("todos", "n1", { ...todo, slug: "t1" })),
      device.tx(device.insert("todos", "n2", { ...todo, slug: "x" })),
    );
    expect(outcomes).toMatchObject([
      { number: 3, conflicts: [{ kind: "unique", winner: "merged", server: { id: "t1", slug: "x" } }] },
    ]);
    expect(["t1", "n1", "n2"].map((id) => device.row("todos", id)?.["slug"])).toEqual(["x", "t1", "free"]);
  });

  test("P4: a clash within one transaction is refused", async () => {
    const { server, device } = await open({ conflict: composite<Todo>({ unique: serverWins() }), sql: slugs });
    await using _ = server;
    expect(
      await device.sync(
        device.tx(
          device.insert("todos", "n1", { ...todo, slug: "x" }),
          device.insert("todos", "n2", { ...todo, slug: "x" }),
        ),
        device.tx(device.insert("todos", "n3", { ...todo, slug: "x" })),
      ),
    ).toMatchObject([{ number: 1, code: "CONSTRAINT" }]);
    expect(device.row("todos", "n3")).toBeDefined();
  });
});

test("P11: what a transaction did to other tables has its own time, not that of the ones behind it", async () => {
  const touch = `CREATE TRIGGER touch AFTER UPDATE ON lists BEGIN UPDATE todos SET notes = 'touched' WHERE list_id = NEW.id; END`;
  const { server, device } = await open({ conflict: lastWriteWins(), sql: [...someRows, touch], now: () => 9_000_000 });
  await using _ = server;
  await device.sync(
    { ...device.tx(device.update("lists", "b", { name: ["B", "Bee"] })), hlc: hlcAt(5_000_000) },
    { ...device.tx(device.update("todos", "t1", { title: ["One", "Uno"] })), hlc: hlcAt(6_000_000) },
  );
  const { database } = server;
  const table = database.tableByKey.get("todos");
  const times = await transact(database.connection, "read", function* () {
    return table && (yield* lastWriteHlc(database, table, ["t3"], table.columns));
  });
  expect(times?.get("notes")).toBe(hlcAt(5_000_000));
});

test("P1: values are compared as their columns mean them, not as they are stored", async () => {
  const { server, device } = await open();
  await using _ = server;
  const id = Uint8Array.of(7);
  const seen = {
    kind: "a",
    data: '{"b": [1, 2.0], "a": null}',
    big: 2n ** 60n,
    bytes: Uint8Array.of(0, 255),
    ratio: 1,
  };
  await server.run(
    `INSERT INTO things VALUES (x'07', 'a', '{"a":null,"b":[1,2]}', ${2n ** 60n}, x'00ff', 1.0), (x'08', 'a', '"1"', 1, x'01', 1.5)`,
  );
  expect(
    await device.sync(
      device.tx(
        device.update("things", id, {
          data: [seen.data, `"${"long ".repeat(20)}"`],
          big: [seen.big, 5n],
          bytes: [seen.bytes, null],
          ratio: [1, 0.5],
        }),
      ),
      // A text that looks like a number is another value, in JSON and elsewhere.
      device.tx(device.update("things", Uint8Array.of(8), { data: ["1", "2"] })),
    ),
  ).toMatchObject([{ number: 2, status: "merged", conflicts: [{ columns: ["data"] }] }]);
  // Rewritten by somebody else, with the same meaning; it travels as a hash.
  await server.run(`UPDATE things SET data = '{"b":1,"a":"${"x".repeat(40)}"}' WHERE id = x'08'`);
  expect(
    await device.sync(
      device.tx(device.update("things", Uint8Array.of(8), { data: [`{"a": "${"x".repeat(40)}", "b": 1.0}`, "3"] })),
      device.tx(
        device.delete("things", Uint8Array.of(7), {
          ...seen,
          data: `"${"long ".repeat(20)}"`,
          big: 5,
          bytes: null,
          ratio: 0.5,
        }),
      ),
    ),
  ).toEqual([]);
});
