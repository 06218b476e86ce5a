/**
 * Tells listeners of outcomes, each once (promise 2): an outcome is marked as told in the database after a listener was
 * told, so that one that arrives while nobody listens is told at the next opportunity, after a restart too.
 *
 * @module
 */

import type { LocalDatabase } from "./local-database.ts";
import { markTold, nextUntold, type StoredOutcome } from "./outcomes.ts";

/** The feed of one engine. */
export interface OutcomeFeed {
  subscribe(listener: (outcome: StoredOutcome) => void): () => void;
  /** Looks for outcomes that were not told of yet. */
  tell(): void;
}

/** Creates the feed. `failed` is told of an error of the database, or of a listener. */
export function createOutcomeFeed(local: LocalDatabase, failed: (error: unknown) => void): OutcomeFeed {
  const listeners = new Set<(outcome: StoredOutcome) => void>();
  let isTelling = false;
  let isDue = false;

  const tellAll = async (): Promise<void> => {
    // One at a time: while one is told, the next may be dealt with, or another take its place (I3).
    for (let after = 0; ;) {
      const untold = await local("read", () => nextUntold(after));
      if (untold === undefined || listeners.size === 0) return;
      const { n, outcome } = untold;
      for (const listener of [...listeners]) {
        try {
          listener(outcome);
        } catch (error) {
          // The app's own error must reach the process, and the other listeners their outcome.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
      // Only now: a process that ends before its listener was called tells it the next time.
      await local("write", () => markTold(n, outcome));
      after = n;
    }
  };
  const tell = (): void => {
    isDue = true;
    if (isTelling || listeners.size === 0) return;
    isTelling = true;
    void (async () => {
      try {
        while (isDue && listeners.size > 0) {
          isDue = false;
          await tellAll();
        }
      } catch (error) {
        failed(error);
      } finally {
        isTelling = false;
      }
    })();
  };
  return {
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    tell,
  };
}
