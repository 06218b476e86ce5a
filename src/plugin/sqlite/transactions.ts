/**
 * The transactions of a connection whose statements answer at once, with what rule A4 wants done about foreign keys. The
 * work itself may answer later, as in a browser's worker, where pages take turns: so each way of running a transaction is
 * written once, as a generator that yields where the work belongs, and yields again where it must be done again.
 *
 * @module
 */

import type { TransactionMode } from "../core.ts";
import type { KeyTrials } from "./key-trials.ts";

/** What a connection does for its transactions. */
export interface TransactionParts {
  readonly execute: (sql: "BEGIN" | "BEGIN IMMEDIATE" | "COMMIT" | "ROLLBACK") => void;
  readonly isOpen: () => boolean;
  readonly enforcesKeys: () => boolean;
  /** Outside a transaction: inside, the pragma does nothing. */
  readonly enforceKeys: (on: boolean) => void;
  readonly trials: KeyTrials;
}

/** Runs `body` in a transaction: committed when it returns, rolled back when it throws. */
export function transactSync<T>(parts: TransactionParts, mode: TransactionMode, body: () => T): T {
  const steps = stepsOf(parts, mode);
  let result: T | undefined;
  let step = steps.next();
  while (step.done !== true) {
    try {
      result = body();
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next();
  }
  // The work was done, or the steps threw.
  return result as T;
}

/** The same for work that is waited for. */
export async function transactAsync<T>(
  parts: TransactionParts,
  mode: TransactionMode,
  body: () => Promise<T>,
): Promise<T> {
  const steps = stepsOf(parts, mode);
  let result: T | undefined;
  let step = steps.next();
  while (step.done !== true) {
    try {
      result = await body();
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next();
  }
  // As above.
  return result as T;
}

/** Yields where the work is to be done. */
type Steps = Generator<undefined, void, void>;

function stepsOf(parts: TransactionParts, mode: TransactionMode): Steps {
  switch (mode) {
    case "read":
      return within(parts, "BEGIN");
    case "write":
      return within(parts, "BEGIN IMMEDIATE");
    case "apply":
      return withoutKeys(parts);
    case "page":
      return applyPage(parts);
  }
}

function* within(parts: TransactionParts, begin: "BEGIN" | "BEGIN IMMEDIATE", trials?: KeyTrials): Steps {
  parts.execute(begin);
  try {
    trials?.begin();
    yield;
    trials?.pass();
    parts.execute("COMMIT");
  } catch (error) {
    // Some failures have rolled back by themselves.
    if (parts.isOpen()) parts.execute("ROLLBACK");
    throw error;
  }
}

function* withoutKeys(parts: TransactionParts): Steps {
  const isSwitched = parts.enforcesKeys();
  if (isSwitched) parts.enforceKeys(false);
  try {
    yield* within(parts, "BEGIN IMMEDIATE");
  } finally {
    if (isSwitched) parts.enforceKeys(true);
  }
}

function* applyPage(parts: TransactionParts): Steps {
  const { trials } = parts;
  if (trials.isDue()) {
    try {
      return yield* within(parts, "BEGIN IMMEDIATE", trials);
    } catch (error) {
      if (!trials.isFailed(error)) throw error;
    } finally {
      trials.end();
    }
  }
  yield* withoutKeys(parts);
}
