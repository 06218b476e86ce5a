/**
 * The app of the kill test. Its rows say who wrote them: each transaction begins with a row of the append-only table `ops`,
 * and puts that row's id into the column `by` of all that it writes. On the server an audit table, filled by triggers of
 * the app, keeps the order and the values of all changes, which the oplog does not (rule C3).
 *
 * @module
 */

import type Database from "better-sqlite3";
import { index, integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { defineSync } from "../../plugin/define-sync.ts";
import { clientWins, custom } from "../../protocol/conflict.ts";

export const ops = sqliteTable("ops", {
  id: text().primaryKey(),
  author: text().notNull(),
  n: integer().notNull(),
});

/** Never inserted or deleted after the start. Transfers keep the sum of a room. */
export const accounts = sqliteTable("accounts", {
  id: text().primaryKey(),
  room: text().notNull(),
  balance: integer().notNull(),
  by: text().notNull(),
});

/** Never inserted or deleted after the start. Each write has a value of its own. */
export const registers = sqliteTable("registers", {
  id: text().primaryKey(),
  room: text().notNull(),
  by: text().notNull(),
});

export const boards = sqliteTable("boards", {
  id: text().primaryKey(),
  room: text().notNull(),
  name: text().notNull(),
  by: text().notNull(),
});

export const cards = sqliteTable(
  "cards",
  {
    id: text().primaryKey(),
    boardId: text("board_id")
      .notNull()
      .references(() => boards.id, { onDelete: "cascade" }),
    title: text().notNull(),
    slot: text().unique(),
    by: text().notNull(),
  },
  (table) => [index("cards_board").on(table.boardId)],
);

export const schema = { ops, accounts, registers, boards, cards };

export const sync = defineSync(schema, {
  ops: { scope: { author: "author" } },
  // A transfer that meets another one is made on top of it. The mark makes what was merged differ from what its writer saw:
  // a value alone could by chance be the one that the next transfer wants, which by value is no conflict.
  accounts: {
    scope: { room: "room" },
    conflict: custom(({ base, client, server }) => {
      if (!server || !client || base?.balance === undefined) return "server";
      const balance = server.balance + client.balance - base.balance;
      // A restored server may merge the same transaction again, with another result: that is another value.
      return { ...server, balance, by: `${client.by}+${balance}` };
    }),
  },
  registers: { scope: { room: "room" } },
  boards: { scope: { room: "room" } },
  cards: { scopeFrom: "boardId", conflict: clientWins() },
});

export const tables = ["ops", "accounts", "registers", "boards", "cards"] as const;

const ddl = (balance: string): string => `
CREATE TABLE IF NOT EXISTS ops (id TEXT PRIMARY KEY NOT NULL, author TEXT NOT NULL, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (id TEXT PRIMARY KEY NOT NULL, room TEXT NOT NULL, balance INTEGER NOT NULL ${balance}, by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS registers (id TEXT PRIMARY KEY NOT NULL, room TEXT NOT NULL, by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS boards (id TEXT PRIMARY KEY NOT NULL, room TEXT NOT NULL, name TEXT NOT NULL, by TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cards (id TEXT PRIMARY KEY NOT NULL, board_id TEXT NOT NULL REFERENCES boards (id) ON DELETE CASCADE,
  title TEXT NOT NULL, slot TEXT, by TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS cards_slot_unique ON cards (slot);
CREATE INDEX IF NOT EXISTS cards_board ON cards (board_id);
`;

/** A device may write what the server refuses: only there is a balance never negative. */
export const deviceDdl = ddl("");

const columnsOf: Readonly<Record<(typeof tables)[number], readonly string[]>> = {
  ops: ["id", "author", "n"],
  accounts: ["id", "room", "balance", "by"],
  registers: ["id", "room", "by"],
  boards: ["id", "room", "name", "by"],
  cards: ["id", "board_id", "title", "slot", "by"],
};

const imageOf = (table: (typeof tables)[number], row: string): string =>
  `json_object(${columnsOf[table].map((column) => `'${column}', ${row}.${column}`).join(", ")})`;

const auditDdl = tables
  .flatMap((table) => {
    // A row of `ops` is noted before the library's own trigger notes it: the log's head is the one before the transaction.
    const when = table === "ops" ? "BEFORE" : "AFTER";
    return (["insert", "update", "delete"] as const).map(
      (kind) => `CREATE TRIGGER audit_${table}_${kind} ${when} ${kind.toUpperCase()} ON ${table} BEGIN
  INSERT INTO audit (tbl, kind, k, old, new, head) VALUES ('${table}', '${kind}', ${kind === "delete" ? "old" : "new"}.id,
    ${kind === "insert" ? "NULL" : imageOf(table, "old")}, ${kind === "delete" ? "NULL" : imageOf(table, "new")},
    (SELECT coalesce(max(seq), 0) FROM _sync_log));
END;`,
    );
  })
  .join("\n");

// The first rows are there before the library is.
const auditOfSeed = (["ops", "accounts", "registers"] as const)
  .map(
    (table) => `INSERT INTO audit (tbl, kind, k, new, head)
  SELECT '${table}', 'insert', id, ${imageOf(table, table)}, -1 FROM ${table} ORDER BY id;`,
  )
  .join("\n");

const serverDdl = `${ddl("CHECK (balance >= 0)")}
CREATE TABLE audit (seq INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, kind TEXT NOT NULL, k TEXT NOT NULL, old TEXT, new TEXT, head INTEGER NOT NULL);
CREATE TABLE grants (subject TEXT NOT NULL, room TEXT NOT NULL, PRIMARY KEY (subject, room));
`;

export const rooms = ["a", "b", "c"] as const;
const accountsPerRoom = 4;
const registersPerRoom = 3;
const startBalance = 20;

/** What the rows of one room must add up to, always. */
export const sumOfRoom = accountsPerRoom * startBalance;

/** The transaction that the rows of the start come from. */
export const SEED = "seed";

/** Creates the server's tables and first rows; `subjects` may see all rooms, each but the first without one of them. */
export function createServerTables(database: Database.Database, subjects: readonly string[]): void {
  database.exec(serverDdl);
  const run = (statement: string, ...values: readonly unknown[]): unknown => database.prepare(statement).run(...values);
  database.transaction(() => {
    run("INSERT INTO ops VALUES (?, 'server', 0)", SEED);
    for (const room of rooms) {
      for (let i = 0; i < accountsPerRoom; i++)
        run("INSERT INTO accounts VALUES (?, ?, ?, ?)", `${room}${i}`, room, startBalance, SEED);
      for (let i = 0; i < registersPerRoom; i++)
        run("INSERT INTO registers VALUES (?, ?, ?)", `${room}${i}`, room, SEED);
    }
    subjects.forEach((subject, i) => {
      for (const [j, room] of rooms.entries())
        if (i % 4 === 0 || (i % 4) - 1 !== j) run("INSERT INTO grants VALUES (?, ?)", subject, room);
    });
    database.exec(`${auditOfSeed}\n${auditDdl}`);
  })();
}

/** The scopes of a subject. */
export function scopesOf(
  database: Database.Database,
  subject: string,
): readonly (`room:${string}` | `author:${string}`)[] {
  const granted = database.prepare("SELECT room FROM grants WHERE subject = ? ORDER BY room").pluck().all(subject);
  return [`author:${subject}`, ...granted.map((room) => `room:${String(room)}` as const)];
}
