import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { lastWriteWins } from "../protocol/conflict.ts";
import { hlcAt } from "../protocol/hlc.ts";
import type { HandDevice, HandOperation, HandTransaction } from "../testing/hand-device.ts";
import { openSmallServer } from "../testing/small-server.ts";
import { openPair, newTodo, one, type ServerFixture } from "../testing/server-fixture.ts";
import { bindAssign } from "./assign.ts";

const all = ["list:a", "list:b", "everyone"];
const open = (sql: readonly string[] = [], options: { readonly check?: (change: object) => string | undefined } = {}) =>
  openPair({ sql: [...rows, ...sql], ...options }, { read: [...all, "list:c"], write: all });
const rows = [
  `INSERT INTO lists VALUES ('a', 'A', NULL), ('b', 'B', NULL), ('c', 'C', NULL)`,
  `INSERT INTO todos (id, list_id, title) VALUES ('t1', 'a', 'One'), ('t2', 'a', 'Two'), ('t3', 'c', 'Three')`,
];

/** Counts what is executed on the server's database, by the statement's first word, and transactions by their mode. */
function counted({ database }: ServerFixture): Record<string, number> {
  const counts: Record<string, number> = {};
  const { connection } = database;
  if (connection.kind !== "sync") throw new Error("Not over this driver.");
  for (const name of ["run", "all", "each"] as const) {
    const own = connection[name] as (sql: string, rest: never) => never;
    connection[name] = (sql: string, rest: never): never => {
      const word = sql.split(" ", 1)[0] ?? "";
      counts[word] = (counts[word] ?? 0) + 1;
      return own(sql, rest);
    };
  }
  const transaction = connection.transaction.bind(connection);
  connection.transaction = (mode, body) => {
    counts[mode] = (counts[mode] ?? 0) + 1;
    return transaction(mode, body);
  };
  return counts;
}

describe("transactions that need no decision", () => {
  test("P10: are executed together: no savepoint, and one statement for a run of inserts", async () => {
    const { server, device } = await open();
    await using _ = server;
    const counts = counted(server);
    const txs = Array.from({ length: 60 }, (_each, i) => device.tx(device.insert("todos", `n${i}`, newTodo)));
    expect(await device.push(...txs)).toMatchObject({ kind: "ok", lastTx: { number: 60 } });
    expect(counts["SAVEPOINT"]).toBeUndefined();
    // The rows, the marker, the device's record.
    expect(counts["INSERT"]).toBe(3);
    expect(await one(server, "SELECT count(*) FROM todos")).toBe(63);
  });

  test("P2: see what those before them have written", async () => {
    const { server, device } = await open();
    await using _ = server;
    const counts = counted(server);
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.update("todos", "n1", { title: ["New", "Newer"] })),
      device.tx(device.update("todos", "n1", { title: ["Newer", "Newest"], done: [0, 1] })),
      device.tx(device.insert("things", new Uint8Array([1]), { kind: "a" })),
      device.tx(device.delete("things", new Uint8Array([1]), { kind: "a" })),
      device.tx(device.insert("things", new Uint8Array([1]), { kind: "b" })),
    );
    expect(outcomes).toEqual([]);
    expect(counts["SAVEPOINT"]).toBeUndefined();
    expect(device.row("todos", "n1")).toMatchObject({ title: "Newest", done: 1 });
    expect(device.rows("things")).toMatchObject([{ kind: "b" }]);
  });

  test("promise 4: one that needs a decision is applied by itself, those around it together", async () => {
    const { server, device } = await open();
    await using _ = server;
    const counts = counted(server);
    const fine = (name: string) =>
      Array.from({ length: 20 }, (_each, i) => device.tx(device.insert("todos", `${name}${i}`, newTodo)));
    const outcomes = await device.sync(
      ...fine("x"),
      device.tx(device.update("todos", "t3", { title: ["Three", "mine"] })),
      device.tx(device.update("todos", "t1", { title: ["not so", "mine"] })),
      ...fine("y"),
    );
    expect(outcomes).toMatchObject([
      { number: 21, status: "rejected", code: "SCOPE_NOT_WRITABLE" },
      { number: 22, status: "merged" },
    ]);
    // One for those before, one each for the two or none, and few for those behind: their number doubles.
    expect(counts["SAVEPOINT"]).toBeLessThan(9);
    expect(await one(server, "SELECT count(*) FROM todos")).toBe(43);
  });

  test("P9: what a new row inherits is judged, too", async () => {
    const { server, device } = await open();
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("comments", "c1", { todoId: "t1", body: "mine" })),
      device.tx(device.insert("comments", "c3", { todoId: "t3", body: "not mine" })),
    );
    expect(outcomes).toMatchObject([{ number: 2, code: "SCOPE_NOT_WRITABLE" }]);
    expect(await one(server, "SELECT group_concat(id) FROM comments")).toBe("c1");
  });

  test("P9: a row is in no scope before its parent is there, whatever comes behind it", async () => {
    const { server, device } = await open(["PRAGMA foreign_keys = OFF"]);
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("comments", "c1", { todoId: "n1", body: "early" })),
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.insert("comments", "c2", { todoId: "n1", body: "in time" })),
    );
    expect(outcomes).toMatchObject([{ number: 1, code: "SCOPE_NOT_WRITABLE" }]);
    expect(await one(server, "SELECT group_concat(id) FROM comments")).toBe("c2");
  });

  test("P9: the app's check sees each row before and after its own transaction", async () => {
    const seen: unknown[] = [];
    const { server, device } = await open([], {
      check: (change) => {
        const { before, after } = change as Record<"before" | "after", { readonly title: string } | undefined>;
        seen.push([before?.title, after?.title]);
        return after?.title === "no" ? "No." : undefined;
      },
    });
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "first"] })),
      device.tx(device.update("todos", "t1", { title: ["first", "second"] })),
      device.tx(device.update("todos", "t1", { title: ["second", "no"] })),
    );
    expect(outcomes).toMatchObject([{ number: 3, code: "INVALID_VALUE", message: "No." }]);
    expect(seen.slice(0, 2)).toEqual([
      ["One", "first"],
      ["first", "second"],
    ]);
  });
});

