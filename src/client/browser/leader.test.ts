import { expect, test } from "vitest";
import { createGate } from "./gate.ts";
import { createLeader } from "./leader.ts";
import type { Asker, Leader } from "./leader.ts";
import type { WorkerConnection } from "./sqlite/connection.ts";
import { openMemoryConnection } from "../../testing/browser/memory-connection.ts";
import type { QueryMethod, StatementAnswer, StatementText } from "./worker-messages.ts";

interface World extends AsyncDisposable {
  readonly connection: WorkerConnection;
  readonly leader: Leader;
  readonly commits: string[][];
  readonly pushed: unknown[];
  closings: number;
  ask(request: Parameters<Leader["handle"]>[0], asker?: Partial<Asker>): Promise<unknown>;
}

async function makeWorld(options: { readonly idleTransactionMs?: number } = {}): Promise<World> {
  const connection = await openMemoryConnection();
  connection.script("CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER); CREATE TABLE u (id TEXT PRIMARY KEY)");
  const commits: string[][] = [];
  const pushed: unknown[] = [];
  let id = 0;
  const leader = createLeader({
    connection,
    gate: createGate(),
    closeTransaction: () => void world.closings++,
    onCommit: (tables) => commits.push([...tables]),
    callSync: () => Promise.resolve(),
    ...options,
  });
  const world: World = {
    connection,
    leader,
    commits,
    pushed,
    closings: 0,
    ask: (request, asker = {}) =>
      leader.handle(request, {
        client: "a",
        isRemote: false,
        id: ++id,
        oldestWrite: 0,
        isRepeat: false,
        watcher: {
          rows: (watch, answer) => pushed.push([watch, answer.rows]),
          failed: (watch, error) => pushed.push([watch, String(error)]),
        },
        ...asker,
      }),
    [Symbol.asyncDispose]: async () => {
      leader.close();
      connection.close();
    },
  };
  return world;
}

const text = (sql: string, params: readonly unknown[] = [], method: QueryMethod = "all"): StatementText => ({
  sql,
  params,
  method,
});
const insert = (id: string, n = 0): StatementText => text("INSERT INTO t VALUES (?, ?) RETURNING id", [id, n]);
const rows = (answer: unknown): unknown => (answer as StatementAnswer).rows;
const settle = (ms = 20): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("a statement outside a transaction waits until the open one ends", async () => {
  await using world = await makeWorld();
  await world.ask({ op: "begin", tx: "1" });
  await world.ask({ op: "statement", statement: insert("in"), tx: "1" });
  const outside = world.ask({ op: "statement", statement: text("SELECT count(*) FROM t") }, { client: "b" });
  const second = world.ask({ op: "begin", tx: "1" }, { client: "b" });
  await world.ask({ op: "end", tx: "1", commit: false });
  expect(rows(await outside)).toEqual([[0]]);
  await second;
  await world.ask({ op: "end", tx: "1", commit: true }, { client: "b" });
});

test("an idle transaction is rolled back, and says so", async () => {
  await using world = await makeWorld({ idleTransactionMs: 10 });
  await world.ask({ op: "begin", tx: "1" });
  await world.ask({ op: "statement", statement: insert("x"), tx: "1" });
  const answer = await world.ask({ op: "statement", statement: text("SELECT count(*) FROM t") });
  expect(rows(answer)).toEqual([[0]]);
  await expect(world.ask({ op: "statement", statement: insert("y"), tx: "1" })).rejects.toThrow("idle for 10 ms");
});

test("a batch is one atomic step", async () => {
  await using world = await makeWorld();
  await expect(world.ask({ op: "batch", statements: [insert("1"), insert("1")] })).rejects.toThrow("UNIQUE");
  await world.ask({ op: "batch", statements: [insert("1"), insert("2")] });
  expect(world.connection.all("SELECT id FROM t", [])).toEqual([["1"], ["2"]]);
  expect(world.closings).toBe(1);
  expect(world.commits.map((tables) => tables.filter((name) => !name.startsWith("_")))).toEqual([["t"]]);
});

test("C5: only a transaction that wrote is closed", async () => {
  await using world = await makeWorld();
  await world.ask({ op: "begin", tx: "1" });
  await world.ask({ op: "statement", statement: text("SELECT * FROM t"), tx: "1" });
  await world.ask({ op: "end", tx: "1", commit: true });
  await world.ask({ op: "statement", statement: text("UPDATE t SET n = 1 WHERE id = 'none'") });
  expect([world.closings, world.commits]).toEqual([0, []]);
  await world.ask({ op: "statement", statement: insert("1") });
  expect(world.closings).toBe(1);
});

