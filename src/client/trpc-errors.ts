/**
 * What an error of tRPC's client means. Our server's own say it in their message (`marked-message.ts`). Of others only the
 * shape is looked at: `data.code` is tRPC's code, present when the server answered in tRPC's way; `meta.response` is the
 * HTTP answer, if any came; otherwise the network failed.
 *
 * @module
 */

import { SyncError, type SyncErrorCode } from "../protocol/errors.ts";
import { readMarkedMessage } from "../protocol/marked-message.ts";

const codesByTrpcCode: Readonly<Record<string, SyncErrorCode>> = {
  UNAUTHORIZED: "UNAUTHORIZED",
  FORBIDDEN: "FORBIDDEN",
  CONFLICT: "DEVICE_TAKEN",
  PRECONDITION_FAILED: "PROTOCOL_UNSUPPORTED",
  BAD_REQUEST: "INVALID_MESSAGE",
  PARSE_ERROR: "INVALID_MESSAGE",
  UNPROCESSABLE_CONTENT: "INVALID_MESSAGE",
  PAYLOAD_TOO_LARGE: "TOO_LARGE",
  TOO_MANY_REQUESTS: "RATE_LIMITED",
  TIMEOUT: "TIMEOUT",
  GATEWAY_TIMEOUT: "TIMEOUT",
};
const codesByStatus: Readonly<Record<number, SyncErrorCode>> = {
  401: "UNAUTHORIZED",
  403: "FORBIDDEN",
  408: "TIMEOUT",
  413: "TOO_LARGE",
  429: "RATE_LIMITED",
  504: "TIMEOUT",
};

/** Rebuilds the `SyncError` behind what a tRPC client threw. */
export function trpcError(thrown: unknown): SyncError {
  const data = field(thrown, "data");
  const own = readMarkedMessage(messageOf(thrown), thrown);
  if (own !== undefined) return own;
  const code = field(data, "code");
  const status = statusOf(thrown);
  // No answer at all: the network. tRPC's client wraps what `fetch` threw.
  if (typeof code !== "string" && status === undefined) {
    return new SyncError({ code: "OFFLINE", message: "The server cannot be reached.", cause: thrown });
  }
  const known = typeof code === "string" ? codesByTrpcCode[code] : codesByStatus[status ?? 0];
  return new SyncError({ code: known ?? "UNAVAILABLE", message: messageOf(thrown), cause: thrown });
}

function statusOf(thrown: unknown): number | undefined {
  const status = field(field(field(thrown, "meta"), "response"), "status");
  return typeof status === "number" ? status : undefined;
}

function messageOf(thrown: unknown): string {
  const message = field(thrown, "message");
  return typeof message === "string" && message !== "" ? message : "The server failed.";
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}
