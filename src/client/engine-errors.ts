/**
 * What the engine says when it cannot do what it was asked for.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import type { SyncStatus } from "./machine.ts";

/** A cycle was asked for where none can run, and nothing has failed that would be the reason. */
export function unreachableNow(status: SyncStatus): SyncError {
  switch (status) {
    case "paused":
      return new SyncError({ code: "ABORTED", message: "The client is paused. Call `resume()` first." });
    case "signed-out":
      return new SyncError({ code: "UNAUTHORIZED", message: "Nobody is signed in." });
    default:
      return new SyncError({ code: "OFFLINE", message: "The server cannot be reached now." });
  }
}

/** The client was closed. */
export function closedError(): SyncError {
  return new SyncError({ code: "CLOSED", message: "The client was closed." });
}

/** The queue could not be brought to rest. */
export function writtenMeanwhile(): SyncError {
  return new SyncError({
    code: "ABORTED",
    message:
      "The device was not wiped: something was written each time its queue had been sent. Stop writing, then sign out again.",
  });
}

/** An outcome that is not there is retried. */
export function resolvedAlready(): SyncError {
  return new SyncError({
    code: "OUTCOME_GONE",
    message: "There is no such outcome; it was resolved already. Nothing was written.",
  });
}

/** A transaction that is to be discarded is not in the queue, or not only there. */
export function notPending(kind: "absent" | "uploaded"): SyncError {
  return new SyncError({
    code: "NOT_PENDING",
    message:
      kind === "absent"
        ? "There is no such transaction in the queue. Nothing was discarded."
        : "The server has this transaction already, so it cannot be discarded. Write what undoes it.",
  });
}

/** A queue is to be kept and deleted. */
export function keptAndWiped(): SyncError {
  return new SyncError({
    code: "INVALID_CONFIG",
    message: "Transactions cannot be kept in a queue that is deleted. Flush or discard them.",
  });
}
