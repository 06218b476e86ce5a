import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  initialMachine,
  syncStatuses,
  type Effect,
  type Machine,
  type MachineEvent,
  type MachineEventType,
  type SyncStatus,
} from "./machine.ts";
import { transition } from "./state.ts";

/** A machine as it typically is in a status: online, something in the queue only where it must be. */
function typical(status: SyncStatus, change: Partial<Machine> = {}): Machine {
  return {
    ...initialMachine({ isOnline: true, streamsPages: true }),
    status,
    isEmpty: status === "bootstrapping",
    queue: status === "pushing" ? "waiting" : "empty",
    isWatching: status === "synced",
    ...change,
  };
}

const events: Readonly<Record<MachineEventType, MachineEvent>> = {
  start: { type: "start" },
  pause: { type: "pause" },
  resume: { type: "resume" },
  "sign-out": { type: "sign-out" },
  close: { type: "close" },
  sync: { type: "sync" },
  online: { type: "online" },
  offline: { type: "offline" },
  connected: { type: "connected", hasQueue: false, isEmpty: false },
  pushed: { type: "pushed", more: false },
  pulled: { type: "pulled", more: false, isEmpty: false },
  failed: { type: "failed", policy: "retry" },
  "push-failed": { type: "push-failed", policy: "retry" },
  "live-failed": { type: "live-failed", policy: "retry" },
  "live-ended": { type: "live-ended", reason: "pull" },
  alive: { type: "alive" },
  poke: { type: "poke" },
  committed: { type: "committed" },
  renegotiate: { type: "renegotiate" },
  "retry-due": { type: "retry-due" },
  "push-due": { type: "push-due" },
  "poll-due": { type: "poll-due" },
};
const eventTypes = Object.keys(events) as readonly MachineEventType[];

const atWork: readonly SyncStatus[] = ["connecting", "bootstrapping", "pulling", "pushing", "synced"];
const atRest: readonly SyncStatus[] = ["idle", "paused", "signed-out"];

/** A machine that has been going for a while: what an event forgets or keeps of the past shows. */
function worn(status: SyncStatus): Machine {
  return typical(status, {
    isStarted: !atRest.includes(status),
    isWatching: atWork.includes(status),
    attempt: 1,
    pushAttempt: 2,
    liveAttempt: 3,
  });
}

/** What an event does to a worn machine: what it changes, and what it wants done. Absent: nothing at all. */
interface Cell {
  readonly change: Partial<Machine>;
  readonly effects: readonly Effect[];
}

const does = (change: Partial<Machine>, ...effects: readonly Effect[]): Cell => ({ change, effects });

/** Everything under way is given up. */
const leaves = (status: SyncStatus, change: Partial<Machine> = {}, ...more: readonly Effect[]): Cell =>
  does(
    { status, isWatching: false, ...change },
    { kind: "abort" },
    { kind: "unwatch" },
    { kind: "cancel-timers" },
    ...more,
  );
const begins = (change: Partial<Machine> = {}): Cell =>
  does({ status: "connecting", ...change }, { kind: "cancel-timers" }, { kind: "handshake" });
const pulls = (change: Partial<Machine> = {}): Cell =>
  does({ status: "pulling", isWatching: false, ...change }, { kind: "suspend-watch" }, { kind: "pull" });
const watches = (change: Partial<Machine> = {}): Cell =>
  does({ status: "synced", isWatching: true, ...change }, { kind: "watch", attempt: 3 });

const fresh = { isStarted: true, attempt: 0, pushAttempt: 0, liveAttempt: 0 } as const;

type Cells = { readonly [TType in MachineEventType]?: Cell | undefined };

const everywhere: Cells = {
  pause: leaves("paused", { isStarted: false }),
  "sign-out": leaves("signed-out", { isStarted: false }),
  close: leaves("idle", { isStarted: false }),
};
const whileAtWork: Cells = {
  ...everywhere,
  sync: does({ again: true }),
  poke: does({ again: true }),
  offline: leaves("offline", { isOnline: false }),
  failed: leaves("offline", { attempt: 2 }, { kind: "retry", attempt: 2 }),
  "live-failed": does({ isWatching: false, liveAttempt: 4 }),
  "live-ended": does({ isWatching: false }),
  alive: does({ liveAttempt: 0 }),
  committed: does({ queue: "waiting" }),
  renegotiate: does(
    { status: "connecting", isWatching: false, attempt: 2 },
    { kind: "abort" },
    { kind: "unwatch" },
    { kind: "handshake" },
  ),
};
const whileAtRest: Cells = {
  ...everywhere,
  offline: does({ isOnline: false }),
  committed: does({ queue: "waiting" }),
};
const nothing = undefined;

