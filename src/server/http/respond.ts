/**
 * Answers as the web's `Response`, and the way around it: a server that can write an answer itself asks the handler for one.
 *
 * @module
 */

import type { Answer } from "./answer.ts";
import type { Inbound } from "./inbound.ts";
import type { CallerSide, OpenBody } from "./stream.ts";

/** What a sync handler does, whatever server it is mounted on. */
export type Respond = (inbound: Inbound) => Promise<Answer>;

type Handle = (request: Request) => Promise<Response>;

const respondByHandle = new WeakMap<Handle, Respond>();

/** Notes what a handler is made of. */
export function noteRespond(handle: Handle, respond: Respond): void {
  respondByHandle.set(handle, respond);
}

/** What a handler is made of; undefined for one that is not ours, or that the app wrapped. */
export function respondOf(handle: Handle): Respond | undefined {
  return respondByHandle.get(handle);
}

/** The same for any handler of `Request` and `Response`. */
export function respondWith(handle: Handle): Respond {
  return async (inbound) => {
    const { status, headers, body } = await handle(inbound.request);
    return { status, headers, body: body === null ? null : pump(body) };
  };
}

/** The answer for a server that speaks `Response`. */
export function toResponse({ status, headers, body }: Answer): Response {
  return new Response(typeof body === "function" ? toStream(body) : asBody(body), { status, headers });
}

function toStream(open: OpenBody): ReadableStream<Uint8Array> {
  let caller: CallerSide;
  return new ReadableStream<Uint8Array>({
    start(controller) {
      caller = open({
        write(chunk) {
          controller.enqueue(chunk);
          // It is pulled as its reader takes what is there.
          return false;
        },
        hasRoom: () => (controller.desiredSize ?? 0) > 0,
        end: () => controller.close(),
        break: (error) => controller.error(error),
      });
    },
    pull: () => caller.more(),
    cancel: () => caller.left(),
  });
}

function pump(body: ReadableStream<Uint8Array>): OpenBody {
  return (sink) => {
    const reader = body.getReader();
    let isReading = false;
    const more = (): void => {
      if (isReading) return;
      isReading = true;
      reader.read().then(
        ({ done, value }) => {
          isReading = false;
          if (done) sink.end();
          else if (sink.write(value)) more();
        },
        (error: Error) => sink.break(error),
      );
    };
    more();
    return { more, left: () => void reader.cancel().catch(() => {}) };
  };
}

/** `BodyInit` wants to know that the memory is not shared, which nothing of ours is. */
function asBody(bytes: Uint8Array | null): Uint8Array<ArrayBuffer> | null {
  return bytes as Uint8Array<ArrayBuffer> | null;
}
