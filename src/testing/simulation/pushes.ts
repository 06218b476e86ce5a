/**
 * The pushes that the server is working on: from them the oracles know which transaction a number stands for. Two devices
 * that carry one id (a copied file) give the same number to different ones.
 *
 * @module
 */

import type { PushRequest } from "../../protocol/push.ts";

/** A transaction in a push. */
export interface SentTransaction {
  readonly number: number;
  /** The stamp that it was written with, whatever it was sent with. */
  readonly stamp: number;
  /** Whether it has no operations: they changed nothing that syncs, or the app has given it up, or it was refused before. */
  readonly isEmpty: boolean;
}

export interface Pushes {
  /** Takes note of a push until the returned function is called. */
  begin(request: PushRequest): () => void;
  /**
   * A device's transactions above `from`, up to `to`, which has the stamp `last`; undefined when nobody sent them. Numbers
   * of an empty range stand for none.
   */
  find(deviceId: string, from: number, to: number, last: number): readonly SentTransaction[] | undefined;
}

/** Stamps that transactions are sent with, and those that they were written with, where the two differ. */
export type Names = Map<number, number>;

export function createPushes(names: Names): Pushes {
  const active = new Set<PushRequest>();
  return {
    begin(request) {
      active.add(request);
      return () => void active.delete(request);
    },
    find(deviceId, from, to, last) {
      for (const { deviceId: id, txs } of active) {
        if (id !== deviceId || !txs.some(({ number, stamp }) => number === to && stamp === last)) continue;
        const sent = txs.filter(({ number }) => number > from && number <= to);
        const covered = sent.reduce((count, tx) => count + tx.number - Math.max(from, (tx.from ?? tx.number) - 1), 0);
        if (covered < to - from) continue;
        return sent.map(({ number, stamp, ops }) => ({
          number,
          stamp: names.get(stamp) ?? stamp,
          isEmpty: ops.length === 0,
        }));
      }
      return undefined;
    },
  };
}