/** The table. A status does not compile without its row; a cell that is not written out changes nothing. */
const table: Readonly<Record<SyncStatus, Cells>> = {
  idle: { ...whileAtRest, start: begins({ isStarted: true }), sync: begins({ once: true }) },
  connecting: {
    ...whileAtWork,
    connected: pulls(),
    "live-failed": nothing,
    "live-ended": nothing,
  },
  bootstrapping: { ...whileAtWork, pulled: watches({ isEmpty: false, attempt: 0 }) },
  pulling: { ...whileAtWork, pulled: watches({ attempt: 0 }) },
  pushing: {
    ...whileAtWork,
    pushed: does({ status: "synced", queue: "empty", attempt: 0, pushAttempt: 0 }),
    "push-failed": does({ status: "synced", queue: "backing-off", pushAttempt: 3 }, { kind: "push-retry", attempt: 3 }),
    committed: nothing,
  },
  synced: {
    ...whileAtWork,
    sync: pulls(),
    poke: pulls(),
    "poll-due": pulls(),
    "live-failed": pulls({ liveAttempt: 4 }),
    "live-ended": pulls(),
    committed: does({ status: "pushing", queue: "waiting" }, { kind: "push" }),
  },
  offline: {
    ...whileAtRest,
    resume: begins(),
    sync: begins(),
    online: begins({ attempt: 0 }),
    offline: does({ isOnline: false }, { kind: "cancel-timers" }),
    "retry-due": begins(),
  },
  paused: { ...whileAtRest, pause: nothing, start: begins(fresh), resume: begins(fresh) },
  "signed-out": {
    ...whileAtRest,
    "sign-out": nothing,
    start: begins({ isStarted: true }),
    resume: begins(fresh),
    sync: begins({ once: true }),
  },
  "update-needed": { ...whileAtRest, start: begins(), resume: begins(fresh), sync: begins() },
  error: { ...whileAtRest, start: begins(), resume: begins(fresh), sync: begins() },
};

const kinds = (effects: readonly Effect[]): readonly string[] => effects.map((effect) => effect.kind);

describe("the transition table", () => {
  for (const status of syncStatuses) {
    test.each(eventTypes)(`${status} × %s`, (type) => {
      const before = worn(status);
      const { state, effects } = transition(before, events[type]);
      const cell = table[status][type];
      expect(effects).toEqual(cell?.effects ?? []);
      // An event that means nothing gives back the very same state.
      if (cell === undefined) expect(state).toBe(before);
      else expect(state).toEqual({ ...before, ...cell.change });
    });
  }
});

describe("whatever is left", () => {
  const deep = { isStarted: true, isWatching: true, again: true, once: true, isRefused: true } as const;

  test.each([
    ["pause", "paused"],
    ["sign-out", "signed-out"],
    ["close", "idle"],
  ] as const)("%s forgets what was wanted", (type, status) => {
    for (const from of atWork)
      expect(transition(typical(from, deep), events[type]).state).toMatchObject({
        status,
        isStarted: false,
        isWatching: false,
        again: false,
        once: false,
        isRefused: false,
      });
  });

  test("a lost network ends what was asked for once, and only interrupts what was started", () => {
    for (const from of atWork) {
      expect(transition(typical(from, deep), events.offline).state.status).toBe("idle");
      expect(transition(typical(from, { ...deep, once: false }), events.offline).state).toMatchObject({
        status: "offline",
        isStarted: true,
        isOnline: false,
        again: false,
      });
    }
  });

  test("what began without a network waits for it", () => {
    const { state, effects } = transition(typical("idle", { isOnline: false, isWatching: true }), events.start);
    expect(state).toMatchObject({ status: "offline", isStarted: true, isWatching: false });
    expect(kinds(effects)).toEqual(["cancel-timers"]);
    expect(transition(state, events.online).state).toMatchObject({ status: "connecting", isOnline: true });
  });

  test("a network that is back is noted where nothing is to begin", () => {
    for (const status of ["idle", "paused", "signed-out", "update-needed", "error"] as const) {
      const { state, effects } = transition(typical(status, { isOnline: false }), events.online);
      expect(state).toEqual(typical(status, { isOnline: true }));
      expect(effects).toEqual([]);
      const off = typical(status, { isOnline: false });
      expect(transition(off, events.offline).state).toBe(off);
    }
    const off = typical("offline", { isOnline: false });
    expect(transition(off, events.offline)).toEqual({ state: off, effects: [] });
  });

  test("a database that breaks is an error also while nothing is under way, and other failures are not", () => {
    for (const status of ["idle", "offline"] as const) {
      const before = typical(status);
      expect(transition(before, { type: "failed", policy: "stop" }).state.status).toBe("error");
      expect(transition(before, { type: "failed", policy: "retry" }).state).toBe(before);
    }
    const rested = typical("paused");
    expect(transition(rested, { type: "failed", policy: "stop" }).state).toBe(rested);
  });

  test("signing out ends what was to be tried again after signing in", () => {
    const { state, effects } = transition(typical("signed-out", { isStarted: true }), events["sign-out"]);
    expect([state.isStarted, effects]).toEqual([false, []]);
  });
});

