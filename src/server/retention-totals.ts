/**
 * What trimming did in this process, over all of its databases: what metrics show.
 *
 * @module
 */

let trimmed = 0;
const horizons = new Set<WeakRef<HorizonAge>>();

/** How far back the log of one database reached when it was last looked at. */
export interface HorizonAge {
  /** Milliseconds since 1970; nothing later has been trimmed. Absent while it is not known. */
  since?: number;
}

/** Counts entries that were removed. */
export function countTrimmed(entries: number): void {
  trimmed += entries;
}

/** Shows a database's horizon for as long as somebody holds it. */
export function showHorizon(age: HorizonAge): HorizonAge {
  horizons.add(new WeakRef(age));
  return age;
}

/** Entries trimmed since the process started, and the shortest time that a log reaches back, if it is known. */
export function readRetentionTotals(nowMs: number): { readonly trimmed: number; readonly horizonAgeMs?: number } {
  let since: number | undefined;
  for (const ref of horizons) {
    const age = ref.deref();
    if (age === undefined) horizons.delete(ref);
    else if (age.since !== undefined) since = Math.max(since ?? age.since, age.since);
  }
  return { trimmed, ...(since === undefined ? {} : { horizonAgeMs: Math.max(0, nowMs - since) }) };
}
