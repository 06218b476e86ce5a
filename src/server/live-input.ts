/**
 * What the `live` procedure is given: a pull request; `frames` where pages are wanted (by the HTTP handler, which has
 * bytes to put them in); and the id at which tRPC resumes a subscription.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { isCursor } from "../protocol/ids.ts";
import { parsePullRequest } from "../protocol/parse.ts";
import type { PullRequest } from "../protocol/pull.ts";

/** Input of the `live` procedure. */
export type LiveInput = PullRequest & {
  /** Whether pages are yielded rather than pokes. */
  readonly frames?: boolean;
  /** The id of the last event, sent by tRPC's client when it resumes; takes the place of the cursor. */
  readonly lastEventId?: string | null;
};

/** The input taken apart. */
export interface ReadLiveInput {
  readonly request: PullRequest;
  readonly frames: boolean;
}

/** Parses the input; strict. */
export function parseLiveInput(input: unknown): ReadLiveInput {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A request for a stream must be a pull request." });
  }
  const { frames, lastEventId, ...rest } = input as { readonly frames?: unknown; readonly lastEventId?: unknown };
  const request = parsePullRequest(rest);
  // Ids are the cursors that we gave.
  return { request: isCursor(lastEventId) ? { ...request, cursor: lastEventId } : request, frames: frames === true };
}
