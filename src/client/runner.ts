/**
 * Runs the effects of the state machine and tells it what came of them: one request at a time, the watch, the timers. What
 * is not decided here is decided in `state.ts`.
 *
 * @module
 */

import { isSyncError, SyncError } from "../protocol/errors.ts";
import { backoffDelay, type RetryOptions } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import type { ExchangeContext } from "./exchange.ts";
import { handshake } from "./handshake.ts";
import { pull } from "./pull.ts";
import { push } from "./push.ts";
import { initialMachine, type Effect, type Machine, type MachineEvent } from "./machine.ts";
import { transition } from "./state.ts";
import { createWatch, machinePolicy, type WatchOptions } from "./watch.ts";

/** What the runner works with. */
export interface RunnerOptions {
  readonly exchange: ExchangeContext;
  /** Opens the database, or tries again; resolves when it is open. */
  readonly open: () => Promise<void>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly retry: RetryOptions;
  readonly watch: Required<WatchOptions>;
  readonly echoMs: number;
  readonly isOnline: boolean;
  readonly onError: (error: SyncError) => void;
  /** Told after every step, with what led to it. */
  readonly onStep: (event: MachineEvent) => void;
}

/** A running machine. */
export interface Runner {
  readonly machine: Machine;
  /** What went wrong last, until the device is in step again. */
  lastError: SyncError | undefined;
  dispatch(event: MachineEvent): void;
  /** What went wrong with the last push, until one succeeds. */
  readonly pushError: SyncError | undefined;
  /** When the next attempt is made, in milliseconds since 1970; undefined while none is planned. */
  readonly nextTryAt: number | undefined;
  /** Takes an error of the local database. */
  fail(error: SyncError): void;
  /** Own changes have come back: the stream is what it seems. */
  heardEcho(): void;
  /** What is wanted has changed: a stream that was opened for something else is closed, and a pull follows. */
  wishAgain(): void;
  /** Takes note of whether there is a base, where no event tells. */
  setEmpty(isEmpty: boolean): void;
  close(): void;
}

const isLocal = (error: SyncError): boolean => error.code === "STORAGE_FAILED" || error.code === "STORAGE_FULL";

