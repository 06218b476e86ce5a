/**
 * Takes over what of the platform would run by itself. The library's intervals fire by real time: a run does what they do
 * (`upkeep`) when its plan says so. What is thrown where nobody waits reaches the run, unless a dead process threw it.
 *
 * @module
 */

import { Crash } from "../crash-database.ts";

/** Takes the platform over; returns the function that gives it back. */
export function takePlatform(onStray: (error: unknown) => void): () => void {
  const { setInterval, queueMicrotask } = globalThis;
  const onError = (error: unknown): void => {
    if (!(error instanceof Crash)) onStray(error);
  };
  globalThis.setInterval = (() => ({ unref: () => undefined })) as unknown as typeof setInterval;
  globalThis.queueMicrotask = (callback) =>
    queueMicrotask(() => {
      try {
        callback();
      } catch (error) {
        onError(error);
      }
    });
  process.on("unhandledRejection", onError);
  return () => {
    process.off("unhandledRejection", onError);
    Object.assign(globalThis, { setInterval, queueMicrotask });
  };
}

/** Lets everything that is under way come to rest: nothing here waits for anything but other promises. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
