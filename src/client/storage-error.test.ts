import { expect, test } from "vitest";
import { SyncError } from "../protocol/errors.ts";
import { isBusyError, isConstraintError, storageError } from "./storage-error.ts";

const sqlite = (code: string, message = "message"): Error => Object.assign(new Error(message), { code });

test.each([
  ["SQLITE_CONSTRAINT_UNIQUE", true],
  ["SQLITE_CONSTRAINT_NOTNULL", true],
  ["SQLITE_MISMATCH", true],
  ["SQLITE_CORRUPT", false],
])("%s is a constraint: %s", (code, isConstraint) => {
  expect(isConstraintError(sqlite(code))).toBe(isConstraint);
  // Drizzle wraps what a driver throws.
  expect(isConstraintError(new Error("Failed query", { cause: sqlite(code) }))).toBe(isConstraint);
});

test.each([
  ["SQLITE_FULL", "STORAGE_FULL"],
  ["SQLITE_CORRUPT_INDEX", "STORAGE_FAILED"],
  ["SQLITE_NOTADB", "STORAGE_FAILED"],
  ["SQLITE_IOERR_WRITE", "STORAGE_FAILED"],
  ["SQLITE_BUSY_SNAPSHOT", "UNAVAILABLE"],
])("%s becomes %s, with its cause", (code, expected) => {
  const cause = sqlite(code);
  const error = storageError(cause);
  expect(error.code).toBe(expected);
  expect(error.cause).toBe(cause);
});

test("a browser that has no quota left is full", () => {
  expect(storageError(Object.assign(new Error("no"), { name: "QuotaExceededError" })).code).toBe("STORAGE_FULL");
});

test("a SyncError stays what it is", () => {
  const error = new SyncError({ code: "CLOSED", message: "Closed." });
  expect(storageError(error)).toBe(error);
  expect(isBusyError(error)).toBe(false);
});
