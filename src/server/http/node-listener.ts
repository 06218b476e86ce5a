/**
 * Makes a handler of `Request` and `Response` a listener of Node's `http`: bodies stream in as they are read and out
 * as the caller takes them, a caller that leaves aborts its request, and the address it came from is passed on.
 *
 * A sync handler is asked for its answer without a `Request` and a `Response` in between, and its streams are written
 * straight to the socket.
 *
 * @module
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Answer } from "./answer.ts";
import { nodeInbound } from "./node-inbound.ts";
import { nodeSink } from "./node-sink.ts";
import { respondOf, respondWith } from "./respond.ts";

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
  const respond = respondOf(handler) ?? respondWith(handler);
  const onError = options.onError ?? (() => undefined);
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const left = new AbortController();
    outgoing.once("close", () => {
      if (!outgoing.writableFinished) left.abort();
    });
    const inbound = nodeInbound(incoming, left.signal);
    if (inbound === undefined) {
      outgoing.writeHead(400, { connection: "close" }).end();
      return;
    }
    write(await respond(inbound), incoming, outgoing, onError);
  };
  return (incoming, outgoing) => {
    serve(incoming, outgoing).catch((error: unknown) => {
      onError(error);
      outgoing.destroy();
    });
  };
}

function write(
  { status, headers, body, isFramed = false }: Answer,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  onError: (error: unknown) => void,
): void {
  const end = (bytes?: Uint8Array): void => {
    outgoing.end(bytes);
    endConnectionOfRefusedBody(incoming);
  };
  const isGone = outgoing.destroyed;
  if (!isGone) writeHead(outgoing, incoming, status, headers);
  if (typeof body !== "function") return isGone ? undefined : end(body ?? undefined);
  if (isFramed && !isGone && incoming.httpVersionMajor === 1) {
    // Its frames are written as they are, not as chunks of HTTP in four pieces each; it ends with its connection.
    outgoing.removeHeader("transfer-encoding");
    outgoing.setHeader("connection", "close");
  }
  if (!isGone) outgoing.flushHeaders();
  // A stream is opened for one who is gone by now, too, so that it ends.
  const sink = nodeSink(outgoing, {
    isFramed,
    end,
    break(error) {
      onError(error);
      outgoing.destroy();
    },
  });
  const caller = body(sink);
  sink.onDrain(caller.more);
  if (isGone) caller.left();
  else outgoing.once("close", caller.left);
}

function writeHead(outgoing: ServerResponse, incoming: IncomingMessage, status: number, headers: Headers): void {
  outgoing.statusCode = status;
  for (const [name, value] of headers) if (name !== "set-cookie") outgoing.setHeader(name, value);
  const cookies = headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  // What is left of a refused body would stand before the next request on this connection.
  if (!incoming.complete && incoming.httpVersionMajor === 1) outgoing.setHeader("connection", "close");
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
