import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { blob, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { describe, expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { closeStrangers } from "../plugin/device-log.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import { rowHash, seenValue } from "../protocol/hash.ts";
import { makeEpoch } from "../protocol/ids.ts";
import { parsePushRequest } from "../protocol/parse.ts";
import { openDevice } from "./device-state.ts";
import { deviceSchema } from "./device-schema.ts";
import { buildPush, type Push, type PushPlan } from "./pending.ts";

const pairs = sqliteTable(
  "pairs",
  { a: text().notNull(), b: integer().notNull(), word: text("the_word"), weight: real(), data: blob(), secret: text() },
  (table) => [primaryKey({ columns: [table.a, table.b] })],
);
const tags = sqliteTable("tags", { id: text().primaryKey() });
const schema = { pairs, tags };
const definition = defineSync(schema, {
  pairs: { scope: "everyone", exclude: ["secret"] },
  tags: { scope: "everyone" },
});

async function openQueue() {
  const raw = new Database(":memory:");
  raw.exec(`CREATE TABLE pairs (a TEXT NOT NULL, b INTEGER NOT NULL, the_word TEXT, weight REAL, data BLOB, secret TEXT, PRIMARY KEY (a, b));
    CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL)`);
  const db = withSync(drizzle(raw, { schema }), definition);
  const sync = syncOf(db);
  await sync.install("device");
  const checkpoint = await transact(sync.connection, "write", () => openDevice(sync));
  const build = async (change: Partial<PushPlan> = {}): Promise<Push | undefined> =>
    await transact(sync.connection, "write", () =>
      buildPush(sync, {
        checkpoint,
        after: { number: 0, stamp: 0 },
        epoch: makeEpoch(),
        limits: { maxPushTransactions: 100, maxRequestBytes: 1_000_000 },
        serverTables: deviceSchema(sync).known,
        needed: new Set(),
        ...change,
      }),
    );
  return { db, sync, build, [Symbol.dispose]: () => raw.close() };
}

describe("P1: operations", () => {
  test("carry all values of an insert, what changed and was seen of an update, a hash of a deleted row", async () => {
    using queue = await openQueue();
    const long = "a long text of more than thirty-two bytes";
    queue.db.transaction((tx) => {
      tx.insert(pairs).values({ a: "x", b: 1, word: long, weight: 1.5, secret: "s" }).run();
      tx.update(pairs).set({ word: "short", secret: "t" }).run();
      tx.update(pairs).set({ secret: "u" }).run();
      tx.delete(pairs).run();
      tx.insert(tags).values({ id: "t" }).run();
    });
    const built = await queue.build();
    expect(built?.request.shapes).toEqual([
      { table: "pairs", kind: "insert", columns: ["word", "weight", "data"] },
      { table: "pairs", kind: "update", columns: ["word"] },
      { table: "pairs", kind: "delete", columns: [] },
      { table: "tags", kind: "insert", columns: [] },
    ]);
    const [tx] = built?.request.txs ?? [];
    expect(tx).toMatchObject({ number: 1, schema: deviceSchema(queue.sync).hash });
    expect(tx?.ops).toEqual([
      [0, ["x", 1], [long, 1.5, null], []],
      [1, ["x", 1], ["short"], [seenValue(long, "text")]],
      [2, ["x", 1], [], [[rowHash(["short", 1.5, null], ["text", "real", "any"])]]],
      [3, ["t"], [], []],
    ]);
    // What is sent passes the server's own parser.
    expect(parsePushRequest(structuredClone(built?.request)).txs).toHaveLength(1);
  });

  test("share one shape per table, kind and columns over the whole request", async () => {
    using queue = await openQueue();
    for (let i = 0; i < 5; i++)
      queue.db
        .insert(tags)
        .values({ id: `t${i}` })
        .run();
    expect((await queue.build())?.request.shapes).toHaveLength(1);
  });

  test("P6: carry the whole row as the user saw it when it is asked for, own changes included", async () => {
    using queue = await openQueue();
    queue.db.insert(pairs).values({ a: "x", b: 1, word: "one", weight: 1 }).run();
    queue.db.update(pairs).set({ weight: 2 }).run();
    queue.db.update(pairs).set({ word: "two" }).run();
    queue.db.delete(pairs).run();
    const built = await queue.build({ needed: new Set([3, 4]) });
    expect(built?.request.txs.map((tx) => tx.ops[0]?.[4])).toEqual([
      undefined,
      undefined,
      ["one", 2, null],
      ["two", 2, null],
    ]);
  });
});

describe("a request", () => {
  test("says which transaction comes before it", async () => {
    using queue = await openQueue();
    for (let i = 0; i < 3; i++)
      queue.db
        .insert(tags)
        .values({ id: `t${i}` })
        .run();
    const all = await queue.build();
    expect(all?.request.previous).toEqual({ number: 0, stamp: 0 });
    const [first] = all?.transactions ?? [];
    const rest = await queue.build({ after: { number: 1, stamp: first?.stamp ?? 0 } });
    expect(rest?.request.previous).toEqual({ number: 1, stamp: first?.stamp });
    expect(rest?.request.txs.map((tx) => tx.number)).toEqual([2, 3]);
    expect(await queue.build({ after: { number: 3, stamp: 1 } })).toBeUndefined();
  });

  test("stays below the server's limits of transactions and bytes, but for a single large one", async () => {
    using queue = await openQueue();
    for (let i = 0; i < 10; i++)
      queue.db
        .insert(pairs)
        .values({ a: "x", b: i, word: "w".repeat(1000) })
        .run();
    expect(
      (await queue.build({ limits: { maxPushTransactions: 4, maxRequestBytes: 1_000_000 } }))?.request.txs,
    ).toHaveLength(4);
    expect(
      (await queue.build({ limits: { maxPushTransactions: 100, maxRequestBytes: 5000 } }))?.request.txs,
    ).toHaveLength(3);
    expect(
      (await queue.build({ limits: { maxPushTransactions: 100, maxRequestBytes: 100 } }))?.request.txs,
    ).toHaveLength(1);
  });

  test("V3: ends before a transaction that names what the server lacks, and fails when that is the first", async () => {
    using queue = await openQueue();
    queue.db.insert(tags).values({ id: "t" }).run();
    queue.db.insert(pairs).values({ a: "x", b: 1, weight: 1 }).run();
    const serverTables = { tags: ["id"], pairs: ["a", "b", "word", "data"] };
    const built = await queue.build({ serverTables });
    expect(built?.request.txs.map((tx) => tx.number)).toEqual([1]);
    await expect(queue.build({ serverTables, after: { number: 1, stamp: 1 } })).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "server", table: "pairs", column: "weight" },
    });
  });

  test("C5: closes what other writers left open before it is built", async () => {
    using queue = await openQueue();
    await transact(queue.sync.connection, "write", function* () {
      yield { kind: "run", sql: "INSERT INTO tags VALUES ('stranger')", params: [] };
    });
    queue.db.run(sql`SELECT 1`);
    await transact(queue.sync.connection, "write", () => closeStrangers(queue.sync));
    expect((await queue.build())?.request.txs).toHaveLength(1);
  });
});
