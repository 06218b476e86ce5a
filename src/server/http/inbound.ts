/**
 * A request as the handler sees it, from whatever server. The app's functions get the web's `Request`; a server that has the
 * request in another form makes one when they first ask for it, which most apps never do.
 *
 * @module
 */

import { remoteAddress } from "./remote-address.ts";

export interface Inbound {
  readonly method: string;
  readonly url: URL;
  readonly headers: Pick<Headers, "get" | "has">;
  /** Where it came from, as far as is known. */
  readonly address: string | undefined;
  /** Aborts when the caller leaves. */
  readonly signal: AbortSignal;
  /** Absent where none was sent. */
  readonly body: InboundBody | undefined;
  /** The request as the app's functions get it. */
  readonly request: Request;
}

/** A body, which is read once. Nothing is read before. */
export interface InboundBody {
  /** Hands over each chunk; resolves at the end, rejects where the body breaks off or `take` throws. */
  readonly each: (take: (chunk: Uint8Array) => void) => Promise<void>;
  /** Nobody reads on. */
  readonly drop: (reason: unknown) => void;
}

/** A web server's request. */
export function inboundOf(request: Request): Inbound {
  const { method, headers, signal } = request;
  return {
    method,
    headers,
    signal,
    url: new URL(request.url),
    get address() {
      return remoteAddress(request);
    },
    get body() {
      return bodyOf(request);
    },
    request,
  };
}

/** The body of a `Request`. */
export function bodyOf({ body }: Request): InboundBody | undefined {
  if (body === null) return undefined;
  const reader = body.getReader();
  return {
    async each(take) {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        take(value);
      }
    },
    // Cancelling fails only where the stream already has.
    drop: (reason) => void reader.cancel(reason).catch(() => {}),
  };
}
