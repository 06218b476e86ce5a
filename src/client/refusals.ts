/**
 * Transactions that are too large for any request (promise 4). Such a one is sent without its operations, so that its number
 * is used up and those behind it go on; it leaves the queue like any other, when a page covers it, and its outcome is written
 * here, with the operations as they were, for the app to deal with. The list is durable: what was once sent as empty is never
 * sent otherwise.
 *
 * @module
 */

import { all, type Core } from "../plugin/core.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import { LOG, MARKER, TX_ID_SQL } from "../plugin/names.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { Page } from "../protocol/pull.ts";

/** Among the device's own, so that it goes with them when the device is wiped. */
const KEY = "device.refused";

/** The ids of refused transactions that are still in the queue. */
export function* readRefusals(): Core<ReadonlySet<number>> {
  const stored = yield* readMeta(KEY);
  return new Set(typeof stored === "string" ? (JSON.parse(stored) as readonly number[]) : []);
}

/** Notes that the server does not take a transaction. */
export function* refuse(id: number): Core<void> {
  yield* writeRefusals(new Set([...(yield* readRefusals()), id]));
}

/** The page with the outcomes of the refused transactions that it covers, as if the server had judged them. */
export function* withRefusals(page: Page): Core<Page> {
  const handled = page.lastTx?.number;
  if (handled === undefined || page.to === undefined) return page;
  const refused = yield* readRefusals();
  if (refused.size === 0) return page;
  const closed = yield* all(`SELECT k0, stamp, ${TX_ID_SQL} FROM ${LOG} WHERE t = ${MARKER} AND k0 <= ? ORDER BY seq`, [
    handled,
  ]);
  const outcomes = closed.flatMap(([number, stamp, id]): readonly Outcome[] =>
    refused.has(Number(id))
      ? [
          {
            status: "rejected",
            number: Number(number),
            stamp: Number(stamp),
            code: "INVALID_VALUE",
            message: "The transaction is larger than the server accepts. Write it again in smaller parts.",
          },
        ]
      : [],
  );
  const ours = new Set(outcomes.map(({ number }) => number));
  const judged = (page.outcomes ?? []).filter(({ number }) => !ours.has(number));
  return outcomes.length === 0 ? page : { ...page, outcomes: [...judged, ...outcomes] };
}

/** Forgets those that have left the queue, or that the app has discarded itself. */
export function* forgetRefusals(gone: readonly { readonly id: number }[]): Core<void> {
  const refused = yield* readRefusals();
  if (refused.size === 0) return;
  const left = new Set(refused);
  for (const { id } of gone) left.delete(id);
  yield* writeRefusals(left);
}

function* writeRefusals(ids: ReadonlySet<number>): Core<void> {
  yield* writeMeta(KEY, JSON.stringify([...ids]));
}
