/**
 * Frames of the live stream (rules L1–L3): the same pages as pull, heartbeats, and an end with a code.
 *
 * @module
 */

import type { PullAnswer } from "./pull.ts";

/** Why the server ended a stream. `pull`: rights, scopes, schema or a gap; the others as they say. */
export type LiveEnd = "pull" | "auth" | "upgrade" | "shutdown";

/**
 * `poke`: there is more; only on streams that carry no pages (tRPC). A device that reads pages from the stream ignores
 * no frame: rule A1 decides.
 */
export type LiveFrame =
  | PullAnswer
  | { readonly kind: "heartbeat" }
  | { readonly kind: "poke" }
  | { readonly kind: "end"; readonly reason: LiveEnd };
