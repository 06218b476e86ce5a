/**
 * Promises that the engine keeps: who waits for a cycle, a cursor, a transaction.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";

/** A set of callers that wait for something. */
export interface Waiting<TWanted, TResult> {
  /** Waits; ends with `ABORTED` when the signal says so. */
  wait(wanted: TWanted, signal?: AbortSignal): Promise<TResult>;
  /** Resolves those for whom `answer` gives something other than undefined. */
  resolve(answer: (wanted: TWanted) => TResult | undefined): void;
  reject(error: SyncError): void;
  readonly size: number;
}

/** Creates an empty set. */
export function createWaiting<TWanted, TResult>(): Waiting<TWanted, TResult> {
  interface Waiter {
    readonly wanted: TWanted;
    readonly resolve: (result: TResult) => void;
    readonly reject: (error: SyncError) => void;
  }
  const waiters = new Set<Waiter>();
  return {
    wait(wanted, signal) {
      return new Promise<TResult>((resolve, reject) => {
        const done = (): void => {
          waiters.delete(waiter);
          signal?.removeEventListener("abort", abort);
        };
        const abort = (): void => {
          done();
          reject(aborted(signal));
        };
        const waiter: Waiter = {
          wanted,
          resolve: (result) => {
            done();
            resolve(result);
          },
          reject: (error) => {
            done();
            reject(error);
          },
        };
        if (signal?.aborted) return reject(aborted(signal));
        signal?.addEventListener("abort", abort);
        waiters.add(waiter);
      });
    },
    resolve(answer) {
      for (const waiter of [...waiters]) {
        const result = answer(waiter.wanted);
        if (result !== undefined) waiter.resolve(result);
      }
    },
    reject(error) {
      for (const waiter of [...waiters]) waiter.reject(error);
    },
    get size() {
      return waiters.size;
    },
  };
}

function aborted(signal: AbortSignal | undefined): SyncError {
  return new SyncError({ code: "ABORTED", message: "The caller does not wait any more.", cause: signal?.reason });
}
