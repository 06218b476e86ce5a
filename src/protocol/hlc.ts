/**
 * A hybrid logical clock in one safe integer: 43 bits of milliseconds since 1970 (until the year 2248) and 10 bits of
 * counter. Two numbers compare as the times they stand for. Used by last-write-wins alone (rule P11): nothing else
 * depends on a clock.
 *
 * A clock that is stuck, or goes back, only makes the counter rise; a counter that overflows runs into the next
 * millisecond by itself. A remote time is taken over only up to a bound ahead of one's own clock, so that one device
 * with a wrong clock cannot push everybody into the future.
 *
 * @module
 */

const counterSize = 1024;

/** How far ahead of the server a device's time may be before it is bounded: one minute. */
export const defaultMaxAheadMs = 60_000;

/** The next time after `last`: the wall clock where that has moved on, else one more on the counter. */
export function hlcNow(last: number, nowMs: number): number {
  return Math.min(Math.max(last + 1, fromMillis(nowMs)), Number.MAX_SAFE_INTEGER);
}

/** The next time after both one's own last one and a remote one, the latter bounded (see {@link hlcBounded}). */
export function hlcReceive(
  last: number,
  remote: number,
  nowMs: number,
  maxAheadMs: number = defaultMaxAheadMs,
): number {
  return hlcNow(Math.max(last, hlcBounded(remote, nowMs, maxAheadMs)), nowMs);
}

/** A remote time, not later than `maxAheadMs` after `nowMs`. */
export function hlcBounded(remote: number, nowMs: number, maxAheadMs: number = defaultMaxAheadMs): number {
  return Math.min(remote, fromMillis(nowMs + maxAheadMs));
}

/** The milliseconds in a time. */
export function hlcMillis(hlc: number): number {
  return Math.floor(hlc / counterSize);
}

function fromMillis(millis: number): number {
  return Math.max(0, Math.floor(millis)) * counterSize;
}
