import { Agent } from "node:http";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, test } from "vitest";
import { encodeCbor } from "../protocol/cbor.ts";
import type { SyncError } from "../protocol/errors.ts";
import { encodeErrorFrame, encodeFrame } from "../protocol/http.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { PushRequest } from "../protocol/push.ts";
import { encodeLiveFrame } from "../protocol/page-codec.ts";
import { createSyncHandler } from "../server/http/handler.ts";
import { toNodeListener } from "../server/http/node-listener.ts";
import { listen } from "../testing/http-calls.ts";
import {
  handshakeAnswer,
  handshakeRequest,
  largePage,
  page,
  pullRequest,
  pushAnswer,
  pushRequest,
} from "../testing/sample-messages.ts";
import { scriptedRouter, type ScriptedService } from "../testing/scripted-service.ts";
import { startThreadServer } from "../testing/thread-server.ts";
import { transportConformance, type OpenConnection } from "../testing/transport-conformance.ts";
import { withToken } from "./with-token.ts";
import { httpTransport, type HttpTransportOptions } from "./http-transport.ts";

const never = new AbortController().signal;
/** More than 2 kB. */
const manyShapes: PushRequest = {
  ...pushRequest,
  shapes: [...pushRequest.shapes, ...Array.from({ length: 497 }, () => pushRequest.shapes[0] ?? expect.fail())],
};
const handlerOver = (script: Partial<ScriptedService>) =>
  createSyncHandler({
    router: scriptedRouter(script),
    procedures: "sync",
    createContext: () => ({}),
    onError: () => {},
  });

const overLoopback: OpenConnection = async (script) => {
  const { url, close } = await listen(toNodeListener(handlerOver(script)));
  return { transport: httpTransport({ url: `${url}/api/sync` }), cut: close, close };
};

const throughAgent: OpenConnection = async (script) => {
  const { url, close } = await listen(toNodeListener(handlerOver(script)));
  const agent = new Agent({ keepAlive: true });
  return { transport: httpTransport({ url: `${url}/api/sync`, agent }), cut: close, close };
};

const inProcess: OpenConnection = async (script) => {
  const handler = handlerOver(script);
  const transport = httpTransport({
    url: "http://sync.test/api/sync",
    fetch: (url, init) => handler(new Request(url, init)),
  });
  return { transport, close: async () => {} };
};

describe.each([
  ["over a Node server", overLoopback],
  ["through an agent", throughAgent],
  ["calling the handler in process", inProcess],
])("httpTransport %s", (_name, open) => {
  test.for(transportConformance)("$name", ({ run }) => run(open));
});

/** A transport whose server is a function. */
function transportTo(
  answer: (request: Request) => Response | Promise<Response>,
  options: Partial<HttpTransportOptions> = {},
) {
  return httpTransport({
    url: "http://sync.test/api/sync",
    fetch: async (url, init) => answer(new Request(url, init)),
    ...options,
  });
}

function cbor(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(encodeCbor(value), { status, headers: { "content-type": "application/cbor", ...headers } });
}

const push = (transport: ReturnType<typeof httpTransport>) => transport.push(pushRequest, { signal: never });

async function collect(transport: ReturnType<typeof httpTransport>): Promise<LiveFrame[]> {
  const frames: LiveFrame[] = [];
  for await (const frame of transport.live?.(pullRequest, { signal: never }) ?? []) frames.push(frame);
  return frames;
}