/** Creates the runner of one engine. */
export function createRunner(options: RunnerOptions): Runner {
  const { exchange, clock, random, retry, onError, onStep } = options;
  const { transport, session } = exchange;
  let machine = initialMachine({
    isOnline: options.isOnline,
    streamsPages: transport.live !== undefined && transport.liveKind !== "pokes",
  });
  let lastError: SyncError | undefined;
  let isClosed = false;
  let request: AbortController | undefined;
  let cancelRetry = (): void => undefined;
  let cancelPushRetry = (): void => undefined;
  let cancelEcho = (): void => undefined;
  let pushError: SyncError | undefined;
  let retryAt: number | undefined;
  let pushRetryAt: number | undefined;
  const watch = createWatch({
    exchange,
    clock,
    random,
    retry,
    options: options.watch,
    dispatch,
    onError: noteWatchError,
  });

  function noteWatchError(error: SyncError): void {
    // What is wrong with the connection a pull will tell.
    if (isLocal(error)) lastError = error;
    onError(error);
  }

  function dispatch(event: MachineEvent): void {
    if (isClosed) return;
    const before = machine;
    const decided = transition(machine, event);
    if (decided.state === machine && decided.effects.length === 0) return;
    machine = decided.state;
    // Another attempt is under way: it may fail for another reason.
    if (event.type === "sync" && decided.effects.some(({ kind }) => kind === "handshake")) lastError = undefined;
    if (event.type === "pulled" && !event.more && (machine.queue === "empty" || machine.queue === "waiting"))
      lastError = undefined;
    if (event.type === "pushed") pushError = undefined;
    for (const effect of decided.effects) execute(effect);
    if (machine.status === "synced" && before.status === "pushing") awaitEcho();
    onStep(event);
  }

  function execute(effect: Effect): void {
    let delay: number;
    switch (effect.kind) {
      case "handshake":
        return start("failed", (signal) => handshake(exchange, signal));
      case "push":
        return start("push-failed", (signal) => push(exchange, signal));
      case "pull":
        return start("failed", (signal) => pull(exchange, signal));
      case "abort":
        request?.abort();
        request = undefined;
        exchange.readAhead.drop();
        return;
      case "watch":
        return watch.open(effect.attempt);
      case "suspend-watch":
        return watch.suspend();
      case "unwatch":
        cancelEcho();
        return watch.close();
      case "retry":
        cancelRetry();
        delay = delayOf(effect.attempt);
        retryAt = clock.now() + delay;
        cancelRetry = clock.delay(delay, () => {
          retryAt = undefined;
          dispatch({ type: "retry-due" });
        });
        return;
      case "push-retry":
        cancelPushRetry();
        delay = delayOf(effect.attempt);
        pushRetryAt = clock.now() + delay;
        cancelPushRetry = clock.delay(delay, () => {
          pushRetryAt = undefined;
          dispatch({ type: "push-due" });
        });
        return;
      case "cancel-timers":
        cancelRetry();
        cancelPushRetry();
        retryAt = pushRetryAt = undefined;
    }
  }

  function start(failure: "failed" | "push-failed", work: (signal: AbortSignal) => Promise<MachineEvent>): void {
    const controller = new AbortController();
    request = controller;
    const end = (event: () => MachineEvent): void => {
      // Aborted meanwhile: somebody else decides now.
      if (request !== controller) return;
      request = undefined;
      dispatch(event());
    };
    options
      .open()
      .then(() => work(controller.signal))
      .then(
        (event) => end(() => event),
        (error: unknown) => end(() => failed(error, failure)),
      );
  }

  function failed(error: unknown, failure: "failed" | "push-failed"): MachineEvent {
    // The local database's errors are `SyncError`s already; what a transport throws should be.
    lastError = isSyncError(error)
      ? error
      : new SyncError({ code: "UNAVAILABLE", message: "The request failed in an unexpected way.", cause: error });
    onError(lastError);
    if (failure === "push-failed") pushError = lastError;
    // A push cannot go on over a broken database either.
    return {
      type: isLocal(lastError) ? "failed" : failure,
      policy: machinePolicy(lastError, failure === "push-failed"),
    };
  }

  function delayOf(attempt: number): number {
    const isTimed = isSyncError(lastError, "RATE_LIMITED") || isSyncError(lastError, "UNAVAILABLE");
    return backoffDelay(
      attempt,
      random,
      retry,
      isTimed ? (lastError?.details as { readonly retryAfterMs?: number } | undefined)?.retryAfterMs : 0,
    );
  }

  /** What was pushed must come back on the stream before long; else the stream is not what it seems. */
  function awaitEcho(): void {
    cancelEcho();
    if (!machine.streamsPages || exchange.handled() >= session.uploaded.number) return;
    cancelEcho = clock.delay(options.echoMs, () => {
      watch.close();
      dispatch({ type: "live-failed", policy: "retry" });
    });
  }

  return {
    get machine() {
      return machine;
    },
    get lastError() {
      return lastError;
    },
    set lastError(error) {
      lastError = error;
    },
    get pushError() {
      return pushError;
    },
    get nextTryAt() {
      return retryAt ?? (machine.queue === "backing-off" ? pushRetryAt : undefined);
    },
    dispatch,
    fail(error) {
      if (isClosed) return;
      lastError = error;
      onError(error);
      const event: MachineEvent = { type: "failed", policy: machinePolicy(error) };
      dispatch(event);
      onStep(event);
    },
    heardEcho: () => cancelEcho(),
    wishAgain() {
      if (machine.isWatching) watch.close();
      dispatch({ type: "poke" });
    },
    setEmpty(isEmpty) {
      machine = { ...machine, isEmpty };
    },
    close() {
      dispatch({ type: "close" });
      isClosed = true;
    },
  };
}
