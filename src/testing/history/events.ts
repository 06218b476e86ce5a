/**
 * What the processes of a run write down. Each appends lines of JSON to a file of its own, before and after what it does,
 * so that a transaction that a kill left in doubt is known as such. Nothing is flushed: a killed process loses no `write`.
 *
 * @module
 */

import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";

export type ChangeKind = "insert" | "update" | "delete";

/** What a transaction does to one row. */
export interface Effect {
  readonly kind: ChangeKind;
  readonly table: string;
  readonly key: string;
  /** The columns it writes. */
  readonly values?: Readonly<Record<string, string | number | null>>;
  /** Who had last written the row, as this transaction saw it. */
  readonly seen?: string;
  /** What it adds to `balance`, which another transaction may have changed meanwhile. */
  readonly delta?: number;
}

/** One row that a conflict was about, as an outcome tells it. */
export interface ToldConflict {
  readonly table: string;
  readonly key: string;
  readonly winner: string;
}

/** An outcome as it is listed at the end. `tx` is the transaction's row in `ops`. */
export interface ListedOutcome {
  readonly tx: string;
  readonly status: string;
  readonly conflicts: readonly ToldConflict[];
  /** Whether the report may repeat an earlier one, because the server was restored from a backup (rule I3). */
  readonly again?: boolean;
}

export type HistoryEvent =
  /** A process has begun; for a device, what it found of the transaction that a kill had left in doubt. */
  | { readonly kind: "start" }
  /** Inside the transaction, before its commit. `n` rises by one with each attempt of this process. */
  | { readonly kind: "begin"; readonly tx: string; readonly n: number; readonly effects: readonly Effect[] }
  | { readonly kind: "committed"; readonly tx: string }
  /** A local constraint refused it. */
  | { readonly kind: "aborted"; readonly tx: string }
  /** While the server was down, its database was copied, or put back as a copy had it. */
  | { readonly kind: "backup" | "restored"; readonly copy: number }
  /** What a restarted device has of a transaction in doubt: operations in its queue, and whether its row in `ops` shows. */
  | {
      readonly kind: "found";
      readonly tx: string;
      readonly isVisible: boolean;
      readonly operations:
        | readonly { readonly kind: ChangeKind; readonly table: string; readonly key: string }[]
        | null;
    }
  /** The device's cursor moved. */
  | { readonly kind: "cursor"; readonly seq: number }
  /** The device's base is to be fetched anew. */
  | { readonly kind: "reset" }
  /** What a device showed, and at which place in the server's log it stood. */
  | {
      readonly kind: "read";
      readonly seq: number;
      /** Transactions in its queue; rows that they wrote are not the server's. */
      readonly pending: readonly string[];
      /** Rows that are never inserted or deleted: table, key, `by`. */
      readonly rows: readonly (readonly [table: string, key: string, by: string])[];
      /** Sums of all rows by table, in the scopes that the device held; only while nothing is pending. */
      readonly whole?: { readonly scopes: readonly string[]; readonly sums: Readonly<Record<string, string>> };
    }
  /** `outcomes.subscribe` told of an outcome. */
  | { readonly kind: "told"; readonly tx: string; readonly status: string }
  /** `pending.settled` resolved. */
  | { readonly kind: "settled"; readonly tx: string; readonly status: string }
  /** The process saw what must not be: an error for good, an exception that nobody caught. */
  | { readonly kind: "failed"; readonly message: string }
  /** The end: everything is settled. */
  | { readonly kind: "end"; readonly pending: number; readonly outcomes: readonly ListedOutcome[] };

/** A process's own log. */
export interface HistoryLog {
  write(event: HistoryEvent): void;
  close(): void;
}

/** Opens a log to append to. A line that a kill cut short is closed first. */
export function openHistoryLog(file: string): HistoryLog {
  const torn = existsSync(file) && !/(^|\n)$/.test(readFileSync(file, "utf8"));
  const fd = openSync(file, "a");
  if (torn) writeSync(fd, "\n");
  return {
    write: (event) => void writeSync(fd, `${JSON.stringify(event)}\n`),
    close: () => closeSync(fd),
  };
}

/** Reads a log; lines that a kill cut short are left out. */
export function readHistoryLog(file: string): readonly HistoryEvent[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line) => parseLine(line));
}

function parseLine(line: string): readonly HistoryEvent[] {
  // Each line is one `write`: what does not end as an object does was cut short.
  return line.endsWith("}") && isJson(line) ? [JSON.parse(line) as HistoryEvent] : [];
}

function isJson(line: string): boolean {
  try {
    JSON.parse(line);
    return true;
  } catch {
    return false;
  }
}