describe("a database that does more than it is told", () => {
  const renames = `CREATE TRIGGER app AFTER UPDATE OF name ON lists BEGIN UPDATE todos SET title = 'renamed' WHERE list_id = NEW.id; END`;

  test("promise 3: what a trigger of the app has written meanwhile is not overwritten unseen", async () => {
    const { server, device } = await open([renames]);
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.update("lists", "a", { name: ["A", "AA"] })),
      device.tx(device.update("todos", "t1", { title: ["One", "mine"] })),
    );
    expect(outcomes).toMatchObject([{ number: 2, status: "merged", conflicts: [{ winner: "server" }] }]);
    expect(await one(server, "SELECT title FROM todos WHERE id = 't1'")).toBe("renamed");
  });

  test("is taken by its word again after a while", async () => {
    const { server, device } = await open([renames]);
    await using _ = server;
    let name = "A";
    const rename = () => device.tx(device.update("lists", "a", { name: [name, (name += "!")] }));
    const counts = counted(server);
    const attemptsOf = async (): Promise<number> => {
      const before = counts["write"] ?? 0;
      await device.push(rename());
      return (counts["write"] ?? 0) - before;
    };
    // A batch that is rolled back, and the transaction by itself; then that alone.
    const tried = [];
    for (let i = 0; i < 60; i++) tried.push(await attemptsOf());
    // Later each time.
    expect(tried.flatMap((count, i) => (count === 2 ? [i] : []))).toEqual([0, 16, 48]);
  });

  test("is doubted where it did so, and not elsewhere", async () => {
    const { server, device } = await open([renames]);
    await using _ = server;
    const counts = counted(server);
    const attemptsOf = async (...txs: readonly HandTransaction[]): Promise<readonly number[]> => {
      const before = { ...counts };
      await device.push(...txs);
      return ["write", "SAVEPOINT"].map((name) => (counts[name] ?? 0) - (before[name] ?? 0));
    };
    expect(await attemptsOf(device.tx(device.update("lists", "a", { name: ["A", "AA"] })))).toEqual([2, 1]);
    const insert = (id: string) => device.tx(device.insert("todos", id, newTodo));
    // Three of them together, and the fourth by itself.
    expect(
      await attemptsOf(
        insert("n1"),
        insert("n2"),
        insert("n3"),
        device.tx(device.update("lists", "a", { name: ["AA", "A"] })),
      ),
    ).toEqual([1, 1]);
    expect(await one(server, "SELECT name FROM lists WHERE id = 'a'")).toBe("A");
  });

  test("P7: a trigger that rolls everything back takes nothing along but its own transaction, wherever the batch began", async () => {
    const { server, device } = await open([
      `CREATE TRIGGER app BEFORE INSERT ON todos WHEN NEW.title = 'never' BEGIN SELECT RAISE(ROLLBACK, 'never'); END`,
    ]);
    await using _ = server;
    const insert = (id: string, title: string) => device.tx(device.insert("todos", id, { ...newTodo, title }));
    const outcomes = await device.sync(
      insert("n1", "never"),
      // One that needs a decision: the batch behind it is not the first.
      device.tx(device.update("todos", "t1", { title: ["not so", "mine"] })),
      insert("n2", "two"),
      insert("n3", "three"),
      insert("n4", "never"),
      insert("n5", "five"),
    );
    expect(outcomes).toMatchObject([
      { number: 1, status: "rejected", code: "CONSTRAINT" },
      { number: 2, status: "merged" },
      { number: 5, status: "rejected", code: "CONSTRAINT" },
    ]);
    expect(await one(server, "SELECT group_concat(id) FROM todos WHERE id LIKE 'n%'")).toBe("n2,n3,n5");
  });

  test("is doubted in transactions that write other tables, too", async () => {
    const { server, device } = await open([renames]);
    await using _ = server;
    const counts = counted(server);
    const rename = (to: string) => device.update("lists", "a", { name: [to.slice(0, -1), to] });
    await device.push(device.tx(rename("AA")));
    counts["write"] = 0;
    await device.push(device.tx(rename("AAA"), device.insert("todos", "n1", newTodo)));
    expect(counts["write"]).toBe(1);
  });

  test("P12: an error that is not one of the data keeps nothing, and is not the transactions' fault", async () => {
    const { server, device } = await open([
      `CREATE TRIGGER app AFTER INSERT ON todos WHEN NEW.id = 'n2' BEGIN UPDATE settings SET n = n + 1; END`,
    ]);
    await using _ = server;
    const txs = ["n1", "n2"].map((id) => device.tx(device.insert("todos", id, newTodo)));
    await expect(device.push(...txs)).rejects.toThrow();
    expect(await one(server, "SELECT count(*) FROM todos WHERE id = 'n2'")).toBe(0);
    await server.run("CREATE TABLE settings (n INTEGER)");
    expect(await device.sync(...txs)).toEqual([]);
    expect(await one(server, "SELECT count(*) FROM todos WHERE id LIKE 'n%'")).toBe(2);
  });

  test("P5: what the server puts in the place of a written value is noted, with the transaction that wrote it", async () => {
    const { server, device } = await open();
    await using _ = server;
    const assign = bindAssign(
      server.database,
      { todos: ({ subject }) => ({ createdBy: subject }) },
      { ctx: {}, subject: "ann" },
    );
    const other = server.device("ann", assign ? { assign } : {});
    await other.handshake();
    const counts = counted(server);
    const insert = (id: string) => other.tx(other.insert("todos", id, { ...newTodo, createdBy: "me" }));
    await other.push(insert("n1"), insert("n2"));
    expect(counts["SAVEPOINT"]).toBeUndefined();
    expect(await server.all("SELECT row_key, col, number, wrote, stored FROM _sync_notes ORDER BY 1")).toEqual([
      ["sn1", "createdBy", 1, "me", "ann"],
      ["sn2", "createdBy", 2, "me", "ann"],
    ]);
    expect(device.rows("todos")).toHaveLength(3);
  });
});

