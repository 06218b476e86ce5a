import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { makeDeviceId } from "../protocol/ids.ts";
import { HandDevice, type HandOperation } from "../testing/hand-device.ts";
import { openSmallServer } from "../testing/small-server.ts";
import { bindAssign } from "./assign.ts";

const cards = sqliteTable("cards", {
  id: text("id").primaryKey(),
  list: text("list"),
  title: text("title"),
  state: text("state").notNull().default("new"),
});
const parts = sqliteTable(
  "parts",
  { id: text("id").primaryKey(), cardId: text("card_id").references(() => cards.id), n: integer("n") },
  (table) => [index("parts_card").on(table.cardId)],
);
// Nothing refers to it.
const slips = sqliteTable("slips", { id: text("id").primaryKey(), list: text("list"), title: text("title") });
// Its rows are in two scopes.
const pairs = sqliteTable("pairs", {
  id: text("id").primaryKey(),
  list: text("list"),
  desk: text("desk"),
  title: text("title"),
});
const schema = { cards, parts, slips, pairs };
type Row = Readonly<Record<string, string | number | null>>;
type Check = (change: { readonly before?: object; readonly after?: object }) => string | undefined;

/** Ann may write the lists `a` and `b`, and read `c`, too. */
const open = async (check?: Check) => {
  const server = await openSmallServer({
    schema,
    sync: defineSync(schema, {
      cards: { scope: { list: "list" }, ...(check && { check }) },
      parts: { scopeFrom: "cardId" },
      slips: { scope: { list: "list" }, ...(check && { check }) },
      pairs: { scope: { list: "list", desk: "desk" } },
    }),
    sql: [
      "CREATE TABLE cards (id TEXT PRIMARY KEY NOT NULL, list TEXT, title TEXT, state TEXT NOT NULL DEFAULT 'new')",
      "CREATE TABLE parts (id TEXT PRIMARY KEY NOT NULL, card_id TEXT REFERENCES cards (id), n INTEGER)",
      "CREATE INDEX parts_card ON parts (card_id)",
      "CREATE TABLE slips (id TEXT PRIMARY KEY NOT NULL, list TEXT, title TEXT)",
      "CREATE TABLE pairs (id TEXT PRIMARY KEY NOT NULL, list TEXT, desk TEXT, title TEXT)",
      "INSERT INTO cards (id, list, title) VALUES ('c1', 'a', 'one'), ('c3', 'c', 'three')",
      "INSERT INTO parts VALUES ('p1', 'c1', 1), ('p3', 'c3', 3)",
      "INSERT INTO pairs VALUES ('w1', 'a', 'x', 'one'), ('w2', 'a', 'y', 'two')",
      "INSERT INTO slips VALUES ('s1', 'a', 'one'), ('s2', 'b', 'two'), ('s3', 'c', 'three')",
    ],
    read: ["list:a", "list:b", "list:c", "desk:x", "desk:y"],
    write: ["list:a", "list:b", "desk:x"],
  });
  const { connection } = server.database;
  if (connection.kind !== "sync") throw new Error("Not over this driver.");
  const own = connection.run.bind(connection);
  const counted = { savepoints: 0 };
  connection.run = (text, params) => {
    if (text.startsWith("SAVEPOINT")) counted.savepoints++;
    return own(text, params);
  };
  return Object.assign(server, { counted });
};
type Server = Awaited<ReturnType<typeof open>>;
const slipRows = (server: Server): unknown => server.all("SELECT * FROM slips ORDER BY id");
const some = [
  ["s1", "a", "one"],
  ["s2", "b", "two"],
  ["s3", "c", "three"],
];

