/**
 * The transport over plain HTTP: CBOR bodies to the endpoints of `createSyncHandler`, live by a streamed answer. Web
 * standards only, so that it runs in browsers, workers, Node and on phones alike.
 *
 * It repeats nothing and remembers nothing; every failure becomes a `SyncError` whose policy tells the engine what to do.
 *
 * @module
 */

import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";
import { isSyncError, SyncError } from "../protocol/errors.ts";
import { acceptEncodingHeader, cborContentType, encodingHeader, framesContentType } from "../protocol/http.ts";
import { joinBytes } from "../protocol/join-bytes.ts";
import type { LiveFrame } from "../protocol/live.ts";
import { decodeLiveFrame, decodePullAnswer } from "../protocol/page-codec.ts";
import { parseHandshakeAnswer, parsePushAnswer } from "../protocol/parse.ts";
import { encodePushRequest } from "../protocol/push-codec.ts";
import type { PullRequest } from "../protocol/pull.ts";
import type { PushRequest } from "../protocol/push.ts";
import { watchCall, type CallWatch } from "./call-watch.ts";
import { readFrames } from "./frame-reader.ts";
import { decodeError, errorForContentType, errorForStatus } from "./http-errors.ts";
import { fetchSender, type HttpReply, type HttpSender, inflated } from "./http-sender.ts";
import { nextTurn } from "./next-turn.ts";
import { type NodeAgent, nodeSender } from "./node-sender.ts";
import type { CallOptions, Transport } from "./transport.ts";

export interface HttpTransportOptions {
  /** Where `createSyncHandler` is mounted: `https://app.example/api/sync`, or `/api/sync` in a browser. */
  readonly url: string | URL;
  /** The bearer token to send, asked for before each call; null when nobody is signed in. @default the client's, if it has one */
  readonly token?: () => string | null | Promise<string | null>;
  /** More headers, or a function that makes them before each call. @default none */
  readonly headers?: HeadersInit | (() => HeadersInit | Promise<HeadersInit>);
  /** What sends requests. @default the global `fetch` */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /**
   * In Node: an `http.Agent` or, for `https:`, an `https.Agent` to send through, instead of by `fetch`. What a device writes
   * then reaches the server, and others, about a millisecond sooner. Redirects are not followed. @default none
   */
  readonly agent?: NodeAgent;
  /** Milliseconds without any progress after which a call fails; sending a large body extends them. @default 30_000 */
  readonly timeoutMs?: number;
  /** Milliseconds of silence after which a live stream counts as lost; the server's heartbeats are a third of it. @default 90_000 */
  readonly silenceMs?: number;
  /** Compresses requests over 2 kB, and asks for compressed answers, where the runtime can. @default true */
  readonly compress?: boolean;
  /** Bytes of one answer or frame, inflated, beyond which it is refused. @default 32 MiB, the codec's own limit */
  readonly maxAnswerBytes?: number;
}

/** A request's body as it is sent. */
interface Body {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly isGzipped: boolean;
}

const compressOverBytes = 2048;
/** A slow uplink, by which the time for a large body is reckoned. */
const uploadBytesPerMs = 16;
/** More than any error says. */
const maxErrorBytes = 64 * 1024;