describe("the queue", () => {
  const statuses = syncStatuses.filter((status) => status !== "synced" && status !== "pushing");

  test("that backs off waits again when its time has come, and one that is held does not", () => {
    for (const status of statuses) {
      const { state, effects } = transition(typical(status, { queue: "backing-off" }), events["push-due"]);
      expect([state.queue, state.status, effects]).toEqual(["waiting", status, []]);
      for (const queue of ["empty", "waiting", "held"] as const) {
        const before = typical(status, { queue });
        expect(transition(before, events["push-due"]).state).toBe(before);
      }
    }
    const due = transition(typical("synced", { queue: "backing-off" }), events["push-due"]);
    expect([due.state.status, due.state.queue, kinds(due.effects)]).toEqual(["pushing", "waiting", ["push"]]);
    const held = typical("synced", { queue: "held" });
    expect(transition(held, events["push-due"]).state).toBe(held);
  });

  test("that backs off or is held is not woken by a commit, and a commit joins one that waits", () => {
    for (const status of [...statuses, "synced"] as const) {
      for (const queue of ["backing-off", "held", "waiting"] as const) {
        const before = typical(status, { queue });
        expect(transition(before, events.committed).state).toBe(before);
      }
    }
  });

  test.each(["backing-off", "held"] as const)(
    "that is %s is tried again by `resume`, by `sync` and by beginning anew",
    (queue) => {
      for (const status of ["connecting", "pulling", "bootstrapping"] as const) {
        expect(transition(typical(status, { queue }), events.resume)).toEqual({
          state: typical(status, { queue: "waiting" }),
          effects: [],
        });
        expect(transition(typical(status, { queue }), events.sync).state).toEqual(
          typical(status, { queue: "waiting", again: true }),
        );
      }
      for (const type of ["resume", "sync"] as const) {
        const { state, effects } = transition(typical("synced", { queue }), events[type]);
        expect([state.status, state.queue, kinds(effects)]).toEqual(["pushing", "waiting", ["push"]]);
        // `sync` is also about what the others wrote.
        const pushed = transition(state, events.pushed);
        expect(pushed.state.status).toBe(type === "sync" ? "pulling" : "synced");
      }
      expect(transition(typical("offline", { queue }), events["retry-due"]).state.queue).toBe("waiting");
      expect(transition(typical("offline"), events["retry-due"]).state.queue).toBe("empty");
    },
  );

  test("that the handshake finds full is pushed before anything is pulled, and an empty one not", () => {
    const full = transition(typical("connecting"), { type: "connected", hasQueue: true, isEmpty: true });
    expect(full.state).toEqual(typical("connecting", { status: "pushing", queue: "waiting", isEmpty: true }));
    const none = transition(typical("connecting", { queue: "waiting" }), events.connected);
    expect([none.state.queue, none.state.status]).toEqual(["empty", "pulling"]);
  });

  test("that is not empty yet is pushed on", () => {
    const { state, effects } = transition(typical("pushing", { isRefused: true }), { type: "pushed", more: true });
    expect([state, kinds(effects)]).toEqual([typical("pushing"), ["push"]]);
  });
});

