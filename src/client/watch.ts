/**
 * Watching, once the device is in step: a live stream where the transport has one, polling where it has none or while the
 * stream cannot be opened (rule L1). A stream of pages is the only channel for downloads while it is open; a stream of
 * pokes makes the engine pull.
 *
 * A stream that says nothing for a while is taken for dead: the server sends a heartbeat once a minute. One that ends before
 * it brought a page or a poke has failed, whatever it says: it would be opened again at once, for ever.
 *
 * @module
 */

import { isSyncError, policyOf, SyncError } from "../protocol/errors.ts";
import { backoffDelay, defaultRetry, type RetryOptions } from "./backoff.ts";
import { heldAfter, type Basis } from "./apply.ts";
import { heldScopes } from "./checkpoint.ts";
import type { Clock } from "./clock.ts";
import type { ExchangeContext } from "./exchange.ts";
import { planPull, takePage, type PullPlan } from "./pull.ts";
import type { MachineEvent, MachinePolicy } from "./machine.ts";

/** Options of watching. */
export interface WatchOptions {
  /** How often is pulled while no stream is open, in milliseconds. @default 15_000 */
  readonly pollMs?: number;
  /** After how much silence a stream is taken for dead, in milliseconds. @default 150_000 */
  readonly silenceMs?: number;
}

/** The recommended times. */
export const defaultWatch = { pollMs: 15_000, silenceMs: 150_000 } as const satisfies Required<WatchOptions>;

/** Opens and closes what watches. */
export interface Watch {
  /** Opens the stream, after a back-off when it failed `attempt` times, and polls until then. */
  open(attempt: number): void;
  /** A pull follows: ends polling and a stream of pages; a stream of pokes stays. */
  suspend(): void;
  close(): void;
}

/** What watching needs. */
export interface WatchContext {
  readonly exchange: ExchangeContext;
  readonly clock: Clock;
  readonly random: () => number;
  readonly retry: RetryOptions;
  readonly options: Required<WatchOptions>;
  readonly dispatch: (event: MachineEvent) => void;
  readonly onError: (error: SyncError) => void;
}

/** Creates the watch of one engine. */
export function createWatch(context: WatchContext): Watch {
  const { exchange, clock, dispatch, options } = context;
  const { transport } = exchange;
  let stream: AbortController | undefined;
  let cancelPoll = (): void => undefined;
  let cancelOpening = (): void => undefined;

  const closeStream = (): void => {
    stream?.abort();
    stream = undefined;
  };
  const poll = (): void => {
    cancelPoll();
    cancelPoll = clock.delay(options.pollMs, () => dispatch({ type: "poll-due" }));
  };
  const openStream = (): void => {
    if (stream) return;
    const controller = new AbortController();
    stream = controller;
    cancelPoll();
    void follow(context, controller).then((end) => {
      if (stream !== controller) return;
      stream = undefined;
      if (end) dispatch(end);
    });
  };
  return {
    open(attempt) {
      cancelOpening();
      if (!transport.live) return poll();
      if (attempt === 0 || stream) return openStream();
      poll();
      cancelOpening = clock.delay(backoffDelay(attempt, context.random, context.retry), openStream);
    },
    suspend() {
      cancelPoll();
      cancelOpening();
      if (transport.liveKind !== "pokes") closeStream();
    },
    close() {
      cancelPoll();
      cancelOpening();
      closeStream();
    },
  };
}

/** Follows a stream to its end; says how it ended, or undefined when we ended it. */
async function follow(context: WatchContext, controller: AbortController): Promise<MachineEvent | undefined> {
  const { exchange, clock, dispatch, options } = context;
  const { signal } = controller;
  let cancelSilence = (): void => undefined;
  let isSilent = false;
  const listen = (): void => {
    cancelSilence();
    cancelSilence = clock.delay(options.silenceMs, () => {
      isSilent = true;
      controller.abort();
    });
  };
  const openedAt = clock.now();
  let hasDelivered = false;
  const delivered = (): void => {
    hasDelivered = true;
    dispatch({ type: "alive" });
  };
  const over = (end: MachineEvent): MachineEvent => {
    // One that stood for long was good, though there was nothing to tell.
    if (!hasDelivered && clock.now() - openedAt >= (context.retry.maxMs ?? defaultRetry.maxMs)) delivered();
    return hasDelivered ? end : { type: "live-failed", policy: "retry" };
  };
  try {
    const plan = await exchange.local("read", () => planPull(exchange));
    const basis = streamBasis(plan);
    listen();
    for await (const frame of exchange.transport.live?.(plan.request, { signal }) ?? []) {
      if (signal.aborted) break;
      listen();
      switch (frame.kind) {
        case "heartbeat":
          break;
        case "poke":
          delivered();
          dispatch({ type: "poke" });
          break;
        case "page": {
          const event = await takePage(exchange, frame, basis);
          // A page of another history: what the handshake agreed upon does not hold, or not for this stream.
          if (event.type === "renegotiate") return hasDelivered ? event : { type: "live-ended", reason: "upgrade" };
          if (event.type !== "pulled") return event;
          // A frame that does not fit shows that another channel was faster; a pull finds out where we are.
          if (event.more && frame.to !== undefined) return over({ type: "live-ended", reason: "pull" });
          if (frame.to === undefined || frame.to !== frame.from) delivered();
          if (frame.to !== undefined) {
            exchange.holds.granted(plan.wish, frame.scopes ?? heldScopes(plan.checkpoint));
            if (heldAfter(frame, basis.held) !== basis.held) return over({ type: "live-ended", reason: "pull" });
          }
          break;
        }
        case "end":
          return frame.reason === "upgrade"
            ? { type: "live-ended", reason: "upgrade" }
            : over({ type: "live-ended", reason: frame.reason });
        case "reset":
        case "restart":
        case "need-held":
        case "need-schema":
          return over({ type: "live-ended", reason: "pull" });
      }
    }
    return signal.aborted && !isSilent ? undefined : { type: "live-failed", policy: "retry" };
  } catch (error) {
    if (isSilent) return { type: "live-failed", policy: "retry" };
    if (signal.aborted) return undefined;
    return failure(context, error);
  } finally {
    cancelSilence();
  }
}

function failure(context: WatchContext, error: unknown): MachineEvent {
  const known = isSyncError(error)
    ? error
    : new SyncError({ code: "UNAVAILABLE", message: "The live stream broke.", cause: error });
  context.onError(known);
  // The local database failing is no matter of the stream.
  const type = known.code === "STORAGE_FAILED" || known.code === "STORAGE_FULL" ? "failed" : "live-failed";
  return { type, policy: policyOf(known.code) };
}

/** What frames must fit: the state at the opening, but for the cursor, which moves with them. */
function streamBasis({ basis }: PullPlan): Basis {
  return { deviceId: basis.deviceId, held: basis.held, schema: basis.schema, handled: 0 };
}

/**
 * What the machine does about an error: its policy, but a side that is too old for a transaction only holds pushes back
 * (rule V3). Whoever refuses a device at all says so at the handshake.
 */
export function machinePolicy(error: SyncError, isPush = false): MachinePolicy {
  if (isSyncError(error, "SCHEMA_MISMATCH") && (isPush || error.details?.tooOld === "server")) return "hold";
  return policyOf(error.code);
}
