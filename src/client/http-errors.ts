/**
 * What an HTTP answer that is no answer of ours means. Our server's own errors come with their code; everything else was
 * said by something in between, a proxy or a sign-in page, of which the status is all there is to go by.
 *
 * @module
 */

import { decodeCbor } from "../protocol/cbor.ts";
import { fromWire, SyncError } from "../protocol/errors.ts";
import type { HttpReply } from "./http-sender.ts";

/** Reads `{ error }` out of an encoded answer; undefined when it is something else. */
export function decodeError(bytes: Uint8Array): SyncError | undefined {
  let message: unknown;
  try {
    message = decodeCbor(bytes);
  } catch {
    // Not CBOR, so not ours: the status says what is known.
    return undefined;
  }
  return typeof message === "object" && message !== null && "error" in message ? fromWire(message.error) : undefined;
}

/** The error that a status alone stands for. */
export function errorForStatus(reply: HttpReply): SyncError {
  const { status } = reply;
  const retryAfterMs = retryAfter(reply.header("retry-after"));
  const wait = retryAfterMs === undefined ? {} : { retryAfterMs };
  switch (status) {
    case 401:
      return new SyncError({ code: "UNAUTHORIZED", message: "The server answered 401: nobody is signed in." });
    case 403:
      return new SyncError({ code: "FORBIDDEN", message: "The server answered 403." });
    case 404:
    case 405:
      return unavailable(`The server answered ${status}. Is \`url\` where \`createSyncHandler\` is mounted?`, {
        ...wait,
        status,
      });
    case 408:
    case 504:
      return new SyncError({ code: "TIMEOUT", message: `The server answered ${status}.` });
    case 413:
      return new SyncError({ code: "TOO_LARGE", message: "The request is larger than the server accepts." });
    case 429:
      return new SyncError({
        code: "RATE_LIMITED",
        message: "The server answered 429: too many requests.",
        details: wait,
      });
    default:
      return unavailable(`The server answered ${status}.`, { ...wait, status });
  }
}

/** The error for an answer that succeeded and is not of our kind, such as the page of a network that wants a sign-in. */
export function errorForContentType(reply: HttpReply): SyncError {
  const type = reply.header("content-type") ?? "no content type";
  return unavailable(`The answer came as ${type.slice(0, 100)}. Something else than the sync server answered.`, {
    status: reply.status,
  });
}

function unavailable(message: string, details: { readonly retryAfterMs?: number; readonly status: number }): SyncError {
  return new SyncError({ code: "UNAVAILABLE", message, details });
}

/** `Retry-After`: seconds, or a date. */
function retryAfter(header: string | null): number | undefined {
  if (header === null) return undefined;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1000;
  return Number.isFinite(ms) && ms >= 0 ? ms : undefined;
}
