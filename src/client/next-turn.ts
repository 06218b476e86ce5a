/**
 * A turn of the event loop. A request is written to its socket a little after it was made, and not at all while the thread is
 * held: whoever makes one and then works on lets a turn pass in between, so that the server works at the same time.
 *
 * @module
 */

/**
 * Resolves after the timers that are due, and all that comes of them: links of tRPC that gather calls send with a timer, and
 * Node's `fetch` goes on with an immediate.
 */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(() => (typeof setImmediate === "undefined" ? resolve() : void setImmediate(resolve)), 0);
  });
}