describe("requests", () => {
  test("go to the endpoints below the address, whatever its form", async () => {
    const seen: string[] = [];
    const answer = (request: Request): Response => {
      seen.push(request.url);
      return cbor(pushAnswer);
    };
    for (const url of [
      "http://a.test/api/sync",
      "http://a.test/api/sync/",
      new URL("http://a.test/api/sync"),
      "http://a.test/api/sync?tenant=1#x",
      "http://a.test",
    ]) {
      await push(transportTo(answer, { url }));
    }
    const path = "http://a.test/api/sync/v1/push";
    expect(seen).toEqual([path, path, path, `${path}?tenant=1`, "http://a.test/v1/push"]);
  });

  test("carry the token of the moment, and the app's headers", async () => {
    let token = 0;
    const seen: (string | null)[] = [];
    const transport = transportTo(
      (request) => {
        seen.push(
          request.headers.get("authorization"),
          request.headers.get("x-app"),
          request.headers.get("content-type"),
        );
        return cbor(pushAnswer);
      },
      { token: async () => `t${++token}`, headers: () => ({ "x-app": "1", "content-type": "text/plain" }) },
    );
    await push(transport);
    await push(transport);
    expect(seen).toEqual(["Bearer t1", "1", "application/cbor", "Bearer t2", "1", "application/cbor"]);
  });

  test("carry the caller's token where the transport has none of its own", async () => {
    const seen: (string | null)[] = [];
    const answer = (request: Request): Response => {
      seen.push(request.headers.get("authorization"));
      return cbor(pushAnswer);
    };
    const callOptions = { signal: never, token: () => "page" };
    await transportTo(answer).push(pushRequest, callOptions);
    await transportTo(answer, { token: () => "own" }).push(pushRequest, callOptions);
    await withToken(transportTo(answer), () => "given").push(pushRequest, { signal: never });
    await transportTo(answer).push(pushRequest, { signal: never });
    expect(seen).toEqual(["Bearer page", "Bearer own", "Bearer given", null]);
    await expect(collect(withToken(transportTo(answer), () => null))).rejects.toMatchObject({ code: "UNAUTHORIZED" });
  });

  test("are not sent while nobody is signed in", async () => {
    const transport = transportTo(() => expect.fail("sent"), { token: () => null });
    await expect(push(transport)).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    await expect(collect(transport)).rejects.toMatchObject({ code: "UNAUTHORIZED" });
  });

  test("wait for a later try when the token cannot be had, and give up on one that never comes", async () => {
    const failing = transportTo(() => expect.fail("sent"), {
      token: () => Promise.reject(new Error("refresh failed")),
    });
    await expect(push(failing)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    const hanging = transportTo(() => expect.fail("sent"), { token: () => new Promise(() => {}), timeoutMs: 20 });
    await expect(push(hanging)).rejects.toMatchObject({ code: "TIMEOUT" });
  });

  test("are compressed over 2 kB, unless that is switched off", async () => {
    for (const [compress, encoding, accepted] of [
      [true, "gzip", "gzip"],
      [false, null, null],
    ] as const) {
      const seen: unknown[] = [];
      const handler = handlerOver({
        push(request) {
          seen.push(request.shapes.length);
          return pushAnswer;
        },
      });
      const transport = transportTo(
        (request) => {
          seen.push(request.headers.get("content-encoding"), request.headers.get("x-sync-accept-encoding"));
          return handler(request);
        },
        { compress },
      );
      await transport.push(manyShapes, { signal: never });
      expect(seen).toEqual([encoding, accepted, 500]);
    }
  });

  test("of pushes are encoded and compressed before they are sent, where that is asked for", async () => {
    let readings = 0;
    const { shapes } = manyShapes;
    const counted: PushRequest = {
      ...pushRequest,
      get shapes() {
        readings++;
        return shapes;
      },
    };
    const seen: unknown[] = [];
    const handler = handlerOver({
      push(request) {
        seen.push(request.shapes.length);
        return pushAnswer;
      },
    });
    const transport = transportTo((request) => {
      seen.push(request.headers.get("content-encoding"));
      return handler(request);
    });
    transport.prepare?.(counted);
    const before = readings;
    expect(before).toBeGreaterThan(0);
    await transport.push(counted, { signal: never });
    await transport.push(manyShapes, { signal: never });
    expect(seen).toEqual(["gzip", 500, "gzip", 500]);
    expect(readings).toBe(before);
  });

  test("of pushes that cannot be encoded fail when they are sent", async () => {
    const broken: PushRequest = {
      ...pushRequest,
      get shapes(): PushRequest["shapes"] {
        throw new Error("No.");
      },
    };
    const transport = transportTo(handlerOver({ push: () => pushAnswer }));
    transport.prepare?.(broken);
    await expect(transport.push(broken, { signal: never })).rejects.toThrow();
  });
});

test.each([
  ["fetch", {}],
  ["an agent", { agent: new Agent({ keepAlive: true }) }],
])("by %s, a flushed call reaches the server while the thread is held", async (_name, options) => {
  await using server = await startThreadServer();
  const transport = httpTransport({ url: server.url, ...options });
  const pull = () => transport.pull(pullRequest, { signal: never }).catch((error: SyncError) => error.code);
  // The call before has opened the connection.
  expect(await pull()).toBe("INVALID_MESSAGE");
  expect(server.holdUntilAsked()).toBe(true);
  const pulled = pull();
  await transport.flush?.();
  expect(server.holdUntilAsked()).toBe(true);
  expect(await pulled).toBe("INVALID_MESSAGE");
});

describe("answers", () => {
  test("that are compressed are inflated", async () => {
    const handler = handlerOver({ pull: () => largePage(300) });
    const encodings: (string | null)[] = [];
    const transport = transportTo(async (request) => {
      const response = await handler(request);
      encodings.push(response.headers.get("x-sync-encoding"));
      return response;
    });
    expect(await transport.pull(pullRequest, { signal: never })).toEqual(largePage(300));
    expect(encodings).toEqual(["gzip"]);
  });

  test("that inflate beyond the limit are refused", async () => {
    const bomb = gzipSync(Buffer.alloc(50_000_000));
    const transport = transportTo(
      () =>
        new Response(new Uint8Array(bomb), {
          headers: { "content-type": "application/cbor", "x-sync-encoding": "gzip" },
        }),
      {
        maxAnswerBytes: 100_000,
      },
    );
    await expect(push(transport)).rejects.toMatchObject({ code: "TOO_LARGE", details: { limit: 100_000 } });
  });

  test("that are no CBOR are INVALID_MESSAGE", async () => {
    for (const bytes of [new Uint8Array([0xff]), new Uint8Array(0), encodeCbor({ kind: "else" })]) {
      const transport = transportTo(() => new Response(bytes, { headers: { "content-type": "application/cbor" } }));
      await expect(push(transport)).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
    }
  });

  test("of something else than the server, such as a sign-in page, are UNAVAILABLE", async () => {
    const page = new Response("<html>", { headers: { "content-type": "text/html" } });
    await expect(push(transportTo(() => page))).rejects.toMatchObject({
      code: "UNAVAILABLE",
      details: { status: 200 },
    });
    await expect(collect(transportTo(() => cbor({})))).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("with an error carry its code, message and details", async () => {
    const error = { code: "RATE_LIMITED", message: "Slow down.", details: { retryAfterMs: 7000 } };
    await expect(push(transportTo(() => cbor({ error }, 429)))).rejects.toMatchObject(error);
  });

  test("with an error in no form of ours are told by their status", async () => {
    const codes = [
      [400, "UNAVAILABLE"],
      [401, "UNAUTHORIZED"],
      [403, "FORBIDDEN"],
      [404, "UNAVAILABLE"],
      [408, "TIMEOUT"],
      [413, "TOO_LARGE"],
      [429, "RATE_LIMITED"],
      [500, "UNAVAILABLE"],
      [502, "UNAVAILABLE"],
      [503, "UNAVAILABLE"],
      [504, "TIMEOUT"],
    ] as const;
    for (const [status, code] of codes) {
      await expect(push(transportTo(() => new Response("<html>", { status })))).rejects.toMatchObject({ code });
      const unknown = cbor({ error: { code: "LATER_CODE", message: "?" } }, status);
      await expect(push(transportTo(() => unknown))).rejects.toMatchObject({ code });
      await expect(
        push(
          transportTo(
            () => new Response(new Uint8Array([0xff]), { status, headers: { "content-type": "application/cbor" } }),
          ),
        ),
      ).rejects.toMatchObject({ code });
    }
  });

  test("that say when to come back are believed, in seconds or as a date", async () => {
    const after = (value: string): Promise<unknown> =>
      push(transportTo(() => new Response("", { status: 503, headers: { "retry-after": value } })));
    await expect(after("3")).rejects.toMatchObject({ details: { retryAfterMs: 3000, status: 503 } });
    await expect(after(new Date(Date.now() + 60_000).toUTCString())).rejects.toMatchObject({
      details: { retryAfterMs: expect.closeTo(60_000, -4) },
    });
    await expect(after("soon")).rejects.toMatchObject({ details: { status: 503 } });
  });

  test("that do not come, or stop coming, are TIMEOUT", async () => {
    const hanging = (request: Request): Promise<Response> =>
      new Promise((_resolve, reject) => {
        request.signal.addEventListener("abort", () => reject(request.signal.reason as Error));
      });
    await expect(push(transportTo(hanging, { timeoutMs: 20 }))).rejects.toMatchObject({ code: "TIMEOUT" });
    const { url, close } = await listen((_request, response) => {
      response.writeHead(200, { "content-type": "application/cbor" }).write("a");
    });
    await expect(push(httpTransport({ url, timeoutMs: 40 }))).rejects.toMatchObject({ code: "TIMEOUT" });
    await close();
  });

  test("that keep coming slowly are waited for", async () => {
    const bytes = encodeCbor(pushAnswer);
    const { url, close } = await listen((_request, response) => {
      response.writeHead(200, { "content-type": "application/cbor" });
      let at = 0;
      const timer = setInterval(() => {
        response.write(bytes.subarray(at, at + 20));
        at += 20;
        if (at >= bytes.length) {
          clearInterval(timer);
          response.end();
        }
      }, 40);
    });
    expect(await push(httpTransport({ url, timeoutMs: 100 }))).toEqual(pushAnswer);
    await close();
  });

  test("that break off are OFFLINE, and so is a server that is not there", async () => {
    const { url, close } = await listen((_request, response) => {
      response
        .writeHead(200, { "content-type": "application/cbor", "content-length": "100" })
        .write("a", () => response.destroy());
    });
    await expect(push(httpTransport({ url }))).rejects.toMatchObject({ code: "OFFLINE" });
    await close();
    const gone = await push(httpTransport({ url })).catch((error: unknown) => error);
    expect(gone).toMatchObject({ code: "OFFLINE", cause: expect.any(TypeError) });
  });
});

describe("through an agent", () => {
  const agent = new Agent({ keepAlive: true });
  afterAll(() => agent.destroy());
  const large = (count: number): PushRequest => ({
    ...pushRequest,
    shapes: [...pushRequest.shapes, ...Array.from({ length: count }, () => pushRequest.shapes[0] ?? expect.fail())],
  });

  test("bodies are compressed both ways, and connections are used again", async () => {
    const connections = new Set<unknown>();
    const shapes: number[] = [];
    const listener = toNodeListener(
      handlerOver({
        pull: () => largePage(300),
        push(request) {
          shapes.push(request.shapes.length);
          return pushAnswer;
        },
      }),
    );
    const { url, close } = await listen((incoming, outgoing) => {
      connections.add(incoming.socket);
      listener(incoming, outgoing);
    });
    const transport = httpTransport({ url: `${url}/api/sync`, agent });
    expect(await transport.push(large(497), { signal: never })).toEqual(pushAnswer);
    expect(shapes).toEqual([500]);
    for (let i = 0; i < 3; i++) expect(await transport.pull(pullRequest, { signal: never })).toEqual(largePage(300));
    expect(connections.size).toBe(1);
    await close();
  });

  test("answers that break off are OFFLINE, as is a server that is not there, and hanging ones are TIMEOUT", async () => {
    const { url, close } = await listen((incoming, response) => {
      response.writeHead(200, { "content-type": "application/cbor", "content-length": "100" });
      response.write("a", () => (incoming.url === "/cut/v1/push" ? response.destroy() : undefined));
    });
    await expect(push(httpTransport({ url: `${url}/cut`, agent }))).rejects.toMatchObject({ code: "OFFLINE" });
    await expect(push(httpTransport({ url, agent, timeoutMs: 40 }))).rejects.toMatchObject({ code: "TIMEOUT" });
    const calling = new AbortController();
    const aborted = httpTransport({ url, agent }).push(pushRequest, { signal: calling.signal });
    calling.abort();
    await expect(aborted).rejects.toMatchObject({ code: "ABORTED" });
    await close();
    await expect(push(httpTransport({ url, agent }))).rejects.toMatchObject({ code: "OFFLINE" });
  });

  test("a redirect is not followed, and an answer beyond the limit not read", async () => {
    const { url, close } = await listen((incoming, response) => {
      if (incoming.url === "/moved/v1/push") response.writeHead(308, { location: "/" }).end();
      else response.writeHead(200, { "content-type": "application/cbor" }).end(new Uint8Array(2000));
    });
    await expect(push(httpTransport({ url: `${url}/moved`, agent }))).rejects.toMatchObject({
      code: "UNAVAILABLE",
      details: { status: 308 },
    });
    await expect(push(httpTransport({ url, agent, maxAnswerBytes: 1000 }))).rejects.toMatchObject({
      code: "TOO_LARGE",
    });
    await close();
  });
});

describe("live", () => {
  const streamed = (...chunks: Uint8Array<ArrayBuffer>[]): Response =>
    new Response(new Blob(chunks), { headers: { "content-type": "application/x-sync-frames" } });

  test("yields frames, heartbeats too, until the server ends the stream", async () => {
    const heartbeat = { kind: "heartbeat" } as const;
    const transport = transportTo(() =>
      streamed(encodeFrame(encodeLiveFrame(heartbeat)), encodeFrame(encodeLiveFrame(page))),
    );
    expect(await collect(transport)).toEqual([heartbeat, page]);
  });

  test("throws the error that ended the stream", async () => {
    const error = { code: "DEVICE_TAKEN", message: "Not yours." };
    await expect(collect(transportTo(() => streamed(encodeErrorFrame(encodeCbor({ error })))))).rejects.toMatchObject(
      error,
    );
    await expect(
      collect(transportTo(() => streamed(encodeErrorFrame(encodeCbor({ other: 1 }))))),
    ).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("refuses frames that are broken or too long", async () => {
    await expect(collect(transportTo(() => streamed(encodeFrame(new Uint8Array([0xff])))))).rejects.toMatchObject({
      code: "INVALID_MESSAGE",
    });
    await expect(
      collect(transportTo(() => streamed(encodeFrame(new Uint8Array(101))), { maxAnswerBytes: 100 })),
    ).rejects.toMatchObject({ code: "TOO_LARGE" });
  });

  test("counts as lost when nothing comes for a while, not even a heartbeat", async () => {
    const silent = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(encodeFrame(encodeLiveFrame({ kind: "heartbeat" }))),
    });
    const transport = transportTo(
      () => new Response(silent, { headers: { "content-type": "application/x-sync-frames" } }),
      { silenceMs: 20 },
    );
    await expect(collect(transport)).rejects.toMatchObject({ code: "TIMEOUT" });
  });

  test("ends with the transport", async () => {
    const handler = handlerOver({
      async *live(_request, signal) {
        await new Promise((resolve) => {
          signal.addEventListener("abort", resolve);
        });
      },
    });
    const transport = transportTo((request) => handler(request));
    const reading = (async () => {
      for await (const frame of transport.live?.(pullRequest, { signal: never }) ?? [])
        if (frame.kind === "heartbeat") transport.close?.();
    })();
    await expect(reading).rejects.toMatchObject({ code: "CLOSED" });
    await expect(transport.handshake(handshakeRequest, { signal: never })).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("a handshake works over the same transport meanwhile", async () => {
    const { transport, close } = await overLoopback({
      async *live(_request, signal) {
        await new Promise((resolve) => {
          signal.addEventListener("abort", resolve);
        });
      },
    });
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of transport.live?.(pullRequest, { signal: controller.signal }) ?? []) {
        expect(await transport.handshake(handshakeRequest, { signal: never })).toEqual(handshakeAnswer);
        controller.abort();
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: "ABORTED" });
    await close();
  });
});