describe("a cycle", () => {
  test("pushes everything, then pulls, then watches", () => {
    let machine = typical("connecting");
    const steps: [MachineEvent, SyncStatus, readonly string[]][] = [
      [{ type: "connected", hasQueue: true, isEmpty: false }, "pushing", ["push"]],
      [{ type: "pushed", more: true }, "pushing", ["push"]],
      [{ type: "pushed", more: false }, "pulling", ["suspend-watch", "pull"]],
      [{ type: "pulled", more: true, isEmpty: false }, "pulling", ["suspend-watch", "pull"]],
      [{ type: "pulled", more: false, isEmpty: false }, "synced", ["watch"]],
      [{ type: "committed" }, "pushing", ["push"]],
      [{ type: "pushed", more: false }, "synced", []],
    ];
    for (const [event, status, effects] of steps) {
      const next = transition(machine, event);
      expect([next.state.status, kinds(next.effects)]).toEqual([status, effects]);
      machine = next.state;
    }
  });

  test("a device without a base is bootstrapping until the first round is whole", () => {
    const connected = transition(typical("connecting"), { type: "connected", hasQueue: false, isEmpty: true });
    expect(connected.state.status).toBe("bootstrapping");
    const more = transition(connected.state, { type: "pulled", more: true, isEmpty: true });
    expect(more.state.status).toBe("bootstrapping");
    expect(transition(more.state, { type: "pulled", more: false, isEmpty: false }).state.status).toBe("synced");
  });

  test("a local commit during a round is pushed before the next page is asked for", () => {
    const committed = transition(typical("pulling"), events.committed);
    expect(committed.effects).toEqual([]);
    const next = transition(committed.state, { type: "pulled", more: true, isEmpty: false });
    expect(next.state.status).toBe("pushing");
    expect(transition(next.state, events.pushed).state.status).toBe("pulling");
  });

  test("`sync` without `start` ends in idle, also when it fails", () => {
    const begun = transition(typical("idle"), events.sync);
    expect(begun.state.once).toBe(true);
    const connected = transition(begun.state, events.connected);
    expect(transition(connected.state, events.pulled).state.status).toBe("idle");
    const failed = transition(connected.state, events.failed);
    expect(failed.state.status).toBe("idle");
    expect(kinds(failed.effects)).not.toContain("retry");
  });

  test.each(["signed-out", "update-needed", "error"] as const)(
    "`sync` in %s is one cycle, unless the engine was started",
    (status) => {
      expect(transition(typical(status), events.sync).state.once).toBe(true);
      expect(transition(typical(status, { isStarted: true }), events.sync).state.once).toBe(false);
    },
  );

  test("nothing is begun without a network", () => {
    const idle = typical("idle", { isOnline: false });
    expect(transition(idle, events.sync).state).toBe(idle);
  });

  test("such a cycle leaves nothing standing when it ends, and stops for good at what cannot be tried again", () => {
    const once = typical("pulling", { once: true, isWatching: true });
    const { state, effects } = transition(once, events.pulled);
    expect(state).toEqual(typical("idle"));
    expect(kinds(effects)).toEqual(["unwatch"]);
    expect(transition(once, { type: "failed", policy: "stop" }).state.status).toBe("error");
  });

  test.each(["connecting", "bootstrapping", "pulling", "pushing"] as const)(
    "`start` during such a cycle (%s) keeps the engine going",
    (status) => {
      for (const change of [{ once: true }, { once: false }, { once: true, isStarted: true }]) {
        const { state, effects } = transition(typical(status, change), events.start);
        expect([state, effects]).toEqual([typical(status, { once: false, isStarted: true }), []]);
      }
      const going = typical(status, { isStarted: true });
      expect(transition(going, events.start).state).toBe(going);
    },
  );

  test("what is asked for while a pull is under way makes another one follow", () => {
    const asked = transition(typical("pulling"), events.poke);
    expect(transition(asked.state, events.pulled).state.status).toBe("pulling");
  });
});

