/**
 * What the app wants of what it may read. Under `hold: "all"` that is everything, and holds only say what to fetch first;
 * under `"on-demand"` it is what is held, and what was held until a while ago: held scopes outlive the process, so that an
 * app that starts offline, or mounts its screens one by one, does not throw away what it is about to hold again.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import type { HoldOptions } from "./sync-engine.ts";

/** How long a scope is kept after its release. */
export const defaultHoldTtlMs = 3_600_000;

/** What one round asks for. */
export interface Wish {
  /** Scopes asked for; absent for all readable ones. */
  readonly wanted: readonly string[] | undefined;
  /** Whether more is wanted in a next round. */
  readonly isPartial: boolean;
}

/** A hold as it is stored: until when it counts without anybody holding it. */
export interface StoredHold {
  readonly scope: string;
  readonly priority: number;
  readonly ttlMs: number;
  /** Absent while it is held. */
  readonly until?: number;
}

/** The holds of one device. */
export interface Holds {
  /** What the next round asks for, given the scopes of the base and whether this is the first sync. */
  wish(held: readonly string[], isFirst: boolean, nowMs: number): Wish;
  /** Notes what a round granted; tells whether another one is due. Settles `ready`. */
  granted(wish: Wish, scopes: readonly string[]): boolean;
  add(scope: string, options: HoldOptions): { readonly ready: Promise<void>; release(): void };
  /** Forgets released scopes whose time is up; answers when the next one's is, undefined when none is released. */
  expire(nowMs: number): number | undefined;
  /** What to store. */
  stored(): readonly StoredHold[];
  /** The base is known: those who wait for what it has wait no more. */
  noteHeld(): void;
  /** Takes over what a former process stored. */
  restore(stored: readonly StoredHold[], nowMs: number): void;
  /** Rejects everything that waits. */
  close(error: SyncError): void;
}

/** How holds are made. */
export interface HoldsOptions {
  readonly mode: "all" | "on-demand";
  readonly now: () => number;
  /** Told when what is wanted has changed; `isUrgent` when something is to be fetched. */
  readonly onChange: (isUrgent: boolean) => void;
  /** The scopes of the base. */
  readonly held: () => readonly string[];
}

interface Entry {
  readonly scope: string;
  priority: number;
  ttlMs: number;
  holders: number;
  until: number | undefined;
  /** A complete round asked for it and did not get it. */
  isRefused: boolean;
  readonly waiting: Set<{ readonly resolve: () => void; readonly reject: (error: SyncError) => void }>;
}

/** Creates the holds of one engine. */
export function createHolds(options: HoldsOptions): Holds {
  const { mode, now, onChange } = options;
  const entries = new Map<string, Entry>();

  const grant = (entry: Entry): void => {
    entry.isRefused = false;
    for (const { resolve } of entry.waiting) resolve();
    entry.waiting.clear();
  };

  const active = (nowMs: number): readonly Entry[] => {
    for (const [scope, entry] of entries)
      if (entry.holders === 0 && entry.until !== undefined && entry.until <= nowMs) entries.delete(scope);
    return [...entries.values()];
  };

  return {
    wish(held, isFirst, nowMs) {
      const wanted = active(nowMs);
      const has = new Set(held);
      if (mode === "all") {
        const first = wanted.filter((entry) => entry.priority > 0 && !entry.isRefused);
        return isFirst && first.length > 0
          ? { wanted: sorted(topOf(first)), isPartial: true }
          : { wanted: undefined, isPartial: false };
      }
      const missing = wanted.filter((entry) => !has.has(entry.scope) && !entry.isRefused);
      const next = new Set(topOf(missing));
      const later = new Set(missing.filter((entry) => !next.has(entry)));
      return { wanted: sorted(wanted.filter((entry) => !later.has(entry))), isPartial: later.size > 0 };
    },
    granted(wish, scopes) {
      const has = new Set(scopes);
      const asked = wish.wanted && new Set(wish.wanted);
      for (const entry of entries.values()) {
        if (has.has(entry.scope)) {
          grant(entry);
        } else if (!asked || asked.has(entry.scope)) {
          entry.isRefused = true;
          for (const { reject } of entry.waiting) reject(notReadable());
          entry.waiting.clear();
        }
      }
      return wish.isPartial;
    },
    add(scope, { priority = 0, ttlMs = defaultHoldTtlMs }) {
      let entry = entries.get(scope);
      if (!entry)
        entries.set(
          scope,
          (entry = { scope, priority, ttlMs, holders: 0, until: undefined, isRefused: false, waiting: new Set() }),
        );
      const own = entry;
      own.holders += 1;
      own.until = undefined;
      own.isRefused = false;
      own.priority = Math.max(own.priority, priority);
      own.ttlMs = Math.max(own.ttlMs, ttlMs);
      const isHere = options.held().includes(scope);
      const ready = isHere
        ? Promise.resolve()
        : new Promise<void>((resolve, reject) => {
            own.waiting.add({ resolve, reject });
          });
      // Not everybody who holds a scope waits for it.
      ready.catch(() => undefined);
      onChange(!isHere);
      let isReleased = false;
      return {
        ready,
        release() {
          if (isReleased) return;
          isReleased = true;
          own.holders -= 1;
          if (own.holders === 0) own.until = now() + own.ttlMs;
          onChange(false);
        },
      };
    },
    expire(nowMs) {
      const times = active(nowMs).flatMap(({ holders, until }) =>
        holders === 0 && until !== undefined ? [until] : [],
      );
      return times.length === 0 ? undefined : Math.min(...times);
    },
    stored: () =>
      [...entries.values()].map(({ scope, priority, ttlMs, until }) => ({
        scope,
        priority,
        ttlMs,
        ...(until === undefined ? {} : { until }),
      })),
    noteHeld() {
      const has = new Set(options.held());
      for (const entry of entries.values()) if (has.has(entry.scope)) grant(entry);
    },
    restore(stored, nowMs) {
      for (const { scope, priority, ttlMs, until } of stored) {
        if (entries.has(scope)) continue;
        entries.set(scope, {
          scope,
          priority,
          ttlMs,
          holders: 0,
          until: until ?? nowMs + ttlMs,
          isRefused: false,
          waiting: new Set(),
        });
      }
    },
    close(error) {
      for (const { waiting } of entries.values()) {
        for (const { reject } of waiting) reject(error);
        waiting.clear();
      }
    },
  };
}

/** Those of the highest priority. */
function topOf(entries: readonly Entry[]): readonly Entry[] {
  const top = Math.max(...entries.map((entry) => entry.priority));
  return entries.filter((entry) => entry.priority === top);
}

const sorted = (entries: readonly Entry[]): readonly string[] => entries.map((entry) => entry.scope).sort();

function notReadable(): SyncError {
  return new SyncError({ code: "FORBIDDEN", message: "The scope is not among those that this subject may read." });
}
