/** Rules V2 and V3: what a migration of the device leaves as it was, and what becomes of what it takes away. */

import { expect, test } from "vitest";
import { rebuild, version, type TableSpec } from "./version.ts";
import { openVersionedWorld, sharedBase, sharedRows, type VersionedDevice, type VersionedWorld } from "./world.ts";

const v1 = version({
  lists: { columns: ["name"] },
  todos: { columns: ["title", "list"], references: { list: "lists" } },
});
const todos2: TableSpec = { columns: ["title", "list", "stars=3"], references: { list: "lists" } };
const v2 = version({ lists: { columns: ["name"] }, todos: todos2 });
const add = "ALTER TABLE todos ADD COLUMN stars INTEGER NOT NULL DEFAULT 3";
const rows = [
  "INSERT INTO lists VALUES ('l', 'L')",
  "INSERT INTO todos VALUES ('a', 'one', 'l'), ('b', 'two', 'l'), ('c', 'three', 'l')",
];

async function expectShared(world: VersionedWorld, device: VersionedDevice): Promise<void> {
  expect(await sharedBase(world.server.version, device)).toEqual(await sharedRows(world.server, device.version));
}

const visible = (device: VersionedDevice) => device.rows("SELECT id, title FROM todos ORDER BY id");

test("V3: a rebuilt table keeps its rows, its children, the queue and the capture", async () => {
  await using world = await openVersionedWorld(v1);
  await world.server.write(...rows);
  const device = await world.device(v1);
  await device.engine.sync();
  await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
  await device.write("DELETE FROM todos WHERE id = 'b'");
  await device.write("UPDATE lists SET name = 'M'");
  const before = await device.engine.pending();

  const lists3: TableSpec = { columns: ["name='none'"] };
  const v3 = version({ lists: lists3, todos: todos2 });
  await device.upgrade(
    v3,
    ...rebuild("lists", lists3, [["name", "coalesce(name, 'none')"]]),
    ...rebuild("todos", todos2, [
      ["title", "title"],
      ["list", "list"],
    ]),
    "CREATE INDEX todos_list ON todos (list)",
  );
  expect(await visible(device)).toEqual([
    ["a", "mine"],
    ["c", "three"],
  ]);
  expect((await device.engine.pending()).map(({ id }) => id)).toEqual(before.map(({ id }) => id));
  // Nothing of the migration itself is a change of the user's.
  await device.write("UPDATE todos SET stars = 1 WHERE id = 'c'");
  await device.write("DELETE FROM todos WHERE id = 'c'", "INSERT INTO todos VALUES ('d', 'four', 'l', 2)");
  expect(await device.engine.pending()).toHaveLength(5);

  await world.server.upgrade(v2, add);
  await device.engine.sync();
  expect(await device.engine.outcomes()).toEqual([]);
  expect(await world.server.rows("SELECT * FROM todos ORDER BY id")).toEqual([
    ["a", "mine", "l", 3],
    ["d", "four", "l", 2],
  ]);
  expect(await world.server.rows("SELECT * FROM lists")).toEqual([["l", "M"]]);
  await expectShared(world, device);
});

test("V2: staged pages of a round are dropped, and the round begins again", async () => {
  await using world = await openVersionedWorld(v2);
  await world.server.write("INSERT INTO lists VALUES ('l', 'L')");
  let pages = Number.POSITIVE_INFINITY;
  const device = await world.device(v1, {
    pageRows: 2,
    wrap: (transport) => ({
      ...transport,
      pull: (request, options) => (pages-- > 0 ? transport.pull(request, options) : Promise.reject(new Error("cut"))),
    }),
  });
  await device.engine.sync();
  await world.server.write(
    `INSERT INTO todos VALUES ${Array.from({ length: 9 }, (_, i) => `('t${i}', 'x', 'l', 7)`).join()}`,
  );
  pages = 2;
  await expect(device.engine.sync()).rejects.toThrow();
  expect(Number((await device.rows("SELECT count(*) FROM _sync_stage"))[0]?.[0])).toBeGreaterThan(0);
  await device.write("INSERT INTO todos VALUES ('mine', 'y', 'l')");
  await device.upgrade(v2, add);
  pages = Number.POSITIVE_INFINITY;
  await device.engine.sync();
  expect(await device.rows("SELECT count(*) FROM _sync_stage")).toEqual([[0]]);
  expect(await device.rows("SELECT count(*), sum(stars) FROM todos")).toEqual([[10, 66]]);
  await expectShared(world, device);
});

test("R4: a first sync that an upgrade interrupted begins again, and keeps what was written meanwhile", async () => {
  await using world = await openVersionedWorld(v2);
  await world.server.write("INSERT INTO lists VALUES ('l', 'L')");
  await world.server.write(
    `INSERT INTO todos VALUES ${Array.from({ length: 9 }, (_, i) => `('t${i}', 'x', 'l', 7)`).join()}`,
  );
  let pages = 3;
  const device = await world.device(v1, {
    pageRows: 2,
    wrap: (transport) => ({
      ...transport,
      pull: (request, options) => (pages-- > 0 ? transport.pull(request, options) : Promise.reject(new Error("cut"))),
    }),
  });
  await expect(device.engine.sync()).rejects.toThrow();
  expect((await visible(device)).length).toBeGreaterThan(0);
  await device.write("UPDATE todos SET title = 'mine' WHERE id = 't0'", "INSERT INTO todos VALUES ('new', 'y', 'l')");
  await world.server.write("DELETE FROM todos WHERE id = 't1'");
  await device.upgrade(v2, add);
  pages = Number.POSITIVE_INFINITY;
  await device.engine.sync();
  expect(await world.server.rows("SELECT title FROM todos WHERE id IN ('t0', 'new') ORDER BY id")).toEqual([
    ["y"],
    ["mine"],
  ]);
  await expectShared(world, device);
});

