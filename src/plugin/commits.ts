/**
 * Who hears of commits. This process's own are told in a microtask, all of one tick together. Those of other processes, and of
 * connections that bypass the wrapper, are found by looking at the log's last row from time to time, only while somebody
 * listens; the timer does not keep a process alive.
 *
 * @module
 */

import type { ChangedRow, CommitListener } from "./sync-database.ts";

/** What {@link createCommits} asks for. */
export interface CommitSources {
  /**
   * What has been committed since it was last asked: tables, or undefined for nothing. The first answer is only taken note of.
   * It deals with its own failures: the next look is due soon.
   */
  look(): Promise<ReadonlySet<string> | undefined>;
  /** Told when the first listener came: from now on. */
  begin(): void;
  /** Told of what a listener throws. By default it is thrown in a microtask of its own. */
  failed?(error: unknown): void;
}

/** Tells listeners of commits. */
export interface Commits {
  readonly isWatched: boolean;
  readonly isFollowed: boolean;
  on(listener: CommitListener, rows: boolean): () => void;
  committed(tables: ReadonlySet<string>, applied?: readonly ChangedRow[]): void;
}

/** How often other processes' commits are looked for, in milliseconds. */
export const lookEveryMs = 100;

/** Makes the list of listeners. */
export function createCommits({ look, begin, failed = rethrowLater }: CommitSources): Commits {
  const listeners = new Set<CommitListener>();
  const followers = new Set<CommitListener>();
  let tables = new Set<string>();
  let applied: ChangedRow[] = [];
  let isUnknown = false;
  let isScheduled = false;
  let timer: ReturnType<typeof setInterval> | undefined;
  let isLooking = false;

  const tell = (): void => {
    const told: ReadonlySet<string> = isUnknown ? new Set() : tables;
    const rows: readonly ChangedRow[] = applied;
    tables = new Set();
    applied = [];
    isUnknown = false;
    isScheduled = false;
    for (const listener of [...listeners]) {
      try {
        listener(told, rows);
      } catch (error) {
        failed(error);
      }
    }
  };
  const committed = (changed: ReadonlySet<string>, rows: readonly ChangedRow[] = []): void => {
    if (listeners.size === 0) return;
    if (changed.size === 0) isUnknown = true;
    for (const table of changed) tables.add(table);
    for (const row of rows) applied.push(row);
    if (isScheduled) return;
    isScheduled = true;
    queueMicrotask(tell);
  };
  const lookOnce = async (): Promise<void> => {
    if (isLooking) return;
    isLooking = true;
    try {
      const changed = await look();
      if (changed !== undefined) committed(changed);
    } finally {
      isLooking = false;
    }
  };
  return {
    get isWatched() {
      return listeners.size > 0;
    },
    get isFollowed() {
      return followers.size > 0;
    },
    committed,
    on(listener, wantsRows) {
      // A function of its own each time, so that one listener may be given twice.
      const own: CommitListener = (changed, rows) => listener(changed, rows);
      listeners.add(own);
      if (wantsRows) followers.add(own);
      if (timer === undefined) {
        begin();
        void lookOnce();
        timer = setInterval(() => void lookOnce(), lookEveryMs);
        // In Node a timer is an object that can let the process end; in a browser it is a number.
        (timer as { unref?: () => void }).unref?.();
      }
      return () => {
        listeners.delete(own);
        followers.delete(own);
        if (listeners.size > 0) return;
        clearInterval(timer);
        timer = undefined;
      };
    },
  };
}

/** Whether somebody holds the lock just now: the next look finds what they commit. */
export function isBusyError(error: unknown): boolean {
  return (
    typeof error === "object" &&
    error !== null &&
    "code" in error &&
    typeof error.code === "string" &&
    error.code.startsWith("SQLITE_BUSY")
  );
}

/** Nobody waits for a listener: what it throws must reach the process, not vanish. */
export function rethrowLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
