/**
 * What every `Transport` must do, as cases to run over each implementation. A case gets a function that opens a server
 * with a script, and a transport to it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { isSyncError, SyncError, type SyncErrorCode } from "../protocol/errors.ts";
import type { LiveFrame } from "../protocol/live.ts";
import type { Transport } from "../client/transport.ts";
import {
  handshakeAnswer,
  handshakeRequest,
  largePage,
  page,
  pullRequest,
  pushAnswer,
  pushRequest,
} from "./sample-messages.ts";
import type { ScriptedService } from "./scripted-service.ts";

/** A transport, and the server at its other end. */
export interface Connection {
  readonly transport: Transport;
  /** Stops the server, as a crash would. Absent where there is no server that could. */
  readonly cut?: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export type OpenConnection = (script: Partial<ScriptedService>) => Promise<Connection>;

export interface ConformanceCase {
  readonly name: string;
  readonly run: (open: OpenConnection) => Promise<void>;
}

const never = (): AbortSignal => new AbortController().signal;

/** Runs `use` over a connection, and closes it whatever happens. */
async function over(
  open: OpenConnection,
  script: Partial<ScriptedService>,
  use: (connection: Connection) => Promise<void>,
): Promise<void> {
  const connection = await open(script);
  try {
    await use(connection);
  } finally {
    connection.transport.close?.();
    await connection.close();
  }
}

async function rejectsWith(promise: Promise<unknown>, code: SyncErrorCode): Promise<SyncError> {
  const thrown = await promise.then(
    () => assert.fail(`resolved, expected ${code}`),
    (error: unknown) => error,
  );
  assert.ok(isSyncError(thrown), `no SyncError: ${String(thrown)}`);
  assert.equal(thrown.code, code, thrown.message);
  return thrown;
}

/** What a stream yielded beside heartbeats, until it ended or `count` frames had come. */
async function collect(stream: AsyncIterable<LiveFrame>, count = Number.POSITIVE_INFINITY): Promise<LiveFrame[]> {
  const frames: LiveFrame[] = [];
  for await (const frame of stream) {
    if (frame.kind !== "heartbeat") frames.push(frame);
    if (frames.length >= count) break;
  }
  return frames;
}

function liveOf(transport: Transport): NonNullable<Transport["live"]> {
  return (request, options) => transport.live?.(request, options) ?? assert.fail("the transport has no live");
}

function throwing(error: Error): () => never {
  return () => {
    throw error;
  };
}

/** What a page looks like at the other end: itself, or that there is one. */
function arrivedAs(transport: Transport, frame: LiveFrame): LiveFrame {
  return transport.liveKind === "pokes" ? { kind: "poke" } : frame;
}

/** A request as the caller made it: how it travelled is the transport's business. */
function withoutFormat<TRequest extends { readonly format?: "json" }>(request: TRequest): Omit<TRequest, "format"> {
  const { format: _format, ...rest } = request;
  return rest;
}

/** A promise that is resolved from outside. */
function latch(): { readonly opened: Promise<void>; readonly open: () => void } {
  const state: { resolve?: () => void } = {};
  const opened = new Promise<void>((resolve) => {
    state.resolve = resolve;
  });
  return { opened, open: () => state.resolve?.() };
}

/** Waits for a signal; for ever, if need be. */
function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) resolve();
    signal?.addEventListener("abort", () => resolve());
  });
}

async function* pageThenSilence(_request: unknown, signal: AbortSignal): AsyncGenerator<LiveFrame> {
  yield page;
  await aborted(signal);
}

async function* pageThenError(): AsyncGenerator<LiveFrame> {
  yield page;
  throw new SyncError({ code: "UNAUTHORIZED", message: "The right is gone." });
}

/** Codes that say the same over every transport. */
const sharedCodes = [
  "UNAUTHORIZED",
  "FORBIDDEN",
  "DEVICE_TAKEN",
  "TIMEOUT",
  "UNAVAILABLE",
  "RATE_LIMITED",
  "TOO_LARGE",
  "INVALID_MESSAGE",
] as const;

