/**
 * Runs in the dedicated worker of every tab. A Web Lock decides which one leads: it opens the file, executes what the pages
 * ask and runs the sync engine; the others forward to it. There are no heartbeats: each worker holds a lock of its own for
 * as long as it lives, and whoever gets that lock knows that the tab is dead.
 *
 * - A new leader announces an epoch. What was not answered is sent again; writes that had been done are recognized (see
 *   `leader.ts`), transactions that were open are lost and run again by their pages.
 * - A hidden leader gives way to a visible tab that asks, a frozen one to anybody, one of an older release of the app to a
 *   newer one.
 * - A standby loads SQLite a second after it started, so that taking over needs no network.
 *
 * @module
 */

import { createForwarder } from "./forwarder.ts";
import type { Asker } from "./leader.ts";
import type { OnlineSource } from "../online.ts";
import { createPageOnline } from "./page-online.ts";
import { createPageTokens } from "./page-tokens.ts";
import { asOutdated, toPortError } from "./port-error.ts";
import { isInsideTransaction } from "./worker-messages.ts";
import type {
  DirectMessage,
  LeaderEvent,
  LeaderRequest,
  PageLife,
  PageMessage,
  TabMessage,
  WorkerMessage,
} from "./worker-messages.ts";
import type { WorkerChannel, WorkerScope } from "./worker-scope.ts";

/** The open database, as the host uses it. */
export interface LeadingDatabase {
  readonly handle: (request: LeaderRequest, asker: Asker) => Promise<unknown>;
  readonly clientGone: (client: string) => void;
  /** Resolves when nothing is in progress that a hand-over would cut off. */
  readonly idle: () => Promise<void>;
  readonly close: () => Promise<void>;
}

/** What the host does for the open database. */
export interface HostServices {
  /** Tells the pages of all tabs. */
  readonly broadcast: (event: LeaderEvent) => void;
  /** Asks a living page for its token. */
  readonly askToken: () => Promise<string | null>;
  readonly online: OnlineSource;
}

export interface HostOptions {
  readonly scope: WorkerScope;
  /** Opens the file. Called with the lock held. */
  readonly open: (name: string, host: HostServices) => Promise<LeadingDatabase>;
  /** Loads what opening needs, without opening. */
  readonly prepare: () => Promise<unknown>;
  readonly makeId: () => string;
  /**
   * Tells releases of the app apart: the time of its newest migration. A newer tab takes over from an older one, whose
   * tables it could not use.
   */
  readonly release: number;
  /**
   * How long a tab that was not chosen waits before it queues again, after the leader named its successor.
   *
   * @default 1500
   */
  readonly yieldMs?: number;
}

const PREPARE_AFTER_MS = 1000;
const REOPEN_AFTER_MS = 500;
const MAX_REOPEN_AFTER_MS = 16_000;

