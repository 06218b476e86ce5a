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
import { LOG, MARKER } from "../plugin/names.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { Page } from "../protocol/pull.ts";
import { transactionId } from "./outcomes.ts";

/** Among the device's own, so that it goes with them when the device is wiped. */
const KEY = "device.refused";

/** The stamps of refused transactions that are still in the queue. */
export function* readRefusals(): Core<ReadonlySet<number>> {
  const stored = yield* readMeta(KEY);
  return new Set(typeof stored === "string" ? (JSON.parse(stored) as readonly number[]) : []);
}

/** Notes that the server does not take a transaction. */
export function* refuse(stamp: number): Core<void> {
  yield* writeRefusals(new Set([...(yield* readRefusals()), stamp]));
}

/** The page with the outcomes of the refused transactions that it covers, as if the server had judged them. */
export function* withRefusals(page: Page): Core<Page> {
  const handled = page.lastTx?.number;
  if (handled === undefined || page.to === undefined) return page;
  const refused = yield* readRefusals();
  if (refused.size === 0) return page;
  const closed = yield* all(`SELECT k0, stamp FROM ${LOG} WHERE t = ${MARKER} AND k0 <= ? ORDER BY seq`, [handled]);
  const outcomes = closed.flatMap(([number, stamp]): readonly Outcome[] =>
    refused.has(Number(stamp))
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
  const judged = (page.outcomes ?? []).filter(({ stamp }) => !refused.has(stamp));
  return outcomes.length === 0 ? page : { ...page, outcomes: [...judged, ...outcomes] };
}

/** Forgets those that have left the queue, or that the app has discarded itself. */
export function* forgetRefusals(ids: readonly string[]): Core<void> {
  const refused = yield* readRefusals();
  if (refused.size === 0) return;
  const gone = new Set(ids);
  yield* writeRefusals(new Set([...refused].filter((stamp) => !gone.has(transactionId(stamp)))));
}

function* writeRefusals(stamps: ReadonlySet<number>): Core<void> {
  yield* writeMeta(KEY, JSON.stringify([...stamps]));
}