export const transportConformance: readonly ConformanceCase[] = [
  {
    name: "a handshake arrives as it was sent, and its answer as it was given",
    run: async (open) => {
      const seen: unknown[] = [];
      const handshake: ScriptedService["handshake"] = (request) => {
        seen.push(request);
        return handshakeAnswer;
      };
      await over(open, { handshake }, async ({ transport }) => {
        assert.deepEqual(await transport.handshake(handshakeRequest, { signal: never() }), handshakeAnswer);
        assert.deepEqual(seen, [handshakeRequest]);
      });
    },
  },
  {
    name: "a pull carries every value there is, both ways",
    run: async (open) => {
      const seen: unknown[] = [];
      const pull: ScriptedService["pull"] = (request) => {
        seen.push(withoutFormat(request));
        return page;
      };
      await over(open, { pull }, async ({ transport }) => {
        assert.deepEqual(await transport.pull(pullRequest, { signal: never() }), page);
        assert.deepEqual(seen, [pullRequest]);
      });
    },
  },
  {
    name: "a push carries every value there is, and what was seen of it",
    run: async (open) => {
      const seen: unknown[] = [];
      const push: ScriptedService["push"] = (request) => {
        seen.push(withoutFormat(request));
        return pushAnswer;
      };
      await over(open, { push }, async ({ transport }) => {
        assert.deepEqual(await transport.push(pushRequest, { signal: never() }), pushAnswer);
        assert.deepEqual(seen, [pushRequest]);
      });
    },
  },
  {
    name: "a page of many rows arrives whole",
    run: async (open) => {
      const large = largePage(20_000);
      await over(open, { pull: () => large }, async ({ transport }) => {
        assert.deepEqual(await transport.pull(pullRequest, { signal: never() }), large);
      });
    },
  },
  {
    name: "answers that are no page are answers too",
    run: async (open) => {
      const reset = { kind: "reset", epoch: page.epoch, reason: "CURSOR_EXPIRED" } as const;
      await over(open, { pull: () => reset }, async ({ transport }) => {
        assert.deepEqual(await transport.pull(pullRequest, { signal: never() }), reset);
      });
    },
  },
  {
    name: "an answer's unknown fields are ignored",
    run: async (open) => {
      const newer = { ...pushAnswer, later: 1 };
      await over(open, { push: () => newer }, async ({ transport }) => {
        assert.deepEqual(await transport.push(pushRequest, { signal: never() }), pushAnswer);
      });
    },
  },
  ...sharedCodes.map((code) => ({
    name: `the server's ${code} arrives as ${code}`,
    run: async (open: OpenConnection) => {
      await over(open, { pull: throwing(new SyncError({ code, message: "Said so." })) }, async ({ transport }) => {
        const error = await rejectsWith(transport.pull(pullRequest, { signal: never() }), code);
        assert.equal(error.message, "Said so.");
      });
    },
  })),
  {
    name: "a failure inside the server is UNAVAILABLE",
    run: async (open) => {
      await over(open, { pull: throwing(new Error("secret: the row's value")) }, async ({ transport }) => {
        await rejectsWith(transport.pull(pullRequest, { signal: never() }), "UNAVAILABLE");
      });
    },
  },
  {
    name: "an answer that is not what the protocol says is INVALID_MESSAGE",
    run: async (open) => {
      // Deliberately what the types forbid.
      const handshake = (() => ({ epoch: 7 })) as unknown as ScriptedService["handshake"];
      await over(open, { handshake }, async ({ transport }) => {
        await rejectsWith(transport.handshake(handshakeRequest, { signal: never() }), "INVALID_MESSAGE");
      });
    },
  },
  {
    name: "an aborted call throws ABORTED, and nothing is sent when it was aborted before",
    run: async (open) => {
      let calls = 0;
      const pull: ScriptedService["pull"] = async (_request, signal) => {
        calls += 1;
        controller.abort();
        await Promise.race([aborted(signal), stop.opened]);
        return page;
      };
      const controller = new AbortController();
      const stop = latch();
      await over(open, { pull }, async ({ transport }) => {
        await rejectsWith(transport.pull(pullRequest, { signal: controller.signal }), "ABORTED");
        assert.equal(calls, 1);
        await rejectsWith(transport.pull(pullRequest, { signal: controller.signal }), "ABORTED");
        assert.equal(calls, 1);
        stop.open();
      });
    },
  },
  {
    name: "a closed transport throws CLOSED",
    run: async (open) => {
      await over(open, {}, async ({ transport }) => {
        transport.close?.();
        await rejectsWith(transport.pull(pullRequest, { signal: never() }), "CLOSED");
        await rejectsWith(collect(liveOf(transport)(pullRequest, { signal: never() })), "CLOSED");
      });
    },
  },
  {
    name: "a server that is gone is OFFLINE",
    run: async (open) => {
      await over(open, {}, async ({ transport, cut }) => {
        if (cut === undefined) return;
        await cut();
        await rejectsWith(transport.pull(pullRequest, { signal: never() }), "OFFLINE");
      });
    },
  },
  {
    name: "L1: a live stream yields the server's frames in order, and ends when it ends",
    run: async (open) => {
      const end = { kind: "end", reason: "pull" } as const;
      const live: ScriptedService["live"] = async function* () {
        yield page;
        yield end;
      };
      await over(open, { live }, async ({ transport }) => {
        const frames = await collect(liveOf(transport)(pullRequest, { signal: never() }));
        assert.deepEqual(frames, [arrivedAs(transport, page), end]);
      });
    },
  },
  {
    name: "L1: a frame arrives when it is yielded, not when the stream ends",
    run: async (open) => {
      await over(open, { live: pageThenSilence }, async ({ transport }) => {
        const frames = await collect(liveOf(transport)(pullRequest, { signal: never() }), 1);
        assert.deepEqual(frames, [arrivedAs(transport, page)]);
      });
    },
  },
  {
    name: "a stream asks for what the request says",
    run: async (open) => {
      const seen: unknown[] = [];
      const live: ScriptedService["live"] = async function* (request) {
        seen.push(withoutFormat(request));
        yield { kind: "end", reason: "pull" };
      };
      await over(open, { live }, async ({ transport }) => {
        const { round: _, ...request } = { ...pullRequest, held: "0123456789abcdef" };
        await collect(liveOf(transport)(request, { signal: never() }));
        assert.deepEqual(seen, [request]);
      });
    },
  },
  {
    name: "an aborted stream throws ABORTED, and stops on the server",
    run: async (open) => {
      const stopped = latch();
      const live: ScriptedService["live"] = async function* (_request, signal) {
        yield page;
        await aborted(signal);
        stopped.open();
      };
      await over(open, { live }, async ({ transport }) => {
        const controller = new AbortController();
        const stream = liveOf(transport)(pullRequest, { signal: controller.signal });
        const reading = (async () => {
          for await (const frame of stream) if (frame.kind !== "heartbeat") controller.abort();
        })();
        await rejectsWith(reading, "ABORTED");
        await stopped.opened;
      });
    },
  },
  {
    name: "an error inside a stream arrives with its code",
    run: async (open) => {
      await over(open, { live: pageThenError }, async ({ transport }) => {
        await rejectsWith(collect(liveOf(transport)(pullRequest, { signal: never() })), "UNAUTHORIZED");
      });
    },
  },
];
