import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { SyncStatus } from "../machine.ts";
import { createRemoteEngine, type RemoteEngine } from "./remote-engine.ts";
import type { SyncCall, SyncEvent } from "./sync-calls.ts";
import type { Tab } from "./tab.ts";

beforeEach(() => vi.stubGlobal("window", globalThis));
afterEach(() => vi.unstubAllGlobals());

interface World {
  readonly engine: RemoteEngine;
  say(status: SyncStatus): void;
  /** Another worker takes over; answers what this page tells it. */
  handOver(): readonly string[];
}

function makeWorld(): World {
  let calls: SyncCall[] = [];
  let onEvent: (event: SyncEvent) => void = () => {};
  let onLeader: (leads: boolean) => void = () => {};
  const nothing = (): (() => boolean) => () => true;
  const tab = {
    setToken: nothing,
    callSync: async (call: SyncCall) => void calls.push(call),
    onSyncEvent: (listener: typeof onEvent) => ((onEvent = listener), nothing()),
    onOpenFailed: nothing,
    onLeader: (listener: typeof onLeader) => ((onLeader = listener), nothing()),
    close: async () => {},
  } as unknown as Tab;
  return {
    engine: createRemoteEngine(tab, { engine: {}, persist: false }),
    say: (status) => onEvent({ kind: "state", state: { status, pending: 0 } }),
    handOver() {
      calls = [];
      // The new engine says what it is before anybody told it more.
      onEvent({ kind: "state", state: { status: "idle", pending: 0 } });
      onLeader(false);
      return calls.map((call) => call.verb);
    },
  };
}

test("a new leader is told to start when sync was going on", () => {
  const { engine, say, handOver } = makeWorld();
  engine.start();
  say("synced");
  expect(handOver()).toEqual(["attach", "start"]);
});

test("a pause in any tab holds under a new leader", () => {
  const { engine, say, handOver } = makeWorld();
  engine.start();
  say("paused");
  expect(handOver()).toEqual(["attach", "pause"]);
});

test("a sign-out in any tab holds under a new leader, until sync is going on again", () => {
  const { engine, say, handOver } = makeWorld();
  engine.start();
  say("signed-out");
  expect(handOver()).toEqual(["attach", "sign-out"]);
  say("connecting");
  expect(handOver()).toEqual(["attach", "start"]);
});

test("what was resumed after a sign-out is started under a new leader", async () => {
  const { engine, say, handOver } = makeWorld();
  await engine.signOut({ pending: "keep" });
  expect(handOver()).toEqual(["attach", "sign-out"]);
  engine.resume();
  say("synced");
  expect(handOver()).toEqual(["attach", "start"]);
});

test("a page that asked for nothing tells a new leader nothing", () => {
  const { engine, say, handOver } = makeWorld();
  engine.subscribe(() => {});
  say("synced");
  expect(handOver()).toEqual(["attach"]);
});
