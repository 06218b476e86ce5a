/**
 * The sync engine as a pure machine: `(state, event) → { state, effects }`. No I/O, no clock, no randomness: the engine
 * (`engine.ts`) runs the effects and tells what came of them as further events. At most one request is under way at any
 * time, besides the live stream.
 *
 * ```
 *            start                 connected            queue empty
 *   idle ──────────▶ connecting ─────────────▶ pushing ─────────────▶ bootstrapping | pulling
 *                        ▲                     ▲     │ stream open            │ caught up
 *              retry-due │           committed │     ▼                        ▼
 *                     offline ◀──────────────  synced  ◀──────────────────────┘
 *                              failed (retry)     (live stream, or polling)
 * ```
 *
 * The order is always: push everything, pull until caught up, watch. Promise 4 is the `queue` field: a push that fails
 * goes into back-off or is held, and the machine goes on to pull. What an error means is its policy in
 * `protocol/errors.ts` and nothing else.
 *
 * Every cell of the table is decided: an event that means nothing in a state gives back the same state object.
 *
 * @module
 */

import type {
  Effect,
  Machine,
  MachineEvent,
  MachineEventType,
  MachinePolicy,
  SyncStatus,
  Transition,
} from "./machine.ts";

/** Decides one event. */
export function transition(state: Machine, event: MachineEvent): Transition {
  // The table's cell is typed for this very event; the lookup cannot say so.
  const cell = transitions[state.status][event.type] as Cell<MachineEvent>;
  return cell(state, event);
}

type EventOf<TType extends MachineEventType> = Extract<MachineEvent, { readonly type: TType }>;
type Cell<TEvent extends MachineEvent> = (state: Machine, event: TEvent) => Transition;
type Row = { readonly [TType in MachineEventType]: Cell<EventOf<TType>> };

/** How often in a row a handshake may be asked for again before the back-off is waited for. */
const MAX_RENEGOTIATIONS = 2;

// ---- decisions ----

const stay = (state: Machine): Transition => ({ state, effects: [] });

const go = (state: Machine, change: Partial<Machine>, ...effects: readonly Effect[]): Transition => ({
  state: { ...state, ...change },
  effects,
});

/** Leaves whatever is under way. */
const leave = (state: Machine, status: SyncStatus, change: Partial<Machine> = {}): Transition =>
  go(
    state,
    { isRefused: false, ...change, status, isWatching: false, again: false, once: false },
    { kind: "abort" },
    { kind: "unwatch" },
    { kind: "cancel-timers" },
  );

const begin = (state: Machine, change: Partial<Machine> = {}): Transition => {
  const queue = state.queue === "empty" ? "empty" : "waiting";
  return state.isOnline
    ? go(
        state,
        { queue, ...change, status: "connecting", isWatching: false },
        { kind: "cancel-timers" },
        { kind: "handshake" },
      )
    : go(state, { queue, ...change, status: "offline", isWatching: false }, { kind: "cancel-timers" });
};

/** Begins again by itself: after a back-off, or because the app asks for it. */
const restart = (state: Machine): Transition => begin(state);

/** The app wants it to go on, whatever stopped it. */
const resume = (state: Machine): Transition =>
  begin(state, { isStarted: true, once: false, attempt: 0, pushAttempt: 0, liveAttempt: 0 });

const startUp = (state: Machine): Transition => begin(state, { isStarted: true, once: false });

/** One cycle, and no more than that where the engine was not started. Without a network there is nothing to begin. */
const runOnce = (state: Machine): Transition =>
  state.isOnline ? begin(state, { once: !state.isStarted }) : stay(state);

const push = (state: Machine): Transition => go(state, { status: "pushing" }, { kind: "push" });

const pull = (state: Machine): Transition =>
  go(
    state,
    { status: state.isEmpty ? "bootstrapping" : "pulling", again: false, isWatching: false },
    { kind: "suspend-watch" },
    { kind: "pull" },
  );

/** The next thing to do when nothing is under way: what waits in the queue first. */
const work = (state: Machine, more: boolean): Transition => {
  if (state.queue === "waiting") return push(state);
  if (more || state.again) return pull(state);
  if (state.once) return go(state, { status: "idle", once: false, isWatching: false }, { kind: "unwatch" });
  return go(state, { status: "synced", isWatching: true }, { kind: "watch", attempt: state.liveAttempt });
};

