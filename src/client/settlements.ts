/**
 * How transactions left the queue, for those who wait for one: told when it happens, looked up where it has happened. Outcomes are
 * kept in the database until the app has dealt with them; of the others the latest are remembered. A page may settle ten
 * thousand of them, so each costs one entry of a map and nothing else.
 *
 * @module
 */

import type { SyncError } from "../protocol/errors.ts";
import type { SettledTransaction } from "./sync-engine.ts";
import { createWaiting } from "./waiting.ts";

/** The settlements of one engine. Transactions are known by the stamps that they were written with. */
export interface Settlements {
  /** A transaction has left the queue. */
  note(id: number, result: SettledTransaction): void;
  /** Waits for one. `find` looks into the database: undefined where nothing of the transaction is there. */
  wait(
    id: number,
    find: () => Promise<SettledTransaction | "queued" | undefined>,
    signal?: AbortSignal,
  ): Promise<SettledTransaction>;
  reject(error: SyncError): void;
}

/** Transactions without an outcome that are remembered at least. */
const REMEMBERED = 10_000;

/** Creates the settlements of one engine. */
export function createSettlements(): Settlements {
  const waiting = createWaiting<number, SettledTransaction>();
  // Two halves: when the younger one is full, the older one is forgotten as a whole.
  let latest = new Map<number, SettledTransaction>();
  let before: ReadonlyMap<number, SettledTransaction> = new Map();
  const answer = (id: number, result: SettledTransaction): void => {
    if (waiting.size > 0) waiting.resolve((wanted) => (wanted === id ? result : undefined));
  };
  return {
    note(id, result) {
      if (latest.size >= REMEMBERED) {
        before = latest;
        latest = new Map();
      }
      // What was discarded leaves the queue once more, with nothing in it.
      if (!("outcome" in result) && !latest.has(id) && !before.has(id)) latest.set(id, result);
      answer(id, result);
    },
    async wait(id, find, signal) {
      // Before it is looked for: it may settle at any moment.
      const settled = waiting.wait(id, signal);
      settled.catch(() => undefined);
      const found = await find();
      if (found !== "queued") answer(id, found ?? latest.get(id) ?? before.get(id) ?? { status: "unknown" });
      return await settled;
    },
    reject: (error) => waiting.reject(error),
  };
}
