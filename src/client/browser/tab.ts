/**
 * The page's side: requests with promises, transactions, live queries. It knows nothing of SQLite. The worker is made with
 * the first request and never on a server, so that a module may open a database at its top level.
 *
 * @module
 */

import { SyncError } from "../../protocol/errors.ts";
import { fromPortError, isLeaderLost, toPortError } from "./port-error.ts";
import type { SyncCall, SyncEvent } from "./sync-calls.ts";
import type {
  LeaderRequest,
  PageLife,
  PageMessage,
  StatementAnswer,
  StatementText,
  WorkerMessage,
} from "./worker-messages.ts";

/** What the tab needs of a worker. */
export type PageWorker = Pick<Worker, "addEventListener" | "postMessage" | "terminate">;

export interface TabOptions {
  readonly name: string;
  readonly worker: () => PageWorker;
}

/** A page's connection to the worker that owns the database. */
export interface Tab {
  execute(statement: StatementText, tx?: string): Promise<StatementAnswer>;
  batch(statements: readonly StatementText[], tx?: string): Promise<StatementAnswer[]>;
  /** Runs `body` in a transaction of its own; again, when the leading tab went away in the middle of it. */
  transaction<T>(behavior: string | undefined, body: (tx: string) => Promise<T>): Promise<T>;
  /** Calls back with the rows now and whenever they changed. Returns the function that ends it. */
  watch(
    statement: StatementText,
    onRows: (answer: StatementAnswer) => void,
    onError: (error: Error) => void,
  ): () => void;
  callSync(call: SyncCall): Promise<unknown>;
  onSyncEvent(listener: (event: SyncEvent) => void): () => void;
  /** Calls back when another worker took over; what it must know is told again. */
  onLeader(listener: (leads: boolean) => void): () => void;
  /** Calls back when the file could not be opened. It is tried again. */
  readonly onOpenFailed: (listener: (error: Error) => void) => () => void;
  /** Answers the worker's questions for a token. */
  setToken(ask: () => string | null | Promise<string | null>): void;
  /** Whether this page's worker owns the file. */
  readonly leads: boolean;
  readonly close: () => Promise<void>;
}

const TRANSACTION_ATTEMPTS = 3;