describe("what needs no decision is drafted, and applied without a savepoint", () => {
  const cases: Readonly<
    Record<string, [of: (device: HandDevice) => readonly HandOperation[][], query: string, rows: unknown]>
  > = {
    "P9: a row that moves between scopes which may be written, and is changed and moved again there": [
      (device) => [
        [device.update("slips", "s1", { list: ["a", "b"] })],
        [device.update("slips", "s1", { title: ["one", "moved"] })],
        [device.update("slips", "s1", { list: ["b", "a"], title: ["moved", "back"] })],
      ],
      "SELECT * FROM slips WHERE id = 's1'",
      [["s1", "a", "back"]],
    ],
    "P9: a row that ends in another scope than it was in": [
      (device) => [
        [device.update("slips", "s1", { list: ["a", "b"] })],
        [device.update("slips", "s2", { title: ["two", "2"] })],
      ],
      "SELECT * FROM slips WHERE list = 'b' ORDER BY id",
      [
        ["s1", "b", "one"],
        ["s2", "b", "2"],
      ],
    ],
    "P2: a row that is inserted, changed, deleted and inserted again": [
      (device) => [
        [device.insert("slips", "n", { list: "a", title: "new" })],
        [device.update("slips", "n", { title: ["new", "newer"] })],
        [device.delete("slips", "n", { list: "a", title: "newer" })],
        [device.insert("slips", "n", { list: "b", title: "again" })],
      ],
      "SELECT * FROM slips WHERE id = 'n'",
      [["n", "b", "again"]],
    ],
    "P9: a row that inherits its scopes, changed and deleted": [
      (device) => [
        [device.update("parts", "p1", { n: [1, 2] })],
        [device.update("parts", "p1", { n: [2, 3] })],
        [device.delete("parts", "p1", { cardId: "c1", n: 3 })],
        [device.insert("parts", "p2", { cardId: "c1", n: 2 })],
      ],
      "SELECT * FROM parts ORDER BY id",
      [
        ["p2", "c1", 2],
        ["p3", "c3", 3],
      ],
    ],
    "P9: a row of two scopes, of which only one may be written, changed twice": [
      (device) => [
        [device.update("pairs", "w2", { title: ["two", "mine"] })],
        [device.update("pairs", "w2", { title: ["mine", "again"] })],
      ],
      "SELECT * FROM pairs WHERE id = 'w2'",
      [["w2", "a", "y", "again"]],
    ],
    "P9: a row of two scopes, moved and deleted": [
      (device) => [
        [device.update("pairs", "w1", { list: ["a", "b"] })],
        [device.delete("pairs", "w1", { list: "b", desk: "x", title: "one" })],
      ],
      "SELECT count(*) FROM pairs WHERE id = 'w1'",
      [[0]],
    ],
    "P2: different rows of one transaction": [
      (device) => [
        [device.update("slips", "s1", { title: ["one", "1"] }), device.update("slips", "s2", { title: ["two", "2"] })],
        [
          device.delete("slips", "s2", { list: "b", title: "2" }),
          device.update("cards", "c1", { title: ["one", "1"] }),
        ],
      ],
      "SELECT slips.title, cards.title FROM slips, cards WHERE cards.id = 'c1' ORDER BY slips.id",
      [
        ["1", "1"],
        ["three", "1"],
      ],
    ],
  };
  test.each(Object.entries(cases))("%s", async (_name, [of, query, rows]) => {
    await using server = await open();
    const { device } = server;
    expect(await device.sync(...of(device).map((operations) => device.tx(...operations)))).toEqual([]);
    expect(server.counted.savepoints).toBe(0);
    expect(server.all(query)).toEqual(rows);
  });

  test("P9: the app's check of a row that is inserted, changed and deleted", async () => {
    const seen: unknown[] = [];
    await using server = await open((change) => void seen.push(change));
    const { device } = server;
    await device.sync(
      device.tx(device.insert("slips", "n", { list: "a", title: "new" })),
      device.tx(device.update("slips", "n", { title: ["new", "newer"] })),
      device.tx(device.delete("slips", "n", { list: "a", title: "newer" })),
    );
    // One batch each, the first without a savepoint: it sees what the database makes of each write.
    expect(server.counted.savepoints).toBe(2);
    const row = (title: string): Row => ({ id: "n", list: "a", title });
    expect(seen).toEqual([
      { after: row("new") },
      { before: row("new"), after: row("newer") },
      { before: row("newer") },
    ]);
  });
});

