/**
 * What `createSyncHandler` is told, and the values it takes where it is not.
 *
 * @module
 */

import type { AnyTRPCRouter, CreateContextCallback, inferRouterContext } from "@trpc/server";
import type { FetchCreateContextFnOptions } from "@trpc/server/adapters/fetch";
import type { CorsOptions } from "./cors.ts";
import type { Endpoint } from "./endpoint.ts";
import type { MetricsOptions } from "./metrics.ts";
import type { RateLimitOptions } from "./rate-limit.ts";
import type { SyncLogger } from "./request-log.ts";

/** How much the handler takes and how long it waits. */
export interface HandlerLimits {
  /** Bytes of a request body, as it arrives and inflated. @default 8 MiB */
  readonly maxRequestBytes: number;
  /** Bytes of a handshake, which lists tables and columns. @default 1 MiB */
  readonly maxHandshakeBytes: number;
  /** Milliseconds until a whole body must have come. @default 30_000 */
  readonly bodyTimeoutMs: number;
  /** Answers of more bytes are compressed, if the caller reads that. @default 1024 */
  readonly compressOverBytes: number;
  /** A stream that was silent for this long says that it lives. Below the minute after which proxies cut. @default 25_000 */
  readonly heartbeatMs: number;
  /** A stream ends after this long, so that its caller is asked again who it is. @default 15 minutes */
  readonly maxStreamMs: number;
}

export const defaultHandlerLimits: HandlerLimits = {
  maxRequestBytes: 8 * 1024 * 1024,
  maxHandshakeBytes: 1024 * 1024,
  bodyTimeoutMs: 30_000,
  compressOverBytes: 1024,
  heartbeatMs: 25_000,
  maxStreamMs: 15 * 60_000,
};

/** A failure inside the server, of which the caller learned little or nothing. */
export interface HandlerFailure {
  readonly error: unknown;
  readonly request: Request;
  readonly endpoint: Endpoint | "unknown";
}

interface HandlerOptions<TRouter extends AnyTRPCRouter> {
  /** The app's router: procedures are called on it, with their middlewares and context. */
  readonly router: TRouter;
  /** Where in the router the procedures of `createSyncRouter` are: `"sync"`, `"api.sync"`, or `""` for its root. */
  readonly procedures: string;
  /** Which browser pages may call. @default the own origin only */
  readonly cors?: CorsOptions;
  /** Limits requests, by any limiter of rate-limiter-flexible. @default no limit */
  readonly rateLimit?: RateLimitOptions<inferRouterContext<TRouter>>;
  /** Sizes and times. @default {@link defaultHandlerLimits} */
  readonly limits?: Partial<HandlerLimits>;
  /** Gets one line for each request, when it is over: method, endpoint, status, milliseconds, bytes. @default none */
  readonly logger?: SyncLogger;
  /** Serves `GET /metrics` through prom-client. @default false: that path does not exist */
  readonly metrics?: boolean | MetricsOptions;
  /** Whether the server is well, for `GET /health`. @default () => true */
  readonly health?: () => boolean | Promise<boolean>;
  /** Hears of failures inside the server, which callers are not told. @default writes them to the console */
  readonly onError?: (failure: HandlerFailure) => void;
  /** When the caller's right to a stream ends, in milliseconds since 1970: that of its token. @default never */
  readonly expiresAt?: (caller: {
    readonly ctx: inferRouterContext<TRouter>;
    readonly request: Request;
  }) => number | undefined;
  /** Ends all open streams when it aborts, so that a server can stop. @default never */
  readonly shutdown?: AbortSignal;
}

/** Makes the context that the procedures get, as in tRPC's fetch adapter. Needed unless the context may be empty. */
export type CreateContext<TRouter extends AnyTRPCRouter> = (
  options: FetchCreateContextFnOptions,
) => inferRouterContext<TRouter> | Promise<inferRouterContext<TRouter>>;

export type SyncHandlerOptions<TRouter extends AnyTRPCRouter> = HandlerOptions<TRouter> &
  CreateContextCallback<inferRouterContext<TRouter>, CreateContext<TRouter>>;
