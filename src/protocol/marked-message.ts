/**
 * Errors through tRPC, which carries a code of its own and a message, and nothing else unless the app's error formatter
 * adds it. So a `SyncError`'s code and details stand at the end of the message, and the device takes them off again:
 *
 * `The server does not know the column. [sync {"code":"SCHEMA_MISMATCH","details":{"tooOld":"server"}}]`
 *
 * @module
 */

import { fromWire, toWire, type SyncError } from "./errors.ts";

/** An error's message, with its code and details at the end. */
export function markMessage(error: SyncError): string {
  const { message, ...marked } = toWire(error);
  return `${message} [sync ${JSON.stringify(marked)}]`;
}

/** Rebuilds an error from a marked message; undefined when it has no mark, or one that cannot be read. */
export function readMarkedMessage(text: string, cause?: unknown): SyncError | undefined {
  const at = text.lastIndexOf(mark);
  if (at < 0 || !text.endsWith("]")) return undefined;
  let marked: unknown;
  try {
    marked = JSON.parse(text.slice(at + mark.length, -1));
  } catch {
    // Somebody else's text.
    return undefined;
  }
  return typeof marked === "object" ? fromWire({ ...marked, message: text.slice(0, at) }, cause) : undefined;
}

const mark = " [sync ";
