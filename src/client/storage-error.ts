/**
 * What a driver's error means. Every SQLite driver names SQLite's result code somewhere; a constraint is a result that the
 * engine handles (rules A3, A4), anything else becomes a `SyncError` that says what the user can do. A database that
 * cannot be read is an error, never an empty queue.
 *
 * @module
 */

import { isSyncError, SyncError } from "../protocol/errors.ts";

/** Whether a statement failed because a unique index, NOT NULL, CHECK or STRICT type refused the row. */
export function isConstraintError(error: unknown): boolean {
  return some(
    error,
    (code, message) =>
      code.startsWith("SQLITE_CONSTRAINT") || code.startsWith("SQLITE_MISMATCH") || /constraint failed/i.test(message),
  );
}

/** Whether another process, or another connection, holds the database's lock. */
export function isBusyError(error: unknown): boolean {
  return some(error, (code, message) => /^SQLITE_(BUSY|LOCKED)/.test(code) || /database is locked/i.test(message));
}

/**
 * A driver's error as a {@link SyncError}: `STORAGE_FULL` when the device has no room, `UNAVAILABLE` while somebody else
 * holds the lock, `STORAGE_FAILED` otherwise.
 */
export function storageError(error: unknown): SyncError {
  if (isSyncError(error)) return error;
  if (isBusyError(error))
    return new SyncError({
      code: "UNAVAILABLE",
      message: "The local database is locked by somebody else.",
      cause: error,
    });
  if (
    some(
      error,
      (code, message) => code.startsWith("SQLITE_FULL") || /database or disk is full|QuotaExceeded/i.test(message),
    )
  ) {
    return new SyncError({
      code: "STORAGE_FULL",
      message: "The device has no room left for the local database. Free some space, then resume.",
      cause: error,
    });
  }
  if (
    some(error, (code, message) => /^SQLITE_(CORRUPT|NOTADB)/.test(code) || /malformed|not a database/i.test(message))
  ) {
    return new SyncError({
      code: "STORAGE_FAILED",
      message:
        "The local database is damaged and cannot be read. Nothing of it was changed; keep the file, then start with a new one.",
      cause: error,
    });
  }
  return new SyncError({
    code: "STORAGE_FAILED",
    message: "The local database could not be read or written.",
    cause: error,
  });
}

/** Looks at an error and its causes: Drizzle wraps what drivers throw. */
function some(error: unknown, test: (code: string, message: string) => boolean): boolean {
  let at: unknown = error;
  for (let depth = 0; depth < 5 && typeof at === "object" && at !== null; depth++) {
    const { code, message, cause, name } = at as { code?: unknown; message?: unknown; cause?: unknown; name?: unknown };
    const text = `${typeof name === "string" ? name : ""} ${typeof message === "string" ? message : ""}`;
    if (test(typeof code === "string" ? code : "", text)) return true;
    at = cause;
  }
  return false;
}
