/**
 * Errors on their way out through tRPC: a `SyncError` goes as the cause of a `TRPCError` under the code that the table
 * gives it, so that the HTTP handler, and an app's error formatter, find it there. For tRPC's clients its code and details
 * stand at the end of the message.
 *
 * @module
 */

import { TRPCError } from "@trpc/server";
import { isSyncError, SyncError, syncErrorCodes } from "../protocol/errors.ts";
import { markMessage } from "../protocol/marked-message.ts";

/** The error to throw out of a procedure. What the app threw itself stays as it is. */
export function toTrpcError(error: unknown): unknown {
  if (isSyncError(error)) {
    return new TRPCError({
      code: syncErrorCodes[error.code].trpc ?? "INTERNAL_SERVER_ERROR",
      message: markMessage(error),
      cause: error,
    });
  }
  // A lock or a full disk is the server's trouble, and passes: the device tries again (rule P12).
  if (isDatabaseError(error)) {
    return toTrpcError(
      new SyncError({
        code: "UNAVAILABLE",
        message: "The server's database cannot answer now. Try again.",
        cause: error,
      }),
    );
  }
  return error;
}

function isDatabaseError(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 8; at = at.cause, depth++) {
    const { code } = at as { readonly code?: unknown };
    if (typeof code === "string" && code.startsWith("SQLITE_")) return true;
  }
  return false;
}
