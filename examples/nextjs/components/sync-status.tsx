// Look at: the offline switch pauses the sync and nothing else. What waits is counted by the local database, so it survives a reload.
"use client";

import type { SyncStatus } from "drizzle-sync/client";
import { usePending, useSync } from "drizzle-sync/react";
import { useEffect, useState, useSyncExternalStore } from "react";
import { useSession } from "@/browser/device";

const setting = "work-offline";
const listeners = new Set<() => void>();

function subscribe(listener: () => void) {
  listeners.add(listener);
  // The other tabs of this browser share the database, so they share the switch too.
  window.addEventListener("storage", listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener("storage", listener);
  };
}

/** The switch: kept over reloads, as being offline would be. */
export function useWorkOffline(): [boolean, (offline: boolean) => void] {
  const { client } = useSession();
  const offline = useSyncExternalStore(
    subscribe,
    () => localStorage.getItem(setting) === "yes",
    () => false,
  );
  useEffect(() => {
    if (offline) return client.pause();
    client.start();
    client.resume();
    // Nothing is sent for somebody who has signed out.
    return () => client.pause();
  }, [client, offline]);
  return [
    offline,
    (next) => {
      localStorage.setItem(setting, next ? "yes" : "no");
      for (const listener of listeners) listener();
    },
  ];
}

/** The keys of rows with changes that the server does not have yet. */
export function useWaiting(): ReadonlySet<string> {
  const pending = usePending();
  return new Set(pending.flatMap(({ operations }) => operations.map(({ key }) => String(key["id"]))));
}

/** The tone and the text for a state. Pulling and pushing take moments, so they are mentioned only when they last. */
function describe(status: SyncStatus, busy: boolean, error: Error | undefined): [string, string] {
  switch (status) {
    case "bootstrapping":
      return ["busy", "Fetching your lists"];
    case "offline":
      return ["paused", "No connection"];
    case "paused":
      return ["paused", "Working offline"];
    case "signed-out":
      return ["problem", "Signed out"];
    case "update-needed":
      return ["problem", "Reload for the new version"];
    case "error":
      return ["problem", error?.message ?? "Sync stopped"];
    case "idle":
    case "connecting":
      return ["busy", busy ? "Connecting" : ""];
    case "pulling":
    case "pushing":
    case "synced":
      return busy ? ["busy", "Syncing"] : ["fine", "Up to date"];
  }
}

const changes = (count: number) => (count === 1 ? "1 change" : `${count} changes`);

export function SyncBar({ offline, setOffline }: { offline: boolean; setOffline: (offline: boolean) => void }) {
  const { status, pending, error } = useSync();
  const busy = useLasting(status !== "synced" || pending > 0, 400);

  const [tone, text] = describe(offline ? "paused" : status, busy, error);

  return (
    <>
      <p className="status" data-tone={tone} role="status">
        <span className="light" />
        <span>{text}</span>
        {pending > 0 && tone !== "fine" && <span className="detail">{changes(pending)} waiting</span>}
      </p>
      <label className="switch">
        <input
          type="checkbox"
          role="switch"
          aria-label="Online"
          checked={!offline}
          onChange={(event) => setOffline(!event.target.checked)}
        />
        <span className="track" />
        <span className="switch-name" aria-hidden="true">
          Online
        </span>
      </label>
    </>
  );
}

/** True once `value` has been true for a while, so that a quick exchange does not make the text flicker. */
function useLasting(value: boolean, milliseconds: number) {
  const [lasting, setLasting] = useState(false);
  useEffect(() => {
    if (!value) return undefined;
    const timer = setTimeout(() => setLasting(true), milliseconds);
    return () => {
      clearTimeout(timer);
      setLasting(false);
    };
  }, [value, milliseconds]);
  return value && lasting;
}
