import { expect, test } from "vitest";
import {
  fromWire,
  isSyncError,
  policyOf,
  SyncError,
  syncErrorCodes,
  toWire,
  unreachable,
  type SyncErrorCode,
} from "./errors.ts";

test("every code has a policy, and a code that crosses tRPC has a tRPC code", () => {
  const table = Object.entries(syncErrorCodes).map(([code, row]) => `${code} ${row.trpc ?? "-"} ${row.policy}`);
  expect(table).toMatchInlineSnapshot(`
    [
      "INVALID_CONFIG INTERNAL_SERVER_ERROR stop",
      "UNSUPPORTED_DATABASE INTERNAL_SERVER_ERROR stop",
      "MISSING_PRIMARY_KEY INTERNAL_SERVER_ERROR stop",
      "NOT_INSTALLED INTERNAL_SERVER_ERROR stop",
      "PROTOCOL_UNSUPPORTED PRECONDITION_FAILED wait-for-upgrade",
      "SCHEMA_MISMATCH PRECONDITION_FAILED wait-for-upgrade",
      "UNAUTHORIZED UNAUTHORIZED wait-for-auth",
      "FORBIDDEN FORBIDDEN stop",
      "DEVICE_TAKEN CONFLICT stop",
      "EPOCH_CHANGED - reset",
      "CURSOR_EXPIRED - reset",
      "CURSOR_UNKNOWN - reset",
      "DECLARATION_CHANGED - reset",
      "CHECKSUM_MISMATCH - reset",
      "OFFLINE - retry",
      "TIMEOUT TIMEOUT retry",
      "UNAVAILABLE SERVICE_UNAVAILABLE retry",
      "RATE_LIMITED TOO_MANY_REQUESTS retry",
      "TOO_LARGE PAYLOAD_TOO_LARGE retry",
      "NOT_PENDING - stop",
      "OUTCOME_GONE - stop",
      "ROW_GONE - stop",
      "INVALID_MESSAGE BAD_REQUEST stop",
      "STORAGE_FULL - stop",
      "STORAGE_FAILED INTERNAL_SERVER_ERROR stop",
      "CLOSED - stop",
      "ABORTED CLIENT_CLOSED_REQUEST stop",
    ]
  `);
});

test("a reset reason is never thrown over tRPC", () => {
  const reasons: readonly SyncErrorCode[] = [
    "EPOCH_CHANGED",
    "CURSOR_EXPIRED",
    "CURSOR_UNKNOWN",
    "DECLARATION_CHANGED",
    "CHECKSUM_MISMATCH",
  ];
  for (const code of reasons) {
    expect(policyOf(code)).toBe("reset");
    expect(syncErrorCodes[code].trpc).toBeNull();
  }
});

test("an error is recognized by its brand and its code, not by its class", () => {
  const error = new SyncError({ code: "OFFLINE", message: "The server cannot be reached." });
  expect(isSyncError(error)).toBe(true);
  expect(isSyncError(error, "OFFLINE")).toBe(true);
  expect(isSyncError(error, "TIMEOUT")).toBe(false);
  const fromAnotherCopy = Object.defineProperty(
    Object.assign(new Error("x"), { code: "OFFLINE" }),
    Symbol.for("drizzle-sync.error"),
    { value: true },
  );
  expect(isSyncError(fromAnotherCopy, "OFFLINE")).toBe(true);
  for (const other of [null, undefined, "OFFLINE", new Error("OFFLINE"), { code: "OFFLINE" }])
    expect(isSyncError(other)).toBe(false);
});

test("an error keeps its cause and has details only when they are given", () => {
  const cause = new Error("inner");
  const error = new SyncError({ code: "STORAGE_FAILED", message: "No.", cause });
  expect(error.cause).toBe(cause);
  expect("details" in error).toBe(false);
  expect("cause" in new SyncError({ code: "CLOSED", message: "No." })).toBe(false);
});

test("every error crosses the wire as plain data and is rebuilt, without its cause", () => {
  for (const code of Object.keys(syncErrorCodes) as SyncErrorCode[]) {
    const rebuilt = fromWire(
      structuredClone(
        toWire(
          new SyncError({
            code,
            message: "What happened.",
            cause: new Error("secret"),
            details: { table: "todos" },
          }),
        ),
      ),
    );
    expect(isSyncError(rebuilt, code)).toBe(true);
    expect(rebuilt).toMatchObject({ code, message: "What happened.", details: { table: "todos" } });
    expect(rebuilt?.cause).toBeUndefined();
  }
});

test("what is no error of ours is not rebuilt", () => {
  for (const value of [
    null,
    1,
    "OFFLINE",
    {},
    { code: "NEW_CODE", message: "x" },
    { code: "toString", message: "x" },
    { code: "OFFLINE" },
  ]) {
    expect(fromWire(value)).toBeUndefined();
  }
});

test("a broken invariant names itself", () => {
  expect(() => unreachable("A1")).toThrow("A1");
});
