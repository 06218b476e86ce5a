/**
 * Rule P8: what depends on a row whose insert by this device was refused is refused with that cause. A foreign key of the
 * database would refuse it too, but says nothing of the cause, and is not always enforced.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import type { DeviceId } from "../protocol/ids.ts";
import { keyText, rowText } from "../protocol/key.ts";
import { type LiveRows, parentKeyOf, readLiveRows } from "./live-rows.ts";
import type { Net } from "./net.ts";
import type { Refusal } from "./operations.ts";
import { readRejection } from "./outcomes.ts";

/** Whether a row that was refused before is changed, or named by one that is written. */
export function* findRefusedDependency(
  deviceId: DeviceId,
  nets: ReadonlyMap<string, Net>,
  live: LiveRows,
): Core<Refusal | undefined> {
  // Parents that are none of those: many rows name the same one.
  const sound = new Set<string>();
  for (const net of nets.values()) {
    if (net.kind === "update" && !live.has(net.row)) {
      const own = yield* readRejection(deviceId, net.table.key, net.keyText);
      if (own !== undefined) {
        const message = `A row of table \`${net.table.key}\` is not there: its insert, in transaction ${own}, was rejected.`;
        return { code: "DEPENDS_ON_REJECTED", message, index: net.lastIndex, cause: own };
      }
    }
    const refusal = yield* findRefusedParent(deviceId, net, nets, sound);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function* findRefusedParent(
  deviceId: DeviceId,
  net: Net,
  nets: ReadonlyMap<string, Net>,
  sound: Set<string>,
): Core<Refusal | undefined> {
  if (net.kind !== "insert" && net.kind !== "update") return undefined;
  const values = net.table.columns.map((column) => net.values.get(column) ?? null);
  for (const reference of net.table.foreignKeys) {
    const { target } = reference;
    const key = parentKeyOf(reference, values);
    const parent = key === undefined ? "" : rowText(target.key, key);
    if (key === undefined || sound.has(parent) || nets.get(parent)?.kind === "insert") continue;
    const cause = yield* readRejection(deviceId, target.key, keyText(key));
    if (cause === undefined || (yield* readLiveRows([{ table: target, key }])).size > 0) {
      sound.add(parent);
      continue;
    }
    const message = `A row of table \`${net.table.key}\` names a row of \`${target.key}\` whose insert, in transaction ${cause}, was rejected.`;
    return { code: "DEPENDS_ON_REJECTED", message, index: net.lastIndex, cause };
  }
  return undefined;
}
