import { describe, expect, test } from "vitest";
import { clientWins, composite, custom, lastWriteWins, mergeFields, type Resolver } from "../protocol/conflict.ts";
import type { HandDevice, HandTransaction } from "../testing/hand-device.ts";
import { drivers, openServer, type ServerFixture, type todos } from "../testing/server-fixture.ts";

type Todo = typeof todos.$inferSelect;

const rows = [
  `INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL)`,
  `INSERT INTO todos (id, list_id, title, notes, rank, slug, secret) VALUES ('t1', 'a', 'One', 'n1', 1, 'one', 's'), ('t2', 'a', 'Two', NULL, 2, 'two', 's'), ('t3', 'b', 'Three', NULL, 3, 'three', 's')`,
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

async function openPair(
  conflict: Resolver<Todo>,
  more: {
    readonly driver?: "libsql" | "better-sqlite3";
    readonly now?: () => number;
    readonly grants?: { read: string[]; write: string[] };
  } = {},
) {
  const { grants = { read: ["list:a", "list:b"], write: ["list:a", "list:b"] }, ...options } = more;
  const server = await openServer({ sql: rows, conflict, ...options });
  server.grants.set("ann", grants);
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  return { server, device };
}

const title = async (server: ServerFixture, id: string): Promise<unknown> =>
  (await server.all(`SELECT title FROM todos WHERE id = '${id}'`))[0]?.[0];
const need = async (device: HandDevice, tx: HandTransaction): Promise<unknown> => (await device.push(tx)).kind;

describe.each(drivers)("resolvers over %s", (driver) => {
  test("P6: clientWins overwrites, deletes, and brings a row that is gone back whole", async () => {
    const { server, device } = await openPair(clientWins(), { driver });
    await using _ = server;
    const t1 = device.row("todos", "t1") ?? {};
    const t2 = device.row("todos", "t2") ?? {};
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    expect(await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })))).toMatchObject([
      { status: "merged", conflicts: [{ winner: "client", server: { title: "theirs" } }] },
    ]);
    expect(await title(server, "t1")).toBe("mine");

    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't2'`);
    expect(await device.sync(device.tx(device.delete("todos", "t2", t2)))).toMatchObject([
      { conflicts: [{ kind: "delete", winner: "client" }] },
    ]);
    expect(await title(server, "t2")).toBeUndefined();

    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    const tx = device.tx(device.insert("todos", "n1", todo), device.update("todos", "t1", { title: ["mine", "back"] }));
    expect(await device.push(tx)).toMatchObject({ kind: "need", number: 3 });
    expect(await title(server, "n1")).toBeUndefined();
    const whole = {
      ...tx,
      operations: [
        tx.operations[0],
        device.update("todos", "t1", { title: ["mine", "back"] }, { ...t1, title: "mine" }),
      ] as never,
    };
    expect(await device.sync(whole)).toMatchObject([
      { conflicts: [{ kind: "update", winner: "client", server: null }] },
    ]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "back", notes: "n1", rank: 1 });
  });

  test("P6: mergeFields takes each column by its own resolver", async () => {
    const { server, device } = await openPair(mergeFields<Todo>({ notes: clientWins() }), { driver });
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs', notes = 'theirs' WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "mine"], notes: ["n1", "mine"], rank: [1, 9] })),
    );
    expect(outcomes).toMatchObject([{ conflicts: [{ columns: ["title", "notes"], winner: "merged" }] }]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "theirs", notes: "mine", rank: 9 });
  });

  test("P11: lastWriteWins compares with the last write of that row and column", async () => {
    let now = 1_000_000;
    const { server, device } = await openPair(lastWriteWins(), { driver, now: () => now });
    await using _ = server;
    const at = (ms: number): number => ms * 1024;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    now = 2_000_000;
    await server.run(`UPDATE todos SET notes = 'later' WHERE id = 't1'`);
    expect(
      await device.sync({ ...device.tx(device.update("todos", "t1", { title: ["One", "early"] })), hlc: at(900_000) }),
    ).toMatchObject([{ conflicts: [{ winner: "server" }] }]);
    expect(
      await device.sync({
        ...device.tx(device.update("todos", "t1", { title: ["One", "between"] })),
        hlc: at(1_500_000),
      }),
    ).toMatchObject([{ conflicts: [{ winner: "client" }] }]);
    expect(await title(server, "t1")).toBe("between");
    expect(
      await device.sync({ ...device.tx(device.update("todos", "t1", { notes: ["n1", "stale"] })), hlc: at(1_600_000) }),
    ).toMatchObject([{ conflicts: [{ winner: "server" }] }]);
  });
});

describe("custom resolvers", () => {
  test("P6: see typed rows, decide by them, and what they decide is written", async () => {
    const seen: unknown[] = [];
    const resolver = custom<Todo>((conflict) => {
      seen.push(conflict);
      return conflict.server === null || conflict.client === null
        ? "server"
        : {
            ...conflict.server,
            title: `${conflict.base?.title}+${conflict.client.title}+${conflict.server.title}`,
            done: true,
            updatedAt: new Date(5),
          };
    });
    const { server, device } = await openPair(resolver);
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't1'`);
    await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"], done: [0, 1] })));
    expect(seen).toMatchObject([
      {
        kind: "update",
        table: "todos",
        columns: ["title"],
        changed: ["title", "done"],
        base: { id: "t1", title: "One", done: false },
        client: { title: "mine", done: true, listId: "a" },
        server: { title: "theirs", done: false },
        context: { subject: "ann" },
      },
    ]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "One+mine+theirs", done: 1, updatedAt: 5 });
    expect(device.outcomes).toMatchObject([{ conflicts: [{ winner: "merged" }] }]);
  });

  test("P6: what was not sent is asked for, and nothing of that transaction is done before", async () => {
    const { server, device } = await openPair(
      custom<Todo>(({ base }) => (base?.notes?.length === 100 ? "client" : "server")),
    );
    await using _ = server;
    const long = "y".repeat(100);
    await server.run(`UPDATE todos SET notes = '${long}'`);
    await device.pull();
    await server.run(`UPDATE todos SET notes = 'theirs' WHERE id = 't1'`);
    const row = device.row("todos", "t1") ?? {};
    const first = device.tx(device.insert("todos", "n1", todo));
    const tx = device.tx(device.insert("todos", "n2", todo), device.update("todos", "t1", { notes: [long, "mine"] }));
    expect(await device.push(first, tx)).toMatchObject({ kind: "need", number: 2, lastTx: { number: 1 } });
    expect(await title(server, "n1")).toBe("New");
    expect(await title(server, "n2")).toBeUndefined();
    const again = {
      ...tx,
      operations: [tx.operations[0], device.update("todos", "t1", { notes: [long, "mine"] }, row)] as never,
    };
    expect(await device.push(again)).toMatchObject({ kind: "ok" });
    expect((await server.all(`SELECT notes FROM todos WHERE id = 't1'`))[0]).toEqual(["mine"]);
  });

  test("P6: a delete of a changed row shows the row as the user saw it", async () => {
    const { server, device } = await openPair(
      custom<Todo>(({ base }) => (base?.title === "Two" ? "client" : "server")),
    );
    await using _ = server;
    const row = device.row("todos", "t2") ?? {};
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't2'`);
    const tx = device.tx(device.delete("todos", "t2", row));
    expect(await need(device, tx)).toBe("need");
    expect(await need(device, { ...tx, operations: [device.delete("todos", "t2", row, true)] })).toBe("ok");
    expect(await title(server, "t2")).toBeUndefined();
  });

  test("P6: one that throws, or answers nonsense, refuses its transaction and no other", async () => {
    const { server, device } = await openPair(
      custom<Todo>(({ client }) => {
        if (client?.title === "throw") throw new Error("no");
        return (
          client?.title === "late"
            ? Promise.resolve("client")
            : client?.title === "nothing"
              ? undefined
              : { ...client, done: "maybe" }
        ) as never;
      }),
    );
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs'`);
    const seen = { t1: "One", t2: "Two", t3: "Three" };
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: [seen.t1, "throw"] })),
      device.tx(device.update("todos", "t2", { title: [seen.t2, "late"] })),
      device.tx(device.update("todos", "t3", { title: [seen.t3, "nothing"] })),
      device.tx(device.insert("todos", "n1", todo)),
    );
    expect(outcomes.map((outcome) => outcome.status === "rejected" && outcome.code)).toEqual([
      "RESOLVER_FAILED",
      "RESOLVER_FAILED",
      "RESOLVER_FAILED",
    ]);
    expect(server.errors).toHaveLength(3);
    expect(device.row("todos", "n1")).toBeDefined();
  });

  test("P6: a resolver's row passes rights and constraints like any other", async () => {
    const { server, device } = await openPair(
      custom<Todo>(({ server: row, client }) => ({
        ...(row as Todo),
        listId: client?.title === "move" ? "b" : "a",
        title: client?.title === "move" ? "m" : "forbidden",
      })),
      {
        grants: { read: ["list:a", "list:b"], write: ["list:a"] },
      },
    );
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs'`);
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "move"] })),
      device.tx(device.update("todos", "t2", { title: ["Two", "x"] })),
    );
    expect(outcomes).toMatchObject([{ code: "SCOPE_NOT_WRITABLE" }, { code: "CONSTRAINT" }]);
  });

  test("P8: a row that a resolver keeps, but that the transaction takes away elsewhere, refuses it", async () => {
    const { server, device } = await openPair(composite<Todo>({}));
    await using _ = server;
    await server.run(`UPDATE todos SET title = 'theirs' WHERE id = 't3'`);
    const list = device.row("lists", "b") ?? {};
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t3", { title: ["Three", "mine"] }), device.delete("lists", "b", list)),
    );
    expect(outcomes).toMatchObject([{ status: "rejected", code: "UNDONE" }]);
    expect(await title(server, "t3")).toBe("theirs");
  });
});

