/**
 * Errors on their way through a port: plain data there, rebuilt here with the fields that people test. Classes do not
 * survive cloning, and an error that a page gets must say the same as one that was thrown beside it.
 *
 * @module
 */

import { fromWire, isSyncError, SyncError, toWire } from "../../protocol/errors.ts";
import type { WireError } from "../../protocol/errors.ts";

/** An error as plain data. */
export interface PortError {
  readonly name: string;
  readonly message: string;
  /** SQLite's extended result code, or a DOM exception's name. */
  readonly code?: string;
  /** Set for a `SyncError`. */
  readonly sync?: WireError;
  readonly cause?: PortError;
}

const LEADER_LOST = "LeaderLost";

/** Takes an error apart, causes included. */
export function toPortError(error: unknown, depth = 0): PortError {
  if (!(error instanceof Error)) return { name: "Error", message: String(error) };
  const { code } = error as { readonly code?: unknown };
  return {
    name: error.name,
    message: error.message,
    ...(typeof code === "string" ? { code } : {}),
    ...(isSyncError(error) ? { sync: toWire(error) } : {}),
    ...(error.cause instanceof Error && depth < 4 ? { cause: toPortError(error.cause, depth + 1) } : {}),
  };
}

/** Rebuilds an error. */
export function fromPortError(error: PortError): Error {
  const cause = error.cause === undefined ? undefined : fromPortError(error.cause);
  const sync = error.sync === undefined ? undefined : fromWire(error.sync, cause);
  if (sync) return sync;
  const plain = new Error(error.message, cause === undefined ? undefined : { cause });
  return Object.assign(plain, { name: error.name }, error.code === undefined ? {} : { code: error.code });
}

/** The tab that owned the file went away while a transaction was open. Nothing of it was committed; it can be run again. */
export function leaderLost(): Error {
  const error = new Error(
    "The tab that owned the database went away while this transaction was open; nothing of it was committed.",
  );
  return Object.assign(error, { name: LEADER_LOST });
}

/** Whether it, or what caused it (Drizzle wraps driver errors), is the loss of the leader. */
export function isLeaderLost(error: unknown): boolean {
  for (let e = error; e instanceof Error; e = e.cause) if (e.name === LEADER_LOST) return true;
  return false;
}

/** What a newer tab's tables do not have, an older tab asks for in vain: it says so, instead of a riddle of SQLite's. */
export function asOutdated(error: PortError): PortError {
  const texts = [error.message, error.cause?.message ?? ""].join("\n");
  if (!/no such (?:table|column)|has no column named/.test(texts)) return error;
  const outdated = new SyncError({
    code: "SCHEMA_MISMATCH",
    message: "A tab with a newer version of the app has migrated the database. Reload this one.",
    details: { tooOld: "device" },
  });
  return { ...toPortError(outdated), cause: error };
}
