/**
 * Makes a handler of `Request` and `Response` a listener of Node's `http`: bodies stream in as they are read and out
 * as the caller takes them, a caller that leaves aborts its request, and the address it came from is passed on.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { setRemoteAddress } from "./remote-address.ts";

export interface NodeListenerOptions {
  /** Hears of failures of the handler itself, which answers its own errors. @default destroys the connection silently */
  readonly onError?: (error: unknown) => void;
}

/** How long a caller whose body was refused may go on sending it before its connection is cut. */
const lingerMs = 1000;

/**
 * Mounts a handler on `http.createServer`, Express and the like.
 *
 * @example
 * ```ts
 * createServer(toNodeListener(createSyncHandler({ router: appRouter, procedures: "sync", createContext }))).listen(3000);
 * ```
 */
export function toNodeListener(
  handler: (request: Request) => Promise<Response>,
  options: NodeListenerOptions = {},
): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  return (incoming, outgoing) => {
    serve(handler, incoming, outgoing).catch((error: unknown) => {
      options.onError?.(error);
      outgoing.destroy();
    });
  };
}

async function serve(
  handler: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const left = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) left.abort();
  });
  const url = urlOf(incoming);
  if (url === undefined || forbiddenMethods.has(incoming.method ?? "GET")) {
    outgoing.writeHead(400, { connection: "close" }).end();
    return;
  }
  const request = toRequest(incoming, url, left.signal);
  setRemoteAddress(request, incoming.socket.remoteAddress ?? "");
  const response = await handler(request);
  if (left.signal.aborted) {
    await response.body?.cancel();
    return;
  }
  writeHead(outgoing, incoming, response);
  await writeBody(outgoing, response.body);
  endConnectionOfRefusedBody(incoming);
}

/** Methods that a `Request` cannot have. */
const forbiddenMethods: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);

/** The address that was asked for; undefined where the request line or `Host` makes none. */
function urlOf(incoming: IncomingMessage): URL | undefined {
  const protocol = "encrypted" in incoming.socket && incoming.socket.encrypted === true ? "https" : "http";
  const target = incoming.url ?? "/";
  const host = incoming.headers.host ?? incoming.headers[":authority"] ?? "localhost";
  // Joined as text: resolved as a reference, a path that begins with two slashes would name another host.
  const text = target.startsWith("/") ? `${protocol}://${String(host)}${target}` : target;
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  return url.protocol === "http:" || url.protocol === "https:" ? url : undefined;
}

function toRequest(incoming: IncomingMessage, url: URL, signal: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    // Pseudo-headers of HTTP/2 begin with a colon.
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") headers.set(name, value);
    else for (const part of value) headers.append(name, part);
  }
  const method = incoming.method ?? "GET";
  if (method === "GET" || method === "HEAD") return new Request(url, { method, headers, signal });
  // `duplex` is what the standard asks for with a streamed body; the types do not know it yet.
  const init = { method, headers, signal, body: bodyOf(incoming), duplex: "half" };
  return new Request(url, init);
}

/** The body as a stream that reads nothing before it is read: whoever is refused has sent in vain. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
  let chunks: AsyncIterator<Uint8Array> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        // An error of the connection becomes the stream's error, and thus the reader's.
        chunks ??= incoming[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
        const { done, value } = await chunks.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
    },
    { highWaterMark: 0 },
  );
}

function writeHead(outgoing: ServerResponse, incoming: IncomingMessage, response: Response): void {
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) if (name !== "set-cookie") outgoing.setHeader(name, value);
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  // What is left of a refused body would stand before the next request on this connection.
  if (!incoming.complete && incoming.httpVersionMajor === 1) outgoing.setHeader("connection", "close");
  outgoing.flushHeaders();
}

async function writeBody(outgoing: ServerResponse, body: ReadableStream<Uint8Array> | null): Promise<void> {
  if (body === null) {
    outgoing.end();
    return;
  }
  const reader = body.getReader();
  const closed = (): void => void reader.cancel();
  outgoing.once("close", closed);
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (!outgoing.write(value)) await drained(outgoing);
  }
  outgoing.off("close", closed);
  outgoing.end();
}

function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.off("drain", done);
      outgoing.off("close", done);
      resolve();
    };
    outgoing.on("drain", done);
    outgoing.on("close", done);
    if (outgoing.destroyed) done();
  });
}

/**
 * Reads on for a moment where a body was refused before its end, then cuts the connection. Cut at once, the caller
 * would see a reset in place of the answer; never cut, it could send forever.
 */
function endConnectionOfRefusedBody(incoming: IncomingMessage): void {
  if (incoming.complete || incoming.destroyed) return;
  incoming.resume();
  const timer = setTimeout(() => incoming.destroy(), lingerMs);
  incoming.once("close", () => clearTimeout(timer));
}
