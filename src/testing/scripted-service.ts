/**
 * A stand-in for a sync server: the procedures of `createSyncRouter` over functions that a test writes. It keeps the
 * router's side of the contract (inputs are parsed, JSON is wrapped, `frames` asks for pages) and nothing else.
 *
 * @module
 */

import { initTRPC, tracked, TRPCError, type TRPCDataTransformer } from "@trpc/server";
import type { HandshakeAnswer, HandshakeRequest } from "../protocol/handshake.ts";
import { toJsonValues } from "../protocol/json-values.ts";
import type { LiveFrame } from "../protocol/live.ts";
import { parseHandshakeRequest, parsePullRequest, parsePushRequest } from "../protocol/parse.ts";
import type { PullAnswer, PullRequest } from "../protocol/pull.ts";
import type { PushAnswer, PushRequest } from "../protocol/push.ts";
import { toTrpcError } from "../server/trpc-errors.ts";
import { handshakeAnswer, page, pushAnswer } from "./sample-messages.ts";

type Awaitable<T> = T | Promise<T>;

/** What the app's context holds in these tests. */
export interface ScriptedContext {
  readonly user?: string;
}

/** What the server does; a test gives the functions it is about. */
export interface ScriptedService {
  handshake(request: HandshakeRequest): Awaitable<HandshakeAnswer>;
  pull(request: PullRequest, signal: AbortSignal | undefined): Awaitable<PullAnswer>;
  push(request: PushRequest): Awaitable<PushAnswer>;
  live(request: PullRequest, signal: AbortSignal): AsyncIterable<LiveFrame | Uint8Array>;
  stats(): Awaitable<unknown>;
}

const idleService: ScriptedService = {
  handshake: () => handshakeAnswer,
  pull: () => page,
  push: () => pushAnswer,
  async *live() {},
  stats: () => ({ devices: 2, entries: 10n }),
};

/** Builds a router with the procedures at `sync`. `needsUser` puts a middleware before them that asks for one. */
export function scriptedRouter(
  script: Partial<ScriptedService>,
  options: { readonly transformer?: TRPCDataTransformer; readonly needsUser?: boolean } = {},
) {
  const service = speakingTrpc({ ...idleService, ...script });
  const t = initTRPC.context<ScriptedContext>().create({
    sse: { ping: { enabled: true, intervalMs: 1000 } },
    ...(options.transformer === undefined ? {} : { transformer: options.transformer }),
  });
  const procedure = t.procedure.use(({ ctx, next }) => {
    if (options.needsUser === true && ctx.user === undefined)
      throw new TRPCError({ code: "UNAUTHORIZED", message: "Sign in." });
    return next();
  });
  return t.router({
    hello: t.procedure.query(() => "hi"),
    sync: t.router({
      handshake: procedure.input(parseHandshakeRequest).mutation(({ input }) => service.handshake(input)),
      pull: procedure
        .input(parsePullRequest)
        .mutation(async ({ input, signal }) => answer(input, await service.pull(input, signal))),
      push: procedure.input(parsePushRequest).mutation(async ({ input }) => answer(input, await service.push(input))),
      live: procedure.input(liveInput).subscription(async function* ({ input, signal }) {
        const frames = service.live(input.request, signal ?? new AbortController().signal);
        let id = 0;
        for await (const frame of frames) {
          if (input.frames) yield frame;
          else yield tracked(String(++id), isPage(frame) ? { kind: "poke" as const } : frame);
        }
      }),
      stats: procedure.query(() => service.stats()),
    }),
  });
}

/** What a JSON transport carries; wrapped values have no type of their own. */
function answer<T>(request: { readonly format?: "json" }, value: T): T {
  return request.format === "json" ? (toJsonValues(value) as T) : value;
}

/** The type that a tRPC client of these tests names. */
export type ScriptedRouter = ReturnType<typeof scriptedRouter>;

/** Errors of the service cross tRPC under the code that the table gives them. */
function speakingTrpc(service: ScriptedService): ScriptedService {
  return {
    handshake: (request) => spoken(() => service.handshake(request)),
    pull: (request, signal) => spoken(() => service.pull(request, signal)),
    push: (request) => spoken(() => service.push(request)),
    stats: () => spoken(() => service.stats()),
    async *live(request, signal) {
      try {
        yield* service.live(request, signal);
      } catch (thrown) {
        throw toTrpcError(thrown);
      }
    },
  };
}

async function spoken<T>(run: () => Awaitable<T>): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    throw toTrpcError(thrown);
  }
}

function isPage(frame: LiveFrame | Uint8Array): boolean {
  return frame instanceof Uint8Array || frame.kind === "page";
}

interface LiveInput {
  readonly request: PullRequest;
  readonly frames: boolean;
}

// tRPC reads what a parser takes from the type of a field that need not exist.
const liveInput = { parse: parseLiveInput } as unknown as {
  readonly _input: PullRequest;
  readonly _output: LiveInput;
  parse(input: unknown): LiveInput;
};

function parseLiveInput(input: unknown): LiveInput {
  if (typeof input !== "object" || input === null) throw new TRPCError({ code: "BAD_REQUEST" });
  const {
    frames,
    lastEventId: _lastEventId,
    ...request
  } = input as { readonly frames?: unknown; readonly lastEventId?: unknown };
  return { request: parsePullRequest(request), frames: frames === true };
}
