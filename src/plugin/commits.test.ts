import Database from "better-sqlite3";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { expect, test, vi } from "vitest";
import { capture, ddl, lists, schema, sync, temporaryFile } from "../testing/capture-fixture.ts";
import { createCommits } from "./commits.ts";
import { openSync, type Synced } from "./with-sync.ts";

test("what a listener throws is no failure of looking, and reaches the process by itself", async () => {
  const failed = vi.fn();
  const commits = createCommits({ look: () => Promise.resolve(undefined), begin: () => {}, failed });
  const heard = vi.fn();
  const stop = commits.on(() => {
    throw new Error("the app's");
  }, false);
  const stopOther = commits.on(heard, false);
  commits.committed(new Set(["lists"]));
  await Promise.resolve();
  expect(failed).toHaveBeenCalledOnce();
  expect(heard).toHaveBeenCalledOnce();
  stop();
  stopOther();
});

test("a log that somebody drops while we listen is installed again, and listeners go on", async () => {
  using file = temporaryFile();
  using it = capture({ path: file.path });
  const told = vi.fn();
  const stop = it.db.$sync.onChange(["lists"], told);
  const other = new Database(file.path);
  other.exec("DROP TABLE _sync_log");
  await vi.waitFor(() => expect(other.prepare("SELECT count(*) FROM _sync_log").pluck().get()).toBe(1));
  other.exec("INSERT INTO lists(id) VALUES('a')");
  await vi.waitFor(() =>
    expect(told).toHaveBeenCalledWith([expect.objectContaining({ kind: "insert" })], expect.anything()),
  );
  stop();
  other.close();
});

test("a failure of looking is told once to `onError` and ends nothing", async () => {
  const raw = new Database(":memory:");
  raw.exec(ddl);
  const onError = vi.fn();
  const db = openSync(drizzle(raw, { schema }), sync, { onError }) as Synced<ReturnType<typeof drizzle<typeof schema>>>;
  db.insert(lists).values({ id: "a" }).run();
  const told = vi.fn();
  const stop = db.$sync.onChange(["lists"], told);
  raw.exec("ALTER TABLE _sync_log RENAME COLUMN seq TO other; DROP TRIGGER _sync_i_lists");
  await vi.waitFor(() => expect(onError).toHaveBeenCalled());
  await new Promise((resolve) => setTimeout(resolve, 250));
  expect(onError).toHaveBeenCalledOnce();
  raw.exec("ALTER TABLE _sync_log RENAME COLUMN other TO seq");
  db.insert(lists).values({ id: "b" }).run();
  db.insert(lists).values({ id: "c" }).run();
  await vi.waitFor(() => expect(told).toHaveBeenCalled());
  stop();
  raw.close();
});
