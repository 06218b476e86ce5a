import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { LiveQuery, LiveSource } from "../live-source.ts";
import { liveStore } from "./live-store.ts";

beforeEach(() => {
  vi.stubGlobal("window", globalThis);
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("what suspends for longer than a store is kept is woken, and begins anew", async () => {
  let watches = 0;
  let onData: (data: unknown) => void = () => {};
  const source = {
    watch: (_query: unknown, listener: (data: unknown) => void) => {
      watches++;
      onData = listener;
      return () => watches--;
    },
  } as unknown as LiveSource;
  const query = { toSQL: () => ({ sql: "select 1", params: [] }) } as unknown as LiveQuery<unknown>;
  let isAwake = false;
  void liveStore(source, query)
    .load()
    .then(() => (isAwake = true));
  expect(watches).toBe(1);
  await vi.advanceTimersByTimeAsync(30_000);
  expect(watches).toBe(0);
  expect(isAwake).toBe(true);
  const again = liveStore(source, query);
  const loaded = again.load();
  expect(watches).toBe(1);
  onData([1]);
  await loaded;
  expect(again.read()).toEqual({ status: "ready", data: [1] });
});
