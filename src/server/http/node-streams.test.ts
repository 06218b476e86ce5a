/** A sync handler on Node's `http`: written to straight, and through the web's `Request` and `Response`. */

import { connect } from "node:net";
import { describe, expect, test, vi } from "vitest";
import { readFrames } from "../../client/frame-reader.ts";
import { streamSource } from "../../client/http-sender.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import type { LiveFrame } from "../../protocol/live.ts";
import { decodeLiveFrame } from "../../protocol/page-codec.ts";
import { listen } from "../../testing/http-calls.ts";
import { page, pullRequest, pushAnswer, pushRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter, type ScriptedService } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import type { HandlerLimits } from "./handler-options.ts";
import { toNodeListener } from "./node-listener.ts";
import { remoteAddress } from "./remote-address.ts";

type Handle = (request: Request) => Promise<Response>;

const ways: readonly (readonly [string, (handler: Handle) => Handle])[] = [
  ["straight", (handler) => handler],
  ["through a `Response`", (handler) => (request) => handler(request)],
];

interface Options {
  readonly limits?: Partial<HandlerLimits>;
  readonly shutdown?: AbortSignal;
  readonly createContext?: (options: { readonly req: Request }) => Promise<object> | object;
}

async function serve(
  way: (handler: Handle) => Handle,
  script: Partial<ScriptedService>,
  { createContext = () => ({}), ...options }: Options = {},
) {
  const router = scriptedRouter(script);
  const handler = createSyncHandler({ router, procedures: "sync", createContext, ...options });
  const { url, close } = await listen(toNodeListener(way(handler)));
  return { url, [Symbol.asyncDispose]: close };
}

function send(url: string, path: string, message: unknown, signal?: AbortSignal): Promise<Response> {
  return fetch(`${url}${path}`, {
    method: "POST",
    body: encodeCbor(message),
    headers: { "content-type": "application/cbor" },
    ...(signal === undefined ? {} : { signal }),
  });
}

async function* framesOf({ body }: Response): AsyncGenerator<LiveFrame, void> {
  if (body === null) throw new Error("There is no body.");
  const reading = { maxFrameBytes: 1e6, onChunk: () => {}, signal: new AbortController().signal };
  for await (const { bytes } of readFrames(streamSource(body), reading)) yield decodeLiveFrame(bytes);
}

/** A source that goes on for ever, and counts what it is asked for. */
function endless(frame: LiveFrame | Uint8Array) {
  const state = { asked: 0, isStopped: false };
  const live: ScriptedService["live"] = async function* () {
    try {
      for (;;) {
        state.asked += 1;
        yield frame;
      }
    } finally {
      state.isStopped = true;
    }
  };
  return { live, state };
}

/** A source that waits after its frames until it is stopped. */
function waiting(frames: readonly LiveFrame[]) {
  const state = { isStopped: false };
  const live: ScriptedService["live"] = async function* (_request, signal) {
    yield* frames;
    await new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
    });
    state.isStopped = true;
  };
  return { live, state };
}

/** Opens a stream and reads none of it. */
function openUnread(url: string): ReturnType<typeof connect> {
  const body = encodeCbor(pullRequest);
  const socket = connect(Number(new URL(url).port), "127.0.0.1", () => {
    socket.write(
      `POST /v1/stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: ${body.byteLength}\r\n\r\n`,
    );
    socket.write(body);
  });
  socket.on("error", () => {});
  return socket.pause();
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 5000, interval: 20 });