describe("unique clashes", () => {
  test("P4: without a resolver of their own they are rejected", async () => {
    const { server, device } = await openPair(clientWins());
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, slug: "one" })),
      device.tx(device.update("todos", "t2", { slug: ["two", "one"] })),
    );
    expect(outcomes).toMatchObject([{ code: "CONSTRAINT" }, { code: "CONSTRAINT" }]);
  });

  test("P4: the `unique` resolver sees both rows, and may give the value up or change it", async () => {
    const seen: unknown[] = [];
    const resolver = composite<Todo>({
      unique: custom((conflict) => {
        seen.push(conflict);
        return conflict.client?.title === "give up"
          ? "server"
          : { ...(conflict.client as Todo), slug: `${conflict.client?.slug}-2` };
      }),
    });
    const { server, device } = await openPair(resolver);
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", { ...todo, slug: "one" })),
      device.tx(device.insert("todos", "n2", { ...todo, title: "give up", slug: "one" })),
      device.tx(device.update("todos", "t2", { slug: ["two", "three"], rank: [2, 7] })),
    );
    expect(seen).toMatchObject([
      { kind: "unique", columns: ["slug"], client: { id: "n1", slug: "one" }, server: { id: "t1", slug: "one" } },
      {},
      { client: { id: "t2", title: "Two", rank: 7 }, server: { id: "t3" } },
    ]);
    expect(outcomes).toMatchObject([
      { conflicts: [{ kind: "unique", winner: "merged", server: { id: "t1" } }] },
      { conflicts: [{ kind: "unique", winner: "server" }] },
      { conflicts: [{ kind: "unique", winner: "merged" }] },
    ]);
    expect(device.row("todos", "n1")).toMatchObject({ slug: "one-2" });
    expect(device.row("todos", "n2")).toBeUndefined();
    expect(device.row("todos", "t2")).toMatchObject({ slug: "three-2", rank: 7 });
  });

  test("P4: a resolver's row that clashes again is rejected", async () => {
    const { server, device } = await openPair(composite<Todo>({ unique: custom(({ client }) => client as Todo) }));
    await using _ = server;
    expect(await device.sync(device.tx(device.insert("todos", "n1", { ...todo, slug: "one" })))).toMatchObject([
      { code: "CONSTRAINT" },
    ]);
  });

  test("P4: a row that the subject may not read is not shown to its resolver", async () => {
    const { server, device } = await openPair(composite<Todo>({ unique: clientWins() }), {
      grants: { read: ["list:a"], write: ["list:a"] },
    });
    await using _ = server;
    const outcomes = await device.sync(device.tx(device.insert("todos", "n1", { ...todo, slug: "three" })));
    expect(outcomes).toMatchObject([{ code: "CONSTRAINT" }]);
    expect(JSON.stringify(outcomes)).not.toContain("Three");
  });

  test("P2: rows exchange unique values in the order in which the device did it", async () => {
    const { server, device } = await openPair(clientWins());
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(
        device.update("todos", "t1", { slug: ["one", null] }),
        device.update("todos", "t2", { slug: ["two", "one"] }),
        device.update("todos", "t1", { slug: [null, "two"] }),
      ),
    );
    expect(outcomes).toEqual([]);
    expect([device.row("todos", "t1")?.["slug"], device.row("todos", "t2")?.["slug"]]).toEqual(["two", "one"]);
  });
});