describe("a database that does something else, with as many entries in the log", () => {
  const swaps = (event: string, when: string, instead: string): string =>
    `CREATE TRIGGER app BEFORE ${event} WHEN ${when} BEGIN ${instead}; SELECT RAISE(IGNORE); END`;

  test("P8: a row in whose place a trigger has written another one is missed", async () => {
    const { server, device } = await open([
      swaps("INSERT ON todos", "NEW.title = 'elsewhere'", `INSERT INTO things (id, kind) VALUES (x'01', 'a')`),
    ]);
    await using _ = server;
    const outcomes = await device.sync(
      device.tx(device.insert("todos", "n1", newTodo)),
      device.tx(device.insert("todos", "n2", { ...newTodo, title: "elsewhere" })),
    );
    expect(outcomes).toMatchObject([{ number: 2, status: "rejected", code: "UNDONE" }]);
    expect(await server.all("SELECT * FROM things")).toEqual([]);
    expect(device.row("todos", "n1")).toBeDefined();
  });

  test("P9: a row that a trigger has moved instead of deleting it is judged by where it is now", async () => {
    const { server, device } = await open([
      `INSERT INTO comments VALUES ('c1', 't1', 'Mine'), ('c3', 't3', 'Archive')`,
      `INSERT INTO replies VALUES ('r1', 'c1', 'Yes')`,
      swaps("DELETE ON replies", "OLD.comment_id = 'c1'", `UPDATE replies SET comment_id = 'c3' WHERE id = OLD.id`),
    ]);
    await using _ = server;
    await device.pull();
    const seen = device.row("replies", "r1") ?? {};
    const outcomes = await device.sync(device.tx(device.delete("replies", "r1", seen)));
    expect(outcomes).toMatchObject([{ number: 1, code: "SCOPE_NOT_WRITABLE" }]);
    expect(await one(server, "SELECT comment_id FROM replies")).toBe("c1");
  });

  test("P9: the app's check sees what a trigger has written into another column", async () => {
    const { server, device } = await open(
      [swaps("UPDATE OF title ON todos", "true", `UPDATE todos SET notes = 'no' WHERE id = NEW.id`)],
      { check: (change) => ((change as { after?: { notes: unknown } }).after?.notes === "no" ? "No." : undefined) },
    );
    await using _ = server;
    const outcomes = await device.sync(device.tx(device.update("todos", "t1", { title: ["One", "mine"] })));
    expect(outcomes).toMatchObject([{ number: 1, code: "INVALID_VALUE", message: "No." }]);
    expect(await one(server, "SELECT notes FROM todos WHERE id = 't1'")).toBeNull();
  });

  interface Case {
    readonly sql: readonly string[];
    readonly writes: (device: HandDevice) => readonly HandOperation[];
    readonly rows: string;
  }
  /** What becomes of writes that are pushed at once, or one after the other. */
  const outcomesOf = async ({ sql, writes, rows: query }: Case, together: boolean): Promise<unknown> => {
    const { server, device } = await open(sql);
    await using _ = server;
    await device.pull();
    const transactions = writes(device).map((operation) => device.tx(operation));
    const outcomes = together
      ? await device.sync(...transactions)
      : [...(await device.sync(...transactions.slice(0, 1))), ...(await device.sync(...transactions.slice(1)))];
    return [outcomes.map(({ number, status }) => ({ number, status })), await server.all(query)];
  };

  test("P2: a transaction behind it is judged by what the trigger has written", async () => {
    const swapped: Case = {
      sql: [swaps("UPDATE OF title ON todos", "true", `UPDATE todos SET notes = 'theirs' WHERE id = NEW.id`)],
      writes: (device) => [
        device.update("todos", "t1", { title: ["One", "mine"] }),
        device.update("todos", "t1", { notes: [null, "mine"] }),
      ],
      rows: "SELECT notes FROM todos WHERE id = 't1'",
    };
    expect(await outcomesOf(swapped, true)).toEqual(await outcomesOf(swapped, false));
  });

  const hidden: Readonly<Record<string, Case>> = {
    overwrites: {
      sql: [swaps("UPDATE ON todos", "NEW.title = 'mine'", `UPDATE todos SET notes = 'theirs' WHERE id = NEW.id`)],
      writes: (device) => [
        device.update("todos", "t1", { title: ["One", "mine"] }),
        device.update("todos", "t1", { title: ["mine", "again"], notes: [null, "mine"] }),
      ],
      rows: "SELECT title, notes FROM todos WHERE id = 't1'",
    },
    deletes: {
      sql: [
        `INSERT INTO comments VALUES ('c1', 't1', 'A'), ('c2', 't1', 'B')`,
        `INSERT INTO replies VALUES ('r1', 'c1', 'Yes')`,
        swaps("UPDATE ON replies", "NEW.body = 'mine'", `UPDATE replies SET comment_id = 'c2' WHERE id = NEW.id`),
      ],
      writes: (device) => [
        device.update("replies", "r1", { body: ["Yes", "mine"] }),
        device.delete("replies", "r1", { commentId: "c1", body: "mine" }),
      ],
      rows: "SELECT * FROM replies",
    },
  };
  test.each(Object.entries(hidden))(
    "P2: also by what it %s, which is nowhere to be seen in the end",
    async (_what, written) => {
      const told = await outcomesOf(written, false);
      expect(told).toMatchObject([[{ number: 2, status: "merged" }], {}]);
      expect(await outcomesOf(written, true)).toEqual(told);
    },
  );
});

