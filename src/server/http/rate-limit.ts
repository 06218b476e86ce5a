/**
 * Rate limits by any limiter of rate-limiter-flexible, or anything with its `consume`. A request is charged before its
 * body is read; a push once more when its transactions are known, so that sending many at once buys nothing.
 *
 * @module
 */

import { SyncError } from "../../protocol/errors.ts";
import type { Endpoint } from "./endpoint.ts";
import { refuse } from "./error-answer.ts";
import type { Inbound } from "./inbound.ts";

/** What is asked of a limiter: it rejects with an object that has `msBeforeNext` when the key has no points left. */
export interface RateLimiter {
  consume(key: string, points?: number): Promise<unknown>;
}

/** The request that a key is wanted for. */
export interface RateLimitSubject<TContext> {
  readonly request: Request;
  readonly endpoint: Endpoint;
  /** What `createContext` made; absent when it threw, so that guessing tokens is limited too. */
  readonly ctx: TContext | undefined;
  /** The caller's address, where the server's adapter knows it (`remoteAddress`). */
  readonly address: string | undefined;
}

export interface RateLimitOptions<TContext> {
  readonly limiter: RateLimiter;
  /** Who is charged: the subject, the address, or both. Undefined: nobody, the request is free. */
  readonly key: (subject: RateLimitSubject<TContext>) => string | undefined;
  /** What a request costs, at least 1. `transactions` is their number in a push, and 0 elsewhere. @default () => 1 */
  readonly points?: (cost: { readonly endpoint: Endpoint; readonly transactions: number }) => number;
}

/** Charges one request, and throws `RATE_LIMITED` when the limit is reached. */
export type Charge<TContext> = (
  inbound: Inbound,
  endpoint: Endpoint,
  ctx: TContext | undefined,
) => Promise<{ readonly forTransactions: (count: number) => Promise<void> }>;

export function createCharge<TContext>(options: RateLimitOptions<TContext> | undefined): Charge<TContext> {
  const free = { forTransactions: async () => {} };
  if (options === undefined) return async () => free;
  const { limiter, points = () => 1 } = options;
  return async (inbound, endpoint, ctx) => {
    const key = options.key({
      get request() {
        return inbound.request;
      },
      endpoint,
      ctx,
      address: inbound.address,
    });
    if (key === undefined) return free;
    const first = Math.max(1, points({ endpoint, transactions: 0 }));
    await consume(limiter, key, first);
    return {
      async forTransactions(transactions) {
        const rest = points({ endpoint, transactions }) - first;
        if (rest > 0) await consume(limiter, key, rest);
      },
    };
  };
}

async function consume(limiter: RateLimiter, key: string, points: number): Promise<void> {
  try {
    await limiter.consume(key, points);
  } catch (refused) {
    // A limiter rejects with its state, which is no Error. An Error means that its store is down: not the caller's fault.
    if (typeof refused !== "object" || refused === null || !("msBeforeNext" in refused)) throw refused;
    const retryAfterMs = Math.max(1, Math.ceil(Number(refused.msBeforeNext)) || 1000);
    const message = `Too many requests. Try again in ${retryAfterMs} ms.`;
    throw refuse(429, new SyncError({ code: "RATE_LIMITED", message, details: { retryAfterMs } }), {
      "retry-after": String(Math.ceil(retryAfterMs / 1000)),
    });
  }
}
