/**
 * How `http-transport.ts` sends a request and reads its answer: by `fetch`, which is everywhere, or by `node-sender.ts`.
 *
 * @module
 */

/** What one request is sent with. All are POSTs. */
export interface HttpMessage {
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Ends the request and the reading of its answer. */
  readonly signal: AbortSignal;
}

/** Bytes that come bit by bit. */
export interface ByteSource {
  /** The next bytes; undefined at their end. One call at a time. */
  readonly read: () => Promise<Uint8Array | undefined>;
  /** Lets go of what is left; a `read` that waits comes back. */
  readonly leave: () => void;
}

/** An answer that began to come, and the source of its body. */
export interface HttpReply extends ByteSource {
  readonly status: number;
  /** A header by its name, in lower case. */
  readonly header: (name: string) => string | null;
}

/** Sends a request; rejects when the server cannot be reached. */
export type HttpSender = (url: string, message: HttpMessage) => Promise<HttpReply>;

/** Sends by a function like the global `fetch`. */
export function fetchSender(send: (url: string, init: RequestInit) => Promise<Response>): HttpSender {
  return async (url, { headers, body, signal }) => {
    const response = await send(url, { method: "POST", headers, body, signal });
    return {
      ...streamSource(response.body),
      status: response.status,
      header: (name) => response.headers.get(name),
    };
  };
}

/** Reads a stream; none is like an empty one. */
export function streamSource(stream: ReadableStream<Uint8Array> | null): ByteSource {
  const reader = stream?.getReader();
  return {
    read: async () => (await reader?.read())?.value,
    // The stream may have failed already, which is then the error that is on its way to the caller.
    leave: () => void reader?.cancel().catch(() => {}),
  };
}

/** What gzipped bytes inflate to. */
export function inflated(source: ByteSource): ByteSource {
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      const chunk = await source.read();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
    },
    cancel: source.leave,
  });
  return streamSource(packed.pipeThrough(new DecompressionStream("gzip")));
}