describe("what the database makes of a written value (P5)", () => {
  const codes = sqliteTable("codes", { id: text("id").primaryKey(), code: text("code"), title: text("title") });
  // The column's type makes numbers of texts that look like them.
  const sql = ["CREATE TABLE codes (id TEXT PRIMARY KEY NOT NULL, code NUMERIC, title TEXT)"];
  const openCodes = () =>
    openSmallServer({ schema: { codes }, sync: defineSync({ codes }, { codes: { scope: "everyone" } }), sql });
  const notes = "SELECT row_key, col, number, wrote, stored FROM _sync_notes ORDER BY 1";

  test("is noted once for a value that is written twice, with the transaction that wrote it last", async () => {
    await using server = await openCodes();
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.insert("codes", "x", { code: "007", title: "T" })),
      device.tx(device.update("codes", "x", { code: ["007", "008"] })),
      device.tx(device.update("codes", "x", { title: ["T", "U"] })),
      device.tx(device.insert("codes", "y", { code: "009", title: "T" })),
      device.tx(device.update("codes", "y", { title: ["T", "U"] })),
      device.tx(device.insert("codes", "z", { code: "plain", title: "T" })),
    );
    expect(outcomes).toEqual([]);
    expect(server.all(notes)).toEqual([
      ["sx", "code", 2, "008", 8],
      ["sy", "code", 4, "009", 9],
    ]);
    // So the device, which has not seen it yet, is in no conflict with itself.
    expect(
      await device.sync(
        device.tx(device.update("codes", "x", { code: ["008", "a"] })),
        device.tx(device.update("codes", "y", { code: ["009", "b"] })),
      ),
    ).toEqual([]);
    expect(server.all("SELECT code FROM codes ORDER BY id")).toEqual([["a"], ["b"], ["plain"]]);
  });

  test("is not noted of a row that the same device has deleted since", async () => {
    await using server = await openCodes();
    const { device } = server;
    await device.sync(
      device.tx(device.insert("codes", "x", { code: "007", title: "T" })),
      device.tx(device.delete("codes", "x", { code: "007", title: "T" })),
      device.tx(device.insert("codes", "x", { code: "plain", title: "T" })),
    );
    expect(server.all(notes)).toEqual([]);
  });

  test("P9: is what the app's check sees", async () => {
    const check = ({ after }: { readonly after?: { readonly code: unknown } }) =>
      typeof after?.code === "number" ? "A number." : undefined;
    await using server = await openSmallServer({
      schema: { codes },
      sync: defineSync({ codes }, { codes: { scope: "everyone", check } }),
      sql,
    });
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.insert("codes", "x", { code: "007", title: "T" })),
      device.tx(device.insert("codes", "y", { code: "plain", title: "T" })),
    );
    expect(outcomes).toMatchObject([{ number: 1, code: "INVALID_VALUE", message: "A number." }]);
    expect(server.all("SELECT id FROM codes")).toEqual([["y"]]);
  });

  // The first of them, an insert or an update, is refused, and what it wrote is nowhere to be seen in the end.
  const hidden: readonly (readonly [what: string, of: (device: HandDevice) => readonly HandOperation[]])[] = [
    ["another value", (device) => [device.update("codes", "x", { code: ["007", "plain"] })]],
    ["a delete", (device) => [device.delete("codes", "x", { code: "007", title: "T" })]],
  ];
  test.each(hidden)("P9: is what the app's check sees, also before %s", async (_what, of) => {
    const check = ({ after }: { readonly after?: { readonly code: unknown } }) =>
      typeof after?.code === "number" ? "A number." : undefined;
    for (const write of ["insert", "update"] as const) {
      await using server = await openSmallServer({
        schema: { codes },
        sync: defineSync({ codes }, { codes: { scope: "everyone", check } }),
        sql: write === "insert" ? sql : [...sql, "INSERT INTO codes VALUES ('x', 'text', 'T')"],
      });
      const { device } = server;
      const first =
        write === "insert"
          ? device.insert("codes", "x", { code: "007", title: "T" })
          : device.update("codes", "x", { code: ["text", "007"] });
      const outcomes = await device.sync(device.tx(first), ...of(device).map((operation) => device.tx(operation)));
      expect(outcomes[0]).toMatchObject({ number: 1, code: "INVALID_VALUE", message: "A number." });
    }
  });

  test.each(hidden.slice(0, 1))("P9: decides in which scope the row is, also before %s", async (_what, of) => {
    const scopes = ["code:007", "code:text", "code:plain"];
    await using server = await openSmallServer({
      schema: { codes },
      sync: defineSync({ codes }, { codes: { scope: { code: "code" } } }),
      sql: [...sql, "INSERT INTO codes VALUES ('x', 'text', 'T')"],
      read: scopes,
      write: scopes,
    });
    const { device } = server;
    const first = device.update("codes", "x", { code: ["text", "007"] });
    const outcomes = await device.sync(device.tx(first), ...of(device).map((operation) => device.tx(operation)));
    expect(outcomes[0]).toMatchObject({ number: 1, code: "SCOPE_NOT_WRITABLE" });
  });

  test("P9: decides in which scope the row is", async () => {
    const scopes = ["code:007", "code:8", "code:008"];
    await using server = await openSmallServer({
      schema: { codes },
      sync: defineSync({ codes }, { codes: { scope: { code: "code" } } }),
      sql,
      read: scopes,
      write: scopes,
    });
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.insert("codes", "x", { code: "007", title: "T" })),
      device.tx(device.insert("codes", "y", { code: "008", title: "T" })),
    );
    expect(outcomes).toMatchObject([{ number: 1, code: "SCOPE_NOT_WRITABLE" }]);
    expect(server.all("SELECT id, code FROM codes")).toEqual([["y", 8]]);
  });
});

