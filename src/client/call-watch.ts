/**
 * Watches one call of a transport: it may be aborted by its caller, by the transport being closed, or by time. All three
 * abort the same signal, and the watch remembers which it was, since the network only says that something aborted.
 *
 * @module
 */

import { isSyncError, SyncError } from "../protocol/errors.ts";

export interface CallWatch {
  /** Aborts what the call is doing. */
  readonly signal: AbortSignal;
  /** Grants the call this much time from now. */
  readonly grant: (ms: number) => void;
  /** Waits for a promise that knows nothing of the signal. */
  readonly wait: <T>(promise: Promise<T>) => Promise<T>;
  /** What the call opened has come to its end. */
  readonly finish: () => void;
  /** Ends the watch; what the call left open is aborted. */
  readonly stop: () => void;
  /** What a failure of the call means: why it was aborted, or `otherwise`. */
  readonly errorFor: (thrown: unknown, otherwise: () => SyncError) => SyncError;
}

/** Starts a watch. `closed` is the signal of the whole transport. */
export function watchCall(caller: AbortSignal, closed: AbortSignal): CallWatch {
  const controller = new AbortController();
  let reason: SyncError | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isFinished = false;
  const abort = (error: SyncError): void => {
    reason ??= error;
    controller.abort(reason);
  };
  const onCaller = (): void =>
    abort(new SyncError({ code: "ABORTED", message: "The call was aborted.", cause: caller.reason }));
  const onClosed = (): void => abort(new SyncError({ code: "CLOSED", message: "The transport is closed." }));
  const onTime = (): void => abort(new SyncError({ code: "TIMEOUT", message: "The server did not answer in time." }));
  caller.addEventListener("abort", onCaller);
  closed.addEventListener("abort", onClosed);
  if (caller.aborted) onCaller();
  if (closed.aborted) onClosed();
  return {
    signal: controller.signal,
    grant(ms) {
      clearTimeout(timer);
      timer = setTimeout(onTime, ms);
    },
    wait(promise) {
      return new Promise((resolve, reject) => {
        const onAbort = (): void => reject(controller.signal.reason as SyncError);
        if (controller.signal.aborted) onAbort();
        controller.signal.addEventListener("abort", onAbort, { once: true });
        promise.then(resolve, reject).finally(() => controller.signal.removeEventListener("abort", onAbort));
      });
    },
    finish() {
      isFinished = true;
    },
    stop() {
      clearTimeout(timer);
      caller.removeEventListener("abort", onCaller);
      closed.removeEventListener("abort", onClosed);
      if (!isFinished) controller.abort();
    },
    errorFor(thrown, otherwise) {
      if (reason !== undefined) return reason;
      return isSyncError(thrown) ? thrown : otherwise();
    },
  };
}
