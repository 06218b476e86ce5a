/** Rules V1–V3, by chance: a server and two devices that change their schemas, write and sync in any order. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { isSyncError } from "../../protocol/errors.ts";
import { checkAsyncProperty } from "../check-property.ts";
import { createTable, readColumn, rebuild, version, type TableSpec, type Version } from "./version.ts";
import {
  openVersionedWorld,
  sharedBase,
  sharedRows,
  type Side,
  type VersionedDevice,
  type VersionedDriver,
} from "./world.ts";

/** `title` is in every version, so that what was written there can be looked for in the end. */
const optional = ["stars=3", "note", "label='x'", "kind=0"] as const;
const specOf = (columns: readonly string[]): TableSpec => ({ columns: ["title", ...columns] });
const whole = version({ todos: specOf(optional), tags: specOf(optional) });

const columnsArb = fc
  .subarray([...optional])
  .chain((columns) => fc.shuffledSubarray(columns, { minLength: columns.length }));
const versionArb = fc
  .record({ todos: columnsArb, tags: fc.option(columnsArb, { nil: undefined }) })
  .map(({ todos, tags }) => version({ todos: specOf(todos), ...(tags === undefined ? {} : { tags: specOf(tags) }) }));

const who = fc.integer({ min: 0, max: 1 });
const writeArb = fc.record({
  table: fc.constantFrom("todos", "tags"),
  kind: fc.constantFrom("insert", "update", "update", "delete"),
  row: fc.integer({ min: 0, max: 5 }),
  column: fc.nat(),
  value: fc.integer({ min: 10, max: 99 }),
});
const stepArb = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("device" as const),
      who,
      writes: fc.array(writeArb, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("server" as const),
      writes: fc.array(writeArb, { minLength: 1, maxLength: 2 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("sync" as const),
      who,
      cutAfter: fc.option(fc.nat({ max: 3 }), { nil: undefined }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("upgrade device" as const), who, to: versionArb, rebuilds: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("upgrade server" as const), to: versionArb, rebuilds: fc.boolean() }),
  },
);

/** The statements from one version to another, column by column or table by table. */
function migrationOf(from: Version, to: Version, rebuilds: boolean): string[] {
  const statements: string[] = [];
  for (const [table, after] of Object.entries(to.tables)) {
    const before = from.tables[table];
    if (before === undefined) {
      statements.push(createTable(table, after));
      continue;
    }
    const kept = after.columns
      .filter((column) => before.columns.includes(column))
      .map((column) => readColumn(column).name);
    if (rebuilds) {
      statements.push(
        ...rebuild(
          table,
          after,
          kept.map((name) => [name, name] as const),
        ),
      );
      continue;
    }
    for (const column of before.columns)
      if (!after.columns.includes(column))
        statements.push(`ALTER TABLE ${table} DROP COLUMN ${readColumn(column).name}`);
    for (const column of after.columns)
      if (!before.columns.includes(column))
        statements.push(`ALTER TABLE ${table} ADD COLUMN ${readColumn(column).sql}`);
  }
  for (const table of Object.keys(from.tables))
    if (to.tables[table] === undefined) statements.push(`DROP TABLE ${table}`);
  return statements;
}

/** The statement of a write on a side, over the columns that it has; undefined for a table that it has not. */
function statementOf(side: Side, write: typeof writeArb extends fc.Arbitrary<infer T> ? T : never): string | undefined {
  const spec = side.version.tables[write.table];
  if (spec === undefined) return undefined;
  const { name } = readColumn(spec.columns[write.column % spec.columns.length] ?? "title");
  const value = /stars|kind/.test(name) ? `${write.value}` : `'${write.value}'`;
  switch (write.kind) {
    case "insert":
      return `INSERT INTO ${write.table} (id, ${name}) VALUES ('r${write.row}', ${value}) ON CONFLICT DO NOTHING`;
    case "update":
      return `UPDATE ${write.table} SET ${name} = ${value} WHERE id = 'r${write.row}'`;
    default:
      return `DELETE FROM ${write.table} WHERE id = 'r${write.row}'`;
  }
}

