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
import { decodePushRequest } from "../../protocol/push-codec.ts";
import { MINIMUM_PROTOCOL_VERSION, PROTOCOL_VERSION } from "../../protocol/version.ts";
import { encodedAnswer } from "../encoded.ts";
import { createAdmission } from "./admission.ts";
import { cborAnswer, failedAnswer, jsonAnswer, plainAnswer, type Answer } from "./answer.ts";
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
import { inboundOf, type Inbound } from "./inbound.ts";
import { createLiveEndpoint } from "./live-endpoint.ts";
import { createMetrics, type Metrics, type MetricsOptions } from "./metrics.ts";
import { createProcedures } from "./procedures.ts";
import { createCharge } from "./rate-limit.ts";
import { checkBodyHeaders, readBody } from "./request-body.ts";
import { noteRespond, toResponse, type Respond } from "./respond.ts";

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
  // Node loads its Fetch API where it is named first: better now than while the first caller waits.
  void globalThis.Headers;
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
    onError: (error, { request }) => onError({ error, request, endpoint: "stream" }),
  });

  /** Reads and decodes a body, once, however often it is asked for. */
  const readMessage = (
    exchange: Exchange,
    maxBytes: number,
    decode: (bytes: Uint8Array) => unknown = decodeCbor,
  ): (() => Promise<unknown>) => {
    checkBodyHeaders(exchange.inbound.headers, cborContentType, maxBytes);
    let message: Promise<unknown> | undefined;
    const read = async (): Promise<unknown> => {
      const bytes = await readBody(exchange.inbound, { maxBytes, timeoutMs: limits.bodyTimeoutMs });
      exchange.received(bytes.byteLength);
      return decode(bytes);
    };
    return () => (message ??= read());
  };

  const answerCall = async (exchange: Exchange, name: "handshake" | "pull" | "push"): Promise<Answer> => {
    const { inbound } = exchange;
    const maxBytes = name === "handshake" ? limits.maxHandshakeBytes : limits.maxRequestBytes;
    const input = readMessage(exchange, maxBytes, name === "push" ? decodePushRequest : decodeCbor);
    const { ctx, forTransactions } = await admit({ ...exchange, endpoint: name, procedure: name, input });
    const chargedInput = async (): Promise<unknown> => {
      const message = await input();
      if (name === "push") await forTransactions(transactionsIn(message));
      return message;
    };
    const output = await procedures.call(name, { ctx, input: chargedInput, signal: inbound.signal });
    // The procedures are our own: a pull gives a pull answer, which may have been encoded for another device before.
    const bytes = name === "pull" ? encodedAnswer(output as PullAnswer) : encodeCbor(output);
    return cborAnswer(inbound, bytes, { compressOverBytes: limits.compressOverBytes });
  };

  const answerStats = async (exchange: Exchange): Promise<Answer> => {
    const { ctx } = await admit({ ...exchange, endpoint: "stats", procedure: "stats", input: noInput });
    const stats = await procedures.call("stats", { ctx, input: noInput, signal: exchange.inbound.signal });
    return plainAnswer(exchange.inbound, stats);
  };

  const answerHealth = async (): Promise<Answer> => {
    const isWell = (await options.health?.()) ?? true;
    return jsonAnswer({ ok: isWell }, isWell ? 200 : 503);
  };

  const answerMetrics = async (exchange: Exchange): Promise<Answer> => {
    const counting = await metrics.loaded();
    if (counting === undefined) throw notFound();
    const authorize = typeof options.metrics === "object" ? options.metrics.authorize : undefined;
    if ((await authorize?.(exchange.inbound.request)) === false) {
      throw new SyncError({ code: "FORBIDDEN", message: "Metrics are not for everybody." });
    }
    return counting.answer();
  };

  const answers: Readonly<Record<Endpoint, (exchange: Exchange) => Promise<Answer>>> = {
    health: answerHealth,
    version: ({ inbound }) => plainAnswer(inbound, versions),
    handshake: (exchange) => answerCall(exchange, "handshake"),
    pull: (exchange) => answerCall(exchange, "pull"),
    push: (exchange) => answerCall(exchange, "push"),
    stats: answerStats,
    stream: (exchange) => {
      const isPost = exchange.inbound.method === "POST";
      return answerStream(exchange, isPost ? readMessage(exchange, limits.maxRequestBytes) : noInput);
    },
    metrics: answerMetrics,
  };

  const answer = async (exchange: Exchange): Promise<Answer> => {
    const { endpoint, inbound } = exchange;
    if (endpoint === "unknown") throw notFound();
    const methods: readonly string[] = methodsByEndpoint[endpoint];
    if (inbound.method === "OPTIONS") return cors.preflight(inbound, methods);
    if (!methods.includes(inbound.method)) throw wrongMethod([...methods, "OPTIONS"]);
    cors.check(inbound);
    return answers[endpoint](exchange);
  };

  const respond: Respond = async (inbound) => {
    const endpoint = findEndpoint(inbound.url.pathname) ?? "unknown";
    const exchange = startExchange({ inbound, endpoint }, options.logger, await metrics.counting(inbound));
    const { answer: found, code } = await answered(exchange);
    const { status, headers } = found;
    addHeaders(headers, exchange.answerHeaders);
    if (inbound.method !== "OPTIONS") cors.open(inbound, headers);
    // A device that polls in place of its stream would keep the connection, and so the process, alive.
    if (options.shutdown?.aborted === true) headers.set("connection", "close");
    if (!exchange.isGoingOn()) exchange.finish(status, sizeOf(found), code);
    return inbound.method === "HEAD" ? { status, headers, body: null } : found;
  };

  const answered = async (exchange: Exchange): Promise<{ answer: Answer; code?: SyncErrorCode }> => {
    const { inbound, endpoint } = exchange;
    try {
      return { answer: await answer(exchange) };
    } catch (thrown) {
      // The caller left: there is nobody to answer, and its leaving is no failure.
      if (inbound.signal.aborted)
        return { answer: { status: 499, headers: new Headers(), body: null }, code: "ABORTED" };
      const failure = errorAnswer(thrown);
      if (failure.isFault) onError({ error: thrown, request: inbound.request, endpoint });
      return { answer: await failedAnswer(inbound, failure), code: failure.error.code };
    }
  };
  const handle: Handle = async (request) => toResponse(await respond(inboundOf(request)));
  noteRespond(handle, respond);
  return Object.assign(handle, { GET: handle, POST: handle, OPTIONS: handle });
}

const versions = { protocol: PROTOCOL_VERSION, minimumProtocol: MINIMUM_PROTOCOL_VERSION };

const noInput = async (): Promise<undefined> => undefined;

/** Loads prom-client with the first request. Where that fails, requests go on uncounted; `GET /metrics` says why. */
function lazyMetrics(
  option: boolean | MetricsOptions | undefined,
  onError: (failure: HandlerFailure) => void,
): {
  readonly counting: (inbound: Inbound) => Promise<Metrics | undefined>;
  readonly loaded: () => Promise<Metrics> | undefined;
} {
  let loading: Promise<Metrics> | undefined;
  return {
    loaded: () => loading,
    async counting(inbound) {
      if (option === undefined || option === false) return undefined;
      const isFirst = loading === undefined;
      loading ??= createMetrics(option === true ? {} : option);
      try {
        return await loading;
      } catch (error) {
        if (isFirst) onError({ error, request: inbound.request, endpoint: "metrics" });
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
function sizeOf({ body }: Answer): number {
  return body instanceof Uint8Array ? body.byteLength : 0;
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
