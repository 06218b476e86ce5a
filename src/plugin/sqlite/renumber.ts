/**
 * Numbers a device's queue anew, from 1: the device goes on under another id (rule I4), under which no number was ever used.
 *
 * @module
 */

import { all, each, type Core } from "../core.ts";
import { writeMeta } from "../meta.ts";
import { LOG, MARKER, metaKeys } from "../names.ts";

/** Gives the transactions after `dropped` the numbers 1, 2, … in their order. In a write transaction. */
export function* renumberTransactions(dropped: number): Core<void> {
  const markers = yield* all(`SELECT seq, k0 FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq`);
  let last = 0;
  // The marker of a dropped transaction may still be the log's newest row.
  const renumbered = markers.map(([seq, number]) => [Number(number) <= dropped ? 0 : ++last, seq ?? null]);
  yield* each(`UPDATE ${LOG} SET k0 = ? WHERE seq = ?`, renumbered);
  yield* writeMeta(metaKeys.dropped, JSON.stringify([0, 0]));
}
