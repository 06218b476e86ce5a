/** Rules V1–V3 and R2, on tables, scopes and rules that differ between versions; and what counts as too old. */

import { describe, expect, test } from "vitest";
import { isSyncError, SyncError } from "../../protocol/errors.ts";
import { settle } from "../device-world.ts";
import { rebuild, version, type TableSpec } from "./version.ts";
import { openVersionedWorld, sharedBase, sharedRows, type VersionedDevice, type VersionedWorld } from "./world.ts";

const lists: TableSpec = { columns: ["name"] };
const todos: TableSpec = { columns: ["title", "listId/list_id"], references: { listId: "lists" } };

async function expectShared(world: VersionedWorld, device: VersionedDevice): Promise<void> {
  expect(await sharedBase(world.server.version, device)).toEqual(await sharedRows(world.server, device.version));
}

/** Counts the resets that a device was told of. */
const resets = (device: VersionedDevice): number =>
  device.errors.filter((error) => isSyncError(error, "DECLARATION_CHANGED")).length;

describe("a table that a device does not know, or not enough of", () => {
  const inherited = version({ lists, todos: { ...todos, scopeFrom: "listId" } });
  const rows = ["INSERT INTO lists VALUES ('l', 'L')", "INSERT INTO todos VALUES ('a', 'one', 'l'), ('b', 'two', 'l')"];

  test("V1: a table whose parent a device does not know is not sent, and is fetched alone after the upgrade", async () => {
    await using world = await openVersionedWorld(inherited);
    await world.server.write(...rows);
    const device = await world.device(version({ todos: { columns: ["title"] }, notes: { columns: ["text"] } }));
    await device.engine.sync();
    expect(await device.rows("SELECT * FROM todos")).toEqual([]);
    const [cursor] = await device.rows("SELECT v FROM _sync_meta WHERE k = 'device.cursor'");

    await device.upgrade(
      inherited,
      "CREATE TABLE lists (id TEXT PRIMARY KEY NOT NULL, name TEXT)",
      "ALTER TABLE todos ADD COLUMN list_id TEXT REFERENCES lists (id) ON DELETE CASCADE",
      "CREATE INDEX todos_listId ON todos (list_id)",
    );
    expect(await device.rows("SELECT v FROM _sync_meta WHERE k = 'device.cursor'")).toEqual([cursor]);
    await device.write("INSERT INTO lists VALUES ('m', 'M')", "INSERT INTO todos VALUES ('c', 'three', 'm')");
    await device.engine.sync();
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "one", "l"],
      ["b", "two", "l"],
      ["c", "three", "m"],
    ]);
    expect(resets(device)).toBe(0);
    await expectShared(world, device);
  });

  test("V1, V3: without a scope column nothing is sent, and what is written waits for the app's update; reading goes on", async () => {
    const scoped = version({
      todos: { columns: ["title", "list"], scope: { list: "list" } },
      tags: { columns: ["name"] },
    });
    await using world = await openVersionedWorld(scoped);
    world.scopes.push("list:l");
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 'l')");
    const device = await world.device(version({ todos: { columns: ["title"] }, tags: { columns: ["name"] } }));
    await device.engine.sync();
    await device.write("INSERT INTO tags VALUES ('t', 'before')");
    await device.write("INSERT INTO todos VALUES ('b', 'two')");
    await world.server.write("INSERT INTO tags VALUES ('u', 'there')");
    await expect(device.engine.sync()).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "todos" },
    });
    expect(device.engine.state).toMatchObject({ status: "update-needed", pending: 1 });
    expect(await device.rows("SELECT id FROM tags ORDER BY id")).toEqual([["t"], ["u"]]);
    expect(await world.server.rows("SELECT id FROM tags ORDER BY id")).toEqual([["t"], ["u"]]);
    expect(await device.rows("SELECT * FROM todos")).toEqual([["b", "two"]]);

    await device.upgrade(scoped, "ALTER TABLE todos ADD COLUMN list TEXT DEFAULT 'l'");
    await device.engine.sync();
    // Written before there was a scope: P9 refuses it and says so, and nothing waits for an update that has been made.
    expect(await device.engine.outcomes()).toMatchObject([
      { outcome: { status: "rejected", code: "SCOPE_NOT_WRITABLE" } },
    ]);
    expect(device.engine.state).toMatchObject({ status: "idle", pending: 0 });
    await expectShared(world, device);
  });

  test("R2: a table that the device gains is fetched alone, whole, though its log is long past", async () => {
    const two = version({ todos: { columns: ["title"] }, tags: { columns: ["name"] } });
    await using world = await openVersionedWorld(two);
    await world.server.write(
      "INSERT INTO tags VALUES ('t', 'one'), ('u', 'two')",
      "INSERT INTO todos VALUES ('a', 'x')",
    );
    const device = await world.device(version({ todos: { columns: ["title"] } }), { pageRows: 1 });
    await device.engine.sync();
    await device.upgrade(two, "CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT)");
    await device.write("UPDATE todos SET title = 'y' WHERE id = 'a'");
    await device.write("INSERT INTO tags VALUES ('v', 'three')");
    await world.server.write("DELETE FROM tags WHERE id = 't'");
    await device.engine.sync();
    expect(await device.rows("SELECT id FROM tags ORDER BY id")).toEqual([["u"], ["v"]]);
    await expectShared(world, device);
  });

  test("V3: a table that the server lacks holds back what names it, until the server has it", async () => {
    const one = version({ todos: { columns: ["title"] } });
    const two = version({ todos: { columns: ["title"] }, tags: { columns: ["name"] } });
    await using world = await openVersionedWorld(one);
    const device = await world.device(two, { live: "pages" });
    device.engine.start();
    await settle(() => device.engine.state.status === "synced");
    await device.write("INSERT INTO tags VALUES ('t', 'mine')");
    await device.write("INSERT INTO todos VALUES ('a', 'behind')");
    await settle(() => device.engine.state.error !== undefined);
    await world.server.write("INSERT INTO todos VALUES ('b', 'down')");
    await settle();
    expect(await device.rows("SELECT id FROM todos ORDER BY id")).toEqual([["a"], ["b"]]);
    expect(device.engine.state).toMatchObject({
      status: "synced",
      pending: 2,
      error: { details: { tooOld: "server", table: "tags" } },
    });
    await world.server.upgrade(
      two,
      "CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT)",
      "INSERT INTO tags VALUES ('s', 'seeded')",
    );
    for (let i = 0; i < 5 && device.engine.state.pending > 0; i++) {
      await world.clock.advance(60_000);
      await settle();
    }
    expect(device.engine.state).toMatchObject({ pending: 0 });
    expect(await device.rows("SELECT id FROM tags ORDER BY id")).toEqual([["s"], ["t"]]);
    await expectShared(world, device);
  });

  test("V3: a device that only polls hears of the server's upgrade from a page, and sends what it held back", async () => {
    const two = version({ todos: { columns: ["title", "stars=3"] } });
    await using world = await openVersionedWorld(version({ todos: { columns: ["title"] } }));
    const device = await world.device(two);
    device.engine.start();
    await settle(() => device.engine.state.status === "synced");
    await device.write("INSERT INTO todos VALUES ('a', 'mine', 5)");
    await settle(() => device.engine.state.error !== undefined);
    await world.server.upgrade(two, "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 3");
    await world.clock.advance(15_000);
    await settle(() => device.engine.state.pending === 0);
    expect(device.engine.state).toMatchObject({ pending: 0, status: "synced" });
    expect(await world.server.rows("SELECT * FROM todos")).toEqual([["a", "mine", 5]]);
    expect(device.engine.state.error).toBeUndefined();
  });
});

