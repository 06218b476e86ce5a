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

/** How far apart two times are that lie a millisecond apart. */
export const hlcPerMilli = 1024;

/** How far ahead of the server a device's time may be before it is bounded: one minute. */
export const defaultMaxAheadMs = 60_000;

/** The next time after `last`: the wall clock where that has moved on, else one more on the counter. */
export function hlcNow(last: number, nowMs: number): number {
  return Math.min(Math.max(last + 1, hlcAt(nowMs)), Number.MAX_SAFE_INTEGER);
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
  return Math.min(remote, hlcAt(nowMs + maxAheadMs));
}

/** The milliseconds in a time. */
export function hlcMillis(hlc: number): number {
  return Math.floor(hlc / hlcPerMilli);
}

/** The first time of a millisecond. */
export function hlcAt(millis: number): number {
  return Math.max(0, Math.floor(millis)) * hlcPerMilli;
}

/** When a message was sent and its answer came, by a device's clock, and the server's clock in that answer. */
export interface ClockReading {
  readonly sentAt: number;
  readonly receivedAt: number;
  readonly serverTime: number;
}

/** Below this many milliseconds two clocks count as one. */
const clockToleranceMs = 1000;

/**
 * By how many milliseconds the server's clock is ahead of a device's: the answer is taken to have been made half-way between
 * question and arrival. Undefined when the reading says nothing new: `known` lies within what it can tell, or the device's
 * clock was moved back between the two.
 */
export function clockOffset({ sentAt, receivedAt, serverTime }: ClockReading, known?: number): number | undefined {
  const roundTrip = receivedAt - sentAt;
  const offset = Math.round(serverTime - (sentAt + receivedAt) / 2);
  if (roundTrip < 0 || !Number.isSafeInteger(offset)) return undefined;
  return known !== undefined && Math.abs(offset - known) <= Math.max(clockToleranceMs, roundTrip) ? undefined : offset;
}
