/**
 * A clock that a test moves. Timers fire in the order of their time, and in the order they were set when that is equal.
 *
 * @module
 */

import type { Clock } from "../client/clock.ts";

export interface VirtualClock extends Clock {
  /** Moves time, firing what falls due; `afterEach` runs between timers, so that what one started can settle. */
  advance(ms: number, afterEach?: () => Promise<void>): Promise<void>;
  /** The time at which the next timer fires; undefined when there is none. */
  readonly nextDue: number | undefined;
  /** Time as this party's own clock shows it: off by a fixed amount. */
  skewed(ms: number): Clock;
}

interface Timer {
  readonly due: number;
  readonly order: number;
  readonly callback: () => void;
}

export function createVirtualClock(start = Date.UTC(2025, 0, 1)): VirtualClock {
  let time = start;
  let order = 0;
  const timers = new Set<Timer>();

  const next = (): Timer | undefined => {
    let found: Timer | undefined;
    for (const timer of timers) {
      if (found === undefined || timer.due < found.due || (timer.due === found.due && timer.order < found.order))
        found = timer;
    }
    return found;
  };
  const delay = (ms: number, callback: () => void): (() => void) => {
    const timer: Timer = { due: time + Math.max(0, ms), order: order++, callback };
    timers.add(timer);
    return () => void timers.delete(timer);
  };

  return {
    now: () => time,
    delay,
    async advance(ms, afterEach) {
      const end = time + ms;
      for (let timer = next(); timer !== undefined && timer.due <= end; timer = next()) {
        timers.delete(timer);
        time = Math.max(time, timer.due);
        timer.callback();
        if (afterEach) await afterEach();
      }
      time = end;
    },
    get nextDue() {
      return next()?.due;
    },
    skewed: (ms) => ({ now: () => time + ms, delay }),
  };
}
