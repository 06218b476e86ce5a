/**
 * Capture switched off inside one transaction (rule C6): a row that a device's triggers look for, inserted and deleted by the
 * transaction itself, so that no other connection ever sees it and a rollback takes it along. A server's triggers look for
 * nothing: it applies no pages.
 *
 * @module
 */

import { run, type Core } from "./core.ts";
import { EVICT, MUTE } from "./names.ts";

/** Runs a core with capture off. Must be inside a transaction; may be nested. */
export function* muted<T>(core: Core<T>): Core<T> {
  const isOutermost = (yield* run(`INSERT OR IGNORE INTO ${MUTE}(x) VALUES (1)`)) === 1;
  // Notes of evictions speak of rows as captured; what happens unseen would make them wrong.
  if (isOutermost) yield* run(`DELETE FROM ${EVICT}`);
  try {
    return yield* core;
  } finally {
    if (isOutermost) yield* run(`DELETE FROM ${MUTE}`);
  }
}
