/**
 * Rule A4 for small pages. Switching foreign keys off and on makes SQLite compile every statement anew, which costs more than
 * a small page does. So such a page is first tried with them on: if no key had a hand in it, it is what it would be with them
 * off. Else all of it is rolled back and done again, with keys off.
 *
 * A key shows itself in one of two ways. It refuses a statement or the commit, with an error. Or it changes rows, which the
 * connection counts, but no statement says that it changed. A trigger of the app does the same and is taken for a key: a
 * trial that fails needlessly costs time and nothing else.
 *
 * @module
 */

/** The trials of one connection, which tells of what its statements do. */
export interface KeyTrials {
  /** Whether the next page is to be tried; where trials fail, most are not. */
  isDue(): boolean;
  /** Begins one, in the transaction. */
  begin(): void;
  /** A statement changed so many rows itself. Throws when they are too many for a trial. */
  changed(rows: number): void;
  /** A statement failed. */
  failed(error: unknown): void;
  /** The work is done, and about to be committed. Throws where a key had a hand in it. */
  pass(): void;
  /** What the trial ended with; whether the work is to be done again, with keys off. */
  isFailed(error: unknown): boolean;
  /** The trial is over, however it ended. */
  end(): void;
}

/** A page that changes more rows than this outweighs what switching costs. */
const maxRows = 200;
/** Pages that are not tried after one that failed. */
const pagesUntried = 32;

/** Ends a trial, and is seen by nobody else. */
class TrialFailed extends Error {}

/** Makes the trials of a connection. `totalChanges`: all rows changed since it was opened, by keys and triggers, too. */
export function createKeyTrials(totalChanges: () => number): KeyTrials {
  let trial: { readonly before: number; changes: number; isRefused: boolean } | undefined;
  let untried = 0;
  const isTouched = (): boolean =>
    trial !== undefined && (trial.isRefused || totalChanges() - trial.before !== trial.changes);
  return {
    isDue() {
      if (untried === 0) return true;
      untried -= 1;
      return false;
    },
    begin() {
      trial = { before: totalChanges(), changes: 0, isRefused: false };
    },
    changed(rows) {
      if (trial === undefined) return;
      trial.changes += rows;
      if (trial.changes > maxRows) throw new TrialFailed();
    },
    failed(error) {
      // Whoever steps the work may catch it.
      if (trial !== undefined && isKeyError(error)) trial.isRefused = true;
    },
    pass() {
      if (isTouched()) throw new TrialFailed();
    },
    isFailed(error) {
      // Whatever else went wrong may have done so because of a key.
      if (!(error instanceof TrialFailed) && !isKeyError(error) && !isTouched()) return false;
      untried = pagesUntried;
      return true;
    },
    end() {
      trial = undefined;
    },
  };
}

const keyErrors: ReadonlySet<unknown> = new Set([
  "SQLITE_CONSTRAINT_FOREIGNKEY",
  // RESTRICT fails like a trigger that raises.
  "SQLITE_CONSTRAINT_TRIGGER",
  // A key to columns that are not unique, or to no table: no statement that it concerns can be compiled.
  "SQLITE_ERROR",
]);

function isKeyError(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && keyErrors.has(error.code);
}
