/**
 * Values, rows, counts and errors, statement by statement.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { isConstraintError } from "../../client/storage-error.ts";
import { all, each, run, type Core, type Rows } from "../../plugin/core.ts";
import type { Value } from "../../protocol/ids.ts";
import { faultOf } from "../../server/database-faults.ts";
import { inside, read, step, thrownBy, write, type DialectCase, type OpenedDialect } from "./dialect.ts";

/** One of every kind, with its storage class. */
const samples: readonly (readonly [Value, string])[] = [
  [null, "null"],
  ["", "text"],
  ['it\'s "quoted"?', "text"],
  ["é\u{1F600}\u{10FFFF}", "text"],
  ["123", "text"],
  [0, "integer"],
  [-1, "integer"],
  [2 ** 31, "integer"],
  [-(2 ** 31) - 1, "integer"],
  [2 ** 53 - 1, "integer"],
  [-(2 ** 53) + 1, "integer"],
  [2n ** 53n, "integer"],
  [2n ** 53n + 1n, "integer"],
  [2n ** 63n - 1n, "integer"],
  [-(2n ** 63n), "integer"],
  [0.5, "real"],
  [-1.5, "real"],
  [5e-324, "real"],
  [Number.MAX_VALUE, "real"],
  [Number.POSITIVE_INFINITY, "real"],
  [Number.NEGATIVE_INFINITY, "real"],
  [new Uint8Array(0), "blob"],
  [new Uint8Array([0, 255, 128]), "blob"],
];

const bag = "CREATE TABLE bag(i INTEGER PRIMARY KEY, v)";

const anyValue = fc.oneof(
  fc.constant(null),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }).filter((value) => !Number.isInteger(value)),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.string({ unit: "binary" }).map((text) => text.replaceAll("\0", "")),
  fc.uint8Array(),
);

/** Some drivers give Node's kind of bytes. */
const plain = (rows: Rows): Rows =>
  rows.map((row) => row.map((value) => (value instanceof Uint8Array ? new Uint8Array(value) : value)));

const narrowed = (value: Value): Value =>
  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;

async function countOf(it: OpenedDialect, sql: string, params: readonly Value[] = []): Promise<number> {
  return await inside(it, "write", () => run(sql, params));
}

