/**
 * Several transactions of a device at once, as long as nothing stands in their way. Their rows are read once, what becomes of
 * them is worked out in memory (`batch-draft.ts`), all statements are executed, and one more read tells whether the rows are
 * what was worked out. It is the short way to what `apply.ts` does one by one, and comes to the same: a transaction that
 * needs a decision ends the batch before it.
 *
 * What is worked out holds only if the database does what it is told and no more. So the log must have grown by one entry for
 * each statement: a trigger of the app, a cascade or a replaced row would show there. Where the batch writes a row more than
 * once, each entry must be that of its statement, since the row is read only as it is in the end. Otherwise the batch is taken
 * back, and its tables take the long way for a while.
 *
 * @module
 */

import { type Core, each, run } from "../plugin/core.ts";
import { PREFIX } from "../plugin/names.ts";
import { type LogEntry, readEntriesAfter, readHeadSeq } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn, SyncTable } from "../plugin/table.ts";
import type { Value } from "../protocol/ids.ts";
import { keyText } from "../protocol/key.ts";
import { equalValues } from "../protocol/value.ts";
import type { RowNote } from "./apply.ts";
import {
  type BatchTransaction,
  createDraft,
  type Draft,
  type DraftContext,
  type DraftRow,
  type RowWrite,
} from "./batch-draft.ts";
import { faultOf } from "./database-faults.ts";
import { appendMarker } from "./declaration.ts";
import type { LiveRow } from "./judge.ts";
import { readLiveRows } from "./live-rows.ts";
import type { RowOperation } from "./operations.ts";
import { findMoveFault } from "./rights.ts";
import { sameScopes } from "./scopes.ts";

/** What a batch is applied with. */
export interface BatchContext extends DraftContext {
  readonly database: SyncDatabase;
  /** The time under which each transaction is logged by itself (rule P11); absent where nobody asks for it. */
  readonly timeOf?: (number: number) => number;
}

/** What became of it. */
export interface Batch {
  /** How many of the transactions were applied, from the first on; nothing is left of the others. */
  readonly count: number;
  /** What the server stored otherwise than it was written (rule P5), with the transaction that wrote it. */
  readonly notes: readonly BatchNote[];
}

/** A note of one of the transactions. */
export interface BatchNote {
  readonly number: number;
  readonly note: RowNote;
}

/** A batch came to something else, and the database transaction that it began must not stand. */
export class FailedBatch extends Error {
  constructor(cause: unknown) {
    super("A batch came to something else than was worked out.", { cause });
    this.name = "FailedBatch";
  }
}

const savepoint = `${PREFIX}batch`;
const nothing: Batch = { count: 0, notes: [] };

/** How long a table takes the long way, in batches that name it: at first, and at most. */
const firstDoubt = 16;
const maxDoubt = 4096;

/** A table on which the database has done more than it was told. */
interface Doubt {
  /** Batches until it is trusted again. */
  left: number;
  /** How many there were. */
  lasting: number;
}

const doubts = new WeakMap<SyncDatabase, Map<SyncTable, Doubt>>();

/**
 * Applies as many of the transactions as need no decision, in the database transaction that is open. `isFirst`: nothing in it
 * is worth keeping if they fail, so they have no savepoint, and {@link FailedBatch} is thrown. Under a savepoint SQLite keeps a
 * copy of each page that a statement with triggers changes, which costs more than the statement.
 */
export function* applyBatch(
  context: BatchContext,
  transactions: readonly BatchTransaction[],
  isFirst: boolean,
): Core<Batch> {
  const wanted = trusted(context.database, transactions);
  const changed = new Map<string, RowOperation>();
  for (const { operations } of wanted)
    for (const operation of operations) if (operation.kind !== "insert") changed.set(operation.row, operation);
  const draft = createDraft(context, yield* readLiveRows(changed.values()));
  let count = 0;
  while (count < wanted.length && draft.add(wanted[count] as BatchTransaction)) count++;
  if (count === 0) return nothing;

  if (!isFirst) yield* run(`SAVEPOINT ${savepoint}`);
  let notes: readonly BatchNote[] | undefined;
  let failure: unknown;
  try {
    notes = yield* execute(context, draft, wanted);
  } catch (error) {
    // Of the data: the long way tells which transaction is at fault. Anything else is transient (rule P12).
    if (faultOf(error) === undefined) throw error;
    failure = error;
  }
  if (notes === undefined) {
    if (isFirst) throw new FailedBatch(failure);
    yield* takeBack(failure);
  }
  if (!isFirst) yield* run(`RELEASE ${savepoint}`);
  return notes === undefined ? nothing : { count, notes };
}

function* takeBack(failure: unknown): Core<void> {
  try {
    yield* run(`ROLLBACK TO ${savepoint}`);
  } catch (error) {
    // A trigger that rolls back everything took the savepoint along: what it said is what went wrong.
    throw failure ?? error;
  }
}

