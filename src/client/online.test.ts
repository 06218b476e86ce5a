import { afterEach, expect, test, vi } from "vitest";
import { platformOnline, type OnlineChange } from "./online.ts";

afterEach(() => vi.unstubAllGlobals());

test("where the platform tells nothing, one is online", () => {
  vi.stubGlobal("navigator", undefined);
  expect(platformOnline().isOnline()).toBe(true);
});

test("a browser's hints are passed on until nobody listens", () => {
  const listeners = new Map<string, () => void>();
  const page = new EventTarget();
  vi.stubGlobal("navigator", { onLine: false });
  vi.stubGlobal("addEventListener", (type: string, listener: () => void) => listeners.set(type, listener));
  vi.stubGlobal("removeEventListener", (type: string) => listeners.delete(type));
  vi.stubGlobal("document", Object.assign(page, { visibilityState: "visible" }));
  const source = platformOnline();
  const heard: OnlineChange[] = [];
  const stop = source.subscribe((change) => heard.push(change));
  expect(source.isOnline()).toBe(false);
  listeners.get("online")?.();
  listeners.get("offline")?.();
  page.dispatchEvent(new Event("visibilitychange"));
  Object.assign(page, { visibilityState: "hidden" });
  page.dispatchEvent(new Event("visibilitychange"));
  expect(heard).toEqual(["online", "offline", "visible"]);
  stop();
  Object.assign(page, { visibilityState: "visible" });
  page.dispatchEvent(new Event("visibilitychange"));
  expect([listeners.size, heard.length]).toEqual([0, 3]);
});
