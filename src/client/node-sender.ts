/**
 * Sends through Node's own `http` instead of `fetch`, which takes a millisecond longer to begin, and part of one more for each
 * piece of a stream. Reached through `process`, so that nothing is bundled for a browser.
 *
 * @module
 */

import type { HttpReply, HttpSender } from "./http-sender.ts";

/** Bytes that are taken from the network before somebody reads them. */
const MAX_BUFFERED = 1024 * 1024;

/** An `http.Agent` or `https.Agent` of Node. */
export interface NodeAgent {
  readonly maxSockets: number;
  destroy(): void;
}

type Builtins = Pick<typeof process, "getBuiltinModule">;

/** What is needed of an `http.IncomingMessage`. */
interface Incoming {
  readonly statusCode?: number | undefined;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  on(event: "data", listener: (chunk: Uint8Array) => void): unknown;
  once(event: "end" | "close", listener: () => void): unknown;
  once(event: "error", listener: (error: Error) => void): unknown;
  pause(): unknown;
  resume(): unknown;
  destroy(): unknown;
}

/** Sends through an agent; which one, the URL's scheme says. Redirects are not followed. */
export function nodeSender(agent: NodeAgent): HttpSender {
  const { process: node } = globalThis as { readonly process?: Builtins };
  const http = node?.getBuiltinModule("node:http");
  const https = node?.getBuiltinModule("node:https");
  if (http === undefined || https === undefined) throw new TypeError("`agent` needs Node; leave it out elsewhere.");
  return (url, { headers, body, signal }) =>
    new Promise((resolve, reject) => {
      const { request } = url.startsWith("https:") ? https : http;
      const options = {
        method: "POST",
        agent: agent as InstanceType<typeof http.Agent>,
        signal,
        headers: { ...Object.fromEntries(headers), "content-length": body.byteLength },
      };
      request(url, options, (incoming) => resolve(replyOf(incoming)))
        .on("error", reject)
        .end(body);
    });
}

function replyOf(incoming: Incoming): HttpReply {
  const chunks: Uint8Array[] = [];
  let buffered = 0;
  let failure: Error | undefined;
  let isOver = false;
  let wake = (): void => undefined;
  const over = (error?: Error): void => {
    failure ??= error;
    isOver = true;
    wake();
  };
  incoming.on("data", (chunk: Uint8Array) => {
    chunks.push(chunk);
    buffered += chunk.byteLength;
    // Who reads slowly is sent no more. Pausing after each chunk would leave twice as much of them to the garbage collector.
    if (buffered > MAX_BUFFERED) incoming.pause();
    wake();
  });
  incoming.once("end", () => over());
  incoming.once("error", over);
  incoming.once("close", () => over());
  return {
    status: incoming.statusCode ?? 0,
    header(name) {
      const value = incoming.headers[name];
      return typeof value === "string" ? value : null;
    },
    async read() {
      if (chunks.length === 0 && !isOver) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          incoming.resume();
        });
      }
      const chunk = chunks.shift();
      buffered -= chunk?.byteLength ?? 0;
      if (chunk === undefined && failure !== undefined) throw failure;
      return chunk;
    },
    leave: () => void incoming.destroy(),
  };
}
