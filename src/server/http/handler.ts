/**
 * `createSyncHandler`: the procedures of `createSyncRouter` as plain HTTP with CBOR bodies, for any server that speaks
 * `Request` and `Response`.
 *
 * A request goes through the same stations whatever it asks for: endpoint and method, cookies of foreign pages, headers
 * of the body, the app's context, the rate limit, the procedure, which reads the body. Each refuses before the next
 * spends anything.
 *
 * @module
 */

import type { AnyTRPCRouter } from "@trpc/server";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { SyncError, type SyncErrorCode } from "../../protocol/errors.ts";
import { cborContentType } from "../../protocol/http.ts";
import type { PullAnswer } from "../../protocol/pull.ts";
import { MINIMUM_PROTOCOL_VERSION, PROTOCOL_VERSION } from "../../protocol/version.ts";
import { encodedAnswer } from "../encoded.ts";
import { createAdmission } from "./admission.ts";
import { cborAnswer, failedAnswer, jsonAnswer, plainAnswer } from "./answer.ts";
import { createCors } from "./cors.ts";
import { findEndpoint, methodsByEndpoint, type Endpoint } from "./endpoint.ts";
import { errorAnswer, refuse } from "./error-answer.ts";
import { startExchange, type Exchange } from "./exchange.ts";
import {
  defaultHandlerLimits,
  type CreateContext,
  type HandlerFailure,
  type SyncHandlerOptions,
} from "./handler-options.ts";
import { createLiveEndpoint } from "./live-endpoint.ts";
import { createMetrics, type Metrics, type MetricsOptions } from "./metrics.ts";
import { createProcedures } from "./procedures.ts";
import { createCharge } from "./rate-limit.ts";
import { checkBodyHeaders, readBody } from "./request-body.ts";

type Handle = (request: Request) => Promise<Response>;

/** One function that answers everything, and the same under the names that Next.js looks for. */
export type SyncHandler = Handle & { readonly GET: Handle; readonly POST: Handle; readonly OPTIONS: Handle };

/**
 * Serves the procedures that `createSyncRouter` added to `router` at `procedures`.
 *
 * @example
 * ```ts
 * // app/api/sync/[...sync]/route.ts
 * export const { GET, POST, OPTIONS } = createSyncHandler({ router: appRouter, procedures: "sync", createContext });
 * ```
 */