const connected: Cell<EventOf<"connected">> = (state, event) => {
  const next: Machine = { ...state, isEmpty: event.isEmpty, queue: event.hasQueue ? "waiting" : "empty" };
  return next.queue === "waiting" ? push(next) : pull(next);
};

const pulled: Cell<EventOf<"pulled">> = (state, event) =>
  work(
    { ...state, isEmpty: event.isEmpty, isRefused: false, attempt: event.isFruitless ? state.attempt : 0 },
    event.more,
  );

const pushed: Cell<EventOf<"pushed">> = (state, event) => {
  const next: Machine = {
    ...state,
    attempt: 0,
    pushAttempt: 0,
    isRefused: false,
    queue: event.more ? "waiting" : "empty",
  };
  return event.more ? push(next) : afterPush(next);
};

/** While a stream of pages stands, own changes come back on it; otherwise they are pulled. */
const afterPush = (state: Machine): Transition =>
  state.isWatching && state.streamsPages && !state.again ? go(state, { status: "synced" }) : pull(state);

const failed: Cell<EventOf<"failed">> = (state, event) => {
  // A token may have run out on the way: each request asks for it anew.
  if (event.policy === "wait-for-auth" && !state.isRefused) return shakeHands({ ...state, isRefused: true });
  const status = statusAfter(event.policy);
  // Without `start` nothing is tried again by itself.
  if (state.once && status === "offline") return leave(state, "idle");
  if (status !== "offline") return leave(state, status);
  const attempt = state.attempt + 1;
  const left = leave(state, "offline", { attempt });
  return { state: left.state, effects: [...left.effects, { kind: "retry", attempt }] };
};

const statusAfter = (policy: MachinePolicy): SyncStatus => {
  switch (policy) {
    case "retry":
    case "reset":
    case "hold":
      return "offline";
    case "wait-for-auth":
      return "signed-out";
    case "wait-for-upgrade":
      return "update-needed";
    case "stop":
      return "error";
  }
};

/** Promise 4: a stuck upload never stops downloads. */
const pushFailed: Cell<EventOf<"push-failed">> = (state, event) => {
  switch (event.policy) {
    case "wait-for-auth":
    case "wait-for-upgrade":
      return failed(state, { type: "failed", policy: event.policy });
    case "retry": {
      const pushAttempt = state.pushAttempt + 1;
      const next = afterPush({ ...state, queue: "backing-off", pushAttempt });
      return { state: next.state, effects: [{ kind: "push-retry", attempt: pushAttempt }, ...next.effects] };
    }
    case "reset":
      return renegotiate(state);
    case "hold":
    case "stop":
      return afterPush({ ...state, queue: "held" });
  }
};

const liveFailed: Cell<EventOf<"live-failed">> = (state, event) => {
  if (event.policy === "wait-for-upgrade") return failed(state, { type: "failed", policy: event.policy });
  const next: Machine = { ...state, isWatching: false, liveAttempt: state.liveAttempt + 1 };
  // A pull, with a fresh token, tells whether the connection or only the stream is broken.
  return state.status === "synced" ? pull(next) : stay(next);
};

const liveEnded: Cell<EventOf<"live-ended">> = (state, event) => {
  switch (event.reason) {
    // The next request asks for a fresh token by itself.
    case "pull":
    case "auth":
      return state.status === "synced" ? pull(state) : stay({ ...state, isWatching: false });
    case "upgrade":
      // Handshakes may agree each time, and the stream refuse what they agreed upon.
      return renegotiate({ ...state, liveAttempt: state.liveAttempt + 1 });
    case "shutdown":
      return state.status === "synced"
        ? failed(state, { type: "failed", policy: "retry" })
        : stay({ ...state, isWatching: false });
  }
};

const alive = (state: Machine): Transition => (state.liveAttempt === 0 ? stay(state) : go(state, { liveAttempt: 0 }));

const renegotiate = (state: Machine): Transition => {
  const attempt = state.attempt + 1;
  if (attempt > MAX_RENEGOTIATIONS) return failed(state, { type: "failed", policy: "retry" });
  return shakeHands({ ...state, attempt });
};

const shakeHands = (state: Machine): Transition =>
  go(state, { status: "connecting", isWatching: false }, { kind: "abort" }, { kind: "unwatch" }, { kind: "handshake" });

const noteCommit = (state: Machine): Transition =>
  state.queue === "empty" ? go(state, { queue: "waiting" }) : stay(state);

