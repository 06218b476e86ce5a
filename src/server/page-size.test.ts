import { expect, test } from "vitest";
import { decodePullAnswer, encodePullAnswer } from "../protocol/page-codec.ts";
import type { HandDevice } from "../testing/hand-device.ts";
import { expectBase, openPair, openServer, someRows } from "../testing/server-fixture.ts";
import { maxPageBytes } from "./limits.ts";

const size = 300_000;
/** Rows with 300 kB each; the text of each is another one. */
const large = (from: number, to: number): string =>
  `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${to}) INSERT INTO todos (id, list_id, title, notes) SELECT 'r' || i, 'a', 'R', hex(randomblob(${size / 2})) FROM n`;

function expectSmall(device: HandDevice): void {
  for (const page of device.pages) {
    const bytes = encodePullAnswer(page);
    expect(bytes.length).toBeLessThan(2 * maxPageBytes);
    expect(decodePullAnswer(bytes)).toMatchObject({ kind: "page" });
  }
}

test("R1: pages of the log end at a number of bytes, and together bring everything", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(large(1, 60));
  await server.run(`UPDATE todos SET title = 'S' WHERE id LIKE 'r1%'`);
  await server.run(`DELETE FROM todos WHERE id = 'r20'`);
  await device.pull();
  expectSmall(device);
  expect(device.pages.length).toBeGreaterThan(3);
  expect(device.rows("todos").length).toBe(61);
  await expectBase(server, device);
});

test("R1: so do pages of long values that were updated, in columns that came together on the way", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  await server.run(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60) INSERT INTO todos (id, list_id, title) SELECT 'r' || i, 'a', 'R' FROM n`,
  );
  await device.pull();
  await server.run(`UPDATE todos SET title = 'first' WHERE id LIKE 'r%'`);
  await server.run(`UPDATE todos SET notes = hex(randomblob(${size / 2})), rank = 1 WHERE id LIKE 'r%'`);
  await server.run(`UPDATE todos SET list_id = 'b' WHERE id = 'r7'`);
  await device.pull();
  expectSmall(device);
  expect(device.pages.length).toBeGreaterThan(3);
  await expectBase(server, device);
});

test("R2: the first pages of a snapshot are no larger than the others, in each table", async () => {
  await using server = await openServer({ sql: [...someRows, large(1, 60)] });
  server.grants.set("ann", { read: ["list:a"], write: [] });
  const device = server.device("ann");
  await device.handshake();
  await device.pull();
  expectSmall(device);
  expect(device.rows("todos").length).toBe(62);
});

test("L1: what is too large for one page ends a stream, and is pulled", async () => {
  const { server, device } = await openPair();
  await using _ = server;
  const stream = server.service.stream(device.caller, device.request(), {
    carries: "pages",
    signal: new AbortController().signal,
  });
  const waiting = stream.next();
  await server.run(large(1, 40));
  expect((await waiting).value?.frame).toEqual({ kind: "end", reason: "pull" });
  await device.pull();
  expectSmall(device);
  await expectBase(server, device);
});