export function createSyncHandler<TRouter extends AnyTRPCRouter>(options: SyncHandlerOptions<TRouter>): SyncHandler {
  const limits = { ...defaultHandlerLimits, ...options.limits };
  const procedures = createProcedures(options.router, options.procedures);
  const cors = createCors(options.cors);
  const onError = options.onError ?? reportToConsole;
  // TypeScript does not see through the condition by which the option is required.
  const { createContext } = options as { readonly createContext?: CreateContext<TRouter> };
  const admit = createAdmission(procedures, createContext, createCharge(options.rateLimit));
  const metrics = lazyMetrics(options.metrics, onError);
  const answerStream = createLiveEndpoint({
    procedures,
    admit,
    limits,
    shutdown: options.shutdown,
    expiresAt: options.expiresAt,
    onError: (error, request) => onError({ error, request, endpoint: "stream" }),
  });

  /** Reads and decodes a body, once, however often it is asked for. */
  const readMessage = (exchange: Exchange, maxBytes: number): (() => Promise<unknown>) => {
    checkBodyHeaders(exchange.request.headers, cborContentType, maxBytes);
    let message: Promise<unknown> | undefined;
    const read = async (): Promise<unknown> => {
      const bytes = await readBody(exchange.request, { maxBytes, timeoutMs: limits.bodyTimeoutMs });
      exchange.received(bytes.byteLength);
      return decodeCbor(bytes);
    };
    return () => (message ??= read());
  };

  const answerCall = async (exchange: Exchange, name: "handshake" | "pull" | "push"): Promise<Response> => {
    const { request } = exchange;
    const input = readMessage(exchange, name === "handshake" ? limits.maxHandshakeBytes : limits.maxRequestBytes);
    const { ctx, forTransactions } = await admit({ ...exchange, endpoint: name, procedure: name, input });
    const chargedInput = async (): Promise<unknown> => {
      const message = await input();
      if (name === "push") await forTransactions(transactionsIn(message));
      return message;
    };
    const output = await procedures.call(name, { ctx, input: chargedInput, signal: request.signal });
    // The procedures are our own: a pull gives a pull answer, which may have been encoded for another device before.
    const bytes = name === "pull" ? encodedAnswer(output as PullAnswer) : encodeCbor(output);
    return cborAnswer(request, bytes, { compressOverBytes: limits.compressOverBytes });
  };

  const answerStats = async (exchange: Exchange): Promise<Response> => {
    const { ctx } = await admit({ ...exchange, endpoint: "stats", procedure: "stats", input: noInput });
    const stats = await procedures.call("stats", { ctx, input: noInput, signal: exchange.request.signal });
    return plainAnswer(exchange.request, stats);
  };

  const answerHealth = async (): Promise<Response> => {
    const isWell = (await options.health?.()) ?? true;
    return jsonAnswer({ ok: isWell }, isWell ? 200 : 503);
  };

  const answerMetrics = async (exchange: Exchange): Promise<Response> => {
    const counting = await metrics.loaded();
    if (counting === undefined) throw notFound();
    const authorize = typeof options.metrics === "object" ? options.metrics.authorize : undefined;
    if ((await authorize?.(exchange.request)) === false) {
      throw new SyncError({ code: "FORBIDDEN", message: "Metrics are not for everybody." });
    }
    return counting.answer();
  };

  const answers: Readonly<Record<Endpoint, (exchange: Exchange) => Promise<Response>>> = {
    health: answerHealth,
    version: ({ request }) => plainAnswer(request, versions),
    handshake: (exchange) => answerCall(exchange, "handshake"),
    pull: (exchange) => answerCall(exchange, "pull"),
    push: (exchange) => answerCall(exchange, "push"),
    stats: answerStats,
    stream: (exchange) => {
      const isPost = exchange.request.method === "POST";
      return answerStream(exchange, isPost ? readMessage(exchange, limits.maxRequestBytes) : noInput);
    },
    metrics: answerMetrics,
  };

  const answer = async (exchange: Exchange): Promise<Response> => {
    const { endpoint, request } = exchange;
    if (endpoint === "unknown") throw notFound();
    const methods: readonly string[] = methodsByEndpoint[endpoint];
    if (request.method === "OPTIONS") return cors.preflight(request, methods);
    if (!methods.includes(request.method)) throw wrongMethod([...methods, "OPTIONS"]);
    cors.check(request);
    return answers[endpoint](exchange);
  };

  const handle: Handle = async (request) => {
    const url = new URL(request.url);
    const endpoint = findEndpoint(url.pathname) ?? "unknown";
    const exchange = startExchange({ request, url, endpoint }, options.logger, await metrics.counting(request));
    const { response, code } = await answered(exchange);
    addHeaders(response.headers, exchange.answerHeaders);
    if (request.method !== "OPTIONS") cors.open(request, response.headers);
    // A device that polls in place of its stream would keep the connection, and so the process, alive.
    if (options.shutdown?.aborted === true) response.headers.set("connection", "close");
    if (!exchange.isGoingOn()) exchange.finish(response.status, sizeOf(response), code);
    return request.method === "HEAD" ? new Response(null, response) : response;
  };

  const answered = async (exchange: Exchange): Promise<{ response: Response; code?: SyncErrorCode }> => {
    const { request, endpoint } = exchange;
    try {
      return { response: await answer(exchange) };
    } catch (thrown) {
      // The caller left: there is nobody to answer, and its leaving is no failure.
      if (request.signal.aborted) return { response: new Response(null, { status: 499 }), code: "ABORTED" };
      const failure = errorAnswer(thrown);
      if (failure.isFault) onError({ error: thrown, request, endpoint });
      return { response: await failedAnswer(request, failure), code: failure.error.code };
    }
  };
  return Object.assign(handle, { GET: handle, POST: handle, OPTIONS: handle });
}

const versions = { protocol: PROTOCOL_VERSION, minimumProtocol: MINIMUM_PROTOCOL_VERSION };

const noInput = async (): Promise<undefined> => undefined;

/** Loads prom-client with the first request. Where that fails, requests go on uncounted; `GET /metrics` says why. */
function lazyMetrics(
  option: boolean | MetricsOptions | undefined,
  onError: (failure: HandlerFailure) => void,
): {
  readonly counting: (request: Request) => Promise<Metrics | undefined>;
  readonly loaded: () => Promise<Metrics> | undefined;
} {
  let loading: Promise<Metrics> | undefined;
  return {
    loaded: () => loading,
    async counting(request) {
      if (option === undefined || option === false) return undefined;
      const isFirst = loading === undefined;
      loading ??= createMetrics(option === true ? {} : option);
      try {
        return await loading;
      } catch (error) {
        if (isFirst) onError({ error, request, endpoint: "metrics" });
        return undefined;
      }
    },
  };
}

function addHeaders(headers: Headers, more: Headers): void {
  for (const [name, value] of more) {
    if (name === "set-cookie") headers.append(name, value);
    else headers.set(name, value);
  }
}

/** The bytes of a whole answer; a stream counts its own. */
function sizeOf(response: Response): number {
  return Number(response.headers.get("content-length") ?? 0);
}

/** How many transactions a push claims to bring; the procedure judges whether they are any. */
function transactionsIn(message: unknown): number {
  if (typeof message !== "object" || message === null || !("txs" in message)) return 0;
  return Array.isArray(message.txs) ? message.txs.length : 0;
}

function notFound(): SyncError {
  return refuse(404, new SyncError({ code: "INVALID_MESSAGE", message: "There is no such endpoint." }));
}

function wrongMethod(allowed: readonly string[]): SyncError {
  const allow = allowed.join(", ");
  const error = new SyncError({ code: "INVALID_MESSAGE", message: `This endpoint answers ${allow}.` });
  return refuse(405, error, { allow });
}

function reportToConsole({ error, endpoint }: HandlerFailure): void {
  // oxlint-disable-next-line no-console -- The app gave no `onError`, and a failure that nobody hears of helps nobody.
  console.error(`drizzle-sync: ${endpoint} failed inside the server:`, error);
}
