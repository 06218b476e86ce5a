/**
 * Pages of a round that has not ended, kept durably until the last one has come (rule R1). A page is stored as the CBOR
 * that it came in.
 *
 * @module
 */

import { all, run, type Core } from "../plugin/core.ts";
import { PREFIX } from "../plugin/names.ts";
import { SyncError } from "../protocol/errors.ts";
import { bytesToKeep, decodePullAnswer } from "../protocol/page-codec.ts";
import type { Page } from "../protocol/pull.ts";

const STAGE = `${PREFIX}stage`;

/** Adds a page. */
export function* stagePage(page: Page): Core<void> {
  yield* run(`INSERT INTO ${STAGE} (body) VALUES (?)`, [bytesToKeep(page)]);
}

/** Forgets all pages. */
export function* clearStage(): Core<void> {
  yield* run(`DELETE FROM ${STAGE}`);
}

/** The numbers of the pages, in order. */
export function* stagedPages(): Core<readonly number[]> {
  return (yield* all(`SELECT n FROM ${STAGE} ORDER BY n`)).map(([n]) => Number(n));
}

/** Reads one page. */
export function* readStagedPage(n: number): Core<Page> {
  const [row] = yield* all(`SELECT body FROM ${STAGE} WHERE n = ?`, [n]);
  const answer = decodePullAnswer(row?.[0] as Uint8Array);
  if (answer.kind !== "page")
    throw new SyncError({ code: "STORAGE_FAILED", message: "A staged page in the local database cannot be read." });
  return answer;
}
