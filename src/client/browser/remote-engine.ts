/**
 * The sync engine as a page has it: every call goes to the engine in the leading worker, its state and outcomes come back as
 * events. What this page asked for (holds, listening) is asked again when another tab takes over, since the new leader's
 * engine knows nothing of it; so is what the tabs last decided (start, pause, sign-out), which all of them see in the state.
 *
 * On a server nothing happens: the state is `idle`, and `start` waits for the browser.
 *
 * @module
 */

import { isSyncError, SyncError } from "../../protocol/errors.ts";
import type { SyncStatus } from "../machine.ts";
import type { StoredOutcome } from "../outcomes.ts";
import type {
  EngineHold,
  HoldOptions,
  SettledTransaction,
  SyncEngine,
  SyncState,
  WaitOptions,
} from "../sync-engine.ts";
import { storageError } from "../storage-error.ts";
import type { VerifyResult } from "../verification.ts";
import { fromPortQueued, fromPortState, type EngineWishes, type PortQueued, type SyncCall } from "./sync-calls.ts";
import { fromPortError } from "./port-error.ts";
import type { Tab } from "./tab.ts";

export interface RemoteEngineOptions {
  readonly token?: (() => string | null | Promise<string | null>) | undefined;
  readonly engine: EngineWishes;
  /** Whether the browser is asked to keep the database, once something waits to be uploaded. */
  readonly persist: boolean;
  readonly onError?: ((error: SyncError) => void) | undefined;
}

/** The engine of a page. */
export interface RemoteEngine extends SyncEngine {
  /** Calls back when the list of outcomes may be another one. */
  onOutcomesChanged(listener: () => void): () => void;
}

/** A call without what every call carries along. */
type Call = SyncCall extends infer TCall ? (TCall extends unknown ? Omit<TCall, "wishes"> : never) : never;

/** What an engine does until it is told otherwise. */
type Decision = "start" | "pause" | "sign-out";

const IDLE: SyncState = { status: "idle", pending: 0 };

