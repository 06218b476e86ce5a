import { eq } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import type { PageResult } from "./apply.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { comments, ddl, definition, tags, todos } from "../testing/device-world.ts";

type Cells = readonly (string | number | null)[];
const list = (...ids: string[]) => group("lists", "row", ["id", "name"], ...ids.map((id) => [id, `list ${id}`]));
const todo = (...rows: Cells[]) => group("todos", "row", ["id", "listId", "title", "done", "slot", "at"], ...rows);
const titled = (id: string, title: string) => group("todos", "update", ["id", "title"], [id, title]);
const comment = (...rows: Cells[]) => group("comments", "row", ["id", "todoId", "body"], ...rows);
const tag = (...ids: string[]) => group("tags", "row", ["id", "name", "color"], ...ids.map((id) => [id, "tag", null]));
const rows = (device: DeviceFixture, query: string): unknown[] => device.raw.prepare(query).raw().all();
const ids = (device: DeviceFixture, table: string): unknown[] =>
  device.raw.prepare(`SELECT id FROM ${table} ORDER BY id`).pluck().all();

const both = ["everyone", "list:a", "list:b"];
const onlyA = ["everyone", "list:a"];

/** A device with two lists: three todos, a comment on each of two, a tag. `listens`: somebody asks for changed rows. */
async function open(listens = false): Promise<DeviceFixture> {
  const device = await openDeviceFixture(definition, ddl);
  if (listens) device.sync.onCommit(() => {}, { rows: true });
  await device.apply(
    [
      list("a", "b"),
      todo(["1", "a", "one", 0, "s1", null], ["2", "b", "two", 0, "s2", null], ["3", "b", "three", 0, null, null]),
      comment(["c1", "1", "x"], ["c2", "2", "y"]),
      tag("t"),
    ],
    { scopes: both },
  );
  return device;
}
const rename = (device: DeviceFixture, id: string, title: string): void =>
  void device.db.update(todos).set({ title }).where(eq(todos.id, id)).run();
const tablesOf = (result: PageResult): readonly string[] => ("tables" in result ? [...result.tables].sort() : []);
const changesOf = (result: PageResult): readonly string[] =>
  "applied" in result ? result.applied.map(({ table, kind, key }) => `${kind} ${table} ${key.join("/")}`).sort() : [];

describe("the tables that a page may have changed", () => {
  test("are those that it names, and none of the others", async () => {
    using device = await open();
    expect(tablesOf(await device.apply([tag("u")], { scopes: both }))).toEqual(["tags"]);
    expect(tablesOf(await device.apply([], { scopes: both }))).toEqual([]);
  });

  test("R1: and those of the pages that were staged before it", async () => {
    using device = await open();
    expect(tablesOf(await device.stage([comment(["c3", "3", "z"])], { scopes: both }))).toEqual([]);
    expect(tablesOf(await device.apply([tag("u")], { scopes: both }))).toEqual(["comments", "tags"]);
  });

  test("U1: and those that lost rows with a scope", async () => {
    using device = await open();
    expect(tablesOf(await device.apply([], { scopes: onlyA }))).toEqual(["comments", "lists", "todos"]);
  });

  test("are all of them where a fresh snapshot takes the place of the base", async () => {
    using device = await open();
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.cursor'");
    expect(tablesOf(await device.apply([tag("u")]))).toEqual(["comments", "lists", "tags", "todos"]);
  });

  test("A2: and those of a transaction that leaves the queue and is not what the page brings", async () => {
    using device = await open();
    rename(device, "1", "mine");
    expect(tablesOf(await device.apply([tag("u")], { scopes: both, lastTx: await device.last() }))).toEqual([
      "tags",
      "todos",
    ]);
  });

  test("A2: and those of all that is replayed, with what a replayed delete takes along", async () => {
    using device = await open();
    device.db.insert(tags).values({ id: "mine", name: "tag" }).run();
    device.db.delete(todos).where(eq(todos.id, "1")).run();
    expect(tablesOf(await device.apply([titled("1", "theirs")], { scopes: both }))).toEqual([
      "comments",
      "tags",
      "todos",
    ]);
    // What is stored of them, after the transactions have left.
    device.raw.exec("DELETE FROM _sync_meta WHERE k = 'device.withheld'");
    expect(tablesOf(await device.apply([list("a")], { scopes: both, lastTx: await device.last() }))).toEqual([
      "comments",
      "lists",
      "tags",
      "todos",
    ]);
    expect(ids(device, "todos")).toEqual(["1", "2", "3"]);
    expect(ids(device, "comments")).toEqual(["c1", "c2"]);
  });
});

