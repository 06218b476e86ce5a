/**
 * What the triggers write to the log, and where the app's own way in closes a transaction.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { AppDoor, DialectCase, OpenedDialect } from "./dialect.ts";
import { headOf, inside, logOf, step, thrownBy, write } from "./dialect.ts";
import { closeStrangers, pendingCount, readTransactions } from "../../plugin/device-log.ts";

/** What statements add to the log. */
async function logged(it: OpenedDialect, ...statements: readonly string[]): Promise<readonly string[]> {
  const before = await headOf(it);
  await write(it, ...statements);
  return await logOf(it, before);
}

async function loggedBy(it: OpenedDialect, body: (app: AppDoor) => Promise<void>): Promise<readonly string[]> {
  assert.ok(it.app !== undefined, "the case says what it needs");
  const before = await headOf(it);
  await body(it.app);
  return await logOf(it, before);
}

export const captureCases: readonly DialectCase[] = [
  {
    name: "C1: raw SQL is logged as what it did: inserts, updates, deletes, upserts, ignored rows, REPLACE through any unique index",
    run: async (it) => {
      await it.sync.install("server");
      assert.deepEqual(
        await logged(it, "INSERT INTO lists(id, owner_id, slug) VALUES ('a', 'u1', 's'), ('b', NULL, 'q')"),
        ["insert lists(a) →list:a+owner:u1", "insert lists(b) →list:b"],
      );
      assert.deepEqual(await logged(it, "UPDATE lists SET owner_id = 'u2' WHERE id = 'a'"), [
        "update lists(a) list:a+owner:u1→list:a+owner:u2",
      ]);
      assert.deepEqual(await logged(it, "INSERT INTO lists(id) VALUES ('a') ON CONFLICT DO UPDATE SET title = 'up'"), [
        "update lists(a) list:a+owner:u2→list:a+owner:u2",
      ]);
      assert.deepEqual(
        await logged(
          it,
          "INSERT OR IGNORE INTO lists(id) VALUES ('a')",
          "INSERT INTO lists(id) VALUES ('a') ON CONFLICT DO NOTHING",
          "DELETE FROM lists WHERE id = 'nobody'",
        ),
        [],
      );
      // The new row takes the slug of one and the key of none: a row goes that the statement does not name.
      assert.deepEqual(await logged(it, "REPLACE INTO lists(id, slug) VALUES ('c', 'S')"), [
        "delete lists(a) list:a+owner:u2→",
        "insert lists(c) →list:c",
      ]);
      assert.deepEqual(await logged(it, "UPDATE OR REPLACE lists SET slug = 'q' WHERE id = 'c'"), [
        "delete lists(b) list:b→",
        "update lists(c) list:c→list:c",
      ]);
      assert.deepEqual(await logged(it, "DELETE FROM lists"), ["delete lists(c) list:c→"]);
    },
  },
  {
    name: "C1: a cascade and an app's own triggers are logged, and a rollback leaves no trace",
    run: async (it) => {
      await write(
        it,
        "CREATE TRIGGER app_touch AFTER INSERT ON todos BEGIN UPDATE lists SET title = NEW.id WHERE id = NEW.list_id; END",
      );
      await it.sync.install("server");
      await write(it, "INSERT INTO lists(id) VALUES ('a')");
      assert.deepEqual(await logged(it, "INSERT INTO todos(id, list_id) VALUES ('t', 'a')"), [
        "insert todos(t) →list:a",
        "update lists(a) list:a→list:a",
      ]);
      const before = await headOf(it);
      await thrownBy(() =>
        inside(it, "write", function* () {
          yield { kind: "run", sql: "DELETE FROM lists", params: [] } as const;
          throw new Error("no");
        }),
      );
      assert.deepEqual(await logOf(it, before), []);
      assert.deepEqual([...(await logged(it, "DELETE FROM lists"))].sort(), [
        "delete lists(a) list:a→",
        "delete todos(t) list:a→",
      ]);
    },
  },
  {
    name: "C7, C8: a key that changes is a delete and an insert, and takes along what inherits from it",
    run: async (it) => {
      await it.sync.install("server");
      await write(
        it,
        "INSERT INTO lists(id) VALUES ('a'), ('b')",
        "INSERT INTO todos(id, list_id) VALUES ('t', 'a')",
        "INSERT INTO comments VALUES ('c', 't', '')",
      );
      assert.deepEqual(await logged(it, "UPDATE todos SET id = 'u' WHERE id = 't'"), [
        "moved comments(c) list:a→",
        "update comments(c) →list:a",
        "delete todos(t) list:a→",
        "insert todos(u) →list:a",
        "update todos(u) list:a→list:a",
        "moved comments(c) →list:a",
      ]);
      assert.deepEqual(await logged(it, "UPDATE todos SET list_id = 'b'"), [
        "update todos(u) list:a→list:b",
        "moved comments(c) list:a→list:b",
      ]);
    },
  },
  {
    name: "C2: triggers call nothing but SQLite's own functions, so that every connection can write",
    run: async (it) => {
      for (const role of ["server", "device"] as const) {
        await it.sync.install(role);
        const builtin = new Set(
          (await it.connection.all("SELECT name FROM pragma_function_list WHERE builtin = 1", [])).map(
            ([name]) => name,
          ),
        );
        const triggers = await it.connection.all(
          "SELECT sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE '\\_sync%' ESCAPE '\\'",
          [],
        );
        assert.ok(triggers.length > 10);
        const called = new Set(triggers.flatMap(([sql]) => functionsIn(String(sql))));
        assert.deepEqual(
          [...called].filter((name) => !builtin.has(name)),
          [],
        );
        // On a device none is called at all; on a server where several columns make up a row's scopes.
        assert.equal(called.size > 0, role === "server");
      }
    },
  },
  {
    name: "C5: each statement of the app is a transaction, and a transaction is one, with savepoints in it",
    needs: ["app"],
    run: async (it) => {
      await it.sync.install("server");
      const told = await loggedBy(it, async (app) => {
        await app.execute("INSERT INTO lists(id) VALUES ('a')");
        await app.execute("SELECT * FROM lists");
        await app.execute("UPDATE lists SET title = 'x' WHERE id = 'nobody'");
        await app.execute("DELETE FROM lists");
        await app.transaction([
          "INSERT INTO lists(id) VALUES ('b')",
          "SAVEPOINT one",
          "INSERT INTO lists(id) VALUES ('c')",
          "ROLLBACK TO one",
          "RELEASE one",
          "INSERT INTO lists(id) VALUES ('d')",
        ]);
      });
      assert.deepEqual(told, [
        "insert lists(a) →list:a",
        "—",
        "delete lists(a) list:a→",
        "—",
        "insert lists(b) →list:b",
        "insert lists(d) →list:d",
        "—",
      ]);
    },
  },
  {
    name: "C5: what only reads writes nothing, and what fails leaves neither a trace nor an open transaction",
    needs: ["app"],
    run: async (it) => {
      await it.sync.install("server");
      await write(it, "INSERT INTO lists(id) VALUES ('a')");
      const failure = new Error("no");
      const told = await loggedBy(it, async (app) => {
        await app.transaction(["SELECT * FROM lists"]);
        assert.equal(await thrownBy(() => app.transaction(["INSERT INTO lists(id) VALUES ('b')"], failure)), failure);
        await thrownBy(() => app.execute("INSERT INTO lists(id) VALUES ('a')"));
        await thrownBy(() => app.transaction(["DELETE FROM lists", "INSERT INTO nowhere VALUES (1)"]));
      });
      assert.deepEqual(told, []);
      await inside(it, "write", function* () {});
    },
  },
  {
    name: "C5: entries that strangers left open join the next transaction, none is split",
    needs: ["app"],
    run: async (it) => {
      await it.sync.install("server");
      const told = await loggedBy(it, async (app) => {
        await write(it, "INSERT INTO lists(id) VALUES ('s')", "INSERT INTO lists(id) VALUES ('t')");
        await app.execute("INSERT INTO lists(id) VALUES ('a')");
      });
      assert.deepEqual(told, ["insert lists(s) →list:s", "insert lists(t) →list:t", "insert lists(a) →list:a", "—"]);
    },
  },
  {
    name: "C5: a device numbers its transactions, and closes what strangers left open before a push, apart from its own",
    run: async (it) => {
      await it.sync.install("device");
      await write(it, "INSERT INTO lists(id) VALUES ('s')", "INSERT INTO lists(id) VALUES ('t')");
      await inside(it, "write", () => closeStrangers(it.sync));
      await write(it, "INSERT INTO members(list_id, rank) VALUES ('s', 1)");
      await inside(it, "write", () => closeStrangers(it.sync));
      await inside(it, "write", () => closeStrangers(it.sync));
      const transactions = await step(it, readTransactions(it.sync, { after: 0, limit: 10 }));
      assert.deepEqual(
        transactions.map(({ number, entries }) => [
          number,
          ...entries.map(({ table, key }) => `${table.key} ${key.join()}`),
        ]),
        [
          [1, "lists s", "lists t"],
          [2, "members s,1"],
        ],
      );
      assert.ok((transactions[1]?.hlc ?? 0) > (transactions[0]?.hlc ?? 0));
      assert.equal(await step(it, pendingCount()), 2);
    },
  },
  {
    name: "C5: the app's transactions on a device are numbered one by one, apart from those of strangers",
    needs: ["app"],
    run: async (it) => {
      await it.sync.install("device");
      await loggedApart(it);
      const transactions = await step(it, readTransactions(it.sync, { after: 0, limit: 10 }));
      assert.deepEqual(
        transactions.map(({ number, entries }) => [number, ...entries.map(({ key }) => key.join())]),
        [
          [1, "a"],
          [2, "s"],
          [3, "b", "c"],
        ],
      );
    },
  },
];

async function loggedApart(it: OpenedDialect): Promise<void> {
  assert.ok(it.app !== undefined);
  await it.app.execute("INSERT INTO lists(id) VALUES ('a')");
  await write(it, "INSERT INTO lists(id) VALUES ('s')");
  await inside(it, "write", () => closeStrangers(it.sync));
  await it.app.transaction(["INSERT INTO lists(id) VALUES ('b')", "INSERT INTO lists(id) VALUES ('c')"]);
}

const notFunctions = new Set(
  "raise insert into values in exists and or not on as when then else from where select set into key references check over filter match".split(
    " ",
  ),
);

/** The functions that a statement calls: words before a bracket, without texts, comments, keywords and tables' columns. */
function functionsIn(sql: string): readonly string[] {
  const bare = sql.replace(/--[^\n]*|'(?:[^']|'')*'|"(?:[^"]|"")*"/g, " ").replace(/\bINTO\s+\w*\s*\(/gi, " INTO (");
  return [...bare.matchAll(/\b([a-z_]\w*)\s*\(/gi)]
    .map(([, name]) => (name ?? "").toLowerCase())
    .filter((name) => !notFunctions.has(name));
}