test("V3: outcomes, and base images of the old columns, outlive the migration", async () => {
  await using world = await openVersionedWorld(v1);
  await world.server.write(...rows);
  const device = await world.device(v1);
  await device.engine.sync();
  await device.write("UPDATE todos SET title = 'refused' WHERE id = 'a'");
  await world.server.write("UPDATE todos SET title = 'theirs' WHERE id = 'a'");
  await device.engine.sync();
  const outcomes = await device.engine.outcomes();
  expect(outcomes).toHaveLength(1);

  // Rebased once, so that images of the old columns are stored: of a changed row, and of one that is deleted here.
  await device.write("UPDATE todos SET title = 'mine' WHERE id = 'b'");
  await device.write("DELETE FROM todos WHERE id = 'c'");
  await world.server.write("UPDATE lists SET name = 'moved'");
  await device.upgrade(v2, add);
  await device.write("UPDATE todos SET stars = 9 WHERE id = 'b'");
  // The server is older: the last one waits, and the base is not what it wrote.
  await expect(device.engine.sync()).rejects.toMatchObject({ code: "SCHEMA_MISMATCH" });
  expect((await device.base())["todos"]).toEqual([
    { id: "a", title: "theirs", list: "l", stars: 3 },
    { id: "b", title: "mine", list: "l", stars: 3 },
  ]);
  expect(await device.rows("SELECT title, stars FROM todos WHERE id = 'b'")).toEqual([["mine", 9]]);
  expect(await device.engine.outcomes()).toEqual(outcomes);
  await world.server.upgrade(v2, add, "UPDATE todos SET stars = 4");
  await device.engine.sync();
  // The server's migration wrote what the device never saw.
  expect(await device.engine.outcomes()).toHaveLength(2);
  await expectShared(world, device);
});

test("V2: images of the old columns do not hide what was there before a pending change", async () => {
  await using world = await openVersionedWorld(v1);
  await world.server.write(...rows);
  let isCut = false;
  const device = await world.device(v1, {
    wrap: (transport) => ({
      ...transport,
      push: (request, options) => (isCut ? Promise.reject(new Error("cut")) : transport.push(request, options)),
    }),
  });
  await device.engine.sync();
  isCut = true;
  await device.write("UPDATE todos SET title = 'mine' WHERE id = 'b'");
  await device.write("DELETE FROM todos WHERE id = 'c'");
  await world.server.write("UPDATE todos SET title = title || '!'");
  await expect(device.engine.sync()).rejects.toThrow();
  expect(await device.rows("SELECT count(*) FROM _sync_base")).toEqual([[2]]);
  const required: TableSpec = { columns: ["title", "list", "stars=3", "kind!"], references: { list: "lists" } };
  const v3 = version({ lists: { columns: ["name"] }, todos: required });
  await device.upgrade(
    v3,
    ...rebuild("todos", required, [
      ["title", "title"],
      ["list", "list"],
      ["kind", "'k'"],
    ]),
    "CREATE INDEX todos_list ON todos (list)",
  );
  await device.write("UPDATE todos SET stars = 9, kind = 'z' WHERE id = 'b'");
  expect((await device.base())["todos"]).toMatchObject([
    { id: "a", stars: 3, kind: "k" },
    { id: "b", title: "two!", stars: 3, kind: "k" },
    { id: "c", title: "three!", stars: 3, kind: "" },
  ]);
  await world.server.upgrade(
    v3,
    ...rebuild("todos", required, [
      ["title", "title"],
      ["list", "list"],
      ["kind", "'k'"],
    ]),
    "CREATE INDEX todos_list ON todos (list)",
  );
  isCut = false;
  await device.engine.sync();
  expect(device.engine.state.pending).toBe(0);
  await expectShared(world, device);
});

test("a migration that fails leaves the file as it was, and the app of before goes on with it", async () => {
  await using world = await openVersionedWorld(v1);
  await world.server.write(...rows);
  const device = await world.device(v1);
  await device.engine.sync();
  await device.write("UPDATE todos SET title = 'mine' WHERE id = 'a'");
  const objects = await device.rows("SELECT name, sql FROM sqlite_master ORDER BY name");
  await expect(
    device.upgrade(v2, add, "UPDATE todos SET title = 'no'", "INSERT INTO nowhere VALUES (1)"),
  ).rejects.toThrow();
  await device.upgrade(v1);
  expect(await device.rows("SELECT name, sql FROM sqlite_master ORDER BY name")).toEqual(objects);
  expect(await visible(device)).toEqual([
    ["a", "mine"],
    ["b", "two"],
    ["c", "three"],
  ]);
  await device.engine.sync();
  expect(await world.server.rows("SELECT title FROM todos WHERE id = 'a'")).toEqual([["mine"]]);
  await expectShared(world, device);
});