describe("errors by policy", () => {
  test.each([
    ["retry", "offline"],
    ["reset", "offline"],
    ["hold", "offline"],
    ["wait-for-auth", "signed-out"],
    ["wait-for-upgrade", "update-needed"],
    ["stop", "error"],
  ] as const)("%s while pulling leads to %s", (policy, status) => {
    const { state, effects } = transition(typical("pulling", { isRefused: true }), { type: "failed", policy });
    expect(state.status).toBe(status);
    expect(kinds(effects)).toContain("unwatch");
    expect(kinds(effects).includes("retry")).toBe(status === "offline");
  });

  test.each([
    ["retry", "backing-off", "pulling"],
    ["hold", "held", "pulling"],
    ["stop", "held", "pulling"],
    ["reset", "waiting", "connecting"],
    ["wait-for-auth", "waiting", "signed-out"],
    ["wait-for-upgrade", "waiting", "update-needed"],
  ] as const)("promise 4: a push that fails (%s) leaves the queue %s and goes on %s", (policy, queue, status) => {
    const { state } = transition(typical("pushing", { isRefused: true }), { type: "push-failed", policy });
    expect(state).toMatchObject({ queue, status });
  });

  test("promise 4: while a stream of pages stands, a stuck push leaves it alone", () => {
    const { state, effects } = transition(typical("pushing", { isWatching: true }), events["push-failed"]);
    expect(state.status).toBe("synced");
    expect(kinds(effects)).toEqual(["push-retry"]);
    expect(transition(state, events["push-due"]).state.status).toBe("pushing");
  });

  test("a first refused access is asked for again with a fresh token, a second one in a row is not", () => {
    const first = transition(typical("pulling"), { type: "failed", policy: "wait-for-auth" });
    expect([first.state.status, kinds(first.effects)]).toEqual(["connecting", ["abort", "unwatch", "handshake"]]);
    const connected = transition(first.state, events.connected).state;
    expect(transition(connected, { type: "failed", policy: "wait-for-auth" }).state.status).toBe("signed-out");
    expect(transition(connected, events.pulled).state.isRefused).toBe(false);
  });

  test("an answer that brought nothing does not make the next back-off short again", () => {
    const tried = typical("pulling", { attempt: 3 });
    expect(transition(tried, { type: "pulled", more: true, isEmpty: false, isFruitless: true }).state.attempt).toBe(3);
    expect(transition(tried, { type: "pulled", more: true, isEmpty: false }).state.attempt).toBe(0);
  });

  test("held transactions are tried again by `resume` and after a reconnection", () => {
    const held = typical("synced", { queue: "held" });
    expect(transition(held, events.committed).state).toBe(held);
    expect(transition(held, events.resume).state.status).toBe("pushing");
    const offline = transition(held, events.failed).state;
    expect(transition(offline, events["retry-due"]).state.queue).toBe("waiting");
  });

  test("attempts rise with each failure and are forgotten after success", () => {
    const first = transition(typical("pulling"), events.failed).state;
    const second = transition(transition(first, events["retry-due"]).state, events.failed);
    expect(second.state.attempt).toBe(2);
    expect(second.effects).toContainEqual({ kind: "retry", attempt: 2 });
    const connected = transition(transition(second.state, events["retry-due"]).state, events.connected);
    expect(transition(connected.state, events.pulled).state.attempt).toBe(0);
  });

  test("an agreement that never holds waits for the back-off", () => {
    let machine = typical("pulling");
    for (let i = 0; i < 2; i++) {
      machine = transition(machine, events.renegotiate).state;
      expect(machine).toMatchObject({ status: "connecting", isWatching: false, attempt: i + 1 });
      machine = { ...machine, status: "pulling", isWatching: true };
    }
    expect(transition(machine, events.renegotiate).state.status).toBe("offline");
  });
});

