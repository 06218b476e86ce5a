import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { blob, index, integer, numeric, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { defineSync } from "../plugin/define-sync.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import { createSyncService } from "../server/service.ts";
import { inProcessTransport } from "../testing/in-process-transport.ts";
import { createSyncClient } from "./client.ts";

const things = sqliteTable("things", {
  id: blob({ mode: "buffer" }).primaryKey(),
  room: text(),
  owner: integer(),
  big: blob({ mode: "bigint" }),
  whole: integer(),
  ratio: real(),
  exact: numeric(),
  data: text({ mode: "json" }),
  bytes: blob({ mode: "buffer" }),
  packed: blob({ mode: "json" }),
  at: integer({ mode: "timestamp_ms" }),
  flag: integer({ mode: "boolean" }),
  secret: text(),
});
const newer = sqliteTable("things", {
  id: blob({ mode: "buffer" }).primaryKey(),
  room: text(),
  owner: integer(),
  big: blob({ mode: "bigint" }),
  whole: integer(),
  ratio: real(),
  exact: numeric(),
  data: text({ mode: "json" }),
  bytes: blob({ mode: "buffer" }),
  packed: blob({ mode: "json" }),
  at: integer({ mode: "timestamp_ms" }),
  flag: integer({ mode: "boolean" }),
  added: text(),
  secret: text(),
});
const parts = sqliteTable(
  "parts",
  {
    thing: blob({ mode: "buffer" })
      .notNull()
      .references(() => things.id),
    n: integer().notNull(),
    name: text(),
  },
  (table) => [primaryKey({ columns: [table.thing, table.n] }), index("parts_thing").on(table.thing)],
);
const newerParts = sqliteTable(
  "parts",
  {
    thing: blob({ mode: "buffer" })
      .notNull()
      .references(() => newer.id),
    n: integer().notNull(),
    name: text(),
  },
  (table) => [primaryKey({ columns: [table.thing, table.n] }), index("parts_thing").on(table.thing)],
);
const ddl = (added: string): string => `
CREATE TABLE things (id BLOB PRIMARY KEY NOT NULL, room TEXT, owner INTEGER, big BLOB, whole INTEGER, ratio REAL, exact NUMERIC, data TEXT,
  bytes BLOB, packed BLOB, at INTEGER, flag INTEGER${added}, secret TEXT);
CREATE TABLE parts (thing BLOB NOT NULL REFERENCES things (id), n INTEGER NOT NULL, name TEXT, PRIMARY KEY (thing, n));
CREATE INDEX parts_thing ON parts (thing);`;

/** A server that knows a column more than its device, with rows of every kind of value. */
async function open() {
  const serverRaw = new Database(":memory:");
  serverRaw.exec(ddl(", added TEXT"));
  const rule = { scope: { room: "room", user: "owner" }, exclude: ["secret"] } as const;
  const serverSchema = { things: newer, parts: newerParts };
  const serverDb = withSync(
    drizzle(serverRaw, { schema: serverSchema }),
    defineSync(serverSchema, { things: rule, parts: { scopeFrom: "thing" } }),
  );
  const service = createSyncService({
    database: syncOf(serverDb),
    onError: (error) => {
      throw error;
    },
  });
  await syncOf(serverDb).install("server");
  const deviceRaw = new Database(":memory:");
  deviceRaw.exec(ddl(""));
  const schema = { things, parts };
  const db = withSync(
    drizzle(deviceRaw, { schema }),
    defineSync(schema, { things: rule, parts: { scopeFrom: "thing" } }),
  );
  const scopes = new Set(["room:r", "user:7"]);
  const caller = { subject: "ann", scopes: async () => ({ read: scopes, write: scopes }) };
  const errors: unknown[] = [];
  const client = createSyncClient({
    db,
    transport: inProcessTransport({ service: () => service, caller: () => caller }),
    onError: (error) => errors.push(error),
  });
  return {
    serverRaw,
    deviceRaw,
    client,
    errors,
    async [Symbol.asyncDispose]() {
      await client.close();
      service.close();
      serverRaw.close();
      deviceRaw.close();
    },
  };
}

/** SQL literals of values that are stored, read, sent or compared in more than one way. */
const values: readonly (readonly [column: string, literals: readonly string[]])[] = [
  ["big", ["NULL", "x'39303037313939323534373430393933'"]],
  ["whole", ["0", "-1", "9007199254740991", "9007199254740993", "9223372036854775807", "-9223372036854775808", "1e3"]],
  ["ratio", ["0.0", "-0.0", "0.1", "1", "-1e300", "9e999", "9007199254740993"]],
  ["exact", ["1", "1.0", "0.5", "'1e2'", "'12345678901234567890'", "'text'"]],
  ["data", [`'{"b":1,"a":[1.50,null,"ü"]}'`, `'  [1, 2 ]'`, `'9007199254740993'`, `'"text"'`, "'null'"]],
  ["bytes", ["x''", "x'00ff'", "zeroblob(1000)"]],
  ["packed", [`CAST('{"z":1,"y":2}' AS BLOB)`, "x'7b7d'"]],
  ["at", ["0", "1700000000123", "-1"]],
  ["flag", ["0", "1"]],
];

test("every kind of value, rows in two scopes or one or none, inherited ones, excluded and unknown columns sum up the same", async () => {
  await using world = await open();
  const { serverRaw, client, errors } = world;
  let n = 0;
  for (const [column, literals] of values) {
    for (const literal of literals) {
      const id = `x'${(++n).toString(16).padStart(4, "0")}'`;
      const [room, owner] =
        [
          ["'r'", "7"],
          ["'r'", "NULL"],
          ["NULL", "7"],
          ["NULL", "NULL"],
          ["'other'", "7"],
        ][n % 5] ?? [];
      serverRaw.exec(
        `INSERT INTO things (id, room, owner, ${column}, secret, added) VALUES (${id}, ${room}, ${owner}, ${literal}, 'secret', 'new')`,
      );
      serverRaw.exec(`INSERT INTO parts VALUES (${id}, 1, 'one'), (${id}, 2, NULL)`);
    }
  }
  await client.sync();
  expect(await client.verify()).toEqual({ checked: 2, mismatched: [] });
  expect(errors).toEqual([]);
  // What is the device's own, and JSON in another spelling, are no difference.
  const mute = (sql: string): void => {
    world.deviceRaw.exec(`BEGIN; INSERT INTO _sync_mute(x) VALUES (1); ${sql}; DELETE FROM _sync_mute; COMMIT`);
  };
  mute(`UPDATE things SET secret = 'my own'`);
  mute(`UPDATE things SET data = '{"a": [1.5, null, "ü"],  "b": 1}' WHERE data LIKE '{"b"%'`);
  mute(`UPDATE things SET packed = CAST('{"y":2,"z":1}' AS BLOB) WHERE packed IS NOT NULL AND length(packed) > 2`);
  mute(`UPDATE things SET ratio = 0.0 WHERE ratio = 0`);
  expect(await client.verify()).toEqual({ checked: 2, mismatched: [] });
  // A bit is.
  mute(`UPDATE things SET whole = 9007199254740992 WHERE whole = 9007199254740993`);
  expect((await client.verify()).mismatched.length).toBeGreaterThan(0);
  expect(await client.verify()).toEqual({ checked: 2, mismatched: [] });
});
