/**
 * Transactions, savepoints, and statements that are kept while the schema changes under them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { all, each, first, run, type Core, type TransactionMode } from "../../plugin/core.ts";
import { muted } from "../../plugin/mute.ts";
import { inside, read, step, thrownBy, write, type DialectCase, type OpenedDialect } from "./dialect.ts";

const modes: readonly TransactionMode[] = ["read", "write", "apply", "page"];

async function idsOf(it: OpenedDialect): Promise<readonly unknown[]> {
  return (await read(it, "SELECT id FROM lists ORDER BY id")).map(([id]) => id);
}

const insertList = (id: string): Core<number> => run("INSERT INTO lists(id) VALUES (?)", [id]);

export const transactionCases: readonly DialectCase[] = [
  {
    name: "a transaction answers what its body answers, throws what it throws, and then has changed nothing",
    run: async (it) => {
      for (const mode of modes) {
        assert.equal(await inside(it, mode, () => countLists()), 0);
        const failure = new Error("no");
        const thrown = await thrownBy(() =>
          inside(it, mode, function* (): Core<void> {
            if (mode !== "read") yield* insertList("a");
            throw failure;
          }),
        );
        assert.equal(thrown, failure);
      }
      await inside(it, "write", () => insertList("a"));
      await inside(it, "apply", () => insertList("b"));
      assert.deepEqual(await idsOf(it), ["a", "b"]);
    },
  },
  {
    name: "a core may catch a failed statement and go on",
    run: async (it) => {
      await inside(it, "write", function* (): Core<void> {
        yield* insertList("a");
        for (const failing of [() => insertList("a"), () => each("INSERT INTO lists(id) VALUES (?)", [["b"], ["a"]])]) {
          let isCaught = false;
          try {
            yield* failing();
          } catch {
            isCaught = true;
          }
          assert.ok(isCaught);
        }
        yield* insertList("c");
      });
      // A statement that fails is undone, the rows that `each` wrote before are not.
      assert.deepEqual(await idsOf(it), ["a", "b", "c"]);
    },
  },
  {
    name: "savepoints nest: what one rolls back is gone, what another releases stays",
    run: async (it) => {
      await inside(it, "write", function* (): Core<void> {
        yield* insertList("a");
        yield* run("SAVEPOINT outer_one");
        yield* insertList("b");
        yield* run("SAVEPOINT inner_one");
        yield* insertList("c");
        yield* run("ROLLBACK TO inner_one");
        yield* run("RELEASE inner_one");
        yield* insertList("d");
        yield* run("RELEASE outer_one");
        yield* run("SAVEPOINT outer_one");
        yield* insertList("e");
        yield* run("ROLLBACK TO outer_one");
        yield* run("RELEASE outer_one");
      });
      assert.deepEqual(await idsOf(it), ["a", "b", "d"]);
    },
  },
  {
    name: "transactions are never nested: the inner one is refused, and the outer one goes on",
    run: async (it) => {
      const { connection } = it;
      if (connection.kind === "sync") {
        connection.transaction("write", () => {
          connection.run("INSERT INTO lists(id) VALUES ('a')", []);
          for (const mode of modes) assert.throws(() => connection.transaction(mode, () => {}));
          assert.deepEqual(connection.all("PRAGMA foreign_keys", []), [[1]]);
        });
      } else {
        await connection.transaction("write", async (inner) => {
          await inner.run("INSERT INTO lists(id) VALUES ('a')", []);
          for (const mode of modes) await assert.rejects(inner.transaction(mode, () => Promise.resolve()));
        });
      }
      assert.deepEqual(await idsOf(it), ["a"]);
    },
  },
  {
    name: "a transaction that cannot be committed is rolled back, and the connection works on",
    run: async (it) => {
      // This key is checked at the end.
      const orphan = (): Core<number> => run("INSERT INTO comments(id, todo_id) VALUES ('c', 'nowhere')");
      await thrownBy(() => inside(it, "write", orphan));
      assert.deepEqual(await read(it, "SELECT count(*) FROM comments"), [[0]]);
      await inside(it, "write", () => insertList("a"));
      assert.deepEqual(await idsOf(it), ["a"]);
    },
  },
  {
    name: "A4: an applying transaction has foreign keys off, so that nothing cascades, and on again after it, also when it fails",
    run: async (it) => {
      await write(it, "INSERT INTO lists(id) VALUES ('a')", "INSERT INTO todos(id, list_id) VALUES ('t', 'a')");
      await inside(it, "apply", function* (): Core<void> {
        assert.deepEqual(yield* first("PRAGMA foreign_keys"), [0]);
        yield* run("DELETE FROM lists");
        yield* run("INSERT INTO todos(id, list_id) VALUES ('u', 'nowhere')");
      });
      assert.deepEqual(await read(it, "SELECT id FROM todos ORDER BY id"), [["t"], ["u"]]);
      assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      await thrownBy(() =>
        inside(it, "apply", function* (): Core<void> {
          yield* run("DELETE FROM todos");
          yield* run("INSERT INTO nowhere VALUES (1)");
        }),
      );
      assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      await thrownBy(() => inside(it, "write", () => run("INSERT INTO todos(id, list_id) VALUES ('v', 'nowhere')")));
      assert.deepEqual(await read(it, "SELECT id FROM todos ORDER BY id"), [["t"], ["u"]]);
    },
  },
  {
    name: "A4: a page becomes what it would with foreign keys off, whatever keys would have done, and keys are on again after it",
    run: async (it) => {
      const page = (...statements: readonly string[]): Promise<void> =>
        inside(it, "page", function* (): Core<void> {
          for (const sql of statements) yield* run(sql);
        });
      await write(it, "INSERT INTO lists(id) VALUES ('a'), ('b')", "INSERT INTO todos(id, list_id) VALUES ('t', 'a')");
      await write(
        it,
        "INSERT INTO comments(id, todo_id) VALUES ('c', 't')",
        "INSERT INTO replies VALUES ('r', 'c', '')",
      );
      // Nothing that a key could say anything about; a cascade; SET NULL; a missing parent, seen at once and at the commit.
      await page("UPDATE todos SET title = 'one' WHERE id = 't'", "INSERT INTO lists(id) VALUES ('d')");
      await page("DELETE FROM lists WHERE id = 'a'");
      for (let i = 0; i < 40; i++) await page(`UPDATE lists SET title = '${i}' WHERE id = 'b'`);
      await page(
        "UPDATE lists SET id = 'e' WHERE id = 'b'",
        "DELETE FROM comments",
        "INSERT INTO lists(id) VALUES ('f')",
      );
      for (let i = 0; i < 40; i++) await page(`UPDATE lists SET title = '${i}' WHERE id = 'e'`);
      await page("INSERT INTO todos(id, list_id) VALUES ('u', 'nowhere')");
      for (let i = 0; i < 40; i++) await page(`UPDATE lists SET title = '${i}' WHERE id = 'e'`);
      await page("INSERT INTO comments(id, todo_id) VALUES ('k', 'nowhere')");
      assert.deepEqual(await idsOf(it), ["d", "e", "f"]);
      assert.deepEqual(await read(it, "SELECT id, list_id, title FROM todos ORDER BY id"), [
        ["t", "a", "one"],
        ["u", "nowhere", null],
      ]);
      assert.deepEqual(await read(it, "SELECT id, todo_id FROM comments"), [["k", "nowhere"]]);
      assert.deepEqual(await read(it, "SELECT id, comment_id FROM replies"), [["r", "c"]]);
      assert.deepEqual(await read(it, "PRAGMA foreign_keys"), [[1]]);
      await thrownBy(() => inside(it, "write", () => run("INSERT INTO todos(id, list_id) VALUES ('v', 'nowhere')")));
    },
  },
  {
    name: "statements that were kept follow the schema: a column more, a column less, a table made anew",
    run: async (it) => {
      await write(it, "CREATE TABLE kept(id INTEGER PRIMARY KEY, a)", "INSERT INTO kept VALUES (1, 'x')");
      const query = "SELECT * FROM kept WHERE id > ?";
      assert.deepEqual(await read(it, query, [0]), [[1, "x"]]);
      await write(it, "ALTER TABLE kept ADD COLUMN b DEFAULT 'new'");
      assert.deepEqual(await read(it, query, [0]), [[1, "x", "new"]]);
      await write(it, "ALTER TABLE kept DROP COLUMN a");
      assert.deepEqual(await read(it, query, [0]), [[1, "new"]]);
      await write(it, "DROP TABLE kept");
      await thrownBy(() => read(it, query, [0]));
      await write(
        it,
        "CREATE TABLE kept(id INTEGER PRIMARY KEY, one, two, three)",
        "INSERT INTO kept VALUES (1, 1, 2, 3)",
      );
      assert.deepEqual(await read(it, query, [0]), [[1, 1, 2, 3]]);
    },
  },
  {
    name: "more statements than are kept do no harm",
    run: async (it) => {
      for (let round = 0; round < 2; round++)
        for (let i = 0; i < 700; i++) assert.deepEqual(await read(it, `SELECT ${i}, ?`, [round]), [[i, round]]);
    },
  },
  {
    name: "C6: muted work is not logged, nested muting ends with the outermost, and a failure leaves capture on",
    run: async (it) => {
      await it.sync.install("device");
      const rows = "SELECT k0 FROM _sync_log WHERE t > 0";
      await inside(it, "write", () =>
        muted(
          (function* (): Core<void> {
            yield* insertList("a");
            yield* muted(insertList("b"));
            yield* insertList("c");
          })(),
        ),
      );
      assert.deepEqual(await read(it, rows), []);
      await thrownBy(() => inside(it, "write", () => muted(run("INSERT INTO nowhere VALUES (1)"))));
      await inside(it, "write", () => insertList("d"));
      assert.deepEqual(await read(it, rows), [["d"]]);
      assert.deepEqual(await step(it, all("SELECT count(*) FROM _sync_mute")), [[0]]);
    },
  },
];

function* countLists(): Core<number> {
  return Number((yield* first("SELECT count(*) FROM lists"))?.[0]);
}