describe("a device that is too old", () => {
  const v1 = version({ todos: { columns: ["title"] } });
  const v2 = version({ todos: { columns: ["title", "kind!"] } });
  const toV2 = rebuild("todos", v2.tables["todos"] as TableSpec, [
    ["title", "title"],
    ["kind", "'plain'"],
  ]);

  test("V3: rows that it cannot make wait for the app's update, and it keeps reading and writing", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 'k')");
    const device = await world.device(v1);
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'changed' WHERE id = 'a'");
    await device.engine.sync();
    expect(device.engine.state.status).toBe("idle");
    await device.write("INSERT INTO todos VALUES ('b', 'two')");
    await device.write("UPDATE todos SET title = 'behind' WHERE id = 'a'");
    await world.server.write("INSERT INTO todos VALUES ('c', 'three', 'k')");
    await expect(device.engine.sync()).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "todos", column: "kind" },
    });
    expect(device.engine.state).toMatchObject({ status: "update-needed", pending: 2 });
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "behind"],
      ["b", "two"],
      ["c", "three"],
    ]);

    // The update does not bring what the row lacks: it is refused, and keeps nobody waiting.
    await device.upgrade(v2, ...toV2);
    await device.engine.sync();
    expect(device.engine.state).toMatchObject({ status: "idle", pending: 0 });
    const [outcome] = await device.engine.outcomes();
    expect(outcome).toMatchObject({
      outcome: { status: "rejected", code: "CONSTRAINT" },
      operations: [{ table: "todos", kind: "insert", values: { title: "two" } }],
    });
    expect(await world.server.rows("SELECT title FROM todos ORDER BY id")).toEqual([["behind"], ["three"]]);
    await device.engine.resolve(outcome?.id ?? "", {
      retry: (outcome?.operations ?? []).map((operation) => ({
        ...operation,
        values: { ...operation.values, kind: "new" },
      })),
    });
    await device.engine.sync();
    expect(await world.server.rows("SELECT title, kind FROM todos WHERE id = 'b'")).toEqual([["two", "new"]]);
    await expectShared(world, device);
  });

  test("V3: while it is started, an old device shows `update-needed` and goes on downloading", async () => {
    await using world = await openVersionedWorld(v2);
    const device = await world.device(v1, { live: "pages" });
    device.engine.start();
    await settle(() => device.engine.state.status === "synced");
    await device.write("INSERT INTO todos VALUES ('b', 'two')");
    await settle(() => device.engine.state.status === "update-needed");
    await world.server.write("INSERT INTO todos VALUES ('c', 'three', 'k')");
    await settle();
    expect(device.engine.state).toMatchObject({ status: "update-needed", error: { code: "SCHEMA_MISMATCH" } });
    expect(await device.rows("SELECT id FROM todos ORDER BY id")).toEqual([["b"], ["c"]]);
  });

  test("V1: a server that refuses a version of the protocol, or of the app, stops the device until it is updated", async () => {
    await using world = await openVersionedWorld(v1);
    let refusal: SyncError = new SyncError({
      code: "PROTOCOL_UNSUPPORTED",
      message: "Update the app.",
      details: { offered: [1], supported: [2] },
    });
    const device = await world.device(v1, {
      wrap: (transport) => ({ ...transport, handshake: () => Promise.reject(refusal) }),
    });
    device.engine.start();
    await settle(() => device.engine.state.status === "update-needed");
    expect(device.engine.state).toMatchObject({ status: "update-needed", error: { code: "PROTOCOL_UNSUPPORTED" } });
    refusal = new SyncError({ code: "SCHEMA_MISMATCH", message: "Update the app.", details: { tooOld: "device" } });
    await expect(device.engine.sync()).rejects.toMatchObject({ code: "SCHEMA_MISMATCH" });
    await device.write("INSERT INTO todos VALUES ('a', 'kept')");
    await settle();
    expect(device.engine.state).toMatchObject({ status: "update-needed", pending: 1 });
  });
});

