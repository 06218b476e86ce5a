import { expect, test } from "vitest";
import type { OnlineChange, OnlineSource } from "../online.ts";
import { createPageOnline } from "./page-online.ts";

test("the network is what page or worker said last, and each change is told once", () => {
  let tell: ((change: OnlineChange) => void) | undefined;
  let isOnline = true;
  const worker: OnlineSource = {
    isOnline: () => isOnline,
    subscribe: (listener) => {
      tell = listener;
      return () => {};
    },
  };
  const online = createPageOnline(worker);
  const heard: OnlineChange[] = [];
  const stop = online.subscribe((change) => heard.push(change));
  online.note("offline");
  tell?.("offline");
  expect(online.isOnline()).toBe(false);
  online.note("hidden");
  online.note("online");
  tell?.("online");
  online.note("visible");
  expect(online.isOnline()).toBe(true);
  isOnline = false;
  online.note("resume");
  expect(online.isOnline()).toBe(false);
  stop();
  online.note("online");
  expect(heard).toEqual(["offline", "online", "visible", "visible"]);
});
