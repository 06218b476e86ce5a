/**
 * Turns whatever was thrown into an answer: a status, headers, and a `SyncError` in its wire form.
 *
 * A `SyncError` that is meant for a device travels as it is, also out of the `TRPCError` that tRPC wraps around it. A
 * `TRPCError` that the app threw keeps its status and message. Everything else happened inside the server: the device
 * learns that it failed, and nothing more.
 *
 * @module
 */

import { getTRPCErrorFromUnknown, TRPCError } from "@trpc/server";
import { getHTTPStatusCodeFromError } from "@trpc/server/http";
import { isSyncError, SyncError, syncErrorCodes, type SyncErrorCode } from "../../protocol/errors.ts";

/** What a device is told when something failed inside the server. */
const hiddenMessage = "The server failed.";

/** What a caller is told about a failure. */
export interface ErrorAnswer {
  readonly status: number;
  readonly error: SyncError;
  readonly headers: Readonly<Record<string, string>>;
  /** Whether it is a fault of the server, which somebody there should hear of. */
  readonly isFault: boolean;
}

/** The codes that describe the caller's request. Others, thrown inside a server, describe the server. */
const codesForDevices: ReadonlySet<SyncErrorCode> = new Set<SyncErrorCode>([
  "PROTOCOL_UNSUPPORTED",
  "SCHEMA_MISMATCH",
  "UNAUTHORIZED",
  "FORBIDDEN",
  "DEVICE_TAKEN",
  "TIMEOUT",
  "UNAVAILABLE",
  "RATE_LIMITED",
  "TOO_LARGE",
  "INVALID_MESSAGE",
]);

const codesByTrpcCode: Readonly<Partial<Record<TRPCError["code"], SyncErrorCode>>> = {
  UNAUTHORIZED: "UNAUTHORIZED",
  BAD_REQUEST: "INVALID_MESSAGE",
  PARSE_ERROR: "INVALID_MESSAGE",
  UNPROCESSABLE_CONTENT: "INVALID_MESSAGE",
  UNSUPPORTED_MEDIA_TYPE: "INVALID_MESSAGE",
  PAYLOAD_TOO_LARGE: "TOO_LARGE",
  TOO_MANY_REQUESTS: "RATE_LIMITED",
  TIMEOUT: "TIMEOUT",
  GATEWAY_TIMEOUT: "TIMEOUT",
  CLIENT_CLOSED_REQUEST: "UNAVAILABLE",
  SERVICE_UNAVAILABLE: "UNAVAILABLE",
  BAD_GATEWAY: "UNAVAILABLE",
};

interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
}
const refusals = new WeakMap<SyncError, Refusal>();

/** Gives an error the HTTP status and headers that its code alone would not tell, and returns it, to be thrown. */
export function refuse(status: number, error: SyncError, headers: Readonly<Record<string, string>> = {}): SyncError {
  refusals.set(error, { status, headers });
  return error;
}

/** Says what a caller is told about `thrown`. */
export function errorAnswer(thrown: unknown): ErrorAnswer {
  const own = syncErrorIn(thrown);
  if (own !== undefined && codesForDevices.has(own.code)) {
    const refusal = refusals.get(own) ?? { status: statusOf(own.code), headers: {} };
    // Unavailable for a reason: a database that is locked, keys that cannot be fetched.
    const isFault = own.code === "UNAVAILABLE" && own.cause !== undefined;
    return { status: refusal.status, error: own, headers: { ...headersOf(own), ...refusal.headers }, isFault };
  }
  const failure = getTRPCErrorFromUnknown(thrown);
  const status = getHTTPStatusCodeFromError(failure);
  // A `SyncError` about the server itself, such as one about its set-up, is no news for devices.
  if (own !== undefined || failure.code === "INTERNAL_SERVER_ERROR") return hiddenAnswer(500, thrown);
  const code = codesByTrpcCode[failure.code] ?? (status >= 500 ? "UNAVAILABLE" : "FORBIDDEN");
  const error = new SyncError({ code, message: messageOf(failure), cause: failure });
  return { status, error, headers: headersOf(error), isFault: false };
}

function hiddenAnswer(status: number, cause: unknown): ErrorAnswer {
  const error = new SyncError({ code: "UNAVAILABLE", message: hiddenMessage, cause });
  return { status, error, headers: {}, isFault: true };
}

/** Looks for a `SyncError` below the wrappers that tRPC puts around what a procedure throws. */
function syncErrorIn(thrown: unknown): SyncError | undefined {
  if (isSyncError(thrown)) return thrown;
  // Only tRPC's wrappers: another error's cause is its own business, and says nothing about the request.
  const isWrapper = thrown instanceof Error && thrown.name === "TRPCError";
  return isWrapper && isSyncError(thrown.cause) ? thrown.cause : undefined;
}

function statusOf(code: SyncErrorCode): number {
  return getHTTPStatusCodeFromError(new TRPCError({ code: syncErrorCodes[code].trpc ?? "INTERNAL_SERVER_ERROR" }));
}

function headersOf(error: SyncError): Readonly<Record<string, string>> {
  return error.code === "UNAUTHORIZED" ? { "www-authenticate": "Bearer" } : {};
}

/** A validator's message lists whole issues as JSON; its first one, with the place, says enough. */
function messageOf(failure: TRPCError): string {
  const issues: unknown = failure.cause !== undefined && "issues" in failure.cause ? failure.cause.issues : undefined;
  if (!Array.isArray(issues)) return failure.message;
  const [issue]: readonly unknown[] = issues;
  if (typeof issue !== "object" || issue === null || !("message" in issue)) return "The message is not valid.";
  const place = "path" in issue && Array.isArray(issue.path) ? issue.path.map(String).join(".") : "";
  return `The message is not valid${place === "" ? "" : ` at \`${place}\``}: ${String(issue.message)}.`;
}