describe("the stream", () => {
  test("that fails is opened later and later, and forgiven once it delivers", () => {
    const failed = transition(typical("synced"), events["live-failed"]);
    expect(failed.state.status).toBe("pulling");
    const back = transition(failed.state, events.pulled);
    expect(back.effects).toEqual([{ kind: "watch", attempt: 1 }]);
    expect(transition(back.state, events.alive).state.liveAttempt).toBe(0);
  });

  test.each([
    ["pull", "pulling"],
    ["auth", "pulling"],
    ["upgrade", "connecting"],
    ["shutdown", "offline"],
  ] as const)("that ends with %s leads to %s", (reason, status) => {
    expect(transition(typical("synced"), { type: "live-ended", reason }).state.status).toBe(status);
  });

  test("that is refused what the handshake agreed upon is opened later and later", () => {
    const ended = transition(typical("synced"), { type: "live-ended", reason: "upgrade" });
    const pulled = transition(transition(ended.state, events.connected).state, events.pulled);
    expect(pulled.effects).toEqual([{ kind: "watch", attempt: 1 }]);
  });

  test("that ends or fails while something else is under way is only noted", () => {
    for (const status of ["pulling", "bootstrapping", "pushing"] as const) {
      const before = typical(status, { isWatching: true });
      for (const event of [
        events["live-failed"],
        events["live-ended"],
        { type: "live-ended", reason: "auth" },
        { type: "live-ended", reason: "shutdown" },
      ] as const) {
        const { state, effects } = transition(before, event);
        expect([state.status, state.isWatching, effects]).toEqual([status, false, []]);
      }
    }
  });

  test("that is refused for the device's age asks for an update", () => {
    const { state } = transition(typical("synced"), { type: "live-failed", policy: "wait-for-upgrade" });
    expect(state.status).toBe("update-needed");
  });

  test("that was never in trouble has nothing to forgive", () => {
    const calm = typical("synced");
    expect(transition(calm, events.alive).state).toBe(calm);
  });

  test("that is refused an access makes the engine pull, which asks for a fresh token", () => {
    expect(transition(typical("synced"), { type: "live-failed", policy: "wait-for-auth" }).state.status).toBe(
      "pulling",
    );
  });

  test("L1: with one of pokes, a push is followed by a pull", () => {
    expect(transition(typical("pushing", { isWatching: true, streamsPages: false }), events.pushed).state.status).toBe(
      "pulling",
    );
  });
});

describe("the network", () => {
  test("that is gone stops everything, and no timer runs until it is back", () => {
    const { state, effects } = transition(typical("pulling"), events.offline);
    expect(state.status).toBe("offline");
    expect(kinds(effects)).toEqual(["abort", "unwatch", "cancel-timers"]);
    expect(transition(state, events["retry-due"]).state.status).toBe("offline");
    expect(transition(state, events.online).state.status).toBe("connecting");
  });
});

test("whatever happens, at most one request is under way, and none at rest", () => {
  const anyEvent = fc.oneof(
    fc
      .constantFrom(
        ...eventTypes.filter((type) => !["connected", "pushed", "pulled", "failed", "push-failed"].includes(type)),
      )
      .map((type) => events[type]),
    fc.record({ type: fc.constant("connected" as const), hasQueue: fc.boolean(), isEmpty: fc.boolean() }),
    fc.record({ type: fc.constant("pushed" as const), more: fc.boolean() }),
    fc.record({ type: fc.constant("pulled" as const), more: fc.boolean(), isEmpty: fc.boolean() }),
    fc.record({
      type: fc.constantFrom("failed" as const, "push-failed" as const, "live-failed" as const),
      policy: fc.constantFrom(
        "retry" as const,
        "stop" as const,
        "hold" as const,
        "wait-for-auth" as const,
        "reset" as const,
      ),
    }),
  );
  const answers: Partial<Record<string, readonly MachineEventType[]>> = {
    handshake: ["connected", "failed", "renegotiate"],
    push: ["pushed", "push-failed", "failed", "renegotiate"],
    pull: ["pulled", "failed", "renegotiate"],
  };
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 80 }), fc.boolean(), (sequence, streamsPages) => {
      let machine = initialMachine({ isOnline: true, streamsPages });
      let request: string | undefined;
      for (const event of sequence) {
        const isAnswer = ["connected", "pushed", "pulled", "failed", "push-failed"].includes(event.type);
        // Answers come to requests only.
        if (isAnswer && !(request && answers[request]?.includes(event.type))) continue;
        if (isAnswer) request = undefined;
        const { state, effects } = transition(machine, event);
        for (const { kind } of effects) {
          if (kind === "abort") request = undefined;
          if (kind === "handshake" || kind === "push" || kind === "pull") {
            expect(request).toBeUndefined();
            request = kind;
          }
        }
        machine = state;
        const expected = { connecting: "handshake", pushing: "push", pulling: "pull", bootstrapping: "pull" }[
          machine.status as string
        ];
        expect(request).toBe(expected);
      }
    }),
  );
});