/** Starts the host. Nothing is opened before the page says the database's name. */
export function startHost(options: HostOptions): void {
  const { scope, release } = options;
  const me = options.makeId();
  let name = "";
  let channel: WorkerChannel | undefined;
  let database: LeadingDatabase | undefined;
  let epoch = "";
  /** The release of the tab that leads. */
  let leading = release;
  let isHidden = false;
  let isFrozen = false;
  let isYielding = false;
  let isClosing = false;
  let queued: AbortController | undefined;
  let releaseLock: (() => void) | undefined;
  let reopenAfterMs = REOPEN_AFTER_MS;
  /** The leader's side: the channels of other tabs. */
  const tabs = new Map<string, WorkerChannel>();

  const ownWatcher = watcherOf((event) => post({ kind: "event", event }));
  const post = (message: WorkerMessage): void => scope.postMessage(message);
  const send = (message: TabMessage): void => channel?.postMessage(message);
  const online = createPageOnline();
  const tokens = createPageTokens({
    askPage: (id) => (isFrozen ? undefined : post({ kind: "ask-token", id })),
    askTabs: (id) => {
      for (const tab of tabs.values()) tab.postMessage({ kind: "ask-token", id } satisfies DirectMessage);
    },
  });
  const forwarder = createForwarder({
    send: (request) => send({ kind: "request", from: me, ...request }),
    answer: (id, value) => post({ kind: "answer", id, value }),
    fail: (id, error) => post({ kind: "failure", id, error }),
    handleHere: (id, request, isRepeat) => void answerOwnPage(id, request, isRepeat),
  });

  scope.listen((data) => onPage(data as PageMessage));

  function onPage(message: PageMessage): void {
    switch (message.kind) {
      case "open":
        return void join(message.name);
      case "life":
        return onLife(message.life);
      case "request":
        if (database && !isYielding) return void answerOwnPage(message.id, message.request, false);
        return forwarder.forward(message.id, message.request, isYielding ? "" : epoch);
      case "token":
        return database
          ? tokens.answer(message.id, message.token)
          : send({ kind: "token", from: me, id: message.id, token: message.token });
      case "token-failed":
        return tokens.fail(message.id, message.error);
      case "close":
        return void close();
    }
  }

  async function join(databaseName: string): Promise<void> {
    name = databaseName;
    const direct = scope.openChannel(`drizzle-sync:${name}:${me}`);
    direct.listen((data) => onDirect(data as DirectMessage));
    channel = scope.openChannel(`drizzle-sync:${name}`);
    channel.listen((data) => onTab(data as TabMessage));
    // Held while this worker lives, and before its first word: the leader takes a free lock for a dead tab.
    await scope.locks.request(clientLock(name, me), () => {
      send({ kind: "hello", from: me });
      queue();
      setTimeout(() => {
        // A failure shows when the database is opened.
        if (!database) options.prepare().catch(() => {});
      }, PREPARE_AFTER_MS);
      return new Promise<never>(() => {});
    });
  }

  function onDirect(message: DirectMessage): void {
    switch (message.kind) {
      case "answer":
        return forwarder.answered(message.id, message.value);
      case "failure":
        return forwarder.failed(message.id, leading > release ? asOutdated(message.error) : message.error);
      case "event":
        return post({ kind: "event", event: message.event });
      case "ask-token":
        return isFrozen ? undefined : post({ kind: "ask-token", id: message.id });
    }
  }

  function onTab(message: TabMessage): void {
    switch (message.kind) {
      case "hello":
        if (database) send({ kind: "leader", epoch, release });
        return;
      case "request":
        if (database && message.epoch === epoch) void answerTab(message);
        return;
      case "token":
        return tokens.answer(message.id, message.token);
      case "want":
        if (database && (isHidden || isFrozen || message.release > release)) void yieldTo(message.from);
        return;
      case "in-background":
        if (!database && !isHidden) send({ kind: "want", from: me, release });
        return;
      case "yield":
        if (database || message.to === me || message.to === "") return;
        // The chosen tab goes first.
        queued?.abort();
        setTimeout(queue, options.yieldMs ?? 1500);
        return;
      case "leader":
        if (database || message.epoch === epoch) return;
        if (message.release < release) {
          // Its tables are older than our queries: what we ask waits until we lead.
          send({ kind: "want", from: me, release });
          return queue();
        }
        epoch = message.epoch;
        leading = message.release;
        post({ kind: "leader", epoch, leads: false });
        forwarder.drain(epoch, false);
        queue();
        return;
      case "event":
        if (!database) post({ kind: "event", event: message.event });
        return;
    }
  }

  async function answerOwnPage(id: number, request: LeaderRequest, isRepeat: boolean): Promise<void> {
    const owner = database;
    try {
      const value = await owner?.handle(request, {
        client: me,
        isRemote: false,
        id,
        oldestWrite: 0,
        isRepeat,
        watcher: ownWatcher,
      });
      post({ kind: "answer", id, value });
    } catch (error) {
      // Cut off by a hand-over: the next leader does it, unless it belonged to a transaction that ended with this one.
      if (database !== owner && !isInsideTransaction(request)) forwarder.forward(id, request, epoch);
      else post({ kind: "failure", id, error: toPortError(error) });
    }
  }

  async function answerTab(message: Extract<TabMessage, { kind: "request" }>): Promise<void> {
    const { from, id } = message;
    const owner = database;
    const tab = tabs.get(from) ?? meetTab(from);
    const event = (value: LeaderEvent): void => {
      if (tabs.get(from) === tab) tab.postMessage({ kind: "event", event: value } satisfies DirectMessage);
    };
    let answer: DirectMessage;
    try {
      const { oldestWrite, isRepeat } = message;
      const value = await owner?.handle(message.request, {
        client: from,
        isRemote: true,
        id,
        oldestWrite,
        isRepeat,
        watcher: watcherOf(event),
      });
      answer = { kind: "answer", id, value };
    } catch (error) {
      // Cut off by a hand-over: without an answer the tab asks the next leader.
      if (database !== owner && !isInsideTransaction(message.request)) return;
      answer = { kind: "failure", id, error: toPortError(error) };
    }
    // The channel of a tab that is gone, or of a leader that stepped down, is closed.
    if (tabs.get(from) === tab) tab.postMessage(answer);
  }

  function meetTab(client: string): WorkerChannel {
    const tab = scope.openChannel(`drizzle-sync:${name}:${client}`);
    tabs.set(client, tab);
    const owner = database;
    void scope.locks.request(clientLock(name, client), () => {
      if (tabs.get(client) === tab) tabs.delete(client);
      tab.close();
      if (database === owner) owner?.clientGone(client);
    });
    return tab;
  }

  function queue(): void {
    if (database || isFrozen || isClosing || (queued && !queued.signal.aborted)) return;
    const mine = new AbortController();
    queued = mine;
    scope.locks
      .request(leaderLock(name), { signal: mine.signal }, lead)
      .catch((error: unknown) => {
        if (error instanceof Error && error.name === "AbortError") return;
        post({ kind: "open-failed", error: toPortError(error) });
        forwarder.failAll(toPortError(error));
        setTimeout(queue, reopenAfterMs);
        reopenAfterMs = Math.min(MAX_REOPEN_AFTER_MS, reopenAfterMs * 2);
      })
      .finally(() => {
        if (queued === mine) queued = undefined;
      });
  }

  async function lead(): Promise<void> {
    const released = new Promise<void>((resolve) => (releaseLock = resolve));
    database = await options.open(name, {
      broadcast: (event) => {
        post({ kind: "event", event });
        send({ kind: "event", event });
      },
      askToken: () => tokens.ask(),
      online,
    });
    reopenAfterMs = REOPEN_AFTER_MS;
    epoch = `${me}.${options.makeId()}`;
    leading = release;
    send({ kind: "leader", epoch, release });
    post({ kind: "leader", epoch, leads: true });
    forwarder.drain(epoch, true);
    if (isFrozen) void yieldTo("");
    else if (isHidden) send({ kind: "in-background" });
    await released;
  }

  /** Steps down: whatever runs is finished first, what comes in meanwhile waits for the next leader. */
  async function yieldTo(to: string): Promise<void> {
    if (isYielding || !database) return;
    isYielding = true;
    const owner = database;
    // A frozen page cannot end its transaction.
    if (!isFrozen) await owner.idle();
    send({ kind: "yield", to });
    database = undefined;
    epoch = "";
    for (const tab of tabs.values()) tab.close();
    tabs.clear();
    await owner.close();
    releaseLock?.();
    releaseLock = undefined;
    isYielding = false;
    setTimeout(queue, options.yieldMs ?? 1500);
  }

  function onLife(life: PageLife): void {
    online.note(life);
    switch (life) {
      case "online":
      case "offline":
        return;
      case "hidden":
        isHidden = true;
        if (database) send({ kind: "in-background" });
        return;
      case "visible":
      case "resume":
        if (life === "visible") isHidden = false;
        isFrozen = false;
        queue();
        if (!database && !isHidden) send({ kind: "want", from: me, release });
        return;
      case "freeze":
      case "pagehide":
        isFrozen = true;
        if (database) void yieldTo("");
        else queued?.abort();
        return;
    }
  }

  async function close(): Promise<void> {
    isClosing = true;
    queued?.abort();
    if (database) await yieldTo("");
    post({ kind: "closed" });
    scope.close();
  }
}

function watcherOf(send: (event: LeaderEvent) => void): Asker["watcher"] {
  return {
    rows: (watch, answer) => send({ kind: "rows", watch, answer }),
    failed: (watch, error) => send({ kind: "rows-failed", watch, error: toPortError(error) }),
  };
}

/** The lock of the tab that owns the file. */
function leaderLock(name: string): string {
  return `drizzle-sync:${name}:leader`;
}

/** The lock that a tab's worker holds while it lives. */
export function clientLock(name: string, client: string): string {
  return `drizzle-sync:${name}:client:${client}`;
}
