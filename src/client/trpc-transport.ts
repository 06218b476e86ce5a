/**
 * The transport over the app's own tRPC client: no second endpoint, and the app's links, headers and transformer apply.
 * It accepts, by shape, whatever has the procedures of `createSyncRouter`; nothing of tRPC is imported.
 *
 * Answers travel as JSON, so special values are wrapped (`json-values.ts`), and the live subscription only says that
 * there is more. `httpTransport` is several times leaner.
 *
 * @module
 */

import { isSyncError, SyncError } from "../protocol/errors.ts";
import { hashScopes } from "../protocol/hash.ts";
import type { HandshakeRequest } from "../protocol/handshake.ts";
import { fromJsonValues, toJsonValues } from "../protocol/json-values.ts";
import type { LiveFrame } from "../protocol/live.ts";
import { parseHandshakeAnswer, parsePullAnswer, parsePushAnswer } from "../protocol/parse.ts";
import type { PullRequest } from "../protocol/pull.ts";
import type { PushRequest } from "../protocol/push.ts";
import { nextTurn } from "./next-turn.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { trpcError } from "./trpc-errors.ts";

/** What a subscription of tRPC's client is given. */
export interface TrpcSubscriptionHandlers {
  readonly signal: AbortSignal;
  readonly onData: (value: unknown) => void;
  readonly onError: (error: unknown) => void;
  readonly onComplete: () => void;
  readonly onStopped: () => void;
  readonly onConnectionStateChange: (state: { readonly state: string; readonly error: unknown }) => void;
}

/** The part of a tRPC client that `createSyncRouter` gives: `trpc.sync`, say. */
export interface TrpcSyncClient {
  readonly handshake: { mutate(request: HandshakeRequest, options: CallOptions): Promise<unknown> };
  readonly pull: { mutate(request: PullRequest, options: CallOptions): Promise<unknown> };
  readonly push: { mutate(request: PushRequest, options: CallOptions): Promise<unknown> };
  readonly live?: { subscribe(request: PullRequest, handlers: TrpcSubscriptionHandlers): { unsubscribe(): void } };
}

/**
 * Builds a transport over a tRPC client.
 *
 * @example
 * ```ts
 * const client = createSyncClient({ db, transport: trpcTransport(trpc.sync) });
 * ```
 */
export function trpcTransport(client: TrpcSyncClient): Transport {
  const closed = new AbortController();

  const call = async <T>(
    options: CallOptions,
    send: (signal: AbortSignal) => Promise<unknown>,
    parse: (message: unknown) => T,
  ): Promise<T> => {
    const either = eitherSignal(options.signal, closed.signal);
    try {
      throwIfEnded(options.signal, closed.signal);
      return parse(fromJsonValues(await send(either.signal)));
    } catch (thrown) {
      throwIfEnded(options.signal, closed.signal, thrown);
      throw isSyncError(thrown) ? thrown : trpcError(thrown);
    } finally {
      either.release();
    }
  };
  const { live } = client;
  return {
    handshake: (request, options) =>
      call(options, (signal) => client.handshake.mutate(request, { signal }), parseHandshakeAnswer),
    pull: (request, options) =>
      call(options, (signal) => client.pull.mutate(asJson(request), { signal }), parsePullAnswer),
    push: (request, options) =>
      call(options, (signal) => client.push.mutate(asJson(request), { signal }), parsePushAnswer),
    ...(live === undefined
      ? {}
      : { liveKind: "pokes", live: (request, options) => pokes(live, request, options.signal, closed.signal) }),
    // The app's own links authenticate.
    takesToken: false,
    flush: nextTurn,
    close: () => closed.abort(),
  };
}

/** Wraps what JSON has no word for, and says so. */
function asJson<TRequest extends PullRequest | PushRequest>(request: TRequest): TRequest {
  // Wrapping changes values in the middle of a message, for which the types have no words.
  return toJsonValues({ ...request, format: "json" }) as TRequest;
}

/** What a stream of pokes needs: it may travel in an address, where lists of scopes and a round's state have no room. */
function forPokes({ round: _round, check: _check, ...request }: PullRequest): PullRequest {
  return asJson({ ...request, held: typeof request.held === "string" ? request.held : hashScopes(request.held) });
}

/** The subscription as a stream of frames. Pokes that nobody has taken yet are one poke. */
async function* pokes(
  live: NonNullable<TrpcSyncClient["live"]>,
  request: PullRequest,
  caller: AbortSignal,
  closed: AbortSignal,
): AsyncGenerator<LiveFrame, void, void> {
  throwIfEnded(caller, closed);
  const either = eitherSignal(caller, closed);
  const waiting: LiveFrame[] = [];
  let failure: { readonly thrown: unknown } | undefined;
  let isOver = false;
  let wake = nobodyWaits;
  const over = (): void => {
    isOver = true;
    wake();
  };
  either.signal.addEventListener("abort", over);
  const failed = (thrown: unknown): void => {
    failure ??= { thrown };
    over();
  };
  const subscription = live.subscribe(forPokes(request), {
    signal: either.signal,
    onData(value) {
      const frame = frameOf(value);
      if (frame.kind !== "poke" || waiting.at(-1)?.kind !== "poke") waiting.push(frame);
      wake();
    },
    onError: failed,
    // tRPC would reconnect by itself, and nobody would know that the server is away: the engine does that better.
    onConnectionStateChange({ state, error }) {
      if (state === "connecting" && error !== null && error !== undefined) failed(error);
    },
    onComplete: over,
    onStopped: over,
  });
  try {
    for (;;) {
      const frame = waiting.shift();
      if (frame !== undefined) {
        yield frame;
        continue;
      }
      throwIfEnded(caller, closed, failure?.thrown);
      if (failure !== undefined) throw trpcError(failure.thrown);
      if (isOver) return;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    subscription.unsubscribe();
    either.release();
  }
}

/** What a subscription yielded, out of the envelope of its tracked id. Whatever it says, it says that there is more. */
function frameOf(value: unknown): LiveFrame {
  const content = isRecord(value) && "data" in value ? value["data"] : value;
  if (!isRecord(content)) return { kind: "poke" };
  if (content["kind"] === "heartbeat") return { kind: "heartbeat" };
  const reason = content["kind"] === "end" ? endReasons.find((known) => known === content["reason"]) : undefined;
  return reason === undefined ? { kind: "poke" } : { kind: "end", reason };
}

const nobodyWaits = (): void => {};
const endReasons = ["pull", "auth", "upgrade", "shutdown"] as const;

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

/** A signal that aborts with either of two; `AbortSignal.any` is not everywhere yet. */
function eitherSignal(
  one: AbortSignal,
  other: AbortSignal,
): { readonly signal: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort();
  if (one.aborted || other.aborted) abort();
  one.addEventListener("abort", abort);
  other.addEventListener("abort", abort);
  return {
    signal: controller.signal,
    release() {
      one.removeEventListener("abort", abort);
      other.removeEventListener("abort", abort);
    },
  };
}

function throwIfEnded(caller: AbortSignal, closed: AbortSignal, cause?: unknown): void {
  const why = cause === undefined ? {} : { cause };
  if (closed.aborted) throw new SyncError({ code: "CLOSED", message: "The transport is closed.", ...why });
  if (caller.aborted) throw new SyncError({ code: "ABORTED", message: "The call was aborted.", ...why });
}
