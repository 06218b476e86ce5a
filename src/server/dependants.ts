/**
 * Rule P8: what depends on a row whose insert by this device was refused is refused with that cause. A foreign key of the
 * database would refuse it too, but says nothing of the cause, and is not always enforced.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { keyText, rowText } from "../protocol/key.ts";
import { type LiveRows, parentKeyOf, readLiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";
import type { Refusal } from "./operations.ts";
import { rejectedIn } from "./outcomes.ts";

/** Whether a row that was refused before is changed, or named by one that is written. */
export function* findRefusedDependency(
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
  rejected: ReadonlyMap<string, number>,
): Core<Refusal | undefined> {
  if (rejected.size === 0) return undefined;
  for (const net of nets.values()) {
    const own =
      net.kind === "update" && !live.has(net.row) ? rejectedIn(rejected, net.table.key, net.keyText) : undefined;
    if (own !== undefined) {
      const message = `A row of table \`${net.table.key}\` is not there: its insert, in transaction ${own}, was rejected.`;
      return { code: "DEPENDS_ON_REJECTED", message, index: net.lastIndex, cause: own };
    }
    const refusal = yield* findRefusedParent(net, nets, rejected);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function* findRefusedParent(
  net: Net,
  nets: ReadonlyMap<string, Net>,
  rejected: ReadonlyMap<string, number>,
): Core<Refusal | undefined> {
  if (net.kind !== "insert" && net.kind !== "update") return undefined;
  const values = net.table.columns.map((column) => net.values.get(column) ?? null);
  for (const reference of net.table.foreignKeys) {
    const { target } = reference;
    const key = parentKeyOf(reference, values);
    const cause = key === undefined ? undefined : rejectedIn(rejected, target.key, keyText(key));
    if (key === undefined || cause === undefined || nets.get(rowText(target.key, key))?.kind === "insert") continue;
    if ((yield* readLiveRows([{ table: target, key }])).size > 0) continue;
    const message = `A row of table \`${net.table.key}\` names a row of \`${target.key}\` whose insert, in transaction ${cause}, was rejected.`;
    return { code: "DEPENDS_ON_REJECTED", message, index: net.lastIndex, cause };
  }
  return undefined;
}
