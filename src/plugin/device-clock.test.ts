import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { capture, lists, temporaryFile, type Captured, type schema } from "../testing/capture-fixture.ts";
import { hlcAt } from "../protocol/hlc.ts";
import type { Core } from "./core.ts";
import { createSyncDatabase } from "./create-sync-database.ts";
import { correctClock, readClockOffset, readTransactions } from "./device-log.ts";
import { writeMeta } from "./meta.ts";
import { metaKeys } from "./names.ts";
import { closingStatement } from "./sqlite/closing-statement.ts";

const year = 365 * 86_400_000;
const start = 1_700_000_000_000;

function device(now: () => number) {
  const it = capture({ role: "device", now });
  let written = 0;
  return {
    it,
    write: () =>
      void it.db
        .insert(lists)
        .values({ id: `l${written++}` })
        .run(),
    stamps: (): readonly number[] =>
      it.run(readTransactions(it.sync, { after: 0, limit: 100 })).map(({ hlc }) => hlc / 1024),
    correct: (offset: number, nowMs: number) => write(it, correctClock(offset, nowMs)),
  };
}
const write = <T>(it: Captured<typeof schema>, core: Core<T>): T =>
  it.connection.transaction("write", () => it.run(core));

test("P11: a device stamps by the server's clock once it knows it, and what was stamped before is put right", () => {
  let now = start - year;
  const d = device(() => now);
  using it = d.it;
  d.write();
  now += 60_000;
  d.write();
  now += 60_000;
  expect(it.run(readClockOffset())).toBeUndefined();
  d.correct(year, now);
  d.write();
  expect(d.stamps()).toEqual([start, start + 60_000, start + 120_000]);
  expect(it.run(readClockOffset())).toBe(year);
});

test("P11: a device whose clock was ahead is not dragged along by what it stamped then", () => {
  let now = start;
  const d = device(() => now);
  using _ = d.it;
  d.correct(0, now);
  d.write();
  now = start + year;
  d.write();
  now += 5000;
  d.write();
  // The server says that ten minutes have passed.
  d.correct(600_000 - year - 5000, now);
  now += 1000;
  d.write();
  expect(d.stamps()).toEqual([start, start + 595_000, start + 600_000, start + 601_000]);
});

test("P11: stamps that are moved do not fall behind those that were right", () => {
  let now = start;
  const d = device(() => now);
  using _ = d.it;
  d.correct(0, now);
  d.write();
  now = start + year;
  d.write();
  now = start + 3 * year;
  d.write();
  d.correct(1000 - 3 * year, now);
  expect(d.stamps()).toEqual([start, start, start + 1000]);
});

test("P11: stamps rise when the clock is moved back, and over a restart", () => {
  let now = start;
  const d = device(() => now);
  using it = d.it;
  d.correct(5000, now);
  d.write();
  now = start - year;
  d.write();
  expect(d.stamps().map(hlcAt)).toEqual([hlcAt(start + 5000), hlcAt(start + 5000)]);
  const again = it.run(readTransactions(it.sync, { after: 0, limit: 100 }));
  expect(again[1]?.hlc).toBe(hlcAt(start + 5000) + 1);
});

test("P11: drivers that close a transaction by a statement stamp by the server's clock, too", () => {
  using file = temporaryFile();
  using it = capture({ role: "device", path: file.path, now: () => start });
  write(it, writeMeta(metaKeys.clock, 2 * year));
  const raw = new Database(file.path);
  raw.exec("INSERT INTO lists(id) VALUES ('x')");
  const { sql, args } = closingStatement(it.sync);
  raw.prepare(sql).run(...args);
  expect(raw.prepare("SELECT mask FROM _sync_log WHERE t = 0 ORDER BY seq DESC LIMIT 1").pluck().get()).toBe(
    hlcAt(start + 2 * year),
  );
  raw.close();
});

test("P11: what an update of the app closes is stamped by the server's clock, too", async () => {
  using it = capture({ role: "device", now: () => start });
  write(it, writeMeta(metaKeys.clock, 2 * year));
  it.connection.transaction("write", () => it.connection.run("INSERT INTO lists(id) VALUES ('x')", []));
  write(it, writeMeta(metaKeys.schema, "the version before"));
  const { tables, connection } = it.sync;
  await createSyncDatabase({ tables, connection, now: () => start }).install("device");
  const [closed] = it.run(readTransactions(it.sync, { after: 0, limit: 1 }));
  expect(closed).toMatchObject({ schema: "the version before", hlc: hlcAt(start + 2 * year) });
});
