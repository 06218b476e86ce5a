import { expect, test } from "vitest";
import type { SyncState } from "../sync-engine.ts";
import { formatCursor } from "../../protocol/ids.ts";
import { subscribeToQueue } from "./use-pending.ts";

test("the queue is listed again when it may be another one, and not at every step of the engine", () => {
  let listener: (state: SyncState) => void = () => {};
  let lists = 0;
  const state: SyncState = { status: "idle", pending: 0 };
  subscribeToQueue({ state, subscribe: (next) => ((listener = next), () => {}) }, () => lists++);
  const cursor = (seq: number) => formatCursor({ seq, stamp: 1 });
  listener({ status: "connecting", pending: 0 });
  listener({ status: "synced", pending: 0, cursor: cursor(1) });
  expect(lists).toBe(0);
  listener({ status: "pushing", pending: 2, cursor: cursor(1) });
  expect(lists).toBe(1);
  listener({ status: "synced", pending: 2, cursor: cursor(1) });
  expect(lists).toBe(1);
  // One left, another one came.
  listener({ status: "synced", pending: 2, cursor: cursor(2) });
  expect(lists).toBe(2);
});
