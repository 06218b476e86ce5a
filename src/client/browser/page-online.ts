/**
 * Whether there is a network, as the page sees it: not every browser tells its workers, and no worker sees that its page
 * came back to the front, when a stream may have died unnoticed.
 *
 * @module
 */

import { platformOnline, type OnlineChange, type OnlineSource } from "../online.ts";
import type { PageLife } from "./worker-messages.ts";

/** A source that is fed with the life of the page. */
export interface PageOnline extends OnlineSource {
  note(life: PageLife): void;
}

/** Makes the source of a worker. */
export function createPageOnline(worker: OnlineSource = platformOnline()): PageOnline {
  const listeners = new Set<(change: OnlineChange) => void>();
  let isOnline = worker.isOnline();

  const tell = (change: OnlineChange): void => {
    if (change === "visible") isOnline = worker.isOnline();
    else if (isOnline === (change === "online")) return;
    else isOnline = change === "online";
    for (const listener of listeners) listener(change);
  };
  worker.subscribe(tell);

  return {
    isOnline: () => isOnline,
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    note: (life) => {
      if (life === "online" || life === "offline") tell(life);
      else if (life === "visible" || life === "resume") tell("visible");
    },
  };
}
