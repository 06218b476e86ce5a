/**
 * `drizzle-sync/server`: the sync procedures on an app's own router, and the same as plain HTTP.
 *
 * @module
 */

export {
  createSyncRouter,
  type AssignOptions,
  type DatabaseScope,
  type ProcedureContext,
  type ProcedureLike,
  type SyncProcedures,
  type SyncRouterOptions,
} from "./router.ts";
export type { AuthorizeOperation, AuthorizeTransaction } from "./authorize.ts";
export type { LiveInput } from "./live-input.ts";
export { defaultLimits } from "./limits.ts";
export { defaultRetention, type RetentionOptions } from "./retention.ts";
export type { GrantedScopes } from "./scopes.ts";
export type { SyncStats } from "./service.ts";
export { createSyncHandler, type SyncHandler } from "./http/handler.ts";
export {
  defaultHandlerLimits,
  type CreateContext,
  type HandlerFailure,
  type HandlerLimits,
  type SyncHandlerOptions,
} from "./http/handler-options.ts";
export type { CorsOptions } from "./http/cors.ts";
export type { RateLimiter, RateLimitOptions, RateLimitSubject } from "./http/rate-limit.ts";
export type { MetricsOptions, MetricsRegistry, RequestRecord } from "./http/metrics.ts";
export type { RequestLine, SyncLogger } from "./http/request-log.ts";
export type { Endpoint } from "./http/endpoint.ts";
export { toNodeListener, type NodeListenerOptions } from "./http/node-listener.ts";
export { remoteAddress, setRemoteAddress } from "./http/remote-address.ts";
export { verifyJwt, type VerifiedJwt, type VerifyJwtOptions } from "./http/jwt.ts";
