/**
 * The engine: one device database kept in step. It puts the parts together, shows what is going on and answers everybody who
 * waits; `state.ts` decides, `runner.ts` does, and what is in the database is in the database.
 *
 * It knows neither Drizzle's database nor the platform, so that it runs the same in a browser's worker and in Node.
 *
 * @module
 */

import { closeStrangers, lastIfClosed, lastTransaction } from "../plugin/device-log.ts";
import { readMeta, writeMeta } from "../plugin/meta.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { isSyncError, type SyncError } from "../protocol/errors.ts";
import { compareCursors, type Cursor, type TxRef } from "../protocol/ids.ts";
import { defaultRetry } from "./backoff.ts";
import { requireCheckpoint, heldScopes, type Checkpoint } from "./checkpoint.ts";
import { systemClock } from "./clock.ts";
import {
  allTables,
  discardPending,
  openDevice,
  queueLength,
  resetBase,
  wipeDevice,
  wipeIfFlushed,
} from "./device-state.ts";
import type { ExchangeContext } from "./exchange.ts";
import { createCycles } from "./cycles.ts";
import { createHolds, type StoredHold } from "./holds.ts";
import { localDatabase } from "./local-database.ts";
import { platformOnline } from "./online.ts";
import { discardTransaction } from "./discard.ts";
import { createOutcomeFeed } from "./outcome-feed.ts";
import { readOutcomes, removeOutcome, stampOfId, type LocalOperation } from "./outcomes.ts";
import { listQueue, lookUp, type Sending } from "./queue-list.ts";
import { writeAgain } from "./retry-transaction.ts";
import { createReadAhead } from "./read-ahead.ts";
import { createRunner } from "./runner.ts";
import { forgetQueue, newSession } from "./session.ts";
import { createSettlements } from "./settlements.ts";
import { createStateBoard } from "./state-board.ts";
import { closedError, keptAndWiped, notPending, resolvedAlready, writtenMeanwhile } from "./engine-errors.ts";
import { defaultEngine, type EngineOptions } from "./engine-options.ts";
import { storageError } from "./storage-error.ts";
import type { SyncEngine } from "./sync-engine.ts";
import type { Transport } from "./transport.ts";
import { createWaiting } from "./waiting.ts";
import { createVerification } from "./verification.ts";
import { defaultWatch } from "./watch.ts";

/** How often the queue is sent before signing out gives up wiping the device. */
const MAX_FLUSHES = 5;

const APPLIED = { status: "applied" } as const;

/** Among the device's own, so that it goes with them when the device is wiped. */
const HOLDS_KEY = "device.holds";