describe.each(ways)("a sync handler on Node, %s", (_name, way) => {
  test("L1: frames arrive as they come, and a caller that leaves stops the source", async () => {
    const { live, state } = waiting([page, page]);
    await using server = await serve(way, { live });
    const leaving = new AbortController();
    const frames = framesOf(await send(server.url, "/v1/stream", pullRequest, leaving.signal));
    const seen = [await frames.next(), await frames.next(), await frames.next()].map(({ value }) => value);
    expect(seen).toEqual([{ kind: "heartbeat" }, page, page]);
    expect(state.isStopped).toBe(false);
    leaving.abort();
    await frames.next().catch(() => {});
    await until(() => expect(state.isStopped).toBe(true));
  });

  test("a caller that reads slowly is asked for no more than it has room for", async () => {
    const { live, state } = endless(new Uint8Array(100_000));
    await using server = await serve(way, { live });
    const socket = openUnread(server.url);
    let before = -1;
    await until(() => {
      const isStill = state.asked > 0 && state.asked === before;
      before = state.asked;
      expect(isStill).toBe(true);
    });
    expect(state.asked).toBeLessThan(200);
    const full = state.asked;
    socket.resume();
    await until(() => expect(state.asked).toBeGreaterThan(full + 10));
    socket.destroy();
    await until(() => expect(state.isStopped).toBe(true));
  });

  test("a caller that takes no heartbeat for a while is gone", async () => {
    const { live, state } = endless(new Uint8Array(100_000));
    await using server = await serve(way, { live }, { limits: { heartbeatMs: 20 } });
    const socket = openUnread(server.url);
    await until(() => expect(state.isStopped).toBe(true));
    socket.destroy();
  });

  test("L2: a stream ends when the server shuts down", async () => {
    const shutdown = new AbortController();
    const { live, state } = waiting([page]);
    await using server = await serve(way, { live }, { shutdown: shutdown.signal });
    const frames = framesOf(await send(server.url, "/v1/stream", pullRequest));
    await frames.next();
    await frames.next();
    shutdown.abort();
    expect((await frames.next()).value).toEqual({ kind: "end", reason: "shutdown" });
    expect((await frames.next()).done).toBe(true);
    await until(() => expect(state.isStopped).toBe(true));
  });

  test("`createContext` gets a `Request` whose body it may read a copy of", async () => {
    const seen: unknown[] = [];
    const createContext = async ({ req }: { readonly req: Request }): Promise<object> => {
      const { deviceId } = decodeCbor(new Uint8Array(await req.clone().arrayBuffer())) as { readonly deviceId: string };
      seen.push(req instanceof Request, new URL(req.url).pathname, remoteAddress(req), deviceId);
      return {};
    };
    await using server = await serve(way, {}, { createContext });
    const answer = await send(server.url, "/v1/push", pushRequest);
    expect(decodeCbor(new Uint8Array(await answer.arrayBuffer()))).toEqual(pushAnswer);
    expect(seen).toEqual([true, "/v1/push", "127.0.0.1", pushRequest.deviceId]);
  });

  test("a body that something before it has read is 400, and no request that hangs", async () => {
    const handler = createSyncHandler({
      router: scriptedRouter({}),
      procedures: "sync",
      createContext: () => ({}),
    });
    const listener = toNodeListener(way(handler));
    const { url, close } = await listen((incoming, outgoing) => {
      incoming.resume().on("end", () => listener(incoming, outgoing));
    });
    expect((await send(url, "/v1/push", pushRequest)).status).toBe(400);
    await close();
  });
});

test("a stream is not framed twice: it ends with its connection, where HTTP has nothing to add", async () => {
  const { live } = waiting([page]);
  await using server = await serve((handler) => handler, { live }, { limits: { maxStreamMs: 30 } });
  const response = await send(server.url, "/v1/stream", pullRequest);
  expect([response.headers.get("transfer-encoding"), response.headers.get("connection")]).toEqual([null, "close"]);
  const frames: LiveFrame[] = [];
  for await (const frame of framesOf(response)) frames.push(frame);
  expect(frames).toEqual([{ kind: "heartbeat" }, page, { kind: "end", reason: "pull" }]);
});

test("a stream goes through its response where somebody else listens to that", async () => {
  const { live } = waiting([page]);
  const handler = createSyncHandler({
    router: scriptedRouter({ live }),
    procedures: "sync",
    createContext: () => ({}),
  });
  const listener = toNodeListener(handler);
  let written = 0;
  const { url, close } = await listen((incoming, outgoing) => {
    const write = outgoing.write.bind(outgoing);
    outgoing.write = (chunk: Uint8Array) => {
      written += chunk.byteLength;
      return write(chunk);
    };
    listener(incoming, outgoing);
  });
  const frames = framesOf(await send(url, "/v1/stream", pullRequest));
  expect([(await frames.next()).value, (await frames.next()).value]).toEqual([{ kind: "heartbeat" }, page]);
  expect(written).toBeGreaterThan(100);
  await close();
});

test("a stream that is asked for behind another request on its connection begins when that is answered", async () => {
  const { live } = waiting([page]);
  let answer = (): void => {};
  const push = (): Promise<typeof pushAnswer> =>
    new Promise((resolve) => {
      answer = () => resolve(pushAnswer);
    });
  await using server = await serve((handler) => handler, { live, push });
  const bytes = (path: string, message: unknown): Buffer => {
    const body = encodeCbor(message);
    const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: ${body.byteLength}\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), body]);
  };
  let seen = "";
  const socket = connect(Number(new URL(server.url).port), "127.0.0.1");
  socket.setEncoding("latin1").on("data", (text: string) => (seen += text));
  socket.write(Buffer.concat([bytes("/v1/push", pushRequest), bytes("/v1/stream", pullRequest)]));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(seen).toBe("");
  answer();
  await until(() => expect(seen).toContain(String(page.to)));
  expect(seen.indexOf("application/cbor")).toBeLessThan(seen.indexOf("application/x-sync-frames"));
  socket.destroy();
});