/** Makes the page's side of the engine. */
export function createRemoteEngine(tab: Tab, options: RemoteEngineOptions): RemoteEngine {
  const wishes = { hasToken: options.token !== undefined, engine: options.engine };
  const stateListeners = new Set<(state: SyncState) => void>();
  const outcomeListeners = new Set<(outcome: StoredOutcome) => void>();
  const changeListeners = new Set<() => void>();
  const holds = new Map<string, { readonly scope: string; readonly options: HoldOptions }>();
  const isBrowser = typeof window !== "undefined";
  let state = IDLE;
  /** Whether this page has decided anything: only then it tells a new leader. */
  let hasDecided = false;
  /** The last decision as far as this page knows, whichever tab took it. */
  let decision: Decision | undefined;
  let isAttached = false;
  let isListening = false;
  let hasAskedToKeep = false;

  if (options.token) tab.setToken(options.token);

  const call = (one: Call): Promise<unknown> => {
    attach();
    return tab.callSync({ ...one, wishes });
  };
  /** For calls that return nothing and whose failure shows in the state. */
  const tell = (one: Call): void => {
    call(one).catch((error: unknown) => update({ ...state, status: "error", error: storageError(error) }));
  };

  function attach(): void {
    if (isAttached) return;
    isAttached = true;
    tab.onSyncEvent((event) => {
      switch (event.kind) {
        case "state":
          return update(fromPortState(event.state));
        case "outcome":
          for (const listener of outcomeListeners) listener(event.outcome);
          return;
        case "outcomes-changed":
          for (const listener of changeListeners) listener();
          return;
        case "error":
          return options.onError?.(storageError(fromPortError(event.error)));
      }
    });
    tab.onOpenFailed((error) => {
      // V3: a newer tab has migrated the file.
      const status = isSyncError(error, "SCHEMA_MISMATCH") ? "update-needed" : "error";
      update({ ...state, status, error: storageError(error) });
    });
    tab.onLeader(() => {
      tell({ verb: "attach" });
      if (isListening) tell({ verb: "listen-to-outcomes" });
      for (const [hold, entry] of holds) tell({ verb: "hold", hold, ...entry });
      if (!hasDecided || decision === undefined) return;
      tell(decision === "sign-out" ? { verb: "sign-out", options: { pending: "keep" } } : { verb: decision });
    });
  }

  function update(next: SyncState): void {
    state = next;
    decision = decisionBehind(next.status) ?? decision;
    if (options.persist && !hasAskedToKeep && state.pending > 0) {
      hasAskedToKeep = true;
      // A refusal changes nothing: storage stays as safe as the browser makes it.
      navigator.storage?.persist?.().catch(() => {});
    }
    for (const listener of stateListeners) listener(state);
  }

  function decide(verb: "start" | "pause" | "resume"): void {
    hasDecided = true;
    decision = verb === "pause" ? "pause" : "start";
    if (isBrowser) tell({ verb });
  }

  return {
    start: () => decide("start"),
    pause: () => decide("pause"),
    resume: () => decide("resume"),
    get state() {
      return state;
    },
    subscribe: (listener) => {
      stateListeners.add(listener);
      if (isBrowser && !isAttached) tell({ verb: "attach" });
      return () => stateListeners.delete(listener);
    },
    sync: async (wait) => void (await aborted(call({ verb: "sync" }), wait)),
    hold: (scope, holdOptions = {}) => {
      const hold = crypto.randomUUID();
      holds.set(hold, { scope, options: holdOptions });
      if (isBrowser) tell({ verb: "hold", hold, scope, options: holdOptions });
      return remoteHold(hold);
    },
    reached: async (cursor, wait) => void (await aborted(call({ verb: "reached", cursor }), wait)),
    pending: async () => ((await call({ verb: "pending" })) as readonly PortQueued[]).map(fromPortQueued),
    // The worker answers with what the engine's interface says.
    settled: (id, wait) => aborted(call({ verb: "settled", id }) as Promise<SettledTransaction>, wait),
    outcomes: () => call({ verb: "outcomes" }) as Promise<readonly StoredOutcome[]>,
    onOutcome: (listener) => {
      outcomeListeners.add(listener);
      if (isBrowser && !isListening) {
        isListening = true;
        tell({ verb: "listen-to-outcomes" });
      }
      return () => outcomeListeners.delete(listener);
    },
    onOutcomesChanged: (listener) => {
      changeListeners.add(listener);
      return () => changeListeners.delete(listener);
    },
    resolve: async (id, resolution) => void (await call({ verb: "resolve", id, resolution })),
    verify: (scopes, wait) =>
      aborted(call({ verb: "verify", ...(scopes ? { scopes } : {}) }) as Promise<VerifyResult>, wait),
    discard: async (id) => void (await call({ verb: "discard-pending", id })),
    signOut: async (signOutOptions) => {
      await call({ verb: "sign-out", options: signOutOptions });
      hasDecided = true;
      decision = "sign-out";
    },
    reset: async () => void (await call({ verb: "reset" })),
    close: () => tab.close(),
  };

  function remoteHold(hold: string): EngineHold {
    let ready: Promise<void> | undefined;
    return {
      get ready() {
        // Asked only by who waits, so that nobody has to handle its failure.
        ready ??= call({ verb: "hold-ready", hold }).then(() => {});
        return ready;
      },
      release: () => {
        if (holds.delete(hold) && isBrowser) tell({ verb: "release", hold });
      },
    };
  }
}

/** What the tabs have decided when the engine is in a state; undefined for one that an engine is in by itself. */
function decisionBehind(status: SyncStatus): Decision | undefined {
  switch (status) {
    case "idle":
    case "error":
    case "update-needed":
      return undefined;
    case "paused":
      return "pause";
    case "signed-out":
      return "sign-out";
    default:
      return "start";
  }
}

/** Waits for a promise until the caller gives up. What was asked for goes on in the worker. */
function aborted<T>(promise: Promise<T>, { signal }: WaitOptions = {}): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void =>
      reject(new SyncError({ code: "ABORTED", message: "The caller gave up waiting.", cause: signal.reason }));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