const runs = {
  drivers: fc.constantFrom<VersionedDriver>("better-sqlite3", "better-sqlite3", "wasm"),
  versions: fc.tuple(versionArb, versionArb, versionArb),
  steps: fc.array(stepArb, { minLength: 5, maxLength: 30 }),
};

test(
  "V1, V2, V3: whatever the versions, a device has the server's rows over what both know, and nothing written is lost",
  { timeout: 120_000 },
  async () => {
    await checkAsyncProperty(
      fc.asyncProperty(runs.drivers, runs.versions, runs.steps, async (driver, versions, steps) => {
        await using world = await openVersionedWorld(versions[0]);
        let pullsLeft = Number.POSITIVE_INFINITY;
        const wrap: NonNullable<Parameters<typeof world.device>[1]>["wrap"] = (transport) => ({
          ...transport,
          pull: (request, options) =>
            pullsLeft-- > 0 ? transport.pull(request, options) : Promise.reject(new Error("cut")),
        });
        const devices: VersionedDevice[] = [];
        for (const initial of [versions[1], versions[2]])
          devices.push(await world.device(initial, { driver, pageRows: 3, wrap }));
        const written: string[] = [];

        const sync = async (device: VersionedDevice, cutAfter?: number): Promise<void> => {
          pullsLeft = cutAfter ?? Number.POSITIVE_INFINITY;
          let isCut = false;
          try {
            await device.engine.sync();
          } catch (error) {
            isCut = cutAfter !== undefined && pullsLeft < 0;
            if (!isCut && !isSyncError(error, "SCHEMA_MISMATCH")) throw error;
          }
          pullsLeft = Number.POSITIVE_INFINITY;
          // Also where pushes wait: a stuck upload never stops downloads.
          if (!isCut)
            expect(await sharedBase(world.server.version, device)).toEqual(
              await sharedRows(world.server, device.version),
            );
        };
        const at = (index: number): VersionedDevice => devices[index] as VersionedDevice;
        for (const step of steps) {
          switch (step.do) {
            case "device": {
              const device = at(step.who);
              const statements = step.writes.flatMap((write) => statementOf(device, write) ?? []);
              const id = `mark${written.length}`;
              written.push(id);
              await device.write(...statements, `INSERT INTO todos (id, title) VALUES ('${id}', '${id}')`);
              break;
            }
            case "server": {
              await world.server.write(...step.writes.flatMap((write) => statementOf(world.server, write) ?? []));
              break;
            }
            case "sync":
              await sync(at(step.who), step.cutAfter);
              break;
            case "upgrade device":
              await at(step.who).upgrade(step.to, ...migrationOf(at(step.who).version, step.to, step.rebuilds));
              break;
            case "upgrade server":
              await world.server.upgrade(step.to, ...migrationOf(world.server.version, step.to, step.rebuilds));
          }
        }
        await world.server.upgrade(whole, ...migrationOf(world.server.version, whole, false));
        for (const device of devices) await device.upgrade(whole, ...migrationOf(device.version, whole, false));
        for (const device of [...devices, ...devices]) await sync(device);
        for (const device of devices) {
          expect(device.engine.state.pending).toBe(0);
          expect(await device.base()).toEqual(await sharedRows(world.server, whole));
        }
        const there = new Set((await world.server.rows("SELECT id FROM todos WHERE id = title")).map(([id]) => id));
        const told = new Set(
          (await Promise.all(devices.map((device) => device.engine.outcomes())))
            .flat()
            .flatMap(({ operations }) => operations.map(({ key }) => key[0])),
        );
        expect(written.filter((id) => !there.has(id) && !told.has(id))).toEqual([]);
      }),
      15,
    );
  },
);
