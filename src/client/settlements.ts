/**
 * How transactions left the queue, for those who wait for one: told when it happens, looked up where it has happened. Outcomes are
 * kept in the database until the app has dealt with them; of the others the latest are remembered.
 *
 * @module
 */

import type { SyncError } from "../protocol/errors.ts";
import type { SettledTransaction } from "./sync-engine.ts";
import { createWaiting } from "./waiting.ts";

/** The settlements of one engine. */
export interface Settlements {
  /** A transaction has left the queue. */
  note(id: string, result: SettledTransaction): void;
  /** Waits for one. `find` looks into the database: undefined where nothing of the transaction is there. */
  wait(
    id: string,
    find: () => Promise<SettledTransaction | "queued" | undefined>,
    signal?: AbortSignal,
  ): Promise<SettledTransaction>;
  reject(error: SyncError): void;
}

/** Transactions without an outcome that are remembered. */
const REMEMBERED = 10_000;

/** Creates the settlements of one engine. */
export function createSettlements(): Settlements {
  const waiting = createWaiting<string, SettledTransaction>();
  const latest = new Map<string, SettledTransaction>();
  const answer = (id: string, result: SettledTransaction): void =>
    waiting.resolve((wanted) => (wanted === id ? result : undefined));
  return {
    note(id, result) {
      // What was discarded leaves the queue once more, with nothing in it.
      if (!("outcome" in result) && !latest.has(id)) latest.set(id, result);
      const [oldest] = latest.keys();
      if (latest.size > REMEMBERED && oldest !== undefined) latest.delete(oldest);
      answer(id, result);
    },
    async wait(id, find, signal) {
      // Before it is looked for: it may settle at any moment.
      const settled = waiting.wait(id, signal);
      settled.catch(() => undefined);
      const found = await find();
      if (found !== "queued") answer(id, found ?? latest.get(id) ?? { status: "unknown" });
      return await settled;
    },
    reject: (error) => waiting.reject(error),
  };
}
