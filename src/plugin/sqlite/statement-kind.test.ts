import { expect, test } from "vitest";
import { statementKind, type StatementKind } from "./statement-kind.ts";

const cases: readonly (readonly [sql: string, kind: StatementKind])[] = [
  ["SELECT 1", "read"],
  ["  -- a comment\n/* another */ select 1", "read"],
  ["VALUES (1)", "read"],
  ["EXPLAIN QUERY PLAN DELETE FROM t", "read"],
  ["WITH a AS (SELECT 1) SELECT * FROM a", "read"],
  ["WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "write"],
  ["insert into t values(1) returning *", "write"],
  ["REPLACE INTO t VALUES(1)", "write"],
  ["UPDATE t SET a = 1", "write"],
  ["DELETE FROM t", "write"],
  ["CREATE TABLE t(a)", "schema"],
  ["DROP TABLE t", "schema"],
  ["ALTER TABLE t ADD COLUMN a", "schema"],
  ["ALTER TABLE t RENAME TO u", "schema"],
  ["ALTER TABLE `t` DROP COLUMN `a`", "drop-column"],
  ["BEGIN IMMEDIATE", "begin"],
  ["commit", "commit"],
  ["END TRANSACTION", "commit"],
  ["ROLLBACK", "rollback"],
  ["rollback to savepoint sp0", "other"],
  ["SAVEPOINT sp0", "other"],
  ["release savepoint sp0", "other"],
  ["PRAGMA journal_mode = WAL", "other"],
  ["VACUUM", "other"],
  ["", "other"],
];

for (const [sql, kind] of cases) {
  test(`\`${sql.replaceAll("\n", " ")}\` is ${kind}`, () => {
    expect(statementKind(sql)).toBe(kind);
  });
}
