/**
 * How far back the log reaches. It is trimmed by age and by count, in the background of whatever is asked of the server: in
 * steps of a few milliseconds with rests between them. There is no timer, so nothing keeps the process, or a tenant's
 * database, alive, and a server that nobody asks does nothing.
 *
 * A device that comes back from below the horizon keeps its queue, takes a fresh snapshot, and replays. What stays for
 * ever: device records (rule I1), schemas (a pending transaction may name an old one), outcomes and the keys of refused
 * inserts until they are acknowledged (rules P8, P10). Notes go when their device has been away for longer than the log
 * reaches: a lost one costs a false conflict and nothing else (rule P5).
 *
 * @module
 */

import { setImmediate, setTimeout } from "node:timers/promises";
import { isBusyError } from "../plugin/commits.ts";
import { type Core, transact } from "../plugin/core.ts";
import {
  isAgeDue,
  noteLogAge,
  readHeadSeq,
  readHorizon,
  readHorizonAge,
  readSeqBefore,
  trimLog,
} from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";
import { trimLimits } from "./limits.ts";
import { dropOldNotes } from "./outcomes.ts";
import { countTrimmed, type HorizonAge, showHorizon } from "./retention-totals.ts";

/** How much of the log is kept. Whichever is reached first, trims it. */
export interface RetentionOptions {
  /**
   * For how long an entry is kept at least, in milliseconds, and so for how long a device may be away before it fetches its
   * rows anew. `Infinity` keeps them. Entries go up to a thirtieth of it later.
   *
   * @default 30 days: a device that was away for a month, over a holiday or a long leave, goes on where it was
   */
  readonly maxAgeMs?: number;
  /**
   * About how many entries are kept at most: a bound for the disk, at 50 to 150 bytes each. `Infinity` for no bound. Some
   * three in a hundred more may be there for a while.
   *
   * @default 10,000,000
   */
  readonly maxEntries?: number;
}

/** What is kept unless the app says otherwise. */
export const defaultRetention: Required<RetentionOptions> = {
  maxAgeMs: 30 * 24 * 3_600_000,
  maxEntries: 10_000_000,
};

/** Reads the option; throws `INVALID_CONFIG` for what cannot be meant. */
export function readRetention(options: RetentionOptions = {}): Required<RetentionOptions> {
  const { maxAgeMs = defaultRetention.maxAgeMs, maxEntries = defaultRetention.maxEntries } = options;
  if (typeof maxAgeMs !== "number" || !(maxAgeMs > 0))
    throw invalid("maxAgeMs", "a number of milliseconds above 0, or Infinity to keep entries of any age");
  if (maxEntries !== Infinity && !(Number.isSafeInteger(maxEntries) && maxEntries > 0))
    throw invalid("maxEntries", "a whole number above 0, or Infinity for any number of entries");
  return { maxAgeMs, maxEntries };
}

/** Trims the log of one database. */
export interface Retention {
  /** Something was asked of the server, or committed: looks in the background whether anything is to be trimmed, if it is time. */
  noticed(head?: number): void;
  /** Looks now, and trims all that is to be trimmed. Does nothing while it is at it already. */
  run(): Promise<void>;
  /** Ends after the step that is running. */
  stop(): void;
}

/** What {@link createRetention} is made of. */
export interface RetentionContext {
  readonly database: SyncDatabase;
  readonly retention: Required<RetentionOptions>;
  readonly onError: (error: unknown) => void;
}

const oneMinute = 60_000;
const oneHour = 60 * oneMinute;
/** The log is looked at so many times while all of it is replaced. */
const looks = 32;

/** Creates the trimmer of one database. */
export function createRetention({ database, retention, onError }: RetentionContext): Retention {
  const { connection, now } = database;
  const { maxAgeMs, maxEntries } = retention;
  const isKept = maxAgeMs === Infinity && maxEntries === Infinity;
  const every = {
    ms: Math.min(maxAgeMs / looks, 24 * oneHour),
    entries: Math.max(1, Math.floor(maxEntries / looks)),
  };
  const lookEveryMs = Math.min(every.ms, oneHour);
  // A server that has just started has other things to do.
  let dueAt = now() + Math.min(lookEveryMs, oneMinute);
  let lookedAt: number | undefined;
  let isRunning = false;
  let isStopped = false;
  let shown: HorizonAge | undefined;

  /** Up to where the log is to be trimmed, and whether its age is to be noted. */
  function* plan(): Core<{ readonly upTo: number; readonly head: number; readonly isNoteDue: boolean }> {
    const time = now();
    const head = yield* readHeadSeq(database);
    const old = maxAgeMs === Infinity ? 0 : yield* readSeqBefore(time - maxAgeMs, time);
    const upTo = Math.min(head, Math.max(old, head - maxEntries));
    return { upTo: upTo > (yield* readHorizon()).seq ? upTo : 0, head, isNoteDue: yield* isAgeDue(time, every) };
  }
  const trim = async (upTo: number): Promise<void> => {
    for (;;) {
      if (isStopped) return;
      const start = performance.now();
      const step = await transact(connection, "write", () => trimLog(database, upTo, trimLimits.batch));
      countTrimmed(step.removed);
      if (step.isDone) return;
      await rest(performance.now() - start);
    }
  };
  const dropNotes = async (): Promise<void> => {
    if (maxAgeMs === Infinity) return;
    for (;;) {
      if (isStopped) return;
      const start = performance.now();
      const seenBefore = now() - maxAgeMs;
      if (await transact(connection, "write", () => dropOldNotes(seenBefore, trimLimits.batch))) return;
      await rest(performance.now() - start);
    }
  };
  const look = async (): Promise<void> => {
    await setImmediate();
    const { upTo, head, isNoteDue } = await transact(connection, "read", plan);
    lookedAt = head;
    if (isNoteDue && !isStopped) {
      await transact(connection, "write", () => noteLogAge(now()));
      await dropNotes();
    }
    if (upTo > 0) await trim(upTo);
    const age = await transact(connection, "read", () => readHorizonAge(now()));
    // Not before: an app that makes a database for each request leaves nothing behind.
    if (age !== undefined) (shown ??= showHorizon({})).since = now() - age;
  };

  const retaining: Retention = {
    noticed(head) {
      if (isKept || isRunning || isStopped) return;
      const grown = head === undefined || lookedAt === undefined ? 0 : head - lookedAt;
      const waits = dueAt - now();
      // Longer than ever waited for: the clock was set back.
      if (waits > 0 && waits <= lookEveryMs && grown < every.entries) return;
      void retaining.run();
    },
    async run() {
      if (isRunning || isStopped) return;
      isRunning = true;
      dueAt = now() + lookEveryMs;
      try {
        await look();
      } catch (error) {
        dueAt = now() + Math.min(lookEveryMs, oneMinute);
        // Whoever holds the lock for long is not at fault; the next look finds what is left.
        if (!isBusyError(error)) onError(error);
      } finally {
        isRunning = false;
      }
    },
    stop() {
      isStopped = true;
    },
  };
  return retaining;
}

async function rest(afterMs: number): Promise<void> {
  // It does not keep a process alive that has nothing else to do.
  await setTimeout(Math.max(1, afterMs * trimLimits.restFactor), undefined, { ref: false });
}

function invalid(option: string, wanted: string): SyncError<"INVALID_CONFIG"> {
  return new SyncError({
    code: "INVALID_CONFIG",
    message: `\`retention.${option}\` of \`createSyncRouter\` must be ${wanted}.`,
  });
}