describe("rules that change", () => {
  const before = version({ todos: { columns: ["title", "note"] } });

  test("V1: an added column or table, and other rules than scopes, reset nobody", async () => {
    await using world = await openVersionedWorld(before);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 'n')");
    const device = await world.device(before);
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
    await world.server.upgrade(
      version({
        todos: { columns: ["title", "note", "stars=1"], write: "device", readonly: ["note"] },
        tags: { columns: ["name"] },
      }),
      "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 1",
      "CREATE TABLE tags (id TEXT PRIMARY KEY NOT NULL, name TEXT)",
    );
    await device.engine.sync();
    expect(device.errors).toEqual([]);
    expect(await world.server.rows("SELECT title FROM todos")).toEqual([["mine"]]);
    await expectShared(world, device);
  });

  test("a changed scope declaration resets the device, and its queue is kept", async () => {
    await using world = await openVersionedWorld(before);
    world.scopes.push("note:n");
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 'n'), ('b', 'two', 'other')");
    const device = await world.device(before);
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
    await world.server.upgrade(version({ todos: { columns: ["title", "note"], scope: { note: "note" } } }));
    await device.engine.sync();
    expect(await device.rows("SELECT id, title FROM todos")).toEqual([["a", "mine"]]);
    expect(await world.server.rows("SELECT title FROM todos WHERE id = 'a'")).toEqual([["mine"]]);
    expect(device.engine.state.pending).toBe(0);
  });

  test("V3: a column that is excluded from now on holds back what an old device writes there, until its update", async () => {
    const after = version({ todos: { columns: ["title", "note"], exclude: ["note"] } });
    await using world = await openVersionedWorld(before);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 'n'), ('b', 'two', 'n')");
    const device = await world.device(before);
    await device.engine.sync();
    await world.server.upgrade(after);
    await world.server.write("UPDATE todos SET note = 'secret', title = 'new' WHERE id = 'a'");
    await device.write("UPDATE todos SET title = 'fine' WHERE id = 'b'");
    await device.engine.sync();
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "new", "n"],
      ["b", "fine", "n"],
    ]);
    await device.write("INSERT INTO todos VALUES ('c', 'three', 'mine')");
    await device.write("DELETE FROM todos WHERE id = 'b'");
    await expect(device.engine.sync()).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "device", table: "todos", column: "note" },
    });
    expect(device.engine.state.status).toBe("update-needed");

    await device.upgrade(after);
    await device.engine.sync();
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "new", "secret"],
      ["c", "three", null],
    ]);
    // What the column held on the device is the device's own now.
    expect(await device.rows("SELECT id, note FROM todos ORDER BY id")).toEqual([
      ["a", "n"],
      ["c", "mine"],
    ]);

    // Opened again, it is a column that the device gains.
    await world.server.upgrade(before);
    await device.upgrade(before);
    await device.engine.sync();
    expect(await device.rows("SELECT id, note FROM todos ORDER BY id")).toEqual([
      ["a", "secret"],
      ["c", null],
    ]);
  });
});

