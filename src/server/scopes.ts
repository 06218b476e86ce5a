/**
 * What a subject may read and write now, as the app's `scopes` says. It is asked for outside of any database
 * transaction, once per request; a stream asks again (see `live.ts`).
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { readHeadSeq, tablesSince } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import { SyncError } from "../protocol/errors.ts";

/** What `scopes` of the router answers. */
export interface GrantedScopes<TScope extends string = string> {
  /** Scopes that the subject may read. */
  readonly read: readonly TScope[];
  /** Scopes that the subject may write. */
  readonly write: readonly TScope[];
}

/** A subject's rights at one moment. */
export interface Rights {
  readonly read: ReadonlySet<string>;
  readonly write: ReadonlySet<string>;
}

/** Rights, and the head of the log before they were asked for, where a later commit may have changed them. */
export interface AskedRights extends Rights {
  readonly asOf?: number;
}

/** The head of the log, to be kept with the rights that are asked for next. */
export function readAsOf(database: SyncDatabase): Core<number> {
  return readHeadSeq(database);
}

/** Whether a commit since rights were asked for may have changed them. `dependsOn`: keys of the tables that decide them. */
export function* areStale(
  database: SyncDatabase,
  rights: Pick<AskedRights, "asOf">,
  dependsOn: ReadonlySet<string>,
): Core<boolean> {
  if (rights.asOf === undefined || dependsOn.size === 0) return false;
  if ((yield* readHeadSeq(database)) === rights.asOf) return false;
  const tables = yield* tablesSince(database, rights.asOf, manyEntries);
  return tables === undefined || [...tables].some((table) => dependsOn.has(table));
}

const manyEntries = 10_000;

/** Brings the app's answer into sets. */
export function readRights(granted: GrantedScopes): Rights {
  return { read: scopeSet(granted?.read, "read"), write: scopeSet(granted?.write, "write") };
}

/** The scopes of a round: readable, and asked for if the device names what it wants (rule U1). Sorted. */
export function targetScopes(rights: Rights, wanted: readonly string[] | undefined): readonly string[] {
  const target =
    wanted === undefined ? [...rights.read] : [...new Set(wanted)].filter((scope) => rights.read.has(scope));
  return target.sort();
}

/** Whether a row with these scopes is in one of the set. */
export function meets(scopes: readonly string[], set: ReadonlySet<string>): boolean {
  for (const scope of scopes) if (set.has(scope)) return true;
  return false;
}

/** Whether two rows or entries have the same scopes, in the same order. */
export function sameScopes(left: readonly string[], right: readonly string[]): boolean {
  if (left === right) return true;
  if (left.length !== right.length) return false;
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

function scopeSet(scopes: unknown, right: string): ReadonlySet<string> {
  if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === "string")) {
    throw new SyncError({
      code: "INVALID_CONFIG",
      message: `\`scopes\` of \`createSyncRouter\` must answer \`{ read, write }\` with arrays of strings; \`${right}\` is none.`,
    });
  }
  return new Set(scopes as readonly string[]);
}