describe("what needs a decision gets it, behind others that do not (promise 4)", () => {
  type Decided = [of: (device: HandDevice) => HandOperation | readonly HandOperation[], outcome: object];
  const refused = { status: "rejected", code: "SCOPE_NOT_WRITABLE" };
  const merged = (kind: string) => ({ status: "merged", conflicts: [{ kind, winner: "server" }] });
  const cases: Readonly<Record<string, Decided>> = {
    "P9: an insert into a scope that may not be written": [
      (device) => device.insert("slips", "n", { list: "c", title: "x" }),
      refused,
    ],
    "P9: an insert into no scope": [(device) => device.insert("slips", "n", { list: null, title: "x" }), refused],
    "P9: an update of a row that may not be written": [
      (device) => device.update("slips", "s3", { title: ["three", "x"] }),
      refused,
    ],
    "P9: an update that takes a row out of its scope, into one that may not be written": [
      (device) => device.update("slips", "s1", { list: ["a", "c"] }),
      refused,
    ],
    "P9: an update that takes a row out of all scopes": [
      (device) => device.update("slips", "s1", { list: ["a", null] }),
      refused,
    ],
    "P9: an update that takes a row out of a scope that may not be written": [
      (device) => device.update("slips", "s3", { list: ["c", "a"] }),
      refused,
    ],
    "P9: a delete of a row that may not be written": [
      (device) => device.delete("slips", "s3", { list: "c", title: "three" }),
      refused,
    ],
    "P9: a delete that takes a row out of a scope that may not be written": [
      (device) => device.delete("pairs", "w2", { list: "a", desk: "y", title: "two" }),
      refused,
    ],
    "P9: an update that puts a row under another parent, which may not be written": [
      (device) => device.update("parts", "p1", { cardId: ["c1", "c3"] }),
      refused,
    ],
    "P9: an update of a parent that takes its children along": [
      (device) => device.update("cards", "c1", { list: ["a", "c"] }),
      refused,
    ],
    "P4: an insert of a row that is there": [
      (device) => device.insert("slips", "s2", { list: "a", title: "x" }),
      merged("insert"),
    ],
    "P4: an update of what the user did not see": [
      (device) => device.update("slips", "s2", { title: ["?", "x"] }),
      merged("update"),
    ],
    "P4: an update of a row that is not there": [
      (device) => device.update("slips", "nobody", { title: ["?", "x"] }, { list: "a", title: "?" }),
      merged("update"),
    ],
    "P4: a delete of a row that the user did not see so": [
      (device) => device.delete("slips", "s2", { list: "b", title: "?" }),
      merged("delete"),
    ],
    "P7: a delete of a row that others refer to": [
      (device) => device.delete("cards", "c1", { list: "a", title: "one", state: "new" }),
      { status: "rejected", code: "CONSTRAINT" },
    ],
  };
  test.each(Object.entries(cases))("%s", async (_name, [of, outcome]) => {
    await using server = await open();
    const { device } = server;
    const before = [slipRows(server), server.all("SELECT * FROM cards"), server.all("SELECT * FROM parts")];
    const fine = (id: string) => device.tx(device.insert("slips", id, { list: "b", title: "fine" }));
    const decided = of(device);
    const outcomes = await device.sync(
      fine("x1"),
      fine("x2"),
      device.tx(...(Array.isArray(decided) ? decided : [decided])),
      fine("x3"),
    );
    expect(outcomes).toMatchObject([{ number: 3, ...outcome }]);
    expect(server.all("SELECT id FROM slips WHERE title = 'fine' ORDER BY id")).toEqual([["x1"], ["x2"], ["x3"]]);
    server.raw.exec("DELETE FROM slips WHERE title = 'fine'");
    expect([slipRows(server), server.all("SELECT * FROM cards"), server.all("SELECT * FROM parts")]).toEqual(before);
  });

  test("P9: a delete of a row that is in no scope", async () => {
    await using server = await open();
    const { device } = server;
    server.raw.exec("INSERT INTO slips VALUES ('s4', NULL, 'four')");
    const outcomes = await device.sync(device.tx(device.delete("slips", "s4", { list: null, title: "four" })));
    expect(outcomes).toMatchObject([refused]);
    expect(slipRows(server)).toEqual([...some, ["s4", null, "four"]]);
  });

  test("a parent that takes its children along leaves no doubt about its table", async () => {
    await using server = await open();
    const { device } = server;
    expect(await device.sync(device.tx(device.update("cards", "c1", { list: ["a", "b"] })))).toEqual([]);
    server.counted.savepoints = 0;
    await device.sync(
      device.tx(device.update("cards", "c1", { title: ["one", "x"] })),
      device.tx(device.update("cards", "c1", { title: ["x", "y"] })),
    );
    expect(server.counted.savepoints).toBe(0);
    expect(server.all("SELECT list, title FROM cards WHERE id = 'c1'")).toEqual([["b", "y"]]);
  });

  test("P4: an update, and a delete, of a row that a transaction before has deleted", async () => {
    await using server = await open();
    const { device } = server;
    const seen = { list: "b", title: "two" };
    const outcomes = await device.sync(
      device.tx(device.delete("slips", "s2", seen)),
      device.tx(device.update("slips", "s2", { title: ["two", "x"] }, seen)),
      device.tx(device.delete("slips", "s2", seen)),
    );
    expect(outcomes).toMatchObject([{ number: 2, ...merged("update") }]);
    expect(slipRows(server)).toEqual([some[0], some[2]]);
  });

  test("P2: a row that one transaction touches twice is judged once, on its net change", async () => {
    await using server = await open();
    const { device } = server;
    const outcomes = await device.sync(
      // Over a scope that may not be written and back; and a row that never was.
      device.tx(device.update("slips", "s1", { list: ["a", "c"] }), device.update("slips", "s1", { list: ["c", "b"] })),
      device.tx(
        device.insert("slips", "n", { list: "c", title: "x" }),
        device.delete("slips", "n", { list: "c", title: "x" }),
      ),
    );
    expect(outcomes).toEqual([]);
    expect(slipRows(server)).toEqual([["s1", "b", "one"], some[1], some[2]]);
  });

  test("promise 4: nothing is applied of a transaction of which one operation needs a decision", async () => {
    await using server = await open();
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(
        device.update("slips", "s1", { title: ["one", "x"] }),
        device.update("slips", "s3", { title: ["three", "x"] }),
      ),
      device.tx(device.update("slips", "s1", { title: ["one", "mine"] })),
    );
    expect(outcomes).toMatchObject([{ number: 1, ...refused, operation: { index: 1 } }]);
    expect(slipRows(server)).toEqual([["s1", "a", "mine"], some[1], some[2]]);
  });

  test("P9: what the app's check refuses, of each kind, and what it throws is told once", async () => {
    const check: Check = (change) => {
      const { before, after } = change as Record<"before" | "after", Row | undefined>;
      if (after?.["title"] === "broken") throw new Error("broken check");
      return after?.["title"] === "no" || (after === undefined && before?.["title"] === "two") ? "No." : undefined;
    };
    await using server = await open(check);
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.insert("slips", "n", { list: "a", title: "no" })),
      device.tx(device.update("slips", "s1", { title: ["one", "no"] })),
      device.tx(device.delete("slips", "s2", { list: "b", title: "two" })),
      device.tx(device.update("slips", "s1", { title: ["one", "broken"] })),
      device.tx(device.update("slips", "s1", { title: ["one", "yes"] })),
    );
    const said = { status: "rejected", code: "INVALID_VALUE" };
    expect(outcomes).toMatchObject([1, 2, 3, 4].map((number) => ({ number, ...said })));
    expect(server.errors).toMatchObject([{ message: "broken check" }]);
    expect(slipRows(server)).toEqual([["s1", "a", "yes"], some[1], some[2]]);
  });
});

