import { expect, test } from "vitest";
import { sumHashes, rowHash } from "../protocol/hash.ts";
import { openServer, pageOf, type ServerFixture } from "../testing/server-fixture.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { checkLimits } from "./limits.ts";

const counted = (count: number): string =>
  `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < ${count})`;
const scopeOf = (list: number): string => `list:l${String(list).padStart(2, "0")}`;

/** A device that has everything of some lists, each with so many todos. */
async function openFilled(lists: number, todos: number): Promise<{ server: ServerFixture; device: HandDevice }> {
  const server = await openServer();
  await server.run(`${counted(lists)} INSERT INTO lists SELECT printf('l%02d', i), 'List', NULL FROM c`);
  await server.run(
    `${counted(lists * todos)} INSERT INTO todos (id, list_id, title) SELECT 't' || i, printf('l%02d', 1 + i % ${lists}), 'Todo' FROM c`,
  );
  const read = Array.from({ length: lists }, (_, i) => scopeOf(i + 1));
  server.grants.set("ann", { read, write: [] });
  const device = server.device("ann");
  device.limit = 5000;
  await device.handshake();
  await device.pull();
  return { server, device };
}

const sumOf = (device: HandDevice, list: number): string => {
  const hashes = ["lists", "todos"].flatMap((table) =>
    device
      .rows(table)
      .filter((row) => device.scopesOf(table, row).includes(scopeOf(list)))
      .map((row) => {
        const columns = ["id", ...device.others(table)];
        const forms = columns.map((column) => device.form(table, column));
        return rowHash(
          columns.map((column) => row[column] ?? null),
          forms,
        );
      }),
  );
  return sumHashes(hashes);
};

test("checksums of scopes with more rows than one answer may cost come with several answers, the first ones first", async () => {
  const lists = 8;
  const { server, device } = await openFilled(lists, Math.ceil((2 * checkLimits.rows) / lists));
  await using _ = server;
  const asked = Array.from({ length: lists }, (_, i) => scopeOf(i + 1));
  const told: Record<string, string> = {};
  let answers = 0;
  for (let left: readonly string[] = asked; left.length > 0; answers++) {
    const sums = pageOf(await device.ask({ check: left })).checksums ?? {};
    expect(Object.keys(sums)).toEqual(left.slice(0, Math.max(1, Object.keys(sums).length)));
    Object.assign(told, sums);
    left = asked.filter((scope) => told[scope] === undefined);
  }
  expect(answers).toBeGreaterThan(1);
  expect(told).toEqual(Object.fromEntries(asked.map((scope, i) => [scope, sumOf(device, i + 1)])));
});

test("a single scope is summed whole, however many rows it has", async () => {
  const { server, device } = await openFilled(1, checkLimits.rows + 2000);
  await using _ = server;
  expect(pageOf(await device.ask({ check: [scopeOf(1)] })).checksums).toEqual({ [scopeOf(1)]: sumOf(device, 1) });
});

test("P9: of a scope that the subject may not read there is no checksum, nor of one that it does not want", async () => {
  const { server, device } = await openFilled(3, 2);
  await using _ = server;
  server.grants.set("ann", { read: [scopeOf(1), scopeOf(2)], write: [] });
  device.wanted = [scopeOf(2)];
  await device.pull();
  const page = pageOf(await device.ask({ check: [scopeOf(1), scopeOf(2), scopeOf(3), "everyone"] }));
  expect(page.checksums).toEqual({ [scopeOf(2)]: sumOf(device, 2) });
});
