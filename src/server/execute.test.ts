import { integer, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { clientWins, composite, serverWins } from "../protocol/conflict.ts";
import { makeDeviceId } from "../protocol/ids.ts";
import { HandDevice, type HandOperation } from "../testing/hand-device.ts";
import { newTodo, one, openPair, someRows } from "../testing/server-fixture.ts";
import { openSmallServer } from "../testing/small-server.ts";
import { bindAssign } from "./assign.ts";

const names = sqliteTable("names", { id: text("id").primaryKey(), list: text("list"), title: text("title") });
const numbers = sqliteTable("numbers", { id: integer("id").primaryKey(), list: text("list"), title: text("title") });
const schema = { names, numbers };
const sync = defineSync(schema, {
  names: { scope: { list: "list" } },
  numbers: { scope: { list: "list" }, keys: "app" },
});

/** Ann knows of her own list alone; what is in the table ignores the case of its keys. */
const open = () =>
  openSmallServer({
    schema,
    sync,
    sql: [
      "CREATE TABLE names (id TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, list TEXT, title TEXT)",
      "CREATE TABLE numbers (id INTEGER PRIMARY KEY, list TEXT, title TEXT)",
      "INSERT INTO names VALUES ('victim', 'secret', 'theirs'), ('Own', 'own', 'mine')",
      `INSERT INTO numbers VALUES (${2n ** 60n}, 'secret', 'theirs')`,
    ],
    read: ["list:own"],
    write: ["list:own"],
  });
const row = { list: "own", title: "mine" };

describe("P9: a row that is not the one named is not written", () => {
  test("a delete does not reach a row whose key is equal for the column's collation alone", async () => {
    await using server = await open();
    const { device } = server;
    const before = server.all("SELECT * FROM names ORDER BY id");
    expect(await device.sync(device.tx(device.delete("names", "VICTIM", row)))).toEqual([]);
    expect(await device.sync(device.tx(device.delete("names", "OWN", row)))).toEqual([]);
    expect(server.all("SELECT * FROM names ORDER BY id")).toEqual(before);
  });

  test("nor does an update before it, nor an update or insert alone", async () => {
    await using server = await open();
    const { device } = server;
    const before = server.all("SELECT * FROM names ORDER BY id");
    await device.sync(
      device.tx(device.update("names", "VICTIM", { list: ["own", "own"] }), device.delete("names", "VICTIM", row)),
      device.tx(device.update("names", "VICTIM", { title: ["mine", "x"] })),
      device.tx(device.insert("names", "VICTIM", row)),
      device.tx(device.delete("names", "VICTIM", row), device.insert("names", "VICTIM", row)),
    );
    expect(server.all("SELECT * FROM names ORDER BY id")).toEqual(before);
  });

  test("a whole float beyond 2^53 names the row of the integer, with the rights of that row", async () => {
    await using server = await open();
    const { device } = server;
    const outcomes = await device.sync(
      device.tx(device.delete("numbers", 2 ** 60, row)),
      device.tx(device.update("numbers", 2 ** 60, { title: ["theirs", "x"] })),
      device.tx(device.insert("numbers", 2 ** 60, row)),
    );
    expect(outcomes).toMatchObject(Array.from({ length: 3 }, () => ({ code: "SCOPE_NOT_WRITABLE" })));
    expect(server.all("SELECT list, title FROM numbers")).toEqual([["secret", "theirs"]]);
  });

  test("P4: a delete of a missing row is nothing, also after an insert and before another delete", async () => {
    await using server = await open();
    const { device } = server;
    const gone = device.delete("names", "gone", row);
    expect(await device.sync(device.tx(gone, device.insert("names", "gone", row), gone), device.tx(gone))).toEqual([]);
    expect(server.all("SELECT count(*) FROM names")).toEqual([[2]]);
  });
});

describe("what a new row gets from the server", () => {
  const notes = sqliteTable("notes", {
    id: text("id").primaryKey(),
    title: text("title"),
    code: text("code").$defaultFn(() => "made"),
    touched: text("touched").$onUpdateFn(() => "touched"),
    state: text("state").notNull().default("new"),
    kind: text("kind").notNull(),
  });
  const openNotes = () =>
    openSmallServer({
      schema: { notes },
      sync: defineSync({ notes }, { notes: { scope: "everyone" } }),
      sql: [
        "CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT, code TEXT, touched TEXT, state TEXT NOT NULL DEFAULT 'new', kind TEXT NOT NULL)",
      ],
    });
  const insert = (id: string, values: Readonly<Record<string, string | null>>): HandOperation => ({
    shape: { table: "notes", kind: "insert", columns: Object.keys(values) },
    key: [id],
    values: Object.values(values),
    before: [],
  });

  test("V3: the app's own defaults fill what a device did not write, and nothing that it wrote or `assign` gave", async () => {
    await using server = await openNotes();
    const { device } = server;
    await device.sync(
      device.tx(insert("n1", { title: "T", kind: "k" })),
      device.tx(insert("n2", { title: "T", code: "mine", touched: null, kind: "k" })),
    );
    const assign = bindAssign(server.database, { notes: () => ({ code: "given" }) }, { ctx: {}, subject: "ann" });
    Object.assign(device, { caller: { ...device.caller, assign } });
    await device.sync(device.tx(insert("n3", { title: "T", code: "mine", kind: "k" })));
    expect(server.all("SELECT * FROM notes ORDER BY id")).toEqual([
      ["n1", "T", "made", "touched", "new", "k"],
      ["n2", "T", "mine", null, "new", "k"],
      ["n3", "T", "given", "touched", "new", "k"],
    ]);
  });

  test("V3: what `assign` gives is not replaced by the app's default, where the device wrote nothing", async () => {
    await using server = await openNotes();
    const { device } = server;
    const assign = bindAssign(server.database, { notes: () => ({ code: "given" }) }, { ctx: {}, subject: "ann" });
    Object.assign(device, { caller: { ...device.caller, assign } });
    await device.sync(device.tx(insert("n1", { title: "T", kind: "k" })));
    expect(server.all("SELECT code, touched FROM notes")).toEqual([["given", "touched"]]);
  });

  test("V3: a default of the key is not asked for: the device's key is the row's", async () => {
    let made = 0;
    const keyed = sqliteTable("keyed", {
      id: text("id")
        .primaryKey()
        .$defaultFn(() => `key${++made}`),
      title: text("title"),
      code: text("code").$defaultFn(() => "made"),
    });
    await using server = await openSmallServer({
      schema: { keyed },
      sync: defineSync({ keyed }, { keyed: { scope: "everyone" } }),
      sql: ["CREATE TABLE keyed (id TEXT PRIMARY KEY NOT NULL, title TEXT, code TEXT)"],
    });
    const { device } = server;
    const shape = { table: "keyed", kind: "insert" as const, columns: ["title"] };
    await device.sync(device.tx({ shape, key: ["own"], values: ["T"], before: [] }));
    expect(server.all("SELECT * FROM keyed")).toEqual([["own", "T", "made"]]);
    expect(made).toBe(0);
  });

  test("V3: a device whose every column is written waits as well, where a new row needs one that it does not know", async () => {
    const plain = sqliteTable("plain", {
      id: text("id").primaryKey(),
      title: text("title"),
      kind: text("kind").notNull(),
    });
    await using server = await openSmallServer({
      schema: { plain },
      sync: defineSync({ plain }, { plain: { scope: "everyone" } }),
      sql: ["CREATE TABLE plain (id TEXT PRIMARY KEY NOT NULL, title TEXT, kind TEXT NOT NULL)"],
    });
    const { service, database, device } = server;
    const old = new HandDevice(service, device.caller, { plain: ["id", "title"] }, database, makeDeviceId());
    await old.handshake();
    await expect(old.push(old.tx(old.insert("plain", "p1", { title: "T" })))).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "plain", column: "kind" },
    });
    // No outcome: it is tried again when the app is newer.
    expect((await device.ask()).kind === "page" && device.outcomes).toEqual([]);
  });

  test("P10: `assign` is asked once about a row, however often its transaction is tried", async () => {
    const { server, device } = await openPair({
      sql: [
        ...someRows,
        "CREATE TRIGGER app AFTER INSERT ON todos BEGIN UPDATE lists SET name = NEW.title WHERE id = NEW.list_id; END",
      ],
    });
    await using _ = server;
    let asked = 0;
    const todos = () => ({ createdBy: `asked ${++asked}` });
    const assign = bindAssign(server.database, { todos }, { ctx: {}, subject: "ann" });
    Object.assign(device, { caller: server.caller("ann", assign === undefined ? {} : { assign }) });
    // What the trigger does takes it out of the batch, and it is applied by itself.
    expect(await device.sync(device.tx(device.insert("todos", "n1", newTodo)))).toEqual([]);
    expect(asked).toBe(1);
    expect(device.row("todos", "n1")).toMatchObject({ createdBy: "asked 1" });
  });

  test("V3: a device that does not know a column which a new row must have waits, and nothing is written", async () => {
    await using server = await openNotes();
    const { service, database, device } = server;
    const old = new HandDevice(service, device.caller, { notes: ["id", "title"] }, database, makeDeviceId());
    await old.handshake();
    await expect(old.push(old.tx(insert("n1", { title: "T" })))).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      message: "The device does not know column `notes.kind`, which a new row must have. Update the app.",
      details: { tooOld: "device", table: "notes", column: "kind" },
    });
    expect(server.all("SELECT * FROM notes")).toEqual([]);
    // Where `assign` gives it, there is nothing to wait for.
    const assign = bindAssign(database, { notes: () => ({ kind: "given" }) }, { ctx: {}, subject: "ann" });
    Object.assign(old, { caller: { ...device.caller, assign } });
    await old.push({ ...old.tx(insert("n1", { title: "T" })), number: 1 });
    expect(server.all("SELECT title, kind FROM notes")).toEqual([["T", "given"]]);
  });

  test("P6: `assign` is asked about a row that comes back, too, and not about one that is there", async () => {
    const { server, device } = await openPair({ conflict: clientWins() });
    await using _ = server;
    const asked: unknown[] = [];
    const todos = ({ row }: { readonly row: Readonly<Record<string, unknown>> }) => {
      asked.push(row);
      return { createdBy: "assigned" };
    };
    const assign = bindAssign(server.database, { todos }, { ctx: {}, subject: "ann" });
    Object.assign(device, { caller: server.caller("ann", assign === undefined ? {} : { assign }) });
    const row = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    await device.sync(
      device.tx(device.update("todos", "t1", { title: ["One", "back"] }, row)),
      device.tx(device.update("todos", "t2", { title: ["Two", "Due"] })),
      device.tx(device.insert("todos", "n1", { ...newTodo, createdBy: "forged" })),
    );
    expect(asked).toMatchObject([
      { id: "t1", title: "back", listId: "a", done: false },
      { id: "n1", title: "New", createdBy: "forged" },
    ]);
    expect(await one(server, `SELECT group_concat(created_by) FROM todos`)).toBe("assigned,assigned");
  });
});