/** Creates an engine over a database, which it installs as a device. Nothing is sent before it is told to. */
export function createEngine(
  options: EngineOptions & { readonly sync: SyncDatabase; readonly transport: Transport },
): SyncEngine {
  const {
    sync,
    transport,
    clock = systemClock,
    random = Math.random,
    online = platformOnline(),
    retry = defaultRetry,
  } = options;
  const local = localDatabase(sync, clock);
  const session = newSession(options.pageRows ?? defaultEngine.pageRows);
  let checkpoint: Checkpoint | undefined;
  let lastNumber = 0;
  let isClosed = false;
  /** Ends the listening to commits; undefined before the database is open, and while nobody would do anything about them. */
  let stopHearing: (() => void) | undefined;
  let cancelExpiry = (): void => undefined;
  const board = createStateBoard(sync, {
    session,
    runner: () => runner,
    checkpoint: () => checkpoint,
    lastNumber: () => lastNumber,
  });
  const { refresh } = board;
  const cycles = createCycles(() => runner);
  const cursors = createWaiting<Cursor, true>();
  const settlements = createSettlements();
  const verification = createVerification(options.verifyRate ?? 0, random);

  const holds = createHolds({
    mode: options.hold ?? "all",
    now: () => clock.now(),
    held: () => (checkpoint ? heldScopes(checkpoint) : []),
    onChange(isUrgent) {
      if (options.hold !== "on-demand") {
        // The next answer says whether it can be had.
        if (isUrgent) runner.dispatch({ type: "poke" });
        return;
      }
      void ensureOpen().then(storeHolds).catch(failLocally);
      awaitExpiry();
      if (isUrgent) runner.wishAgain();
    },
  });
  const feed = createOutcomeFeed(local, failLocally);
  const onError = (error: SyncError): void => options.onError?.(error);
  const exchange: ExchangeContext = {
    sync,
    transport,
    readAhead: createReadAhead(transport),
    local,
    session,
    holds,
    verification,
    clock,
    random: options.randomBytes,
    keepSentMs: options.keepSentMs,
    onReturned: () => runner.dispatch({ type: "committed" }),
    onError,
    onApplied,
    handled: () => checkpoint?.handled.number ?? 0,
  };
  const runner = createRunner({
    exchange,
    open: ensureOpen,
    clock,
    random,
    retry,
    watch: { pollMs: options.pollMs ?? defaultWatch.pollMs, silenceMs: options.silenceMs ?? defaultWatch.silenceMs },
    echoMs: options.echoMs ?? defaultEngine.echoMs,
    isOnline: online.isOnline(),
    onError,
    onStep(event) {
      refresh();
      cycles.answer(event);
    },
  });
  const stopOnline = online.subscribe((change) =>
    runner.dispatch(change === "visible" ? { type: "poke" } : { type: change }),
  );
  let opening: Promise<void> | undefined;
  // Whoever needs the database hears of it; a client that is only created does not bring the process down.
  ensureOpen().catch(failLocally);
  // A synchronous database is open by now.
  refresh();

  /** A database that could not be opened is tried again by whoever needs it next. */
  function ensureOpen(): Promise<void> {
    opening ??= open()
      .then(noteOpened)
      .catch((error: unknown) => {
        opening = undefined;
        throw error;
      });
    return opening;
  }

  async function open(): Promise<void> {
    try {
      // Nothing is awaited where the database answers at once: the state is right from the first tick.
      const installing = sync.install("device");
      if (installing) await installing;
    } catch (error) {
      throw storageError(error);
    }
    await local("write", function* () {
      yield* closeStrangers(sync);
      checkpoint = yield* openDevice(sync, options.randomBytes);
      ({ number: lastNumber } = yield* lastTransaction());
      const stored = yield* readMeta(HOLDS_KEY);
      if (typeof stored === "string") holds.restore(JSON.parse(stored) as readonly StoredHold[], clock.now());
    });
  }

  function noteOpened(): void {
    session.uploaded = checkpoint?.handled ?? session.uploaded;
    runner.setEmpty(checkpoint?.base !== "whole");
    hearCommits();
    if (lastNumber > session.uploaded.number) runner.dispatch({ type: "committed" });
    // What was written between opening and listening.
    queueMicrotask(() => void noteCommit().catch(failLocally));
    holds.noteHeld();
    awaitExpiry();
    refresh();
    feed.tell();
  }

  /** When a released scope's time is up, the next pull drops its rows. */
  function awaitExpiry(): void {
    cancelExpiry();
    const at = holds.expire(clock.now());
    if (at === undefined) return;
    cancelExpiry = clock.delay(Math.max(1, at - clock.now()), () => {
      awaitExpiry();
      runner.wishAgain();
    });
  }

  async function storeHolds(): Promise<void> {
    if (!isClosed) await local("write", () => writeMeta(HOLDS_KEY, JSON.stringify(holds.stored())));
  }

  function onApplied(
    { tables, applied, settled }: Parameters<ExchangeContext["onApplied"]>[0],
    after: Checkpoint,
  ): void {
    checkpoint = after;
    if (after.handled.number >= session.uploaded.number) runner.heardEcho();
    sync.committed(tables, applied);
    refresh();
    let hasOutcomes = false;
    for (const { id, outcome } of settled) {
      hasOutcomes ||= outcome !== undefined;
      settlements.note(id, outcome ? { status: outcome.outcome.status, outcome } : APPLIED);
    }
    if (hasOutcomes) feed.tell();
    const { cursor } = after;
    if (cursor !== undefined) cursors.resolve((wanted) => (compareCursors(cursor, wanted) >= 0 ? true : undefined));
  }

  /** What another process wrote waits for nobody else's transaction (C5). Writes only where there is something to close. */
  async function closeOpen(): Promise<TxRef> {
    const last = await local("read", lastIfClosed);
    if (last) return last;
    await local("write", () => closeStrangers(sync));
    return await local("read", lastTransaction);
  }

  function hearCommits(): void {
    if (!isClosed) stopHearing ??= sync.onCommit(onCommit);
  }

  /** While nothing is sent and nobody is told, commits cost nothing: a state that can be read at once is read when asked for. */
  function onCommit(): void {
    const { isStarted, once } = runner.machine;
    if (isStarted || once || board.hasListeners || sync.connection.kind !== "sync") {
      void noteCommit().catch(failLocally);
      return;
    }
    stopHearing?.();
    stopHearing = undefined;
  }

  /** Looks at what was committed while nobody cared. */
  function catchUp(): void {
    if (stopHearing === undefined && checkpoint !== undefined) void noteCommit().catch(failLocally);
  }

  async function noteCommit(): Promise<void> {
    if (isClosed) return;
    await ensureOpen();
    hearCommits();
    const { number } = await closeOpen();
    if (number === lastNumber) return;
    lastNumber = number;
    refresh();
    if (number > session.uploaded.number) runner.dispatch({ type: "committed" });
  }

  function failLocally(error: unknown): void {
    runner.fail(isSyncError(error) ? error : storageError(error));
  }

  /** After the checkpoint was changed by something else than a page. */
  async function reread(): Promise<void> {
    await local("read", function* () {
      checkpoint = yield* requireCheckpoint();
      lastNumber = checkpoint.handled.number + (yield* queueLength(checkpoint));
    });
    runner.setEmpty(checkpoint?.base !== "whole");
    refresh();
    // What was closed on the way, another process's writes for one, has not been told of.
    if (lastNumber > session.uploaded.number) runner.dispatch({ type: "committed" });
  }

  function sending(): Sending {
    const { nextTryAt, pushError } = runner;
    return {
      uploaded: session.uploaded.number,
      ...(nextTryAt === undefined ? {} : { nextTryAt }),
      ...(pushError === undefined ? {} : { heldBy: pushError }),
    };
  }

  function requireOpen(): void {
    if (isClosed) throw closedError();
  }

  async function cycle(signal?: AbortSignal): Promise<void> {
    requireOpen();
    await ensureOpen();
    // Whatever was written before the call, by whomever, is part of the cycle.
    await noteCommit();
    requireOpen();
    const done = cycles.whole(signal);
    runner.dispatch({ type: "sync" });
    cycles.answer();
    await done;
  }

  /** Wipes only what the server has: what was written since the last cycle is sent in another one. */
  async function flushAndWipe(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      if (await local("apply", () => wipeIfFlushed(sync, options.randomBytes))) return;
      if (attempt === MAX_FLUSHES) throw writtenMeanwhile();
      await cycle();
      runner.dispatch({ type: "sign-out" });
    }
  }

  return {
    start() {
      runner.dispatch({ type: "start" });
      catchUp();
    },
    pause: () => runner.dispatch({ type: "pause" }),
    resume() {
      runner.dispatch({ type: "resume" });
      catchUp();
    },
    get state() {
      return board.read();
    },
    subscribe(listener) {
      const stop = board.subscribe(listener);
      catchUp();
      return stop;
    },
    sync: (wait = {}) => cycle(wait.signal),
    hold(scope, holdOptions = {}) {
      requireOpen();
      return holds.add(scope, holdOptions);
    },
    async reached(cursor, wait = {}) {
      requireOpen();
      await ensureOpen();
      if (checkpoint?.cursor !== undefined && compareCursors(checkpoint.cursor, cursor) >= 0) return;
      const done = cursors.wait(cursor, wait.signal);
      // A stream of pages brings it by itself; a pull would only close the stream.
      const { streamsPages, isWatching, liveAttempt } = runner.machine;
      if (!(streamsPages && isWatching && liveAttempt === 0)) runner.dispatch({ type: "poke" });
      await done;
    },
    async pending() {
      requireOpen();
      await ensureOpen();
      await closeOpen();
      return await local("read", () => listQueue(sync, sending()));
    },
    async settled(id, wait = {}) {
      requireOpen();
      await ensureOpen();
      await closeOpen();
      return await settlements.wait(stampOfId(id), () => local("read", () => lookUp(id)), wait.signal);
    },
    async discard(id) {
      requireOpen();
      await ensureOpen();
      const uploaded = session.uploaded.number;
      const result = await local("apply", () =>
        discardTransaction(sync, id, { uploaded, random: options.randomBytes }),
      );
      if (result.kind !== "discarded") throw notPending(result.kind);
      await reread();
      settlements.note(stampOfId(id), { status: "discarded" });
      sync.committed(result.tables);
      // What it held up may go on.
      if (runner.machine.isStarted) runner.dispatch({ type: "sync" });
    },
    async outcomes() {
      requireOpen();
      await ensureOpen();
      return await local("read", () => readOutcomes());
    },
    onOutcome(listener) {
      const stop = feed.subscribe(listener);
      void ensureOpen().then(feed.tell, () => undefined);
      return stop;
    },
    async resolve(id, resolution) {
      requireOpen();
      await ensureOpen();
      const retried: readonly LocalOperation[] = resolution === "discard" ? [] : resolution.retry;
      await local("write", function* () {
        yield* closeStrangers(sync);
        // First, and in the same transaction: an outcome that is dealt with twice must not be written twice.
        if (!(yield* removeOutcome(id)) && resolution !== "discard") throw resolvedAlready();
        yield* writeAgain(sync, retried);
      });
      sync.committed(new Set(retried.map((operation) => operation.table)));
      await noteCommit();
    },
    async signOut({ pending, wipe = false }) {
      requireOpen();
      if (wipe && pending === "keep") throw keptAndWiped();
      if (pending === "flush") await cycle();
      runner.dispatch({ type: "sign-out" });
      await ensureOpen();
      const randomBytes = options.randomBytes;
      if (pending === "flush" && wipe) await flushAndWipe();
      const discarded =
        pending === "discard" ? await local("apply", () => discardPending(sync, clock.now(), randomBytes)) : [];
      if (pending === "discard" && wipe) await local("apply", () => wipeDevice(sync, randomBytes));
      for (const { id } of discarded) settlements.note(id, { status: "discarded" });
      if (discarded.length > 0 || wipe) {
        await reread();
        forgetQueue(session, checkpoint?.handled ?? { number: 0, stamp: 0 });
        sync.committed(allTables(sync));
      }
    },
    async verify(scopes, wait = {}) {
      requireOpen();
      await ensureOpen();
      const pullOnce = async (): Promise<Checkpoint | undefined> => {
        const done = cycles.pulled(wait.signal);
        runner.dispatch({ type: "sync" });
        cycles.answer();
        await done;
        return checkpoint;
      };
      return await verification.verify(scopes, pullOnce);
    },
    async reset() {
      requireOpen();
      await ensureOpen();
      await local("write", function* () {
        yield* resetBase(yield* requireCheckpoint());
      });
      await reread();
      runner.dispatch({ type: "poke" });
    },
    async close() {
      if (isClosed) return;
      isClosed = true;
      const closed = closedError();
      // Before the machine comes to rest, which would look like a cycle's end.
      cycles.reject(closed);
      runner.close();
      cancelExpiry();
      stopOnline();
      stopHearing?.();
      cursors.reject(closed);
      settlements.reject(closed);
      holds.close(closed);
      board.close();
      transport.close?.();
      // What was begun on the database ends before the caller closes it.
      await opening?.catch(() => undefined);
      await local("read", requireCheckpoint).catch(() => undefined);
    },
  };
}
