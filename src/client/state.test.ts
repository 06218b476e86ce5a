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

/** The table: where each event leads from a typical state. Every cell is written out; a new state or event does not compile without its cells. */
const table: Record<SyncStatus, Record<MachineEventType, SyncStatus>> = {
  idle: row("idle", { start: "connecting", sync: "connecting", pause: "paused", "sign-out": "signed-out" }),
  connecting: row("connecting", {
    pause: "paused",
    "sign-out": "signed-out",
    close: "idle",
    offline: "offline",
    connected: "pulling",
    failed: "offline",
  }),
  bootstrapping: row("bootstrapping", {
    pause: "paused",
    "sign-out": "signed-out",
    close: "idle",
    offline: "offline",
    pulled: "synced",
    failed: "offline",
    renegotiate: "connecting",
  }),
  pulling: row("pulling", {
    pause: "paused",
    "sign-out": "signed-out",
    close: "idle",
    offline: "offline",
    pulled: "synced",
    failed: "offline",
    renegotiate: "connecting",
  }),
  pushing: row("pushing", {
    pause: "paused",
    "sign-out": "signed-out",
    close: "idle",
    offline: "offline",
    pushed: "pulling",
    failed: "offline",
    "push-failed": "pulling",
    renegotiate: "connecting",
  }),
  synced: row("synced", {
    pause: "paused",
    "sign-out": "signed-out",
    close: "idle",
    sync: "pulling",
    offline: "offline",
    failed: "offline",
    "live-failed": "pulling",
    "live-ended": "pulling",
    poke: "pulling",
    committed: "pushing",
    renegotiate: "connecting",
    "poll-due": "pulling",
  }),
  offline: row("offline", {
    pause: "paused",
    resume: "connecting",
    "sign-out": "signed-out",
    close: "idle",
    sync: "connecting",
    online: "connecting",
    "retry-due": "connecting",
  }),
  paused: row("paused", { resume: "connecting", "sign-out": "signed-out", close: "idle" }),
  "signed-out": row("signed-out", {
    start: "connecting",
    pause: "paused",
    resume: "connecting",
    close: "idle",
    sync: "connecting",
  }),
  "update-needed": row("update-needed", {
    start: "connecting",
    pause: "paused",
    resume: "connecting",
    "sign-out": "signed-out",
    close: "idle",
    sync: "connecting",
  }),
  error: row("error", {
    start: "connecting",
    pause: "paused",
    resume: "connecting",
    "sign-out": "signed-out",
    close: "idle",
    sync: "connecting",
  }),
};

function row(
  stays: SyncStatus,
  leaves: Partial<Record<MachineEventType, SyncStatus>>,
): Record<MachineEventType, SyncStatus> {
  const cells = Object.fromEntries(eventTypes.map((type) => [type, leaves[type] ?? stays]));
  // Every event type has its cell, by construction.
  return cells as Record<MachineEventType, SyncStatus>;
}

const kinds = (effects: readonly Effect[]): readonly string[] => effects.map((effect) => effect.kind);

describe("the transition table", () => {
  for (const status of syncStatuses) {
    test.each(eventTypes)(`${status} × %s`, (type) => {
      const before = typical(status);
      const { state, effects } = transition(before, events[type]);
      expect(state.status).toBe(table[status][type]);
      if (state.status !== status && table[status][type] !== status) expect(state).not.toBe(before);
      // A state that means nothing to an event is the same object, and wants nothing done.
      if (state === before) expect(effects).toEqual([]);
    });
  }
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

  test("`start` during such a cycle keeps the engine going", () => {
    const going = transition(typical("pulling", { once: true }), events.start);
    expect(transition(going.state, events.pulled).state.status).toBe("synced");
  });

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
    for (let i = 0; i < 2; i++) machine = { ...transition(machine, events.renegotiate).state, status: "pulling" };
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
