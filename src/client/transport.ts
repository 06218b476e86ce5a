/**
 * How a device reaches its server. Four calls; everything else (retry, order, state) is the engine's.
 *
 * @module
 */

import type { HandshakeAnswer, HandshakeRequest } from "../protocol/handshake.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { PushAnswer, PushRequest } from "../protocol/push.ts";

/** Options of every call. */
export interface CallOptions {
  readonly signal: AbortSignal;
  /** Asks for the bearer token, where the transport was given no way of its own; null when nobody is signed in. */
  readonly token?: () => string | null | Promise<string | null>;
}

/**
 * A connection to a server. Implementers guarantee: a call either returns the server's parsed answer or throws a
 * `SyncError` whose code tells its policy (`OFFLINE`, `TIMEOUT`, `UNAVAILABLE`, `RATE_LIMITED`, `TOO_LARGE`,
 * `UNAUTHORIZED`, `FORBIDDEN`, `INVALID_MESSAGE`, …); an aborted call throws `ABORTED`; no call is repeated by the transport.
 * Callers guarantee at most one pull, one push and one live stream at a time.
 */
export interface Transport {
  handshake(request: HandshakeRequest, options: CallOptions): Promise<HandshakeAnswer>;
  pull(request: PullRequest, options: CallOptions): Promise<PullAnswer>;
  push(request: PushRequest, options: CallOptions): Promise<PushAnswer>;
  /**
   * Opens a stream from the request's cursor on. Yields frames until the server ends it or the signal aborts; throws a
   * `SyncError` when the connection fails. Absent: the engine polls.
   */
  live?(request: PullRequest, options: CallOptions): AsyncIterable<LiveFrame>;
  /** Whether the stream carries pages (`"pages"`) or only says that there is more (`"pokes"`). */
  readonly liveKind?: "pages" | "pokes";
  /** Whether calls heed the `token` of their options. @default true */
  readonly takesToken?: boolean;
  /**
   * Resolves when the calls made so far have been sent. The engine waits for it before work that holds the thread, so that
   * the server answers meanwhile. Absent: a call is sent as it is made.
   */
  flush?(): Promise<void>;
  /**
   * Encodes a push that is likely to be sent next, while the one before it is on its way. It may be sent as another one, or not at
   * all, and what fails here fails again when it is sent. Absent: a push is encoded as it is sent.
   */
  prepare?(request: PushRequest): void;
  /** Frees sockets and timers. */
  close?(): void;
}
