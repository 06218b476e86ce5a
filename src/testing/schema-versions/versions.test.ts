/** Rules V1–V3: server and devices of different versions, over real databases. */

import { describe, expect, test } from "vitest";
import { settle } from "../device-world.ts";
import { version } from "./version.ts";
import {
  openVersionedWorld,
  sharedBase,
  sharedRows,
  type VersionedDevice,
  type VersionedDriver,
  type VersionedWorld,
} from "./world.ts";

const v1 = version({ todos: { columns: ["title"] } });
const v2 = version({ todos: { columns: ["title", "stars=3", "note"] } });
const addV2 = [
  "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 3",
  "ALTER TABLE todos ADD COLUMN note TEXT",
];
const drivers: readonly VersionedDriver[] = ["better-sqlite3", "libsql", "wasm"];

async function expectShared(world: VersionedWorld, device: VersionedDevice): Promise<void> {
  expect(await sharedBase(world.server.version, device)).toEqual(await sharedRows(world.server, device.version));
}

describe.each(drivers)("on %s", (driver) => {
  test("V1: a device that lacks a column gets what it knows, and what it writes leaves the others alone", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write(
      "INSERT INTO todos VALUES ('a', 'one', 5, 'n'), ('b', 'two', 5, 'n'), ('c', 'three', 5, 'n')",
    );
    const device = await world.device(v1, { driver });
    await device.engine.sync();
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "one"],
      ["b", "two"],
      ["c", "three"],
    ]);

    // The unknown columns change meanwhile: no conflict with an update, nor with a delete, which hashes what it knows.
    await world.server.write("UPDATE todos SET stars = 1, note = 'new'");
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
    await device.write("DELETE FROM todos WHERE id = 'b'");
    await device.write("INSERT INTO todos VALUES ('d', 'four')");
    await device.engine.sync();
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "mine", 1, "new"],
      ["c", "three", 1, "new"],
      ["d", "four", 3, null],
    ]);
    await expectShared(world, device);

    // A conflict is one over the columns it knows.
    await world.server.write("UPDATE todos SET title = 'theirs' WHERE id = 'a'");
    await device.write("UPDATE todos SET title = 'again' WHERE id = 'a'");
    await device.engine.sync();
    expect(await device.engine.outcomes()).toMatchObject([{ outcome: { status: "merged" } }]);
    await expectShared(world, device);
  });

  test("V2: after its upgrade the device fetches whole rows of what it gained, with transactions in its queue", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5, 'n'), ('b', 'two', 6, NULL)");
    const device = await world.device(v1, { driver });
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
    await device.write("DELETE FROM todos WHERE id = 'b'");
    await device.write("INSERT INTO todos VALUES ('c', 'three')");
    await device.upgrade(v2, ...addV2);
    // P1: until the server's values come, the local default is what the user sees.
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "mine", 3, null],
      ["c", "three", 3, null],
    ]);
    await device.write("UPDATE todos SET note = 'local' WHERE id = 'c'");
    expect(await device.engine.pending()).toHaveLength(4);
    await device.engine.sync();
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "mine", 5, "n"],
      ["c", "three", 3, "local"],
    ]);
    await expectShared(world, device);
  });

  test("V3: what names a column that the server lacks waits, and all behind it; what is before it goes, and downloads go on", async () => {
    await using world = await openVersionedWorld(v1);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one'), ('z', 'left alone')");
    const device = await world.device(v2, { driver });
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'first' WHERE id = 'a'");
    await device.write("UPDATE todos SET stars = 4 WHERE id = 'a'");
    await device.write("UPDATE todos SET title = 'last' WHERE id = 'a'");
    await world.server.write("INSERT INTO todos VALUES ('b', 'two')");
    await expect(device.engine.sync()).rejects.toMatchObject({
      code: "SCHEMA_MISMATCH",
      details: { tooOld: "server", table: "todos", column: "stars" },
    });
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "first"],
      ["b", "two"],
      ["z", "left alone"],
    ]);
    expect(await device.rows("SELECT id, title, stars FROM todos ORDER BY id")).toEqual([
      ["a", "last", 4],
      ["b", "two", 3],
      ["z", "left alone", 3],
    ]);
    expect(device.engine.state).toMatchObject({ pending: 2, error: { code: "SCHEMA_MISMATCH" } });
    const [held] = await device.engine.pending();
    expect(held).toMatchObject({ lastError: { code: "SCHEMA_MISMATCH" } });
    await expectShared(world, device);

    // V2: what the server has gained comes to devices that knew it all along.
    await world.server.upgrade(
      v2,
      "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 5",
      "ALTER TABLE todos ADD COLUMN note TEXT",
      "UPDATE todos SET stars = 9, note = 'filled' WHERE id = 'b'",
      "UPDATE todos SET stars = 3 WHERE id = 'a'",
    );
    await device.engine.sync();
    expect(device.engine.state).toMatchObject({ pending: 0 });
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await device.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "last", 4, null],
      ["b", "two", 9, "filled"],
      ["z", "left alone", 5, null],
    ]);
    await expectShared(world, device);
  });
});

