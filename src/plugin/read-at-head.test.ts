import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { capture, ddl, lists, temporaryFile, type Captured, type schema } from "../testing/capture-fixture.ts";
import { run, type Core } from "./core.ts";
import { isUnstampedHead, readHead, stampHead, vouches } from "./oplog.ts";
import { readAtHead } from "./read-at-head.ts";
import { formatCursor, type Position } from "../protocol/ids.ts";

const stranger = (path: string): Database.Database => new Database(path, { timeout: 0 });
const insert = (database: Database.Database, id: string): unknown =>
  database.prepare("INSERT INTO lists(id) VALUES (?)").run(id);
const lastStamp = ({ raw }: Captured<typeof schema>): unknown =>
  raw.prepare("SELECT stamp FROM _sync_log ORDER BY seq DESC LIMIT 1").pluck().get();

test("an entry of a stranger gets its stamp when somebody first stands on it, and keeps it", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path, ddl });
  const other = stranger(file.path);
  insert(other, "a");
  expect(lastStamp(it)).toBeNull();
  expect(() => it.run(readHead())).toThrow("has no stamp yet");
  const head = readAtHead(it.connection, readHead);
  expect(head.stamp).toBe(lastStamp(it));
  expect(readAtHead(it.connection, readHead)).toEqual(head);
  expect(it.db.$sync.cursor()).toBe(formatCursor(head));
  insert(other, "b");
  expect(it.run(vouches(head))).toBe(true);
  it.connection.transaction("write", () => it.run(stampHead()));
  expect(it.run(readHead()).seq).toBe(head.seq + 1);
  other.close();
});

test("behind a transaction of ours nothing is written, though somebody else holds the lock", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path, ddl });
  it.db.insert(lists).values({ id: "a" }).run();
  const other = stranger(file.path);
  other.exec("BEGIN IMMEDIATE");
  it.raw.pragma("busy_timeout = 0");
  expect(readAtHead(it.connection, readHead).stamp).toBe(lastStamp(it));
  other.close();
});

test("I2: a backup from before an entry had its stamp vouches for no cursor that stood on it", () => {
  using file = temporaryFile();
  using restored = temporaryFile();
  using it = capture({ path: file.path, ddl });
  const other = stranger(file.path);
  insert(other, "a");
  other.exec(`VACUUM INTO '${restored.path}'`);
  other.close();
  const cursor: Position = readAtHead(it.connection, readHead);
  using again = capture({ path: restored.path, ddl: "" });
  expect(again.run(vouches(cursor))).toBe(false);
  const next = readAtHead(again.connection, readHead);
  expect(next.seq).toBe(cursor.seq);
  expect(next.stamp).not.toBe(cursor.stamp);
});

test("where strangers write all the time, the head is stamped and read in one transaction", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path, ddl });
  const other = stranger(file.path);
  let reads = 0;
  function* read(): Core<Position> {
    try {
      insert(other, `s${++reads}`);
    } catch (error) {
      // Nobody else writes now.
      expect(String(error)).toContain("locked");
    }
    return yield* readHead();
  }
  const head = readAtHead(it.connection, read);
  expect(reads).toBeGreaterThan(1);
  expect(it.run(readHead())).toEqual(head);
  expect(it.raw.prepare("SELECT count(*) FROM lists").pluck().get()).toBe(reads - 1);
  other.close();
});

test("what else goes wrong is told as it is, and nothing is stamped", () => {
  using file = temporaryFile();
  using it = capture({ path: file.path, ddl });
  const other = stranger(file.path);
  insert(other, "a");
  expect(() => readAtHead(it.connection, () => run("SELECT * FROM nowhere"))).toThrow("no such table");
  expect(lastStamp(it)).toBeNull();
  expect(isUnstampedHead(new Error("The newest entry of the log has no stamp yet."))).toBe(false);
  other.close();
});