test("a write that was done is answered, not repeated, when another tab sends it again", async () => {
  await using world = await makeWorld();
  const write = { op: "statement", statement: insert("1", 7) } as const;
  const first = await world.ask(write, { client: "b", isRemote: true, id: 5 });
  const again = await world.ask(write, { client: "b", isRemote: true, id: 5, isRepeat: true });
  expect(again).toEqual(first);
  expect(world.connection.all("SELECT count(*) FROM t", [])).toEqual([[1]]);
  // An answer that the tab has is dropped with its next write.
  await world.ask({ op: "statement", statement: insert("2") }, { client: "b", isRemote: true, id: 6, oldestWrite: 6 });
  expect(world.connection.all("SELECT id FROM _sync_answers", [])).toEqual([[6]]);
});

test("a commit that was lost on the way is recognized; one that never happened is lost", async () => {
  await using world = await makeWorld();
  const remote = { client: "b", isRemote: true };
  await world.ask({ op: "begin", tx: "1" }, remote);
  await world.ask({ op: "statement", statement: insert("1"), tx: "1" }, remote);
  await world.ask({ op: "end", tx: "1", commit: true }, { ...remote, id: 9 });
  await world.ask({ op: "end", tx: "1", commit: true }, { ...remote, id: 9, isRepeat: true });
  await expect(world.ask({ op: "end", tx: "2", commit: true }, { ...remote, id: 10, isRepeat: true })).rejects.toThrow(
    "nothing of it was committed",
  );
});

test("the transaction, live queries and answers of a tab that is gone go with it", async () => {
  await using world = await makeWorld();
  const remote = { client: "b", isRemote: true };
  await world.ask({ op: "statement", statement: insert("0") }, remote);
  await world.ask({ op: "watch", watch: "w", statement: text("SELECT id FROM t") }, remote);
  await world.ask({ op: "begin", tx: "1" }, remote);
  await world.ask({ op: "statement", statement: insert("1"), tx: "1" }, remote);
  world.leader.clientGone("b");
  await world.ask({ op: "statement", statement: insert("2") });
  await settle();
  expect(world.connection.all("SELECT id FROM t", [])).toEqual([["0"], ["2"]]);
  expect(world.connection.all("SELECT * FROM _sync_answers", [])).toEqual([]);
  expect(world.pushed).toEqual([]);
});

test("a live query is told of commits to its tables, and only when its rows changed", async () => {
  await using world = await makeWorld();
  const query = text("SELECT id FROM t WHERE n > ?", [5]);
  expect(rows(await world.ask({ op: "watch", watch: "w", statement: query }))).toEqual([]);
  await world.ask({ op: "statement", statement: insert("low", 1) });
  await world.ask({ op: "statement", statement: text("INSERT INTO u VALUES ('1')") });
  await settle();
  expect(world.pushed).toEqual([]);
  await world.ask({ op: "statement", statement: insert("high", 9) });
  await settle();
  expect(world.pushed).toEqual([["w", [["high"]]]]);
  await world.ask({ op: "unwatch", watch: "w" });
  await world.ask({ op: "statement", statement: insert("higher", 10) });
  await settle();
  expect(world.pushed).toHaveLength(1);
});

test("a live query shows nothing of an open transaction", async () => {
  await using world = await makeWorld();
  await world.ask({ op: "watch", watch: "w", statement: text("SELECT count(*) FROM t") });
  await world.ask({ op: "statement", statement: insert("1") });
  await world.ask({ op: "begin", tx: "1" });
  await world.ask({ op: "statement", statement: insert("2"), tx: "1" });
  await settle();
  expect(world.pushed).toEqual([]);
  await world.ask({ op: "end", tx: "1", commit: false });
  await settle();
  expect(world.pushed).toEqual([["w", [[1]]]]);
});

test("a query that fails later tells its watchers and leaves the others alone", async () => {
  await using world = await makeWorld();
  await world.ask({ op: "watch", watch: "bad", statement: text("SELECT json_extract(id, '$') FROM t") });
  await world.ask({ op: "watch", watch: "good", statement: text("SELECT id FROM t") });
  await world.ask({ op: "statement", statement: insert("no json") });
  await settle();
  expect(world.pushed).toContainEqual(["good", [["no json"]]]);
  expect(world.pushed).toContainEqual(["bad", expect.stringContaining("malformed JSON")]);
});

test("`get` on no row answers undefined", async () => {
  await using world = await makeWorld();
  expect(rows(await world.ask({ op: "statement", statement: text("SELECT * FROM t", [], "get") }))).toBeUndefined();
});

test("statements that would open or end a transaction behind the others' backs are refused", async () => {
  await using world = await makeWorld();
  await expect(world.ask({ op: "statement", statement: text("BEGIN") })).rejects.toThrow("db.transaction");
  await world.ask({ op: "begin", tx: "1" });
  await expect(world.ask({ op: "statement", statement: text("commit"), tx: "1" })).rejects.toThrow("db.transaction");
  await world.ask({ op: "statement", statement: text("savepoint sp1"), tx: "1" });
  await world.ask({ op: "statement", statement: text("rollback to savepoint sp1"), tx: "1" });
  await world.ask({ op: "end", tx: "1", commit: false });
});
