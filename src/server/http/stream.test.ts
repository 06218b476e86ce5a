import { describe, expect, test, vi } from "vitest";
import { readFrames } from "../../client/frame-reader.ts";
import { streamSource } from "../../client/http-sender.ts";
import { decodeCbor, encodeCbor } from "../../protocol/cbor.ts";
import { SyncError } from "../../protocol/errors.ts";
import { encodeErrorFrame } from "../../protocol/http.ts";
import type { LiveFrame } from "../../protocol/live.ts";
import { decodeLiveFrame, encodeLiveFrame } from "../../protocol/page-codec.ts";
import type { PullRequest } from "../../protocol/pull.ts";
import { codeOf, get, post } from "../../testing/http-calls.ts";
import { page, pullRequest } from "../../testing/sample-messages.ts";
import { scriptedRouter, type ScriptedService } from "../../testing/scripted-service.ts";
import { createSyncHandler } from "./handler.ts";
import type { HandlerLimits } from "./handler-options.ts";
import type { RequestLine } from "./request-log.ts";

interface Options {
  readonly limits?: Partial<HandlerLimits>;
  readonly shutdown?: AbortSignal;
  readonly needsUser?: boolean;
  readonly expiresAt?: () => number;
  readonly logger?: {
    info: (line: RequestLine) => void;
    warn: (line: RequestLine) => void;
    error: (line: RequestLine) => void;
  };
}

function handlerOver(live: ScriptedService["live"], { needsUser = false, ...options }: Options = {}) {
  const onError = vi.fn();
  const router = scriptedRouter({ live }, { needsUser });
  const handler = createSyncHandler({ router, procedures: "sync", createContext: () => ({}), onError, ...options });
  return { handler, onError };
}

/** A source that says when it was stopped, and waits for that after its frames. */
function waitingSource(frames: readonly (LiveFrame | Uint8Array)[] = []) {
  const state = { asked: 0, stopped: false };
  const live: ScriptedService["live"] = async function* (_request, signal) {
    try {
      for (const frame of frames) {
        state.asked += 1;
        yield frame;
      }
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => resolve());
      });
    } finally {
      state.stopped = true;
    }
  };
  return { live, state };
}

async function* framesOf(response: Response): AsyncGenerator<LiveFrame> {
  if (response.body === null) throw new Error("no body");
  for await (const { bytes, isError } of readFrames(streamSource(response.body), {
    maxFrameBytes: 1e6,
    onChunk: () => {},
    signal: new AbortController().signal,
  })) {
    if (isError) throw new Error(JSON.stringify(decodeCbor(bytes)));
    yield decodeLiveFrame(bytes);
  }
}

async function all(response: Response): Promise<LiveFrame[]> {
  const frames: LiveFrame[] = [];
  for await (const frame of framesOf(response)) frames.push(frame);
  return frames;
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 2000, interval: 5 });
const eventsHeader = { accept: "text/event-stream" };
const asQuery = (request: unknown): string => `?request=${Buffer.from(encodeCbor(request)).toString("base64url")}`;

