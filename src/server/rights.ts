/**
 * Rule P9: the right to write, judged on the net change of each row, before and after the whole transaction. Judged per
 * operation it would be a hole: move a row out of a forbidden scope, then delete it.
 *
 * @module
 */

import type { SyncTable } from "../plugin/table.ts";
import type { Refusal } from "./operations.ts";
import { meets } from "./scopes.ts";

/**
 * Whether a row may be changed at all: one of the scopes it is in must be writable. Asked before anything is judged, so
 * that nobody learns from a conflict what is in a row that is none of theirs.
 */
export function findRightFault(
  table: SyncTable,
  before: readonly string[],
  writable: ReadonlySet<string>,
): Refusal | undefined {
  return meets(before, writable)
    ? undefined
    : refusal(`A row of table \`${table.key}\` is in no scope that this subject may write.`);
}

/** Whether a row may come to be where it is: one of its scopes must be writable, and each that it entered or left. */
export function findMoveFault(
  table: SyncTable,
  before: readonly string[],
  after: readonly string[] | undefined,
  writable: ReadonlySet<string>,
): Refusal | undefined {
  if (after !== undefined && !meets(after, writable)) {
    return refusal(
      after.length === 0
        ? `A row of table \`${table.key}\` would be in no scope at all.`
        : `A row of table \`${table.key}\` would be in no scope that this subject may write.`,
    );
  }
  const entered = (after ?? []).some((scope) => !before.includes(scope) && !writable.has(scope));
  const left = before.some((scope) => after?.includes(scope) !== true && !writable.has(scope));
  return entered || left
    ? refusal(
        `A row of table \`${table.key}\` would ${entered ? "enter" : "leave"} a scope that this subject may not write.`,
      )
    : undefined;
}

function refusal(message: string): Refusal {
  return { code: "SCOPE_NOT_WRITABLE", message };
}
