/**
 * Recognizes that a tool has taken away a table of ours, or that it is one of another version.
 *
 * @module
 */

import { PREFIX } from "../names.ts";

const missing = new RegExp(`no such (table|column): "?([\\w$]+\\.)*${PREFIX}|table ${PREFIX}\\w+ has no column`);

/** Whether a statement failed since a table or column of the library is not there; one of the app's is another matter. */
export function isMissingTable(error: unknown): boolean {
  return error instanceof Error && missing.test(error.message);
}
