/**
 * Time as the engine sees it: injected, so that tests and simulations move it themselves.
 *
 * @module
 */

/** A source of time. */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls back once after a delay; the returned function cancels it. */
  delay(ms: number, callback: () => void): () => void;
}

/** The platform's clock. Its timers do not keep a Node process alive. */
export const systemClock: Clock = {
  now: () => Date.now(),
  delay(ms, callback) {
    // Longer delays overflow the platform's 32-bit timers and would fire at once.
    const timer: unknown = setTimeout(callback, Math.min(ms, 2 ** 31 - 1));
    if (typeof timer === "object" && timer !== null && "unref" in timer && typeof timer.unref === "function")
      timer.unref();
    return () => clearTimeout(timer as ReturnType<typeof setTimeout>);
  },
};