/** Builds a transport to a server's `createSyncHandler`. Throws a `TypeError` for an `agent` outside of Node. */
export function httpTransport(options: HttpTransportOptions): Transport {
  // Node loads its Fetch API where it is named first: better now than in the first call.
  void globalThis.Headers;
  const { timeoutMs = 30_000, silenceMs = 90_000, compress = true, maxAnswerBytes = 32 * 1024 * 1024 } = options;
  const urlOf = endpointUrls(String(options.url));
  const canCompress = compress && typeof CompressionStream !== "undefined";
  const canInflate = compress && typeof DecompressionStream !== "undefined";
  const closed = new AbortController();
  const send = senderOf(options);

  const pack = async (bytes: Uint8Array<ArrayBuffer>): Promise<Body> =>
    canCompress && bytes.byteLength > compressOverBytes
      ? { bytes: await gzip(bytes), isGzipped: true }
      : { bytes, isGzipped: false };
  const prepared = new WeakMap<PushRequest, Promise<Body>>();

  /** Sends a request and returns the answer that began to come, if it is one. */
  const post = async (
    path: string,
    message: () => Promise<Body>,
    accept: string,
    callOptions: CallOptions,
    watch: CallWatch,
  ): Promise<HttpReply> => {
    watch.grant(timeoutMs);
    const headers = await watch.wait(headersFor(options.headers, options.token ?? callOptions.token));
    headers.set("content-type", cborContentType);
    headers.set("accept", accept);
    if (canInflate && accept === cborContentType) headers.set(acceptEncodingHeader, "gzip");
    const { bytes, isGzipped } = await message();
    if (isGzipped) headers.set("content-encoding", "gzip");
    watch.grant(timeoutMs + Math.ceil(bytes.byteLength / uploadBytesPerMs));
    const reply = await watch.wait(send(urlOf(path), { headers, body: bytes, signal: watch.signal }));
    watch.grant(timeoutMs);
    if (reply.status < 200 || reply.status > 299) throw await failureOf(reply, watch, timeoutMs);
    if (contentTypeOf(reply) !== accept) throw errorForContentType(reply);
    return reply;
  };

  const call = async <T>(
    path: string,
    message: () => Promise<Body>,
    callOptions: CallOptions,
    decode: (bytes: Uint8Array) => T,
  ): Promise<T> => {
    const watch = watchCall(callOptions.signal, closed.signal);
    try {
      const reply = await post(path, message, cborContentType, callOptions, watch);
      const bytes = await readAll(reply, maxAnswerBytes, watch, timeoutMs);
      watch.finish();
      return decode(bytes);
    } catch (thrown) {
      throw watch.errorFor(thrown, () => offline(thrown));
    } finally {
      watch.stop();
    }
  };

  return {
    liveKind: "pages",
    handshake: (request, callOptions) =>
      call(
        "/v1/handshake",
        () => pack(encodeCbor(request)),
        callOptions,
        (bytes) => parseHandshakeAnswer(decodeCbor(bytes)),
      ),
    pull: (request, callOptions) => call("/v1/pull", () => pack(encodeCbor(request)), callOptions, decodePullAnswer),
    push: (request, callOptions) =>
      call(
        "/v1/push",
        () => prepared.get(request) ?? pack(encodePushRequest(request)),
        callOptions,
        (bytes) => parsePushAnswer(decodeCbor(bytes)),
      ),
    async *live(request: PullRequest, callOptions: CallOptions): AsyncGenerator<LiveFrame, void, void> {
      const watch = watchCall(callOptions.signal, closed.signal);
      try {
        const reply = await post("/v1/stream", () => pack(encodeCbor(request)), framesContentType, callOptions, watch);
        watch.grant(silenceMs);
        const reading = { maxFrameBytes: maxAnswerBytes, onChunk: () => watch.grant(silenceMs), signal: watch.signal };
        for await (const frame of readFrames(reply, reading)) {
          if (frame.isError) throw decodeError(frame.bytes) ?? brokenStream();
          yield decodeLiveFrame(frame.bytes);
        }
      } catch (thrown) {
        throw watch.errorFor(thrown, () => offline(thrown));
      } finally {
        watch.stop();
      }
    },
    flush: nextTurn,
    prepare(request) {
      const body = (async () => pack(encodePushRequest(request)))();
      // What is wrong is said when it is sent.
      body.catch(() => undefined);
      prepared.set(request, body);
    },
    close: () => closed.abort(),
  };
}

function senderOf({ agent, fetch: given }: HttpTransportOptions): HttpSender {
  if (agent !== undefined) return nodeSender(agent);
  // Looked up at each call: what patches the global one may come later.
  return fetchSender(given ?? ((url, init) => fetch(url, init)));
}

/** Joins paths to the base, before its query if it has one. */
function endpointUrls(base: string): (path: string) => string {
  const at = base.search(/[?#]/);
  const path = (at < 0 ? base : base.slice(0, at)).replace(/\/+$/, "");
  const query = at < 0 ? "" : base.slice(at).replace(/#.*$/, "");
  return (endpoint) => `${path}${endpoint}${query}`;
}

async function headersFor(headers: HttpTransportOptions["headers"], token: CallOptions["token"]): Promise<Headers> {
  try {
    const result = new Headers(typeof headers === "function" ? await headers() : headers);
    if (token === undefined) return result;
    const value = await token();
    if (value === null)
      throw new SyncError({ code: "UNAUTHORIZED", message: "Nobody is signed in: `token` gave null." });
    result.set("authorization", `Bearer ${value}`);
    return result;
  } catch (cause) {
    if (isSyncError(cause)) throw cause;
    // Most likely the token could not be refreshed just now.
    throw new SyncError({
      code: "UNAVAILABLE",
      message: "The transport's `token` or `headers` function failed.",
      cause,
    });
  }
}

async function failureOf(reply: HttpReply, watch: CallWatch, timeoutMs: number): Promise<SyncError> {
  const byStatus = errorForStatus(reply);
  if (contentTypeOf(reply) !== cborContentType) {
    reply.leave();
    return byStatus;
  }
  const bytes = await readAll(reply, maxErrorBytes, watch, timeoutMs);
  return decodeError(bytes) ?? byStatus;
}

function contentTypeOf(reply: HttpReply): string | undefined {
  return reply.header("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
}

/** Reads an answer to its end, inflated; the limit holds for what it inflates to. */
async function readAll(reply: HttpReply, maxBytes: number, watch: CallWatch, timeoutMs: number): Promise<Uint8Array> {
  const { read, leave } = reply.header(encodingHeader) === "gzip" ? inflated(reply) : reply;
  // Not every `fetch` lets go of a body that it has handed over. The signal aborts at the end of the call at the latest.
  watch.signal.addEventListener("abort", leave, { once: true });
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const chunk = await read();
    watch.signal.throwIfAborted();
    if (chunk === undefined) break;
    watch.grant(timeoutMs);
    size += chunk.byteLength;
    if (size > maxBytes) {
      leave();
      const message = "The answer is larger than `maxAnswerBytes` allows.";
      throw new SyncError({ code: "TOO_LARGE", message, details: { limit: maxBytes } });
    }
    chunks.push(chunk);
  }
  return joinBytes(chunks, size);
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function brokenStream(): SyncError {
  return new SyncError({ code: "UNAVAILABLE", message: "The server ended the live stream with an error." });
}

function offline(cause: unknown): SyncError {
  return new SyncError({
    code: "OFFLINE",
    message: "The server cannot be reached, or the connection to it broke.",
    cause,
  });
}