describe("streams of frames", () => {
  test("L1: begin with a heartbeat, which makes servers send the headers on, then carry the frames", async () => {
    const end = { kind: "end", reason: "pull" } as const;
    const { handler } = handlerOver(async function* () {
      yield page;
      yield end;
      yield page;
    });
    const response = await handler(post("/v1/stream", pullRequest));
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/x-sync-frames",
      "cache-control": "no-store, no-transform",
      "x-accel-buffering": "no",
    });
    expect(await all(response)).toEqual([{ kind: "heartbeat" }, page, end]);
  });

  test("L3: a frame that is encoded already goes out as it is", async () => {
    const { handler } = handlerOver(async function* () {
      yield encodeLiveFrame(page);
    });
    expect(await all(await handler(post("/v1/stream", pullRequest)))).toEqual([{ kind: "heartbeat" }, page]);
  });

  test("silence is filled with heartbeats", async () => {
    const { live } = waitingSource();
    const { handler } = handlerOver(live, { limits: { heartbeatMs: 5 } });
    let heartbeats = 0;
    for await (const frame of framesOf(await handler(post("/v1/stream", pullRequest)))) {
      expect(frame.kind).toBe("heartbeat");
      if (++heartbeats === 4) break;
    }
  });

  test("nothing is computed for a caller that does not read, and it counts as gone after a while", async () => {
    const { live, state } = waitingSource(Array.from({ length: 100 }, () => page));
    const lines: RequestLine[] = [];
    const log = (line: RequestLine): void => void lines.push(line);
    const { handler, onError } = handlerOver(live, {
      limits: { heartbeatMs: 10 },
      logger: { info: log, warn: log, error: log },
    });
    const response = await handler(post("/v1/stream", pullRequest));
    await until(() => expect(lines).toHaveLength(1));
    expect(state.asked).toBeLessThan(3);
    expect(lines[0]).toMatchObject({ endpoint: "stream", method: "POST", status: 200 });
    expect(lines[0]?.bytesOut).toBeGreaterThan(0);
    await expect(all(response)).rejects.toThrow("does not read");
    expect(onError).not.toHaveBeenCalled();
  });

  test("a caller that leaves stops the source", async () => {
    const { live, state } = waitingSource([page]);
    const { handler } = handlerOver(live);
    const response = await handler(post("/v1/stream", pullRequest));
    for await (const frame of framesOf(response)) if (frame.kind === "page") break;
    await until(() => expect(state.stopped).toBe(true));
  });

  test("a request that is aborted stops the source", async () => {
    const { live, state } = waitingSource([page]);
    const { handler } = handlerOver(live);
    const controller = new AbortController();
    const response = await handler(new Request(post("/v1/stream", pullRequest), { signal: controller.signal }));
    const reading = all(response);
    await until(() => expect(state.asked).toBe(1));
    controller.abort();
    await reading;
    await until(() => expect(state.stopped).toBe(true));
  });

  test("an error of the source is the stream's last frame, with its code, and is hidden when it is the server's own", async () => {
    const { handler, onError } = handlerOver(async function* (request: PullRequest) {
      yield page;
      throw request.limit === 1 ? new SyncError({ code: "DEVICE_TAKEN", message: "Not yours." }) : new Error("secret");
    });
    await expect(all(await handler(post("/v1/stream", { ...pullRequest, limit: 1 })))).rejects.toThrow(
      '"code":"DEVICE_TAKEN"',
    );
    expect(onError).not.toHaveBeenCalled();
    await expect(all(await handler(post("/v1/stream", pullRequest)))).rejects.toThrow(/UNAVAILABLE.*The server failed/);
    expect(onError).toHaveBeenCalledTimes(1);
    expect(onError.mock.calls[0]?.[0].endpoint).toBe("stream");
  });

  test("L2: a stream ends when the server shuts down, and none is opened after", async () => {
    const shutdown = new AbortController();
    const { live, state } = waitingSource([page]);
    const { handler } = handlerOver(live, { shutdown: shutdown.signal });
    const responses = await Promise.all(Array.from({ length: 15 }, () => handler(post("/v1/stream", pullRequest))));
    const reading = responses.map(all);
    await until(() => expect(state.asked).toBe(15));
    shutdown.abort();
    for (const frames of await Promise.all(reading)) expect(frames.at(-1)).toEqual({ kind: "end", reason: "shutdown" });
    await until(() => expect(state.stopped).toBe(true));
    const refused = await handler(post("/v1/stream", pullRequest));
    expect([refused.status, await codeOf(refused)]).toEqual([503, "UNAVAILABLE"]);
    expect((await handler(post("/v1/pull", pullRequest))).status).toBe(200);
  });

  test("L2: a stream ends when its time or its caller's token is over", async () => {
    const { live } = waitingSource([page]);
    const long = handlerOver(live, { limits: { maxStreamMs: 20 } }).handler;
    expect((await all(await long(post("/v1/stream", pullRequest)))).at(-1)).toEqual({ kind: "end", reason: "pull" });
    const expiring = handlerOver(live, { expiresAt: () => Date.now() + 20 }).handler;
    expect((await all(await expiring(post("/v1/stream", pullRequest)))).at(-1)).toEqual({
      kind: "end",
      reason: "auth",
    });
  });

  test("a refused caller gets a status, not a stream", async () => {
    const { live } = waitingSource();
    const { handler } = handlerOver(live, { needsUser: true });
    const refused = await handler(post("/v1/stream", pullRequest));
    expect([refused.status, await codeOf(refused)]).toEqual([401, "UNAUTHORIZED"]);
    const wrong = handlerOver(live).handler;
    for (const message of [{ ...pullRequest, deviceId: "x" }, [1], null, "text"]) {
      const response = await wrong(post("/v1/stream", message));
      expect([response.status, await codeOf(response)]).toEqual([400, "INVALID_MESSAGE"]);
    }
  });
});