const pushDue = (state: Machine): Transition =>
  state.queue === "backing-off" ? go(state, { queue: "waiting" }) : stay(state);

const askAgain = (state: Machine): Transition => (state.again ? stay(state) : go(state, { again: true }));

const release = (state: Machine): Transition =>
  state.queue === "held" || state.queue === "backing-off" ? go(state, { queue: "waiting" }) : stay(state);

const releaseAndPush = (state: Machine): Transition => {
  const next = release(state).state;
  return next.queue === "waiting" ? push(next) : stay(state);
};

const syncNow = (state: Machine): Transition => work({ ...release(state).state, again: true }, true);

const syncAgain = (state: Machine): Transition => askAgain(release(state).state);

const goOnline = (state: Machine): Transition => (state.isOnline ? stay(state) : go(state, { isOnline: true }));

const goOffline = (state: Machine): Transition => (state.isOnline ? go(state, { isOnline: false }) : stay(state));

const pause = (state: Machine): Transition => leave(state, "paused", { isStarted: false });
const signOut = (state: Machine): Transition => leave(state, "signed-out", { isStarted: false });
const close = (state: Machine): Transition => leave(state, "idle", { isStarted: false });
const loseNetwork = (state: Machine): Transition => leave(state, state.once ? "idle" : "offline", { isOnline: false });

// ---- the table ----

/** Nothing is under way, and only the app (or, in `offline`, time and the network) can change that. */
const atRest: Row = {
  start: stay,
  pause,
  resume: stay,
  "sign-out": signOut,
  close,
  sync: stay,
  online: goOnline,
  offline: goOffline,
  connected: stay,
  pushed: stay,
  pulled: stay,
  failed: stay,
  "push-failed": stay,
  "live-failed": stay,
  "live-ended": stay,
  alive: stay,
  poke: stay,
  committed: noteCommit,
  renegotiate: stay,
  "retry-due": stay,
  "push-due": pushDue,
  "poll-due": stay,
};

/** A request is under way, or the watch stands. */
const atWork: Row = {
  ...atRest,
  resume: release,
  sync: syncAgain,
  offline: loseNetwork,
  failed,
  "live-failed": liveFailed,
  "live-ended": liveEnded,
  alive,
  poke: askAgain,
  renegotiate,
};

const keepGoing = (state: Machine): Transition =>
  state.once || !state.isStarted ? go(state, { once: false, isStarted: true }) : stay(state);

const pulling: Row = { ...atWork, start: keepGoing, pulled };

const transitions: Readonly<Record<SyncStatus, Row>> = {
  idle: {
    ...atRest,
    start: startUp,
    sync: runOnce,
    // Local work outside a cycle (opening, signing out) may find the database broken.
    failed: (state, event) => (event.policy === "stop" ? leave(state, "error") : stay(state)),
  },
  connecting: { ...atWork, start: keepGoing, connected, "live-failed": stay, "live-ended": stay },
  bootstrapping: pulling,
  pulling,
  pushing: {
    ...atWork,
    start: keepGoing,
    pushed,
    "push-failed": pushFailed,
    // The push under way ends with a look at the queue.
    committed: stay,
  },
  synced: {
    ...atWork,
    resume: releaseAndPush,
    sync: syncNow,
    poke: pull,
    committed: (state) => (state.queue === "empty" ? push({ ...state, queue: "waiting" }) : stay(state)),
    "push-due": (state) => (state.queue === "backing-off" ? push({ ...state, queue: "waiting" }) : stay(state)),
    "poll-due": pull,
  },
  offline: {
    ...atRest,
    resume: startUp,
    sync: runOnce,
    online: (state) => begin({ ...state, isOnline: true }, { attempt: 0 }),
    offline: (state) => (state.isOnline ? go(state, { isOnline: false }, { kind: "cancel-timers" }) : stay(state)),
    "retry-due": restart,
    failed: (state, event) => (event.policy === "stop" ? leave(state, "error") : stay(state)),
  },
  paused: { ...atRest, start: resume, pause: stay, resume },
  "signed-out": {
    ...atRest,
    "sign-out": (state) => (state.isStarted ? go(state, { isStarted: false }) : stay(state)),
    start: startUp,
    resume,
    sync: runOnce,
  },
  "update-needed": { ...atRest, start: startUp, resume, sync: runOnce },
  error: { ...atRest, start: startUp, resume, sync: runOnce },
};
