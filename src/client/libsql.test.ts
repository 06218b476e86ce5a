/** The engine over an asynchronous driver: the same core, stepped with promises. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@libsql/client";
import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/libsql";
import { expect, test } from "vitest";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import {
  comments,
  ddl,
  definition,
  lists,
  openTestWorld,
  schema,
  settle,
  todos,
  allScopes,
} from "../testing/device-world.ts";
import { inProcessTransport } from "../testing/in-process-transport.ts";
import { readBase } from "../testing/read-base.ts";
import { createSyncClient } from "./client.ts";
import { systemClock } from "./clock.ts";

test("a device on libSQL syncs, rebases and shows outcomes", async () => {
  await using world = await openTestWorld();
  const folder = await mkdtemp(join(tmpdir(), "drizzle-sync-"));
  const client = createClient({ url: `file:${join(folder, "device.db")}` });
  await client.executeMultiple(`PRAGMA journal_mode = WAL; ${ddl}`);
  const db = withSync(drizzle(client, { schema }), definition);
  const rights = { read: new Set(allScopes), write: new Set(allScopes) };
  const transport = inProcessTransport({
    service: () => world.server.service,
    caller: () => ({ subject: "ann", scopes: async () => rights }),
    live: "pages",
  });
  const sync = createSyncClient({ db, transport, clock: systemClock });
  const rows = async (): Promise<readonly string[]> =>
    (await db.select().from(todos).orderBy(todos.id)).map((row) => row.title);
  try {
    world.server.db.insert(lists).values({ id: "a", name: "A" }).run();
    world.server.db
      .insert(todos)
      .values([
        { id: "1", listId: "a", title: "one" },
        { id: "2", listId: "a", title: "two" },
      ])
      .run();
    await sync.sync();
    expect(await readBase(syncOf(db))).toEqual(world.expected(allScopes));

    // Conflict on one row, a merge on the other, a row that hangs on a local one.
    await db.transaction(async (tx) => {
      await tx.update(todos).set({ title: "mine" }).where(eq(todos.id, "1"));
    });
    await db.insert(todos).values({ id: "3", listId: "a", title: "three" });
    await db.insert(comments).values({ id: "c", todoId: "3", body: "hm" });
    await db.update(todos).set({ done: true }).where(eq(todos.id, "2"));
    world.server.db.update(todos).set({ title: "theirs" }).run();
    expect((await sync.pending.list()).map((transaction) => transaction.operations.length)).toEqual([1, 1, 1, 1]);
    await sync.sync();
    expect(await rows()).toEqual(["theirs", "theirs", "three"]);
    expect(await readBase(syncOf(db))).toEqual(world.expected(allScopes));
    expect(await sync.outcomes.list()).toMatchObject([
      { status: "merged", operations: [{ values: { title: "mine" } }] },
    ]);
    expect(sync.state.pending).toBe(0);

    sync.start();
    const until = async (isDone: () => boolean | Promise<boolean>): Promise<void> => {
      for (let i = 0; i < 500 && !(await isDone()); i++) await settle(() => false);
    };
    await until(() => sync.state.status === "synced");
    world.server.db.update(todos).set({ title: "live" }).where(eq(todos.id, "1")).run();
    await until(async () => (await rows())[0] === "live");
    await db.update(todos).set({ title: "back" }).where(eq(todos.id, "1"));
    await until(
      () =>
        sync.state.pending === 0 &&
        world.server.db.select().from(todos).where(eq(todos.id, "1")).get()?.title === "back",
    );
    expect(await readBase(syncOf(db))).toEqual(world.expected(allScopes));
  } finally {
    await sync.close();
    client.close();
    await rm(folder, { recursive: true });
  }
});