describe("a server that is upgraded meanwhile", () => {
  const v1 = version({ todos: { columns: ["title"] } });
  const v2 = version({ todos: { columns: ["title", "stars=3"] } });
  const add = "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 3";
  const drop = "ALTER TABLE todos DROP COLUMN stars";
  const many = `INSERT INTO todos (id, title) VALUES ${Array.from({ length: 20 }, (_, i) => `('r${10 + i}', 'x')`).join()}`;

  test.each([
    ["a first sync", 0],
    ["a later round", 1],
  ])("R3: %s of several pages begins again", async (_name, syncs) => {
    await using world = await openVersionedWorld(v1);
    await world.server.write(many);
    let pages = 0;
    let isCut = false;
    const device = await world.device(v2, {
      pageRows: 4,
      wrap: (transport) => ({
        ...transport,
        async pull(request, options) {
          // By its default: nothing of it is in the log.
          if (isCut && ++pages === 3) await world.server.upgrade(v2, add.replace("3", "8"));
          return transport.pull(request, options);
        },
      }),
    });
    if (syncs > 0) {
      await device.engine.sync();
      await world.server.write("UPDATE todos SET title = title || '!'");
    }
    isCut = true;
    await device.engine.sync();
    expect(await device.rows("SELECT DISTINCT stars FROM todos")).toEqual([[8]]);
    await expectShared(world, device);
  });

  test("V2: rolled back and forth, values that changed meanwhile arrive", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5)");
    const device = await world.device(v2);
    await device.engine.sync();
    await world.server.upgrade(v1, drop);
    await world.server.write("UPDATE todos SET title = 'two'");
    await device.engine.sync();
    await expectShared(world, device);
    await world.server.upgrade(v2, add);
    await device.engine.sync();
    expect(await device.rows("SELECT * FROM todos")).toEqual([["a", "two", 3]]);
  });

  test("L2: an upgrade ends live streams, and what it made of a table that it rebuilt arrives", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5)");
    const device = await world.device(v2, { live: "pages" });
    device.engine.start();
    await settle(() => device.engine.state.status === "synced");
    await device.write("UPDATE todos SET title = 'mine'");
    await settle(() => device.engine.state.pending === 0);
    await world.server.upgrade(
      v2,
      ...rebuild("todos", v2.tables["todos"] as TableSpec, [
        ["title", "title"],
        ["stars", "stars + 1"],
      ]),
    );
    for (let i = 0; i < 5; i++) {
      await world.clock.advance(60_000);
      await settle();
    }
    expect(await device.rows("SELECT * FROM todos")).toEqual([["a", "mine", 6]]);
  });

  test("L2: an update in a migration of the running server reaches streams", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5)");
    const device = await world.device(v2, { live: "pages" });
    device.engine.start();
    await settle(() => device.engine.state.status === "synced");
    await world.server.write("UPDATE todos SET stars = 7", "ALTER TABLE todos ADD COLUMN later TEXT");
    await settle();
    expect(await device.rows("SELECT stars FROM todos")).toEqual([[7]]);
  });
});
