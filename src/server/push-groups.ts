/**
 * Cuts a push into groups and runs each in a database transaction. Where the database refuses a whole group at its commit
 * (a deferred foreign key, a trigger that rolls everything back), its transactions are tried one by one, so that only the
 * one at fault is refused and nothing behind it waits (promise 4). So they are when something fails that may pass: what
 * comes before the one that fails is handled, and the device finds that one at the front of its queue (rule P12).
 *
 * @module
 */

import { setImmediate } from "node:timers/promises";
import { transact } from "../plugin/core.ts";
import { unreachable } from "../protocol/errors.ts";
import type { PushRequest, PushTransaction } from "../protocol/push.ts";
import { FailedBatch } from "./apply-batch.ts";
import { faultOf, isLocked } from "./database-faults.ts";
import { groupLimits } from "./limits.ts";
import { type GroupMode, type GroupResult, type PushContext, pushGroup } from "./push.ts";

/** Handles transactions in order until all are, or one ends the push. `onGroup` hears of each commit. */
export async function pushInGroups(
  context: PushContext,
  request: PushRequest,
  txs: readonly PushTransaction[],
  onGroup: (result: GroupResult) => void,
): Promise<GroupResult> {
  const run = async (group: readonly PushTransaction[], mode: GroupMode): Promise<GroupResult> => {
    const result = await transact(context.database.connection, "write", () => pushGroup(context, request, group, mode));
    onGroup(result);
    return result;
  };
  const runTogether = async (group: readonly PushTransaction[]): Promise<GroupResult> => {
    try {
      return await run(group, "together");
    } catch (error) {
      if (!(error instanceof FailedBatch)) throw error;
      return run(group, "again");
    }
  };
  const runAlone = async (tx: PushTransaction): Promise<GroupResult> => {
    try {
      return await run([tx], "alone");
    } catch (error) {
      if (faultOf(error) === undefined) throw error;
      return run([tx], "refuse");
    }
  };

  let at = 0;
  // Nothing left to handle: the answer still says how far the device came.
  if (txs.length === 0) return run(txs, "together");
  let result: GroupResult | undefined;
  while (at < txs.length) {
    // Others have their turn between two groups: on a synchronous driver nothing else runs during one.
    if (at > 0) await setImmediate();
    const group = nextGroup(txs, at);
    let end = at + group.length;
    try {
      result = await runTogether(group);
      at += result.next;
      if (result.end === "done" || result.end === "full") continue;
      if (result.end !== "alone") return result;
      end = at + 1;
    } catch (error) {
      if (faultOf(error) === undefined && (group.length === 1 || isLocked(error))) throw error;
    }
    for (; at < end; at++) {
      result = await runAlone(txs[at] as PushTransaction);
      if (result.end !== "done") return result;
    }
  }
  return result ?? unreachable("P10: a push with transactions was not handled");
}

function nextGroup(txs: readonly PushTransaction[], at: number): readonly PushTransaction[] {
  let operations = 0;
  let end = at;
  while (
    end < txs.length &&
    end - at < groupLimits.transactions &&
    (end === at || operations + (txs[end]?.ops.length ?? 0) <= groupLimits.operations)
  ) {
    operations += txs[end]?.ops.length ?? 0;
    end++;
  }
  return txs.slice(at, end);
}