describe("the rows that a page changed, for those who listen", () => {
  test("U1: are those that left with a scope", async () => {
    using device = await open(true);
    expect(changesOf(await device.apply([], { scopes: onlyA }))).toEqual([
      "delete comments c2",
      "delete lists b",
      "delete todos 2",
      "delete todos 3",
    ]);
  });

  test("R1: are those of staged pages, once", async () => {
    using device = await open(true);
    expect(changesOf(await device.stage([tag("u"), titled("1", "early")], { scopes: both }))).toEqual([]);
    await device.stage([titled("1", "late")], { scopes: both });
    expect(changesOf(await device.apply([tag("v")], { scopes: both }))).toEqual([
      "insert tags u",
      "insert tags v",
      "update todos 1",
    ]);
  });

  test("A2: are those that are shown otherwise after a replay, what its cascade took along too", async () => {
    using device = await open(true);
    device.db.delete(todos).where(eq(todos.id, "1")).run();
    rename(device, "2", "mine");
    const result = await device.apply(
      [titled("1", "unseen"), titled("2", "under mine"), comment(["c4", "1", "late"], ["c2", "1", "moved"])],
      { scopes: both },
    );
    // The comments that come under a deleted todo go with it: one was never shown.
    expect(changesOf(result)).toEqual(["delete comments c2"]);
    expect(ids(device, "comments")).toEqual([]);
    expect(changesOf(await device.apply([], { scopes: both, lastTx: await device.last() }))).toEqual([
      "insert comments c1",
      "insert comments c2",
      "insert comments c4",
      "insert todos 1",
      "update todos 2",
    ]);
  });

  test("A3: are those that the cascade of a transaction took along which was withheld until now", async () => {
    using device = await open(true);
    device.db.transaction((tx) => {
      tx.insert(todos).values({ id: "4", listId: "a", title: "mine", slot: "free" }).run();
      tx.delete(todos).where(eq(todos.id, "1")).run();
    });
    await device.apply([todo(["5", "a", "theirs", 0, "free", null])], { scopes: both });
    await device.apply([comment(["c4", "1", "late"])], { scopes: both });
    expect(ids(device, "comments")).toEqual(["c1", "c2", "c4"]);
    const result = await device.apply([group("todos", "removal", ["id"], ["5"])], { scopes: both });
    expect(changesOf(result)).toEqual([
      "delete comments c1",
      "delete comments c4",
      "delete todos 1",
      "delete todos 5",
      "insert todos 4",
    ]);
  });

  test("R4: are those that the first pages of a first sync have written", async () => {
    using device = await openDeviceFixture(definition, ddl);
    device.sync.onCommit(() => {}, { rows: true });
    expect(changesOf(await device.stage([tag("t")]))).toEqual(["insert tags t"]);
    expect(changesOf(await device.apply([tag("u")]))).toEqual(["insert tags u"]);
  });
});

describe("a scope that leaves and comes back (U1)", () => {
  test("takes its rows along, and shows what is pending on them again when it is there again", async () => {
    using device = await open();
    rename(device, "2", "mine");
    device.db.insert(comments).values({ id: "c3", todoId: "3", body: "mine" }).run();
    await device.apply([], { scopes: onlyA });
    expect(ids(device, "todos")).toEqual(["1"]);
    expect(ids(device, "comments")).toEqual(["c1"]);
    expect(await device.pending()).toHaveLength(2);
    expect((await device.checkpoint()).withheld).toHaveLength(1);
    await device.stage([list("b"), todo(["2", "b", "theirs", 0, null, null])], { scopes: both });
    await device.apply([todo(["3", "b", "three", 0, null, null])], { scopes: both });
    expect(rows(device, "SELECT id, title FROM todos ORDER BY id")).toEqual([
      ["1", "one"],
      ["2", "mine"],
      ["3", "three"],
    ]);
    expect(ids(device, "comments")).toEqual(["c1", "c3"]);
    expect((await device.checkpoint()).withheld).toEqual([]);
  });

  test("is not dropped by a page that names the scopes held, in any order", async () => {
    using device = await open();
    const { held } = await device.checkpoint();
    await device.apply([tag("u")], { scopes: [...both].reverse() });
    expect((await device.checkpoint()).held).toBe(held);
    expect(ids(device, "todos")).toEqual(["1", "2", "3"]);
  });
});