describe("rows that a transaction touches more than once", () => {
  test("P2: what was settled for one is executed once", async () => {
    const { server, device } = await openPair({ conflict: clientWins() });
    await using _ = server;
    const row = device.row("todos", "t1") ?? {};
    await server.run(`DELETE FROM todos WHERE id = 't1'`);
    const outcomes = await device.sync(
      device.tx(
        device.update("todos", "t1", { title: ["One", "mine"] }, row),
        device.update("todos", "t1", { notes: ["n1", "too"] }, { ...row, title: "mine" }),
      ),
    );
    expect(outcomes).toMatchObject([{ status: "merged" }]);
    expect(device.row("todos", "t1")).toMatchObject({ title: "mine", notes: "too" });
  });

  test("P2: a unique value that moves away and comes back makes room in between", async () => {
    const { server, device } = await openPair({ sql: [...someRows, `UPDATE todos SET slug = id`] });
    await using _ = server;
    const slug = (id: string, seen: string, written: string) => device.update("todos", id, { slug: [seen, written] });
    const outcomes = await device.sync(
      device.tx(slug("t1", "t1", "away"), slug("t2", "t2", "t1"), slug("t2", "t1", "new"), slug("t1", "away", "t1")),
    );
    expect(outcomes).toEqual([]);
    expect([device.row("todos", "t1"), device.row("todos", "t2")]).toMatchObject([{ slug: "t1" }, { slug: "new" }]);
  });
});

