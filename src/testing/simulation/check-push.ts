/**
 * Oracles over one commit that handled a device's transactions: what counts as applied is there, what was refused is not,
 * and nothing was overwritten that its writer never saw (promises 2 and 3).
 *
 * @module
 */

import type { Commit } from "./witness.ts";
import type { LocalTransaction } from "./local-transaction.ts";
import { difference, parentsIn, scopesOf, type Row, type RowChange, type State } from "./state.ts";
import { Violation } from "./violation.ts";

/** Columns whose values are never written twice, so that a value tells who wrote it. */
const uniqueColumns = new Set(["title", "note", "body", "role"]);

/** Columns that the server sets beside what a device asked for. */
const serverColumns = new Set(["owner", "ref", "secret"]);

/** What is asked about those who pushed. */
export interface Writers {
  /** The transaction with this stamp; undefined when nobody wrote it. */
  transaction(stamp: number): LocalTransaction | undefined;
  /** The scopes that a subject may write now. */
  writable(subject: string): ReadonlySet<string>;
}

/** A transaction's writer, for one commit. */
interface Writer {
  readonly name: string;
  readonly subject: string;
  readonly writable: ReadonlySet<string>;
}

export function checkPush(commit: Commit, writers: Writers): void {
  const { handled, before, after } = commit;
  if (handled === undefined) return;
  const transactions: LocalTransaction[] = [];
  for (const { stamp, isEmpty } of handled.sent) {
    if (isEmpty) continue;
    const transaction = writers.transaction(stamp);
    if (transaction === undefined)
      throw new Violation("P3", `The server handled transaction ${stamp} of ${handled.deviceId}, which nobody wrote.`);
    transactions.push(transaction);
  }
  const [first] = transactions;
  if (first === undefined) {
    if (difference(before, after).length > 0)
      throw new Violation("P3", `Empty transactions of ${handled.deviceId} changed rows.`);
    return;
  }
  const writer: Writer = { name: first.device, subject: first.subject, writable: writers.writable(first.subject) };
  const statusOf = ({ number }: LocalTransaction): "applied" | "merged" | "rejected" =>
    handled.outcomes.get(number)?.status ?? "applied";

  const touching = new Map<string, LocalTransaction[]>();
  for (const transaction of transactions) {
    for (const id of new Set(transaction.changes.map((change) => change.id))) {
      const list = touching.get(id);
      if (list) list.push(transaction);
      else touching.set(id, [transaction]);
    }
  }
  // What goes with its parent is not judged, seen or not: the limit that the protocol names.
  const follows = (id: string): boolean => hangsFromDeleted(before, transactions, id);

  checkReadOnly(writer, before, after);
  for (const [id, touchers] of touching) {
    if (touchers.some((transaction) => statusOf(transaction) !== "rejected")) checkRights(writer, id, before, after);
    const alone = touchers.length === 1 ? touchers[0] : undefined;
    if (alone !== undefined && !follows(id)) {
      if (statusOf(alone) === "applied") checkApplied(writer.name, alone, id, before, after);
      if (statusOf(alone) === "rejected") checkUntouched(writer.name, alone, id, commit, transactions);
    }
    checkSeen(
      writer,
      id,
      touchers.filter((transaction) => statusOf(transaction) !== "rejected"),
      before,
      after,
      statusOf,
      follows,
    );
  }
}

/** Rule P9: where a row was, where it is, and each scope that it entered or left must be the writer's to write. */
function checkRights({ name, subject, writable }: Writer, id: string, before: State, after: State): void {
  const was = before.get(id);
  const is = after.get(id);
  if (
    was === is ||
    (was !== undefined && is !== undefined && difference(new Map([[id, was]]), new Map([[id, is]])).length === 0)
  )
    return;
  const from = was === undefined ? undefined : scopesOf(before, was);
  const to = is === undefined ? undefined : scopesOf(after, is);
  const isOutside = (scopes: readonly string[] | undefined): boolean =>
    scopes !== undefined && !scopes.some((scope) => writable.has(scope));
  // One that goes leaves its scopes, and one that comes enters them.
  const [left = [], entered = []] = [from, to];
  const moved = [
    ...left.filter((scope) => !entered.includes(scope)),
    ...entered.filter((scope) => !left.includes(scope)),
  ];
  if (isOutside(from) || isOutside(to) || moved.some((scope) => !writable.has(scope))) {
    throw new Violation(
      "P9",
      `${name} changed ${id} in ${from?.join(",") ?? "nothing"} to ${to?.join(",") ?? "nothing"}; ${subject} may write ${[...writable].join(",")}.`,
    );
  }
}

/** Rule P9: what devices may not write, a push leaves alone. */
function checkReadOnly({ name, subject }: Writer, before: State, after: State): void {
  for (const change of difference(before, after)) {
    const { id, table, kind, cells } = change;
    if (table === "notices" || table === "grants")
      throw new Violation("P9", `${name} changed ${id}, which only the server may.`);
    if (table !== "todos" || kind === "delete") continue;
    if (typeof cells["title"] === "string" && cells["title"].endsWith("!"))
      throw new Violation("P9", `${name} wrote a title into ${id} that the check refuses.`);
    if ("secret" in cells && cells["secret"] !== null)
      throw new Violation("P9", `${name} wrote the excluded column of ${id}.`);
    const owner = kind === "insert" ? cells["owner"] : "owner" in cells ? cells["owner"] : subject;
    if (owner !== subject) throw new Violation("P9", `${name} made ${String(owner)} the owner of ${id}.`);
  }
}