test("P11: each transaction of a batch is logged with its own time", async () => {
  const { server, device } = await openPair(
    { sql: rows, conflict: lastWriteWins() },
    { read: [...all, "list:c"], write: all },
  );
  await using _ = server;
  const other = server.device("ann");
  await other.handshake();
  await other.pull();
  const counts = counted(server);
  const at = (millis: number, tx: HandTransaction): HandTransaction => ({ ...tx, hlc: hlcAt(millis) });
  await device.push(
    at(1000, device.tx(device.update("todos", "t1", { title: ["One", "early"] }))),
    at(3000, device.tx(device.update("todos", "t2", { title: ["Two", "late"] }))),
  );
  expect(counts["SAVEPOINT"]).toBeUndefined();
  const seen = (id: string) => other.row("todos", id);
  const outcomes = await other.sync(
    at(2000, other.tx(other.update("todos", "t1", { title: ["One", "between"] }, seen("t1")))),
    at(2000, other.tx(other.update("todos", "t2", { title: ["Two", "between"] }, seen("t2")))),
  );
  expect(outcomes).toMatchObject([{ conflicts: [{ winner: "client" }] }, { conflicts: [{ winner: "server" }] }]);
  expect([other.row("todos", "t1"), other.row("todos", "t2")]).toMatchObject([{ title: "between" }, { title: "late" }]);
});