/** Makes the page's side of a database. */
export function createTab(options: TabOptions): Tab {
  let worker: PageWorker | undefined;
  let lastId = 0;
  let lastName = 0;
  let epoch = "";
  let leads = false;
  let isClosed = false;
  let askToken: (() => string | null | Promise<string | null>) | undefined;
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  const watches = new Map<
    string,
    { readonly statement: StatementText; onRows(answer: StatementAnswer): void; onError(error: Error): void }
  >();
  const syncListeners = new Set<(event: SyncEvent) => void>();
  const leaderListeners = new Set<(leads: boolean) => void>();
  const failureListeners = new Set<(error: Error) => void>();
  let stopListening: (() => void) | undefined;
  let onClosed: (() => void) | undefined;

  function post(message: PageMessage): void {
    if (isClosed) throw new SyncError({ code: "CLOSED", message: "The database was closed." });
    start().postMessage(message);
  }

  function start(): PageWorker {
    if (worker) return worker;
    if (typeof window === "undefined") {
      throw new SyncError({
        code: "UNSUPPORTED_DATABASE",
        message: `The database \`${options.name}\` lives in the browser; it cannot be queried while rendering on the server.`,
      });
    }
    worker = options.worker();
    worker.addEventListener("message", ({ data }: { readonly data: unknown }) => onMessage(data as WorkerMessage));
    worker.addEventListener("error", (event) => {
      const error = new SyncError({
        code: "STORAGE_FAILED",
        message: `The database worker failed: ${event.message || "it could not be loaded"}.`,
      });
      rejectAll(error);
      onClosed?.();
      for (const listener of failureListeners) listener(error);
    });
    worker.postMessage({ kind: "open", name: options.name } satisfies PageMessage);
    stopListening = listenToLife((life) => worker?.postMessage({ kind: "life", life } satisfies PageMessage));
    return worker;
  }

  function onMessage(message: WorkerMessage): void {
    switch (message.kind) {
      case "answer":
        return take(message.id)?.resolve(message.value);
      case "failure":
        return take(message.id)?.reject(fromPortError(message.error));
      case "event": {
        const { event } = message;
        if (event.kind === "sync") for (const listener of syncListeners) listener(event.event);
        else if (event.kind === "rows") watches.get(event.watch)?.onRows(event.answer);
        else watches.get(event.watch)?.onError(fromPortError(event.error));
        return;
      }
      case "leader": {
        const isAnother = epoch !== "" && epoch !== message.epoch;
        epoch = message.epoch;
        leads = message.leads;
        // The new leader knows nothing of what the old one watched.
        if (isAnother) for (const watch of watches.keys()) startWatch(watch);
        for (const listener of leaderListeners) listener(leads);
        return;
      }
      case "open-failed":
        for (const listener of failureListeners) listener(fromPortError(message.error));
        return;
      case "ask-token":
        return void answerToken(message.id);
      case "closed":
        return onClosed?.();
    }
  }

  function rejectAll(error: Error): void {
    for (const [id, entry] of waiting) {
      waiting.delete(id);
      entry.reject(error);
    }
  }

  function take(id: number): { resolve(value: unknown): void; reject(error: Error): void } | undefined {
    const entry = waiting.get(id);
    waiting.delete(id);
    return entry;
  }

  async function answerToken(id: number): Promise<void> {
    // A page without a client that knows tokens stays silent: another one may know.
    if (!askToken) return;
    try {
      post({ kind: "token", id, token: await askToken() });
    } catch (error) {
      if (!isClosed) post({ kind: "token-failed", id, error: toPortError(error) });
    }
  }

  function ask(request: LeaderRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = ++lastId;
      waiting.set(id, { resolve, reject });
      try {
        post({ kind: "request", id, request });
      } catch (error) {
        waiting.delete(id);
        throw error;
      }
    });
  }

  function startWatch(watch: string): void {
    const entry = watches.get(watch);
    if (!entry) return;
    ask({ op: "watch", watch, statement: entry.statement }).then(
      // The leader answers with what `StatementAnswer` says.
      (answer) => watches.get(watch)?.onRows(answer as StatementAnswer),
      (error: Error) => watches.get(watch)?.onError(error),
    );
  }

  async function transaction<T>(behavior: string | undefined, body: (tx: string) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const tx = `t${++lastName}`;
      try {
        await ask({ op: "begin", tx, ...(behavior === undefined ? {} : { behavior }) });
        let result: T;
        try {
          result = await body(tx);
        } catch (error) {
          // What `body` threw is what the caller must see; a rollback that fails too (the leader is gone) changes nothing.
          if (!isLeaderLost(error)) await ask({ op: "end", tx, commit: false }).catch(() => {});
          throw error;
        }
        await ask({ op: "end", tx, commit: true });
        return result;
      } catch (error) {
        if (!isLeaderLost(error) || attempt === TRANSACTION_ATTEMPTS) throw error;
      }
    }
  }

  return {
    // Answers have the form that the request's kind implies.
    execute: (statement, tx) =>
      ask({ op: "statement", statement, ...(tx === undefined ? {} : { tx }) }) as Promise<StatementAnswer>,
    batch: (statements, tx) =>
      ask({ op: "batch", statements, ...(tx === undefined ? {} : { tx }) }) as Promise<StatementAnswer[]>,
    transaction,
    watch: (statement, onRows, onError) => {
      const watch = `w${++lastName}`;
      watches.set(watch, { statement, onRows, onError });
      startWatch(watch);
      return () => {
        // A failure to end it means that there is no leader which could know of it.
        if (watches.delete(watch) && !isClosed) ask({ op: "unwatch", watch }).catch(() => {});
      };
    },
    callSync: (call) => ask({ op: "sync", call }),
    onSyncEvent: (listener) => subscribe(syncListeners, listener),
    onLeader: (listener) => subscribe(leaderListeners, listener),
    onOpenFailed: (listener) => subscribe(failureListeners, listener),
    setToken: (source) => {
      askToken = source;
    },
    get leads() {
      return leads;
    },
    close: async () => {
      if (isClosed) return;
      if (worker) {
        const closed = new Promise<void>((resolve) => (onClosed = resolve));
        post({ kind: "close" });
        isClosed = true;
        await closed;
        worker.terminate();
        stopListening?.();
      }
      isClosed = true;
      rejectAll(new SyncError({ code: "CLOSED", message: "The database was closed." }));
    },
  };
}

function subscribe<T>(listeners: Set<(value: T) => void>, listener: (value: T) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function visibility(): PageLife {
  return document.visibilityState === "hidden" ? "hidden" : "visible";
}

/** Tells of the page's life, which a worker does not see. */
function listenToLife(tell: (life: PageLife) => void): () => void {
  const stops: (() => void)[] = [];
  const on = (target: EventTarget, type: string, life: () => PageLife): void => {
    const listener = (): void => tell(life());
    target.addEventListener(type, listener);
    stops.push(() => target.removeEventListener(type, listener));
  };
  on(document, "visibilitychange", visibility);
  on(document, "freeze", () => "freeze");
  on(document, "resume", () => "resume");
  on(window, "pagehide", () => "pagehide");
  on(window, "pageshow", () => "resume");
  on(window, "online", () => "online");
  on(window, "offline", () => "offline");
  if (visibility() === "hidden") tell("hidden");
  if (!navigator.onLine) tell("offline");
  return () => {
    for (const stop of stops) stop();
  };
}