export const valueCases: readonly DialectCase[] = [
  {
    name: "a value of every storage class comes back exactly, with its class",
    run: async (it) => {
      await write(it, bag);
      const rows = samples.map(([value], i): readonly Value[] => [i, value]);
      await inside(it, "write", () => each("INSERT INTO bag VALUES (?, ?)", rows));
      const stored = await read(it, "SELECT v, typeof(v) FROM bag ORDER BY i");
      assert.deepEqual(plain(stored), samples);
      for (const [value, type] of samples)
        assert.deepEqual(plain(await read(it, "SELECT ?, typeof(?)", [value, value])), [[value, type]]);
    },
  },
  {
    name: "whatever the values, a row comes back as it was bound",
    run: async (it) => {
      await write(it, bag);
      const property = fc.asyncProperty(fc.array(anyValue, { minLength: 1, maxLength: 12 }), async (values) => {
        const stored = await inside(it, "write", function* (): Core<Rows> {
          yield* run("DELETE FROM bag");
          yield* each(
            "INSERT INTO bag VALUES (?, ?)",
            values.map((value, i) => [i, value]),
          );
          return yield* all("SELECT v FROM bag ORDER BY i");
        });
        assert.deepEqual(
          plain(stored),
          values.map((value) => [narrowed(value)]),
        );
      });
      await fc.assert(property, { numRuns: 60 });
    },
  },
  {
    name: "what SQLite cannot hold becomes what it holds instead: NaN is NULL, half of a surrogate pair the marks for it",
    run: async (it) => {
      const [row] = await read(it, "SELECT ?, ?", [Number.NaN, "a\uD83Db"]);
      assert.equal(row?.[0], null);
      assert.match(String(row[1]), /^a\uFFFD+b$/);
    },
  },
  {
    name: "a text with a NUL in it comes back whole",
    limit: "nul-in-text",
    run: async (it) => {
      await write(it, bag);
      await inside(it, "write", () => run("INSERT INTO bag VALUES (1, ?)", ["a\0b"]));
      assert.deepEqual(await read(it, "SELECT v, hex(v) FROM bag"), [["a\0b", "610062"]]);
    },
  },
  {
    name: "texts and blobs of megabytes are bound and read whole",
    run: async (it) => {
      const text = "é".repeat(1_500_000);
      const bytes = new Uint8Array(3_000_000).fill(7);
      const [row] = await read(it, "SELECT ?, ?, length(?), length(?)", [text, bytes, text, bytes]);
      assert.ok(row?.[0] === text);
      assert.equal(Buffer.compare(row[1] as Uint8Array, bytes), 0);
      assert.deepEqual(row.slice(2), [text.length, bytes.length]);
    },
  },
  {
    name: "rows are arrays in the order of their columns, also of those that have one name",
    run: async (it) => {
      assert.deepEqual(await read(it, "SELECT 1 AS a, 2 AS a, 'x' AS b UNION ALL SELECT 3, 4, NULL"), [
        [1, 2, "x"],
        [3, 4, null],
      ]);
      assert.deepEqual(await read(it, "SELECT 2 AS a, 9007199254740993 AS a"), [[2, 9007199254740993n]]);
      assert.deepEqual(await read(it, "SELECT 1 WHERE 0"), []);
    },
  },
  {
    name: "question marks in names and texts are no parameters",
    run: async (it) => {
      await write(it, 'CREATE TABLE odd("what?" TEXT)');
      await inside(it, "write", () =>
        run(`INSERT INTO odd("what?") VALUES ('it''s ?' || ?)`, [Number.POSITIVE_INFINITY]),
      );
      assert.deepEqual(await read(it, `SELECT "what?" FROM odd WHERE '?' = ?`, ["?"]), [["it's ?Inf"]]);
    },
  },
  {
    name: "a statement counts the rows that it changed itself: none of a trigger or a cascade, none where nothing is to do",
    run: async (it) => {
      await write(
        it,
        "CREATE TABLE counted(id INTEGER PRIMARY KEY, n)",
        "CREATE TABLE echoed(id INTEGER REFERENCES counted(id) ON DELETE CASCADE)",
        "CREATE TRIGGER echo AFTER INSERT ON counted BEGIN INSERT INTO echoed VALUES (NEW.id), (NEW.id); END",
      );
      assert.equal(await countOf(it, "INSERT INTO counted VALUES (1, 1), (2, 2), (3, 3)"), 3);
      assert.equal(await countOf(it, "INSERT OR IGNORE INTO counted VALUES (1, 9), (4, 4)"), 1);
      assert.equal(await countOf(it, "INSERT OR IGNORE INTO counted VALUES (1, 9)"), 0);
      assert.equal(await countOf(it, "INSERT INTO counted VALUES (1, 9) ON CONFLICT DO UPDATE SET n = 9"), 1);
      assert.equal(await countOf(it, "UPDATE counted SET n = ? WHERE id > ?", [0, 2]), 2);
      assert.equal(await countOf(it, "UPDATE counted SET n = 0 WHERE id > 100"), 0);
      assert.equal(await countOf(it, "DELETE FROM counted WHERE id < 3"), 2);
      assert.equal(await countOf(it, "CREATE TABLE later(x)"), 0);
      const rows = [[1], [1], [5]];
      assert.equal(await inside(it, "write", () => each("INSERT OR IGNORE INTO counted VALUES (?, 0)", rows)), 2);
      assert.deepEqual(await read(it, "SELECT count(*) FROM echoed"), [[8]]);
    },
  },
  {
    name: "many rows of one statement store what the same rows one by one store",
    run: async (it) => {
      await write(it, "CREATE TABLE t(id TEXT PRIMARY KEY, a TEXT, b)");
      const upsert = "INSERT INTO t VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b";
      const row = fc.tuple(fc.constantFrom("1", "2", "ü"), anyValue, anyValue);
      const property = fc.asyncProperty(fc.array(row, { maxLength: 8 }), async (rows) => {
        const states: unknown[] = [];
        for (const isOne of [true, false]) {
          states.push(
            await inside(it, "write", function* (): Core<unknown> {
              yield* run("DELETE FROM t");
              let changes = 0;
              if (isOne) changes = yield* each(upsert, rows);
              else for (const params of rows) changes += yield* run(upsert, params);
              return [changes, yield* all("SELECT *, typeof(a), typeof(b), hex(a), hex(b) FROM t ORDER BY id")];
            }),
          );
        }
        assert.deepEqual(states[0], states[1]);
      });
      await fc.assert(property, { numRuns: 40 });
      assert.equal(await step(it, each(upsert, [])), 0);
    },
  },
  {
    name: "a refused row is told from other failures, and as what it is",
    run: async (it) => {
      await write(it, "INSERT INTO lists(id, slug) VALUES ('a', 's')");
      const faultsBySql = {
        "INSERT INTO lists(id) VALUES ('a')": "unique",
        "INSERT INTO lists(id, slug) VALUES ('b', 'S')": "unique",
        "INSERT INTO todos(id, list_id) VALUES ('t', 'nowhere')": "foreign-key",
        "INSERT INTO lists(id) VALUES (NULL)": "constraint",
        "INSERT INTO nodes(id) VALUES ('x')": "value",
      };
      for (const [sql, fault] of Object.entries(faultsBySql)) {
        const error = await thrownBy(() => inside(it, "write", () => run(sql)));
        assert.deepEqual([faultOf(error), isConstraintError(error)], [fault, true], sql);
      }
      for (const sql of ["INSERT INTO nowhere VALUES (1)", "SELECT nothing", "NOT SQL"]) {
        const error = await thrownBy(() => read(it, sql));
        assert.deepEqual([faultOf(error), isConstraintError(error)], [undefined, false], sql);
      }
    },
  },
];
