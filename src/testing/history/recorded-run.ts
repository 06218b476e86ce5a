/**
 * A recorded run, as the checker reads it: the processes' own logs, the server's audit of all row changes in their order,
 * and what the databases hold at the end.
 *
 * The app's conventions: a transaction begins with an insert into `ops`, whose `id` is the transaction's name; every row
 * that it writes says so in `by`, with a `+` and more behind where a resolver made a merged row. Keys are in `id`.
 *
 * @module
 */

import type { ChangeKind, HistoryEvent } from "./events.ts";

export type Row = Readonly<Record<string, string | number | null>>;
/** Rows by table. */
export type Rows = Readonly<Record<string, readonly Row[]>>;

/** One change of one row, as a trigger of the server saw it. */
export interface AuditRow {
  readonly table: string;
  readonly kind: ChangeKind;
  readonly key: string;
  readonly old: Row | null;
  readonly new: Row | null;
  /** Where the server's log ended before this change; of the first change of a transaction: before the transaction. */
  readonly head: number;
}

/** A process and its database at the end. */
export interface RecordedProcess {
  readonly name: string;
  readonly events: readonly HistoryEvent[];
  readonly rows: Rows;
  /** What `PRAGMA integrity_check` and `PRAGMA foreign_key_check` complain of. */
  readonly faults: readonly string[];
}

export interface RecordedDevice extends RecordedProcess {
  /** What it may read at the end. */
  readonly scopes: readonly string[];
  /** Rows left in tables of the library that are empty when everything is settled. */
  readonly leftovers: Readonly<Record<string, number>>;
}

export interface RecordedRun {
  /** The transaction that the first rows come from. */
  readonly seed: string;
  /** What the balances of each room add up to, always. */
  readonly sumOfRoom: number;
  /** In the order in which the changes were made. */
  readonly audit: readonly AuditRow[];
  readonly server: RecordedProcess;
  readonly devices: readonly RecordedDevice[];
}

/** What a run shows that must not be. */
export interface HistoryViolation {
  /** The property that does not hold, by a short name. */
  readonly property: HistoryProperty | "live";
  readonly message: string;
}

/** The properties of a run; `check-history.ts` says what each means. */
export const historyProperties = [
  "integrity",
  "exactly-once",
  "whole",
  "half-local",
  "order",
  "refused",
  "vanished",
  "one-outcome",
  "told",
  "settled",
  "unseen",
  "sum",
  "snapshot",
  "cursor",
  "backwards",
  "converged",
  "leftover",
  "failed",
] as const;
export type HistoryProperty = (typeof historyProperties)[number];

/** Whether the server was put back: what it had by itself since the copy is gone, and devices write again what it lost. */
export function wasRestored(run: RecordedRun): boolean {
  return run.server.events.some(({ kind }) => kind === "restored");
}

/** How a check says what it found. */
export type Blame = (property: HistoryProperty, message: string) => void;

/** Names a row. */
export const nameOf = (row: { readonly table: string; readonly key: string }): string => `${row.table}/${row.key}`;

/** The transaction that wrote a row last. */
export const writerOf = (row: Row): string => String(row["by"]).replace(/\+.*$/, "");