describe("transactions that leave and others that stay", () => {
  test("A3: one that was withheld is shown when what stood in its way has left, and nothing is marked any more", async () => {
    using device = await open();
    device.db.insert(todos).values({ id: "4", listId: "a", title: "mine", slot: "free" }).run();
    await device.apply([todo(["5", "a", "theirs", 0, "free", null])], { scopes: both });
    expect(ids(device, "todos")).toEqual(["1", "2", "3", "5"]);
    expect((await device.checkpoint()).withheld).toHaveLength(1);
    await device.apply([group("todos", "removal", ["id"], ["5"])], { scopes: both });
    expect(ids(device, "todos")).toEqual(["1", "2", "3", "4"]);
    expect((await device.checkpoint()).withheld).toEqual([]);
  });

  test("A3: with the queue no mark of a withheld transaction is left", async () => {
    using device = await open();
    device.db.insert(todos).values({ id: "4", listId: "a", title: "mine", slot: "free" }).run();
    await device.apply([todo(["5", "a", "theirs", 0, "free", null])], { scopes: both });
    await device.apply([], { scopes: both, lastTx: await device.last() });
    expect(await device.checkpoint()).toMatchObject({ withheld: [], cascaded: false });
    expect(ids(device, "todos")).toEqual(["1", "2", "3", "5"]);
    await device.apply([tag("u")], { scopes: both });
    expect(rows(device, "SELECT * FROM _sync_base")).toEqual([]);
  });

  test("A2: a value that one of them frees is there for the page, which needs it where another one had it", async () => {
    using device = await open();
    // 1 and 2 exchange their slots here; the server has taken that, and given another row the first one's old slot since.
    device.db.transaction((tx) => {
      for (const [id, slot] of [
        ["1", "tmp"],
        ["2", "s1"],
        ["1", "s2"],
      ] as const)
        tx.update(todos).set({ slot }).where(eq(todos.id, id)).run();
    });
    const first = await device.last();
    rename(device, "3", "mine");
    const slots = group("todos", "update", ["id", "slot"], ["1", "s2"], ["2", "s9"], ["3", "s1"]);
    await device.apply([slots], { scopes: both, lastTx: first });
    expect(rows(device, "SELECT id, slot, title FROM todos ORDER BY id")).toEqual([
      ["1", "s2", "one"],
      ["2", "s9", "two"],
      ["3", "s1", "mine"],
    ]);
    expect((await device.base())["todos"]).toMatchObject([{ slot: "s2" }, { slot: "s9" }, { title: "three" }]);
  });

  test("P6: what leaves with the page that takes its row away is the row's last form for those that stay", async () => {
    using device = await open();
    rename(device, "1", "first");
    const first = await device.last();
    device.db.update(todos).set({ done: true }).where(eq(todos.id, "1")).run();
    await device.apply([group("comments", "removal", ["id"], ["c1"]), group("todos", "removal", ["id"], ["1"])], {
      scopes: both,
      lastTx: first,
    });
    expect(ids(device, "todos")).toEqual(["2", "3"]);
    const result = await device.apply([], {
      scopes: both,
      lastTx: await device.last(),
      outcomes: [{ status: "merged", ...(await device.last()), conflicts: [] }],
    });
    expect(result).toMatchObject({
      settled: [{ outcome: { operations: [{ kind: "update", row: { listId: "a", title: "first", done: 1 } }] } }],
    });
  });
});

describe("a failure of the storage is not taken for a row in the way: it ends the page, and nothing of it is left (A2)", () => {
  /** The first write into a table fails, as on a full disk. */
  const failOnce = (device: DeviceFixture, table: string): void => {
    const { connection } = device.sync;
    if (connection.kind !== "sync") throw new Error("Not over this driver.");
    const own = connection.each.bind(connection);
    connection.each = (sql, given) => {
      if (!new RegExp(`^(INSERT( OR FAIL)? INTO|UPDATE( OR FAIL)?) "${table}"`).test(sql)) return own(sql, given);
      connection.each = own;
      throw new Error("The disk is full.");
    };
  };
  const expectEnded = async (device: DeviceFixture, applied: () => Promise<PageResult>): Promise<void> => {
    const look = async (): Promise<unknown> => [
      await device.checkpoint(),
      await device.pending(),
      rows(device, "SELECT * FROM todos"),
      rows(device, "SELECT * FROM tags"),
    ];
    const before = await look();
    await expect(applied()).rejects.toThrow("full");
    expect(await look()).toEqual(before);
    expect((await applied()).kind).toBe("applied");
  };

  test("where all that is pending comes back", async () => {
    using device = await open();
    rename(device, "1", "mine");
    const lastTx = await device.last();
    failOnce(device, "todos");
    await expectEnded(device, () => device.apply([titled("1", "theirs")], { scopes: both, lastTx }));
  });

  test("beside transactions that stay", async () => {
    using device = await open();
    rename(device, "1", "mine");
    const lastTx = await device.last();
    rename(device, "3", "mine");
    failOnce(device, "todos");
    await expectEnded(device, () => device.apply([titled("1", "theirs")], { scopes: both, lastTx }));
  });

  test("where pending transactions are replayed", async () => {
    using device = await open();
    device.db.insert(tags).values({ id: "mine", name: "tag" }).run();
    await device.stage([tag("mine")], { scopes: both });
    failOnce(device, "tags");
    await expectEnded(device, () => device.apply([], { scopes: both }));
  });
});