describe("queues that outlive a migration", () => {
  test("V3: a schema that the server never heard of is announced with the queue that was written under it", async () => {
    await using world = await openVersionedWorld(v2);
    const device = await world.device(v1);
    await device.write("INSERT INTO todos VALUES ('a', 'one')");
    await device.write("UPDATE todos SET title = 'two' WHERE id = 'a'");
    await device.upgrade(v2, ...addV2);
    await device.engine.sync();
    expect(device.errors).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos")).toEqual([["a", "two", 3, null]]);
    await expectShared(world, device);
  });

  test("V3: what was written to a column that is gone here reaches the server, and a delete is judged over it", async () => {
    // In the middle: what is hashed has an order.
    const wide = version({ todos: { columns: ["title", "note", "stars=3"] } });
    await using world = await openVersionedWorld(wide);
    await world.server.write(
      "INSERT INTO todos VALUES ('a', 'one', 'n', 5), ('b', 'two', 'm', 6), ('c', 'three', 'm', 6)",
    );
    const device = await world.device(wide);
    await device.engine.sync();
    await device.write(
      "UPDATE todos SET note = 'mine', title = 'x' WHERE id = 'a'",
      "DELETE FROM todos WHERE id = 'b'",
    );
    await device.write("DELETE FROM todos WHERE id = 'c'");
    await device.write("INSERT INTO todos VALUES ('d', 'four', 'kept', 1)");
    await world.server.write("UPDATE todos SET note = 'changed' WHERE id = 'c'");
    await device.upgrade(version({ todos: { columns: ["title", "stars=3"] } }), "ALTER TABLE todos DROP COLUMN note");
    await device.engine.sync();
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "x", "mine", 5],
      // P4: nobody deletes what he has not seen.
      ["c", "three", "changed", 6],
      ["d", "four", "kept", 1],
    ]);
    expect(await device.engine.outcomes()).toHaveLength(1);
    await expectShared(world, device);
  });

  test("V3: a column that both sides have dropped holds nothing back", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5, 'n'), ('b', 'two', 6, 'm')");
    const device = await world.device(v2);
    await device.engine.sync();
    await device.write("UPDATE todos SET note = 'mine', title = 'x' WHERE id = 'a'");
    await device.write("UPDATE todos SET note = 'only' WHERE id = 'a'");
    await device.write("DELETE FROM todos WHERE id = 'b'");
    await device.write("INSERT INTO todos VALUES ('c', 'three', 1, 'gone')");
    const v3 = version({ todos: { columns: ["title", "stars=3", "extra"] } });
    const drop = ["ALTER TABLE todos DROP COLUMN note", "ALTER TABLE todos ADD COLUMN extra TEXT"];
    await world.server.upgrade(v3, ...drop);
    // The device is of the old version still: what it wrote waits.
    await expect(device.engine.sync()).rejects.toMatchObject({ code: "SCHEMA_MISMATCH" });
    await device.upgrade(v3, ...drop);
    await device.engine.sync();
    expect(device.engine.state.pending).toBe(0);
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "x", 5, null],
      ["c", "three", 1, null],
    ]);
    await expectShared(world, device);
  });

  test("V3: a renamed column takes its pending values along", async () => {
    const v3 = version({ todos: { columns: ["name", "stars=3", "note"] } });
    const rename = 'ALTER TABLE `todos` RENAME COLUMN "title" TO "name";';
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5, 'n'), ('b', 'two', 6, 'm')");
    const device = await world.device(v2);
    await device.engine.sync();
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
    await device.write("DELETE FROM todos WHERE id = 'b'");
    await device.write("INSERT INTO todos VALUES ('c', 'three', 1, 'x')");
    await world.server.upgrade(v3, rename);
    await device.upgrade(v3, rename);
    await world.server.write("UPDATE todos SET stars = 7 WHERE id = 'a'");
    await device.engine.sync();
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
      ["a", "mine", 7, "n"],
      ["c", "three", 1, "x"],
    ]);
    await expectShared(world, device);
  });

  test("V3: a column whose name in SQL alone changes is the same column", async () => {
    const v3 = version({ todos: { columns: ["title/label", "stars=3", "note"] } });
    await using world = await openVersionedWorld(v2);
    const device = await world.device(v2);
    await device.engine.sync();
    await device.write("INSERT INTO todos VALUES ('c', 'three', 1, 'x')");
    await device.write("UPDATE todos SET title = 'mine' WHERE id = 'c'");
    await device.upgrade(v3, "ALTER TABLE todos RENAME COLUMN title TO label");
    await device.engine.sync();
    expect(await world.server.rows("SELECT * FROM todos")).toEqual([["c", "mine", 1, "x"]]);
    expect(await device.rows("SELECT * FROM todos")).toEqual([["c", "mine", 1, "x"]]);
  });

  test("C5: what strangers left open before an upgrade is closed under the columns of then", async () => {
    await using world = await openVersionedWorld(v2);
    await world.server.write("INSERT INTO todos VALUES ('a', 'one', 5, 'n')");
    const device = await world.device(v1);
    await device.engine.sync();
    const { connection } = device.sync;
    if (connection.kind !== "sync") throw new Error("better-sqlite3 answers at once.");
    await device.engine.close();
    connection.transaction("write", () => connection.run("DELETE FROM todos WHERE id = 'a'", []));
    await device.upgrade(v2, ...addV2);
    await device.engine.sync();
    expect(await device.engine.outcomes()).toEqual([]);
    expect(await world.server.rows("SELECT * FROM todos")).toEqual([]);
  });
});

test("a stream goes on when a device of another version writes", async () => {
  await using world = await openVersionedWorld(v2);
  const old = await world.device(v1, { live: "pages" });
  const young = await world.device(v2, { live: "pages" });
  old.engine.start();
  young.engine.start();
  await settle(() => old.engine.state.status === "synced" && young.engine.state.status === "synced");
  await young.write("INSERT INTO todos VALUES ('a', 'one', 5, 'n')");
  await settle(() => old.engine.state.pending === 0 && young.engine.state.pending === 0);
  await settle();
  expect(await old.rows("SELECT * FROM todos")).toEqual([["a", "one"]]);
  await expectShared(world, young);
});
