/**
 * Requests to a sync handler, and its answers taken apart, for tests of what goes over HTTP.
 *
 * @module
 */

import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeCbor, encodeCbor } from "../protocol/cbor.ts";

export const origin = "http://sync.test";
const base = `${origin}/api/sync`;

/** A GET to an endpoint. */
export function get(path: string, headers: Record<string, string> = {}): Request {
  return new Request(`${base}${path}`, { headers });
}

/** A POST of a message as CBOR, or of the bytes as they are. */
export function post(path: string, message: unknown, headers: Record<string, string> = {}): Request {
  const body = message instanceof Uint8Array ? new Uint8Array(message) : encodeCbor(message);
  return new Request(`${base}${path}`, {
    method: "POST",
    body,
    headers: { "content-type": "application/cbor", ...headers },
  });
}

/** The CBOR that an answer holds. */
export async function decoded(response: Response): Promise<unknown> {
  return decodeCbor(new Uint8Array(await response.arrayBuffer()));
}

/** The code of an answer's error. */
export async function codeOf(response: Response): Promise<unknown> {
  const { error } = (await decoded(response)) as { readonly error?: { readonly code?: unknown } };
  return error?.code;
}

/** A Node server on the loopback. */
export async function listen(
  listener: RequestListener,
): Promise<{ readonly url: string; readonly server: Server; readonly close: () => Promise<void> }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${port}`, server, close };
}
