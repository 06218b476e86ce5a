/**
 * One line for each request, when it is over. It says what was asked and how it went, never by whom or about what.
 *
 * @module
 */

import type { SyncErrorCode } from "../../protocol/errors.ts";
import type { RequestRecord } from "./metrics.ts";

/** The fields of a line. */
export interface RequestLine extends RequestRecord {
  /** What went wrong, if anything did. */
  readonly code?: SyncErrorCode;
}

/** What is asked of a logger: pino, `console` and most others fit. */
export interface SyncLogger {
  info(fields: RequestLine, message: string): void;
  warn(fields: RequestLine, message: string): void;
  error(fields: RequestLine, message: string): void;
}

export function logRequest(logger: SyncLogger, line: RequestLine): void {
  const message = `sync ${line.method} ${line.endpoint} ${line.status}`;
  if (line.status >= 500) logger.error(line, message);
  else if (line.status >= 400) logger.warn(line, message);
  else logger.info(line, message);
}
