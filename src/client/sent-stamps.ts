/**
 * The stamps that the transactions of the queue are sent with (rule I4). A stamp tells one transaction of a number from another
 * one, and whoever has a number with the same stamp takes the server's word on it for one on the transaction itself, and on
 * all before it. So when the app discards a transaction, it and everything behind it in the queue get other stamps: a copy of
 * this device, which has not discarded it, then finds that the server speaks of somebody else, whatever comes behind it.
 *
 * What was sent before may have been handled under the stamps of then, because an answer was lost on the way. The changes are
 * therefore remembered, and taken back up to the number that the server names. The id of a transaction on this device stays.
 *
 * @module
 */

import { run, type Core } from "../plugin/core.ts";
import { findTransaction, lastTransaction } from "../plugin/device-log.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { LOG, MARKER, TX_ID_SQL } from "../plugin/names.ts";
import { makeStamp, type RandomBytes, type TxRef } from "../protocol/ids.ts";

/** Numbers whose stamps were changed, and the bits that were flipped in each. */
type Change = readonly [from: number, to: number, flipped: number];

/** Among the device's own, so that it goes with them when the device is wiped. */
const KEY = "device.restamped";

/** How many changes are remembered; an answer that was lost before them is another device's word. */
const REMEMBERED = 1000;

/** Gives a transaction and all that are behind it other stamps. `handled`: up to there none will be asked for any more. */
export function* restampFrom(from: number, handled: number, random?: RandomBytes): Core<void> {
  const { number: to } = yield* lastTransaction();
  const flipped = makeStamp(random);
  yield* flip([from, to, flipped]);
  const known = (yield* readChanges()).filter((change) => change[1] > handled);
  yield* writeChanges([...known.slice(1 - REMEMBERED), [from, to, flipped]]);
}

/**
 * Takes changes back, up to a number, where the server has handled it under a stamp that it had before; false where this is
 * not what the server's word means.
 */
export function* takeStampsBack({ number, stamp }: TxRef): Core<boolean> {
  const changes = [...(yield* readChanges())];
  let sent = (yield* findTransaction(number))?.stamp;
  const later: Change[] = [];
  while (sent !== undefined && sent !== stamp) {
    const change = changes.pop();
    if (change === undefined) return false;
    later.unshift(change);
    if (covers(change, number)) sent = xor(sent, change[2]);
  }
  if (sent === undefined || later.length === 0) return false;
  for (const [from, to, flipped] of later) yield* flip([from, Math.min(to, number), flipped]);
  const left = later.map(([from, to, flipped]): Change => [Math.max(from, number + 1), to, flipped]);
  yield* writeChanges([...changes, ...left.filter(([from, to]) => from <= to)]);
  return true;
}

/** SQLite has no operator for it. */
function* flip([from, to, flipped]: Change): Core<void> {
  yield* run(
    `UPDATE ${LOG} SET o0 = ${TX_ID_SQL}, stamp = (stamp | ?) - (stamp & ?) WHERE t = ${MARKER} AND k0 BETWEEN ? AND ?`,
    [flipped, flipped, from, to],
  );
}

const covers = ([from, to]: Change, number: number): boolean => from <= number && number <= to;

/** Stamps have 48 bits, more than the operators of JavaScript see. */
function xor(a: number, b: number): number {
  return Number(BigInt(a) ^ BigInt(b));
}

function* readChanges(): Core<readonly Change[]> {
  const stored = yield* readMeta(KEY);
  // Written below alone.
  return typeof stored === "string" ? (JSON.parse(stored) as readonly Change[]) : [];
}

function* writeChanges(changes: readonly Change[]): Core<void> {
  yield* writeMeta(KEY, JSON.stringify(changes));
}
