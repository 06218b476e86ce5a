/**
 * The endpoints, found by the end of a request's path, so that the handler works wherever it is mounted. Nothing but
 * the end is looked at; a path is compared as it stands, without decoding, and one slash after it is forgiven (some
 * frameworks redirect there).
 *
 * @module
 */

/** One endpoint of the handler. */
export type Endpoint = "health" | "version" | "handshake" | "pull" | "push" | "stats" | "stream" | "metrics";

const endpointsByPath = {
  "/health": "health",
  "/v1/version": "version",
  "/v1/handshake": "handshake",
  "/v1/pull": "pull",
  "/v1/push": "push",
  "/v1/stats": "stats",
  "/v1/stream": "stream",
  "/metrics": "metrics",
} as const satisfies Record<string, Endpoint>;

/** The methods each endpoint answers, as its `Allow` header lists them; `OPTIONS` is answered everywhere. */
export const methodsByEndpoint = {
  health: ["GET", "HEAD"],
  version: ["GET", "HEAD"],
  handshake: ["POST"],
  pull: ["POST"],
  push: ["POST"],
  stats: ["GET"],
  stream: ["GET", "POST"],
  metrics: ["GET"],
} as const satisfies Record<Endpoint, readonly string[]>;

/** Finds the endpoint that a path ends in. */
export function findEndpoint(pathname: string): Endpoint | undefined {
  const path = pathname.endsWith("/") ? pathname.slice(0, -1) : pathname;
  for (const [end, endpoint] of Object.entries(endpointsByPath)) if (path.endsWith(end)) return endpoint;
  return undefined;
}