describe("P4: a unique value of several columns", () => {
  const seats = sqliteTable(
    "seats",
    {
      id: text("id").primaryKey(),
      line: integer("line"),
      place: integer("place"),
      code: text("code"),
      kind: text("kind"),
    },
    (table) => [unique().on(table.line, table.place), unique().on(table.code, table.kind)],
  );
  const openSeats = () =>
    openSmallServer({
      schema: { seats },
      sync: defineSync({ seats }, { seats: { scope: "everyone", conflict: composite({ unique: serverWins() }) } }),
      sql: [
        "CREATE TABLE seats (id TEXT PRIMARY KEY NOT NULL, line INTEGER, place INTEGER, code TEXT, kind TEXT, UNIQUE (line, place), UNIQUE (code, kind))",
        "INSERT INTO seats VALUES ('a', 1, 1, 'A', 'k'), ('b', 1, 2, 'B', 'k'), ('c', 2, 2, 'C', 'k')",
      ],
    });

  test("of which an update writes a part is compared as a whole", async () => {
    await using server = await openSeats();
    const { device } = server;
    const outcomes = await device.sync(device.tx(device.update("seats", "b", { place: [2, 1] })));
    expect(outcomes).toMatchObject([
      { status: "merged", conflicts: [{ kind: "unique", winner: "server", server: { id: "a" } }] },
    ]);
    expect(server.all("SELECT place FROM seats ORDER BY id")).toEqual([[1], [2], [2]]);
  });

  test("of which an update makes a part NULL is in nobody's way", async () => {
    await using server = await openSeats();
    const { device } = server;
    const changes = { line: [1, 2], place: [2, null], code: ["B", "A"] } as const;
    expect(await device.sync(device.tx(device.update("seats", "b", changes)))).toMatchObject([
      { conflicts: [{ kind: "unique", columns: ["code", "kind"], server: { id: "a" } }] },
    ]);
  });
});