describe("server-sent events", () => {
  test("carry the frames as base64, with the cursor as their id, and heartbeats as comments", async () => {
    const { live } = waitingSource([page, { kind: "heartbeat" }]);
    const { handler } = handlerOver(live, { limits: { heartbeatMs: 5, maxStreamMs: 40 } });
    const response = await handler(get(`/v1/stream${asQuery(pullRequest)}`, eventsHeader));
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    const text = await response.text();
    const [retry, event, ...rest] = text.split("\n\n");
    expect(retry).toBe("retry: 1000");
    const [id, data = ""] = (event ?? "").split("\n");
    expect(id).toBe(`id: ${page.to}`);
    expect(decodeLiveFrame(Buffer.from(data.slice("data: ".length), "base64"))).toEqual(page);
    expect(rest).toContain(": heartbeat");
    const last = rest.filter((block) => block.startsWith("data: ")).at(-1) ?? "";
    expect(decodeLiveFrame(Buffer.from(last.slice("data: ".length), "base64"))).toEqual({
      kind: "end",
      reason: "pull",
    });
  });

  test("the id of a frame that is encoded already is found in it", async () => {
    const { handler } = handlerOver(async function* () {
      yield encodeLiveFrame(page);
    });
    expect(await (await handler(post("/v1/stream", pullRequest, eventsHeader))).text()).toContain(`id: ${page.to}\n`);
  });

  test("L1: resume at the id of the last event", async () => {
    const seen: unknown[] = [];
    const { handler } = handlerOver(async function* (request) {
      seen.push(request.cursor);
    });
    const request = (): string => `/v1/stream${asQuery(pullRequest)}`;
    await (await handler(get(request(), { ...eventsHeader, "last-event-id": "99.7" }))).text();
    await (await handler(get(request()))).text();
    expect(seen).toEqual(["99.7", pullRequest.cursor]);
    const forged = await handler(get(request(), { "last-event-id": "not a cursor" }));
    expect([forged.status, await codeOf(forged)]).toEqual([400, "INVALID_MESSAGE"]);
  });

  test("an error is an event of its own name", async () => {
    const { handler } = handlerOver(async function* () {
      throw new SyncError({ code: "FORBIDDEN", message: "No." });
    });
    const text = await (await handler(get(`/v1/stream${asQuery(pullRequest)}`))).text();
    expect(text).toMatch(/event: sync-error\ndata: /);
  });

  test("a GET whose request is missing or broken is 400", async () => {
    const { live } = waitingSource();
    const { handler } = handlerOver(live);
    for (const query of ["", "?request=", "?request=%2F%2B", "?request=____", "?request=oA", "?request=gA"]) {
      const response = await handler(get(`/v1/stream${query}`, eventsHeader));
      expect([response.status, await codeOf(response)], query).toEqual([400, "INVALID_MESSAGE"]);
    }
  });
});

test("an error frame is an empty frame and one more", async () => {
  const bytes = encodeErrorFrame(new Uint8Array([7]));
  expect([...bytes]).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 7]);
});
