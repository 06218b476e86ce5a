/**
 * A request of Node's `http` as the handler sees it: its headers and body are read where they are.
 *
 * @module
 */

import type { IncomingMessage } from "node:http";
import { bodyOf, type Inbound, type InboundBody } from "./inbound.ts";
import { remoteAddress, setRemoteAddress } from "./remote-address.ts";

/** Methods that a `Request` cannot have. */
const forbiddenMethods: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);

/** Reads what was asked for; undefined where the request line or `Host` makes no address, or the method is none for a `Request`. */
export function nodeInbound(incoming: IncomingMessage, signal: AbortSignal): Inbound | undefined {
  const { method = "GET" } = incoming;
  const url = forbiddenMethods.has(method) ? undefined : urlOf(incoming);
  if (url === undefined) return undefined;
  let request: Request | undefined;
  return {
    method,
    url,
    signal,
    headers: {
      get: (name) => headerOf(incoming, name),
      has: (name) => headerOf(incoming, name) !== null,
    },
    get address() {
      return request === undefined ? addressOf(incoming) : remoteAddress(request);
    },
    get body() {
      // What the app may have read or copied already.
      if (request !== undefined) return bodyOf(request);
      return isBodiless(method) ? undefined : chunksOf(incoming);
    },
    get request() {
      request ??= toRequest(incoming, method, url, signal);
      return request;
    },
  };
}

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

function headerOf(incoming: IncomingMessage, name: string): string | null {
  const value = incoming.headers[name];
  if (value === undefined) return null;
  return typeof value === "string" ? value : value.join(", ");
}

function toRequest(incoming: IncomingMessage, method: string, url: URL, signal: AbortSignal): Request {
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) {
    // Pseudo-headers of HTTP/2 begin with a colon.
    if (value === undefined || name.startsWith(":")) continue;
    if (typeof value === "string") headers.set(name, value);
    else for (const part of value) headers.append(name, part);
  }
  // `duplex` is what the standard asks for with a streamed body; the types do not know it yet.
  const init = isBodiless(method)
    ? { method, headers, signal }
    : { method, headers, signal, body: streamOf(incoming), duplex: "half" };
  const request = new Request(url, init);
  setRemoteAddress(request, addressOf(incoming));
  return request;
}

function addressOf(incoming: IncomingMessage): string {
  return incoming.socket.remoteAddress ?? "";
}

function isBodiless(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

function chunksOf(incoming: IncomingMessage): InboundBody {
  let leave = (): void => undefined;
  return {
    each: (take) =>
      new Promise((resolve, reject) => {
        const onData = (chunk: Uint8Array): void => {
          try {
            take(chunk);
          } catch (error) {
            leave();
            reject(error);
          }
        };
        const onEnd = (): void => {
          leave();
          resolve();
        };
        const onBreak = (error?: unknown): void => {
          leave();
          reject(error ?? new Error("The connection closed before the end of the body."));
        };
        leave = () => {
          incoming.off("data", onData).off("end", onEnd).off("error", onBreak).off("close", onBreak).pause();
        };
        if (incoming.readableEnded) return onEnd();
        if (incoming.destroyed) return onBreak();
        incoming.on("data", onData).on("end", onEnd).on("error", onBreak).on("close", onBreak);
      }),
    drop: () => leave(),
  };
}

/** The body as a stream that reads nothing before it is read: whoever is refused has sent in vain. */
function streamOf(incoming: IncomingMessage): ReadableStream<Uint8Array> {
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
