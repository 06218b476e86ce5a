import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { expect, test } from "vitest";
import { openSync } from "../plugin/with-sync.ts";
import { lastWriteWins } from "../protocol/conflict.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { createSyncService } from "../server/service.ts";
import { ddl, lists, schema, todos } from "../testing/device-world.ts";
import { inProcessTransport } from "../testing/in-process-transport.ts";
import { createVirtualClock } from "../testing/virtual-clock.ts";
import { createSyncClient, type SyncClient } from "./client.ts";

const year = 365 * 86_400_000;
const definition = defineSync(schema, {
  lists: { scope: { list: "id" }, conflict: lastWriteWins() },
  todos: { scope: { list: "listId" } },
  comments: { scopeFrom: "todoId" },
  tags: { scope: "everyone" },
});
type Opened = ReturnType<typeof drizzle<typeof schema>>;
const everything = { read: new Set(["list:a", "everyone"]), write: new Set(["list:a", "everyone"]) };

/** A server, and devices whose clocks are off by what a test says. */
function openWorld() {
  const clock = createVirtualClock();
  const time = { now: 1_700_000_000_000 };
  const open = (now: () => number) => {
    const raw = new Database(":memory:");
    raw.exec(ddl);
    const db = openSync(drizzle(raw, { schema }), definition, { now }) as Opened;
    return { raw, db };
  };
  const server = open(() => time.now);
  const service = createSyncService({
    database: syncOf(server.db),
    onError: (error) => {
      throw error;
    },
  });
  const clients: SyncClient[] = [];
  const device = (skew: { ms: number }) => {
    const { raw, db } = open(() => time.now + skew.ms);
    const caller = { subject: "ann", scopes: async () => everything };
    const client = createSyncClient({
      db,
      transport: inProcessTransport({ service: () => service, caller: () => caller }),
      clock,
    });
    clients.push(client);
    const name = (value: string) => void db.update(lists).set({ name: value }).run();
    return { raw, db, client, name };
  };
  return {
    time,
    device,
    name: () => server.db.select().from(lists).get()?.name,
    start: async () => {
      await syncOf(server.db).install("server");
      server.db.insert(lists).values({ id: "a", name: "A" }).run();
      server.db.insert(todos).values({ id: "t", listId: "a", title: "T" }).run();
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) await client.close();
      service.close();
    },
  };
}

test.each([
  ["ahead", year],
  ["behind", -year],
])("P11: between devices of which one's clock is a year %s, the later write wins", async (_how, ms) => {
  const world = openWorld();
  await using _world = world;
  await world.start();
  const wrong = world.device({ ms });
  const right = world.device({ ms: 0 });
  await wrong.client.sync();
  await right.client.sync();

  wrong.name("wrong, earlier");
  world.time.now += 10_000;
  right.name("right, later");
  await wrong.client.sync();
  await right.client.sync();
  expect(world.name()).toBe("right, later");

  await wrong.client.sync();
  right.name("right, earlier");
  world.time.now += 10_000;
  wrong.name("wrong, later");
  await right.client.sync();
  await wrong.client.sync();
  expect(world.name()).toBe("wrong, later");
});

test.each([
  ["ahead", year],
  ["behind", -year],
])(
  "P11: what was written before the first handshake by a clock a year %s counts from when it was written",
  async (_how, ms) => {
    const world = openWorld();
    await using _world = world;
    await world.start();
    const right = world.device({ ms: 0 });
    await right.client.sync();
    const wrong = world.device({ ms });
    wrong.db.insert(lists).values({ id: "a", name: "wrong, earlier" }).run();
    world.time.now += 10_000;
    right.name("right, later");
    await right.client.sync();
    await wrong.client.sync();
    expect(world.name()).toBe("right, later");
  },
);

test("P11: a clock that is moved while a session lasts is put right by the next push's answer", async () => {
  const world = openWorld();
  await using _world = world;
  await world.start();
  const skew = { ms: 0 };
  const wrong = world.device(skew);
  const right = world.device({ ms: 0 });
  wrong.client.start();
  await wrong.client.sync();
  await right.client.sync();
  skew.ms = year;
  wrong.name("bounded");
  await wrong.client.sync();
  world.time.now += 120_000;
  await right.client.sync();

  wrong.name("wrong, earlier");
  world.time.now += 10_000;
  right.name("right, later");
  await wrong.client.sync();
  await right.client.sync();
  expect(world.name()).toBe("right, later");
});
