/**
 * `/v1/stream`: opens the `live` procedure for a caller, and keeps the streams that are open.
 *
 * The request is that of a pull, as CBOR in the body of a POST, or base64url in `?request=` of a GET, for event sources,
 * which can do nothing else. They resume where they stopped: `Last-Event-ID` takes the place of the request's cursor.
 *
 * @module
 */

import { decodeCbor } from "../../protocol/cbor.ts";
import { SyncError } from "../../protocol/errors.ts";
import { eventsContentType, framesContentType } from "../../protocol/http.ts";
import type { LiveEnd } from "../../protocol/live.ts";
import type { Admit } from "./admission.ts";
import { flowOf, startFlow, type StartFlow } from "../frame-stream.ts";
import { mediaTypes, type Answer } from "./answer.ts";
import { errorAnswer, refuse } from "./error-answer.ts";
import type { Exchange } from "./exchange.ts";
import type { HandlerLimits } from "./handler-options.ts";
import type { Inbound } from "./inbound.ts";
import type { Procedures } from "./procedures.ts";
import { openStream, streamHeaders, type OpenBody, type OpenStream, type StreamFormat } from "./stream.ts";

export interface LiveEndpointOptions<TContext> {
  readonly procedures: Procedures;
  readonly admit: Admit<TContext>;
  readonly limits: HandlerLimits;
  readonly shutdown: AbortSignal | undefined;
  readonly expiresAt:
    | ((caller: { readonly ctx: TContext; readonly request: Request }) => number | undefined)
    | undefined;
  /** Hears of errors that end a stream, or that its source throws when it is stopped. */
  readonly onError: (error: unknown, inbound: Inbound) => void;
}

/** Answers a request for a stream. `input` reads the body of a POST. */
export type AnswerStream = (exchange: Exchange, input: () => Promise<unknown>) => Promise<Answer>;

export function createLiveEndpoint<TContext>(options: LiveEndpointOptions<TContext>): AnswerStream {
  const { procedures, limits, shutdown } = options;
  const open = new Set<OpenStream>();
  // One listener for all streams: a signal warns when it gets many.
  shutdown?.addEventListener("abort", () => {
    for (const stream of open) stream.end("shutdown");
  });
  return async (exchange, readInput) => {
    const { inbound } = exchange;
    if (shutdown?.aborted === true) {
      throw refuse(503, new SyncError({ code: "UNAVAILABLE", message: "The server is shutting down." }));
    }
    const format = formatOf(inbound);
    const input = async (): Promise<unknown> => {
      const asked = inbound.method === "GET" ? requestInUrl(inbound.url) : await readInput();
      return withFrames(asked, format === "events" ? inbound.headers.get("last-event-id") : null);
    };
    const { ctx } = await options.admit({ ...exchange, endpoint: "stream", procedure: "live", input });
    const source = new AbortController();
    const frames = await procedures.call("live", { ctx, input, signal: source.signal });
    const start = flowIn(frames);
    const expiresAt = options.expiresAt?.({
      ctx,
      get request() {
        return inbound.request;
      },
    });
    const body: OpenBody = (sink) => {
      const stream = openStream(
        {
          start,
          format,
          heartbeatMs: limits.heartbeatMs,
          lifetime: lifetimeOf(limits.maxStreamMs, expiresAt),
          stop: () => source.abort(),
          errorFor(thrown) {
            const failure = errorAnswer(thrown);
            if (failure.isFault && !source.signal.aborted) options.onError(thrown, inbound);
            return failure.error;
          },
          onClose(bytesOut) {
            inbound.signal.removeEventListener("abort", leave);
            open.delete(stream);
            exchange.metrics?.streamsChanged(-1);
            exchange.finish(200, bytesOut);
          },
        },
        sink,
      );
      const leave = (): void => stream.end();
      inbound.signal.addEventListener("abort", leave);
      open.add(stream);
      exchange.metrics?.streamsChanged(1);
      if (inbound.signal.aborted) leave();
      return stream;
    };
    exchange.goOn();
    const contentType = format === "events" ? `${eventsContentType}; charset=utf-8` : framesContentType;
    return { status: 200, headers: streamHeaders(contentType), body, isFramed: true };
  };
}

/** What `Accept` names; else events for a GET, which our client never sends. */
function formatOf({ headers, method }: Inbound): StreamFormat {
  const types = mediaTypes(headers.get("accept"));
  if (types.includes(framesContentType)) return "frames";
  if (types.includes(eventsContentType)) return "events";
  return method === "GET" ? "events" : "frames";
}

function requestInUrl(url: URL): unknown {
  const text = url.searchParams.get("request");
  if (text === null || !/^[A-Za-z0-9_-]+={0,2}$/.test(text)) {
    const message = "`GET /v1/stream` needs `?request=` with a pull request as CBOR in base64url.";
    throw new SyncError({ code: "INVALID_MESSAGE", message });
  }
  return decodeCbor(new Uint8Array(Buffer.from(text, "base64url")));
}

/** `frames` makes the procedure yield pages; over tRPC it only says that there is more. */
function withFrames(asked: unknown, lastEventId: string | null): unknown {
  if (typeof asked !== "object" || asked === null || Array.isArray(asked)) {
    throw new SyncError({ code: "INVALID_MESSAGE", message: "A request for a stream must be a pull request." });
  }
  const cursor = lastEventId === null || lastEventId === "" ? {} : { cursor: lastEventId };
  return { ...asked, ...cursor, frames: true };
}

/** The procedure's own flow, or one of whatever a middleware made of it. */
function flowIn(value: unknown): StartFlow<unknown> {
  if (typeof value === "object" && value !== null) {
    if (startFlow in value) return value[startFlow] as StartFlow<unknown>;
    if (Symbol.asyncIterator in value) return flowOf(value as AsyncIterable<unknown>);
  }
  throw new Error("The `live` procedure gave no stream.");
}

function lifetimeOf(maxMs: number, expiresAt: number | undefined): { readonly ms: number; readonly reason: LiveEnd } {
  const left = expiresAt === undefined ? Infinity : expiresAt - Date.now();
  return left <= maxMs ? { ms: left, reason: "auth" } : { ms: maxMs, reason: "pull" };
}
