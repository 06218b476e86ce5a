/**
 * Looks at what a transaction has made of its rows, before it is let stand (rules P7, P8, P9).
 *
 * @module
 */

import type { SyncTable } from "../plugin/table.ts";
import type { ConflictReport } from "../protocol/outcome.ts";
import { toAppRow } from "./column-values.ts";
import type { Followers } from "./follow.ts";
import type { LiveRow } from "./judge.ts";
import type { LiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";
import type { Refusal } from "./operations.ts";
import { findMoveFault } from "./rights.ts";
import type { Rights } from "./scopes.ts";
import { reportConflict, type Settled } from "./settle.ts";

/** A transaction that was executed, with its rows before and after. */
export interface Executed {
  readonly nets: ReadonlyMap<string, Net>;
  readonly settled: ReadonlyMap<string, Settled>;
  readonly followers: Followers;
  readonly live: LiveRows;
  readonly after: LiveRows;
  readonly rights: Rights;
  readonly onError: (error: unknown) => void;
}

/** Why a transaction cannot stand; undefined when it can. */
export function findResultFault(executed: Executed): Refusal | undefined {
  for (const net of executed.nets.values()) {
    // P7: what a cascade does is the database's business.
    if (net.kind === "none" || executed.followers.has(net.row)) continue;
    const fault = findRowFault(executed, net, executed.live.get(net.row), executed.after.get(net.row));
    if (fault !== undefined) return { ...fault, index: net.lastIndex };
  }
  return undefined;
}

/** Deletes that were left to a cascade which did not come: their rows hang elsewhere by now (rule P7). */
export function reportKeptRows(executed: Executed): readonly ConflictReport[] {
  const reports: ConflictReport[] = [];
  const known = new Map<string, boolean>();
  // If an ancestor was kept by its resolver, its descendants stay with it.
  const stays = (row: string): boolean => {
    const walked: string[] = [];
    let result: boolean | undefined;
    for (let at: string | undefined = row; at !== undefined && result !== true;) {
      result = known.get(at);
      if (result !== undefined) break;
      walked.push(at);
      const path: readonly string[] = executed.followers.get(at) ?? [];
      if (path.some((ancestor) => executed.settled.has(ancestor))) result = true;
      at = path.at(-1);
    }
    for (const each of walked) known.set(each, result === true);
    return result === true;
  };
  for (const row of executed.followers.keys()) {
    const net = executed.nets.get(row);
    const kept = executed.after.get(row);
    if (net === undefined || kept === undefined || stays(row)) continue;
    reports.push(reportConflict(executed.rights.read, net, { kind: "delete", columns: [], live: kept }, "server"));
  }
  return reports;
}

function findRowFault(
  executed: Executed,
  net: Net,
  before: LiveRow | undefined,
  after: LiveRow | undefined,
): Refusal | undefined {
  const plan = executed.settled.get(net.row)?.plan;
  const mustExist =
    plan === undefined
      ? net.kind !== "delete" && !isNothing(net)
      : plan.kind === "keep"
        ? before !== undefined
        : plan.kind === "write";
  if (mustExist && after === undefined) {
    return {
      code: "UNDONE",
      message: `A row of table \`${net.table.key}\` was gone at the end of the transaction that wrote it.`,
    };
  }
  if (plan?.kind === "keep" || (before === undefined && after === undefined)) return undefined;
  return (
    findMoveFault(net.table, before?.scopes ?? [], after?.scopes, executed.rights.write) ??
    findCheckFault(net.table, before, after, executed.onError)
  );
}

/** Whether a row was changed and changed back: then it is nobody's business if it is gone. */
function isNothing(net: Net): boolean {
  return net.kind === "update" && net.values.size === 0;
}

/** The app's own `check`, which runs on the device too. */
export function findCheckFault(
  { check, columns, key }: SyncTable,
  before: LiveRow | undefined,
  after: LiveRow | undefined,
  onError: (error: unknown) => void,
): Refusal | undefined {
  if (check === undefined) return undefined;
  try {
    // The type is a promise of the app's, which JavaScript does not keep.
    const said: unknown = check({
      ...(before === undefined ? {} : { before: toAppRow(columns, before.values) }),
      ...(after === undefined ? {} : { after: toAppRow(columns, after.values) }),
    } as Parameters<typeof check>[0]);
    if (said === undefined) return undefined;
    if (typeof said === "string") return { code: "INVALID_VALUE", message: said };
    if (said instanceof Promise) void said.catch(() => undefined);
    throw new TypeError(`The \`check\` of table \`${key}\` must return a text or undefined, and at once.`);
  } catch (error) {
    onError(error);
    return { code: "INVALID_VALUE", message: `The \`check\` of table \`${key}\` failed.` };
  }
}