/** A transaction without an outcome counts as written: its row is as it says. */
function checkApplied(
  name: string,
  { stamp, changes }: LocalTransaction,
  id: string,
  before: State,
  after: State,
): void {
  const row = after.get(id);
  const last = changes.filter((change) => change.id === id).pop() as RowChange;
  if (last.kind === "delete") {
    if (isNothing(changes, id)) return;
    if (row !== undefined && before.has(id))
      throw new Violation("promise 2", `${name}'s transaction ${stamp} counts as applied, but ${id} was not deleted.`);
    return;
  }
  if (row === undefined)
    throw new Violation("P8", `${name}'s transaction ${stamp} counts as applied, but ${id} is not there.`);
  const cells = netCells(changes, id);
  for (const [column, value] of Object.entries(cells)) {
    if (serverColumns.has(column) || row.cells[column] === value) continue;
    throw new Violation(
      "promise 2",
      `${name}'s transaction ${stamp} counts as applied, but ${id}.${column} is ${String(row.cells[column])}, not ${String(value)}.`,
    );
  }
}

/** A refused transaction left its rows alone, unless another one of the same commit reached them. */
function checkUntouched(
  name: string,
  { stamp }: LocalTransaction,
  id: string,
  { before, after }: Commit,
  all: readonly LocalTransaction[],
): void {
  // Other transactions' deletes reach further than their changes say: a cascade, a reference set to null.
  if (all.some((other) => other.stamp !== stamp && other.changes.some((change) => change.kind === "delete"))) return;
  const was = before.get(id);
  const is = after.get(id);
  if (was === undefined ? is === undefined : is !== undefined && sameCells(was, is)) return;
  throw new Violation("promise 2", `${name}'s transaction ${stamp} was rejected, but ${id} changed.`);
}

/** Nothing is overwritten by a transaction that counts as applied, unless its writer had seen it. */
function checkSeen(
  writer: Writer,
  id: string,
  writers: readonly LocalTransaction[],
  before: State,
  after: State,
  statusOf: (transaction: LocalTransaction) => string,
  follows: (id: string) => boolean,
): void {
  const was = before.get(id);
  if (was === undefined) return;
  const is = after.get(id);
  for (const [column, value] of Object.entries(was.cells)) {
    if (!uniqueColumns.has(column) || typeof value !== "string" || is?.cells[column] === value) continue;
    const cause = writers.find(
      ({ changes }) =>
        !isNothing(changes, id) &&
        changes.some((change) => change.id === id && (change.kind !== "update" || column in change.cells)),
    );
    // Merged: the resolver decided, and both versions were kept.
    if (cause === undefined || statusOf(cause) !== "applied") continue;
    if (follows(id)) continue;
    const seen = cause.seenAt(id, column, value);
    if (seen !== undefined && seen <= cause.step) continue;
    throw new Violation(
      "promise 3",
      `${id}.${column} = ${value} was never shown to ${writer.name} before it wrote transaction ${cause.stamp}, which overwrote it silently.`,
    );
  }
}

/** Inserted and deleted in one transaction: nothing was asked for (P2). */
function isNothing(changes: readonly RowChange[], id: string): boolean {
  const own = changes.filter((change) => change.id === id);
  return own[0]?.kind === "insert" && own[own.length - 1]?.kind === "delete";
}

/** P2: what a transaction makes of a row in the end. A column that it writes, and writes back, it leaves alone. */
function netCells(changes: readonly RowChange[], id: string): Record<string, unknown> {
  const own = changes.filter((change) => change.id === id);
  let cells: Record<string, unknown> = {};
  for (const change of own) cells = change.kind === "delete" ? {} : { ...cells, ...change.cells };
  const before = own.every(({ kind }) => kind === "update") ? own[0]?.before : undefined;
  if (before === undefined) return cells;
  return Object.fromEntries(Object.entries(cells).filter(([column, value]) => before[column] !== value));
}

/** Whether a row hangs, or hung at some time during the commit, from one that these transactions delete. */
function hangsFromDeleted(before: State, transactions: readonly LocalTransaction[], id: string): boolean {
  const changes = transactions.flatMap((transaction) => transaction.changes);
  const deleted = new Set(changes.filter((change) => change.kind === "delete").map((change) => change.id));
  const seen = new Set([id]);
  const queue = [id];
  for (let current = queue.pop(); current !== undefined; current = queue.pop()) {
    if (current !== id && deleted.has(current)) return true;
    const own = changes.filter((change) => change.id === current).flatMap((change) => [change.cells, change.before]);
    for (const cells of [before.get(current)?.cells, ...own]) {
      for (const parent of cells === undefined ? [] : parentsIn(cells)) {
        if (seen.has(parent)) continue;
        seen.add(parent);
        queue.push(parent);
      }
    }
  }
  return false;
}

const sameCells = (a: Row, b: Row): boolean =>
  Object.entries(a.cells).every(([column, value]) => b.cells[column] === value || column === "ref");