/** Executes a draft; undefined when something else has come of it. */
function* execute(
  { database, timeOf, writable }: BatchContext,
  draft: Draft,
  transactions: readonly BatchTransaction[],
): Core<readonly BatchNote[] | undefined> {
  const start = yield* readHeadSeq(database);
  let expected = 0;
  let sql = "";
  let rows: (readonly Value[])[] = [];
  for (const [i, statements] of draft.statements.entries()) {
    for (const statement of statements) {
      if (statement.sql !== sql) {
        yield* each(sql, rows);
        ({ sql } = statement);
        rows = [];
      }
      rows.push(statement.params);
    }
    expected += statements.length;
    if (timeOf === undefined || statements.length === 0) continue;
    yield* each(sql, rows);
    rows = [];
    yield* appendMarker(timeOf((transactions[i] as BatchTransaction).number));
    expected++;
  }
  yield* each(sql, rows);
  const isTold =
    (yield* readHeadSeq(database)) - start === expected &&
    (!draft.hides || areEntriesOf(draft.steps, yield* readEntriesAfter(database, start, expected)));
  if (!isTold) {
    doubt(database, draft);
    return undefined;
  }
  const after = yield* readLiveRows(draft.rows.values());
  const notes: BatchNote[] = [];
  for (const [name, row] of draft.rows) if (!isAsDrafted(row, after.get(name), writable, notes)) return undefined;
  return notes;
}

/**
 * Whether entries of the log are those of the statements. Not so where a trigger does one thing in the place of another, or
 * the type of a column makes another key or scope of a value.
 */
function areEntriesOf(steps: readonly DraftRow[], entries: readonly LogEntry[]): boolean {
  return (
    steps.length === entries.length &&
    steps.every(({ table, key, kind, scopes, writes }, i) => {
      const entry = entries[i] as LogEntry;
      return (
        entry.table === table &&
        entry.kind === kind &&
        keyText(entry.key) === keyText(key) &&
        entry.columns.every((column) => writes.at(-1)?.columns.includes(column) === true) &&
        // What is inherited cannot be written again in the same batch.
        (scopes === undefined || sameScopes(scopes, entry.after))
      );
    })
  );
}

/**
 * Whether a row is what it was judged as, but for what the database has made of written values, which is noted. Most of what
 * a database may do by itself has shown in the log; not so a trigger that does one thing in the place of another.
 */
function isAsDrafted(
  row: DraftRow,
  after: LiveRow | undefined,
  writable: ReadonlySet<string>,
  notes: BatchNote[],
): boolean {
  const { table, values, scopes } = row;
  if (values === undefined || after === undefined) return values === undefined && after === undefined;
  // The row as it was to be is what the check has seen (rule P9).
  const isSame = ({ index, form }: SyncColumn): boolean =>
    equalValues(after.values[index] ?? null, values[index] ?? null, form);
  if (table.check !== undefined && !table.columns.every(isSame)) return false;
  for (const [at, write] of row.writes.entries()) noteStored(row, write, after, at, notes);
  // Rule P9, for what a new row inherits.
  if (scopes === undefined) return findMoveFault(table, [], after.scopes, writable) === undefined;
  return sameScopes(scopes, after.scopes);
}

/** Rule P5: where the row is not what the device wrote. */
function noteStored(
  { table, key, writes }: DraftRow,
  { number, columns, values }: RowWrite,
  after: LiveRow,
  at: number,
  notes: BatchNote[],
): void {
  for (const [i, column] of columns.entries()) {
    const wrote = values[i] ?? null;
    const stored = after.values[column.index] ?? null;
    if (wrote === stored || equalValues(stored, wrote, column.form)) continue;
    // A later write to the same column is what the device saw last.
    if (writes.slice(at + 1).some((later) => later.columns.includes(column))) continue;
    notes.push({ number, note: { table: table.key, rowKey: keyText(key), column: column.key, wrote, stored } });
  }
}

/** The transactions before the first that names a table which is in doubt. */
function trusted(database: SyncDatabase, transactions: readonly BatchTransaction[]): readonly BatchTransaction[] {
  const doubted = doubts.get(database);
  if (doubted === undefined) return transactions;
  const end = transactions.findIndex(({ operations }) =>
    operations.some(({ table }) => {
      const found = doubted.get(table);
      return found !== undefined && found.left > 0 && found.left-- > 0;
    }),
  );
  return end < 0 ? transactions : transactions.slice(0, end);
}

function doubt(database: SyncDatabase, draft: Draft): void {
  let doubted = doubts.get(database);
  if (doubted === undefined) doubts.set(database, (doubted = new Map()));
  for (const { table } of draft.rows.values()) {
    const lasting = Math.min(maxDoubt, (doubted.get(table)?.lasting ?? firstDoubt / 2) * 2);
    doubted.set(table, { left: lasting, lasting });
  }
}
