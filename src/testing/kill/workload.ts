/**
 * The load: transactions of several rows in several tables, the same on devices and on the server. A transaction is made up
 * and executed inside an open database transaction, on what it finds there, and says what it did.
 *
 * @module
 */

import type Database from "better-sqlite3";
import type { Effect } from "../history/events.ts";
import type { Random } from "../random.ts";

/** Unique values are few, so that they clash. */
const slots = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];

/** Who writes what. */
export interface WorkloadTransaction {
  /** The row in `ops` that names it. */
  readonly tx: string;
  readonly author: string;
  readonly n: number;
}

/** Makes up a transaction and executes it. Throws what the database throws; the caller rolls back. */
export function writeTransaction(
  database: Database.Database,
  random: Random,
  { tx, author, n }: WorkloadTransaction,
): readonly Effect[] {
  const effects: Effect[] = [];
  const touched = new Set<string>();
  const run = (statement: string, ...values: readonly unknown[]): unknown => database.prepare(statement).run(...values);
  const all = <TRow>(statement: string, ...values: readonly unknown[]): readonly TRow[] =>
    database.prepare(statement).all(...values) as TRow[];
  /** A row that this transaction has not touched yet; each is written once, so that an effect is what remains. */
  const pickFresh = <TRow extends { readonly id: string }>(table: string, rows: readonly TRow[]): TRow | undefined => {
    const fresh = rows.filter(({ id }) => !touched.has(`${table}/${id}`));
    return fresh.length === 0 ? undefined : random.pick(fresh);
  };
  const note = (effect: Effect): void => {
    touched.add(`${effect.table}/${effect.key}`);
    effects.push(effect);
  };
  const someSlot = (): string | null => (random.chance(0.25) ? random.pick(slots) : null);
  const everyBoard = () => all<{ id: string; by: string; room: string }>("SELECT id, by, room FROM boards ORDER BY id");
  const everyCard = () =>
    all<{ id: string; by: string; board_id: string; slot: string | null }>("SELECT * FROM cards ORDER BY id");

  const actions: Readonly<Record<string, () => void>> = {
    transfer() {
      const accounts = all<{ id: string; room: string; balance: number; by: string }>(
        "SELECT * FROM accounts ORDER BY id",
      );
      const from = pickFresh("accounts", accounts);
      const to =
        from &&
        pickFresh(
          "accounts",
          accounts.filter(({ id, room }) => room === from.room && id !== from.id),
        );
      if (!from || !to) return;
      const amount = 1 + random.int(6);
      for (const [account, delta] of [
        [from, -amount],
        [to, amount],
      ] as const) {
        const balance = account.balance + delta;
        run("UPDATE accounts SET balance = ?, by = ? WHERE id = ?", balance, tx, account.id);
        note({
          kind: "update",
          table: "accounts",
          key: account.id,
          values: { balance, by: tx },
          seen: account.by,
          delta,
        });
      }
    },
    register() {
      const register = pickFresh(
        "registers",
        all<{ id: string; by: string }>("SELECT id, by FROM registers ORDER BY id"),
      );
      if (!register) return;
      run("UPDATE registers SET by = ? WHERE id = ?", tx, register.id);
      note({ kind: "update", table: "registers", key: register.id, values: { by: tx }, seen: register.by });
    },
    board() {
      const [room] = random.some(all<{ room: string }>("SELECT DISTINCT room FROM accounts ORDER BY room"), 0.6);
      if (!room) return;
      const board = { id: `${tx}.b`, room: room.room, name: `Board ${n}`, by: tx };
      if (touched.has(`boards/${board.id}`)) return;
      run("INSERT INTO boards VALUES (?, ?, ?, ?)", ...Object.values(board));
      note({ kind: "insert", table: "boards", key: board.id, values: board });
      for (let i = random.int(3); i >= 0; i--) insertCard(`${tx}.b${i}`, board.id);
    },
    card() {
      const board = pickFresh("boards", everyBoard());
      if (board) insertCard(`${tx}.c${effects.length}`, board.id);
    },
    title() {
      const card = pickFresh("cards", everyCard());
      if (!card) return;
      const slot = someSlot();
      const title = `Card of ${tx}`;
      run("UPDATE cards SET title = ?, slot = ?, by = ? WHERE id = ?", title, slot, tx, card.id);
      // What does not change is not written, and another's value may stay.
      const values = { title, by: tx, ...(slot === card.slot ? {} : { slot }) };
      note({ kind: "update", table: "cards", key: card.id, values, seen: card.by });
    },
    move() {
      const card = pickFresh("cards", everyCard());
      const board =
        card &&
        pickFresh(
          "boards",
          everyBoard().filter(({ id }) => id !== card.board_id),
        );
      if (!board) return;
      run("UPDATE cards SET board_id = ?, by = ? WHERE id = ?", board.id, tx, card.id);
      note({ kind: "update", table: "cards", key: card.id, values: { board_id: board.id, by: tx }, seen: card.by });
    },
    removeCard() {
      const card = pickFresh("cards", everyCard());
      if (!card) return;
      run("DELETE FROM cards WHERE id = ?", card.id);
      note({ kind: "delete", table: "cards", key: card.id, seen: card.by });
    },
    removeBoard() {
      const board = pickFresh("boards", everyBoard());
      if (!board) return;
      const taken = everyCard().filter((card) => card.board_id === board.id);
      if (taken.some(({ id }) => touched.has(`cards/${id}`))) return;
      run("DELETE FROM boards WHERE id = ?", board.id);
      note({ kind: "delete", table: "boards", key: board.id, seen: board.by });
      for (const { id, by } of taken) note({ kind: "delete", table: "cards", key: id, seen: by });
    },
    moveBoard() {
      const board = pickFresh("boards", everyBoard());
      const other = random.pick(all<{ room: string }>("SELECT DISTINCT room FROM accounts ORDER BY room")).room;
      if (!board || other === board.room) return;
      run("UPDATE boards SET room = ?, by = ? WHERE id = ?", other, tx, board.id);
      note({ kind: "update", table: "boards", key: board.id, values: { room: other, by: tx }, seen: board.by });
    },
  };
  function insertCard(id: string, boardId: string): void {
    const card = { id, board_id: boardId, title: `Card ${n}`, slot: someSlot(), by: tx };
    run("INSERT INTO cards VALUES (?, ?, ?, ?, ?)", ...Object.values(card));
    note({ kind: "insert", table: "cards", key: id, values: card });
  }

  // First, so that the server's audit shows where the transaction begins.
  run("INSERT INTO ops VALUES (?, ?, ?)", tx, author, n);
  if (all("SELECT 1 FROM accounts LIMIT 1").length === 0) return effects;
  for (let i = random.int(4); i >= 0; i--) actions[random.pick(weighted)]?.();
  return effects;
}

const weights = {
  transfer: 5,
  register: 5,
  board: 2,
  card: 3,
  title: 3,
  move: 2,
  removeCard: 2,
  removeBoard: 1,
  moveBoard: 1,
} as const;
const weighted = Object.entries(weights).flatMap(([action, weight]) => new Array<string>(weight).fill(action));
