/**
 * How long to wait before the next attempt: exponential, bounded, with full jitter on the upper half, so that devices that
 * lost their server together do not come back together. A server's own wish (`retryAfterMs`) is a lower bound.
 *
 * @module
 */

/** Delays of retries. */
export interface RetryOptions {
  /** The delay after the first failure, on average. @default 500 */
  readonly baseMs?: number;
  /** The longest delay. @default 60_000 */
  readonly maxMs?: number;
}

/** The recommended delays. */
export const defaultRetry = { baseMs: 500, maxMs: 60_000 } as const satisfies Required<RetryOptions>;

/** The delay before attempt `attempt + 1`, after `attempt` failures in a row. `random` gives numbers in [0, 1). */
export function backoffDelay(attempt: number, random: () => number, options: RetryOptions = {}, atLeastMs = 0): number {
  const base = options.baseMs ?? defaultRetry.baseMs;
  const max = options.maxMs ?? defaultRetry.maxMs;
  const ceiling = Math.min(max, base * 2 ** Math.min(Math.max(attempt, 1), 30));
  return Math.max(atLeastMs, Math.round(ceiling / 2 + (ceiling / 2) * random()));
}
