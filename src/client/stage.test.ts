import { sqliteTable, text } from "drizzle-orm/sqlite-core";
import { expect, test } from "vitest";
import { transact, type Core } from "../plugin/core.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { group, openDeviceFixture, type DeviceFixture } from "../testing/device-fixture.ts";
import { decodePullAnswer, encodePullAnswer } from "../protocol/page-codec.ts";
import type { Page } from "../protocol/pull.ts";
import { type DeviceSchema, deviceSchema } from "./device-schema.ts";
import { forgetChanges, readStagedChanges, stagedPages, stagePage } from "./stage.ts";

const notes = sqliteTable("notes", { id: text().primaryKey(), body: text() });
const definition = defineSync({ notes }, { notes: { scope: "everyone" } });
const ddl = "CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, body TEXT);";
/** Two of them fit. */
const text1M = "x".repeat(1024 * 1024);

/** A page as it comes from a server. */
async function pageOf(device: DeviceFixture, ...rows: readonly string[][]): Promise<Page> {
  const answer = decodePullAnswer(
    encodePullAnswer(await device.page([group("notes", "row", ["id", "body"], ...rows)])),
  );
  if (answer.kind !== "page") throw new Error("It is a page.");
  return answer;
}

const open = async () => {
  const device = await openDeviceFixture(definition, ddl);
  const schema: DeviceSchema = deviceSchema(device.sync);
  const write = async <T>(core: () => Core<T>): Promise<T> => await transact(device.sync.connection, "write", core);
  const stage = (page: Page): Promise<void> => write(() => stagePage(schema, page));
  const read = (n: number) => write(() => readStagedChanges(schema, n));
  return { device, schema, write, stage, read };
};

test("R1: the changes of a staged page are remembered, and read again once they are forgotten", async () => {
  const { device, schema, stage, read } = await open();
  const page = await pageOf(device, ["a", "A"]);
  await stage(page);
  expect(await read(1)).toBe(page.changes);
  forgetChanges(schema);
  const again = await read(1);
  expect(again).not.toBe(page.changes);
  expect(again).toEqual(page.changes);
  expect(await read(1)).toBe(again);
});

test("R1: what was rolled back is not taken for what was staged after it, under the same number and of the same size", async () => {
  const { device, schema, write, stage, read } = await open();
  const [first, second] = [await pageOf(device, ["a", "before it"]), await pageOf(device, ["a", "after it!"])];
  const failing = write(function* () {
    yield* stagePage(schema, first);
    throw new Error("Not this time.");
  });
  await expect(failing).rejects.toThrow("Not this time.");
  await stage(second);
  expect(await write(() => stagedPages())).toEqual([1]);
  expect(await read(1)).toBe(second.changes);
});

test("R1: no more than a few are remembered, and none is lost", async () => {
  const { device, stage, read } = await open();
  const pages = await Promise.all(["a", "b", "c"].map((id) => pageOf(device, [id, text1M.slice(1000)])));
  for (const page of pages) await stage(page);
  const found = [await read(1), await read(2), await read(3)];
  expect(found).toEqual(pages.map(({ changes }) => changes));
  expect(found.map((changes, i) => changes === pages[i]?.changes)).toEqual([true, true, false]);
});
