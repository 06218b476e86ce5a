/**
 * Reads the server's audit: which transactions took effect, in which order, with which changes, and which versions each
 * row had. What the audit itself shows to be wrong is said here: a transaction there twice or mixed with another, a sum that
 * is not kept, final rows that do not follow from the changes.
 *
 * @module
 */

import type { Effect } from "./events.ts";
import { nameOf, writerOf, type AuditRow, type Blame, type RecordedRun, type Row } from "./recorded-run.ts";

/** A transaction that took effect on the server. */
export interface EffectiveTransaction {
  readonly tx: string;
  readonly author: string;
  readonly n: number;
  /** Its place in the order of all transactions. */
  readonly position: number;
  /** Where the server's log ended before it: who stands further on has it. */
  readonly head: number;
  readonly changes: readonly AuditRow[];
  /** The rows that it was to write, as they were before. */
  readonly before: ReadonlyMap<string, Row | undefined>;
}

/** What the audit tells. */
export interface Audit {
  readonly transactions: ReadonlyMap<string, EffectiveTransaction>;
  /** By row: the values of `by` that it had, and the position from which on. */
  readonly versions: ReadonlyMap<string, readonly { readonly by: string; readonly position: number }[]>;
  /** The position of the last transaction that somebody has who stands at this place in the server's log. */
  positionAt(seq: number): number;
}

/** Goes through the audit once. `effectsOf` says what a transaction was to do. */
export function readAudit(run: RecordedRun, effectsOf: (tx: string) => readonly Effect[], blame: Blame): Audit {
  const transactions = new Map<string, EffectiveTransaction & { readonly changes: AuditRow[] }>();
  const versions = new Map<string, { by: string; position: number }[]>();
  const live = new Map<string, Row>();
  const sums = new Map<string, number>();
  const lastSums = new Map<string, number>();
  let current: (EffectiveTransaction & { readonly changes: AuditRow[] }) | undefined;

  const checkSums = (): void => {
    for (const [room, sum] of sums) {
      // Said once, of the transaction that broke it.
      if (sum !== (lastSums.get(room) ?? run.sumOfRoom))
        blame("sum", `after ${current?.tx ?? "nothing"} room ${room} has ${sum}`);
      lastSums.set(room, sum);
    }
  };
  const begin = (row: AuditRow): void => {
    checkSums();
    const { author, n } = row.new ?? {};
    if (transactions.has(row.key)) blame("exactly-once", `${row.key} took effect twice`);
    const before = new Map(effectsOf(row.key).map((effect) => [nameOf(effect), live.get(nameOf(effect))]));
    current = {
      tx: row.key,
      author: String(author),
      n: Number(n),
      position: transactions.size,
      head: row.head,
      changes: [],
      before,
    };
    transactions.set(row.key, current);
  };

  for (const row of run.audit) {
    const name = nameOf(row);
    if (!isSame(live.get(name) ?? null, row.old)) blame("integrity", `the audit misses a change of ${name}`);
    if (row.table === "ops") {
      if (row.kind === "insert") begin(row);
      else blame("exactly-once", `${row.kind} of ${name}`);
    } else if (current === undefined) {
      blame("whole", `${row.kind} of ${name} before any transaction`);
    } else {
      current.changes.push(row);
      if (row.new !== null && writerOf(row.new) !== current.tx)
        blame("whole", `${name} is written by ${writerOf(row.new)}, after ${current.tx} had begun`);
      if (row.new !== null) {
        const list = versions.get(name) ?? [];
        list.push({ by: String(row.new["by"]), position: current.position });
        versions.set(name, list);
      }
    }
    if (row.table === "accounts") {
      for (const [image, sign] of [
        [row.old, -1],
        [row.new, 1],
      ] as const) {
        if (image === null) continue;
        const room = String(image["room"]);
        sums.set(room, (sums.get(room) ?? 0) + sign * Number(image["balance"]));
      }
    }
    if (row.new === null) live.delete(name);
    else live.set(name, row.new);
  }
  checkSums();
  checkEnd(run, live, blame);
  const heads = [...transactions.values()].map(({ head }) => head);
  return {
    transactions,
    versions,
    positionAt(seq) {
      let low = 0;
      let high = heads.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((heads[middle] as number) < seq) low = middle + 1;
        else high = middle;
      }
      return low - 1;
    },
  };
}

/** The server's tables hold what the changes add up to. */
function checkEnd(run: RecordedRun, live: ReadonlyMap<string, Row>, blame: Blame): void {
  const left = new Map(live);
  for (const [table, rows] of Object.entries(run.server.rows)) {
    for (const row of rows) {
      const name = nameOf({ table, key: String(row["id"]) });
      if (!isSame(left.get(name) ?? null, row))
        blame("integrity", `${name} on the server is not what was written last`);
      left.delete(name);
    }
  }
  for (const name of left.keys()) blame("integrity", `${name} is gone from the server, and nothing deleted it`);
}

function isSame(a: Row | null, b: Row | null): boolean {
  if (a === null || b === null) return a === b;
  const columns = Object.keys(a);
  return columns.length === Object.keys(b).length && columns.every((column) => a[column] === b[column]);
}