describe("a device that does not know all columns (V3)", () => {
  const older = async (server: Server): Promise<HandDevice> => {
    const { service, device, database } = server;
    const known = { cards: ["id", "list", "title"], parts: ["id", "cardId", "n"], slips: ["id", "list", "title"] };
    const old = new HandDevice(service, device.caller, known, database, makeDeviceId());
    await old.handshake();
    await old.pull();
    return old;
  };

  test("P9: the app's check sees what the database puts into the others", async () => {
    const seen: unknown[] = [];
    await using server = await open((change) => void seen.push(change.after));
    const old = await older(server);
    expect(await old.sync(old.tx(old.insert("cards", "n", { list: "a", title: "new" })))).toEqual([]);
    expect(seen).toEqual([{ id: "n", list: "a", title: "new", state: "new" }]);
  });

  test("P1: goes on changing a row that it made, in one batch", async () => {
    await using server = await open();
    const old = await older(server);
    server.counted.savepoints = 0;
    await old.sync(
      old.tx(old.insert("cards", "n", { list: "a", title: "new" })),
      old.tx(old.update("cards", "n", { title: ["new", "newer"] })),
    );
    expect(server.counted.savepoints).toBe(0);
    expect(server.all("SELECT * FROM cards WHERE id = 'n'")).toEqual([["n", "a", "newer", "new"]]);
  });
});

test("an `assign` that moves a new row decides the scope by which it is judged (P9)", async () => {
  await using server = await open();
  const { device, database } = server;
  const slipsOf = ({ row }: { readonly row: Row }) => ({ list: row["title"] === "hide" ? "c" : "b" });
  const assign = bindAssign(database, { slips: slipsOf as never }, { ctx: {}, subject: "ann" });
  Object.assign(device, { caller: { ...device.caller, assign } });
  const outcomes = await device.sync(
    device.tx(device.insert("slips", "n1", { list: "c", title: "show" })),
    device.tx(device.insert("slips", "n2", { list: "a", title: "hide" })),
  );
  expect(outcomes).toMatchObject([{ number: 2, code: "SCOPE_NOT_WRITABLE" }]);
  expect(server.all("SELECT id, list FROM slips WHERE id LIKE 'n%'")).toEqual([["n1", "b"]]);
});
