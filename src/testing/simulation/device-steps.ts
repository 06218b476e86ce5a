/**
 * Steps of those who use devices: they hold scopes, deal with outcomes, sign out, copy files and restore them.
 *
 * @module
 */

import type { Outcome, PendingOperation } from "../../client/client.ts";
import { isSyncError } from "../../protocol/errors.ts";
import type { Random } from "../random.ts";
import type { DeviceNode } from "./device.ts";
import { allScopes } from "./schema.ts";
import type { StepAction } from "./steps.ts";
import { Violation } from "./violation.ts";
import type { TableName } from "./schema.ts";
import { rowId, type Cells } from "./state.ts";

export const hold: StepAction = (random, device) => {
  if (!device.onDemand) return "nothing";
  const held = [...device.holds.keys()];
  if (held.length > 0 && random.chance(0.4)) {
    const scope = random.pick(held);
    device.holds.get(scope)?.release();
    device.holds.delete(scope);
    return `${device.name} lets ${scope} go`;
  }
  const scope = random.pick([...allScopes, `grantee:${device.subject}`]);
  const wish = device.client.hold(scope, { ttlMs: random.pick([0, 10_000]) });
  // It may not be the subject's to read.
  wish.ready.catch((error: unknown) => {
    if (!isSyncError(error)) device.noteError(error);
  });
  device.holds.set(scope, wish);
  return `${device.name} holds ${scope}`;
};

/** An outcome that the app has not dealt with; a device that dies meanwhile has none. */
async function someOutcome(random: Random, device: DeviceNode): Promise<Outcome | undefined> {
  const outcomes = await device.client.outcomes.list().catch(() => []);
  // The loss of others' reports is what the end of the run asks about.
  const open = outcomes.filter(({ status }) => status !== "lost");
  return open.length === 0 ? undefined : random.pick(open);
}

export const discardOutcome: StepAction = async (random, device) => {
  const outcome = await someOutcome(random, device);
  if (outcome === undefined) return "nothing";
  // A device that dies meanwhile may have done it or not.
  device.memory.resolved.add(outcome.id);
  await device.client.outcomes.resolve(outcome.id, "discard").catch(device.noteError);
  return `${outcome.id} of ${device.name}`;
};

export const retry: StepAction = async (random, device, { fresh, count }) => {
  const outcome = await someOutcome(random, device);
  if (outcome === undefined) return "nothing";
  const operations = outcome.operations.map((operation) => edited(operation, random, fresh));
  let result = "retried";
  await device.writeThrough(async () => {
    try {
      device.memory.resolved.add(outcome.id);
      await device.client.outcomes.resolve(outcome.id, { retry: operations });
    } catch (error) {
      if (device.database.hasCrashed) return;
      // What it would write may not fit what the device has now; the outcome is kept then.
      if (!isSyncError(error, "STORAGE_FAILED") && !isSyncError(error, "ROW_GONE")) device.noteError(error);
      result = `not retried: ${String(error)}`;
    }
  }, writtenAfterDeletes(operations));
  count(result === "retried" ? "outcomes retried" : "retries refused");
  return `${outcome.id} of ${device.name} ${result}`;
};

/** Rows that are written only after others were deleted: they may have gone with them meanwhile. */
function writtenAfterDeletes(operations: readonly PendingOperation[]): ReadonlySet<string> {
  const idOf = ({ table, key }: PendingOperation): string => rowId(table as TableName, key as Cells);
  const earlier = new Set<string>();
  const later = new Set<string>();
  let hasDeleted = false;
  for (const operation of operations) {
    if (operation.kind === "delete") hasDeleted = true;
    else (hasDeleted ? later : earlier).add(idOf(operation));
  }
  return new Set([...later].filter((id) => !earlier.has(id)));
}

/** Free values are never written twice, so that the oracles can tell who saw what. */
function edited(operation: PendingOperation, random: Random, fresh: () => string): PendingOperation {
  const values: Record<string, unknown> = { ...operation.values };
  for (const column of ["title", "note", "body", "role"])
    if (typeof values[column] === "string") values[column] = fresh();
  if (typeof values["code"] === "string" && random.chance(0.5)) values["code"] = null;
  return { ...operation, values };
}

export const giveUp: StepAction = async (random, device, { count }) => {
  const pending = await device.client.pending.list().catch(() => []);
  if (pending.length === 0) return "nothing";
  const { id } = random.pick(pending);
  device.noteClosed();
  device.memory.noteGivenUp(id);
  try {
    await device.client.pending.discard(id);
    count("pending discarded");
  } catch (error) {
    // The server may have it by now.
    if (!isSyncError(error)) device.noteError(error);
    return `${id} of ${device.name}: ${String(error)}`;
  }
  return `${id} of ${device.name}`;
};

export const verify: StepAction = (_random, device, { count }) => {
  device.client.verify().then(({ checked, mismatched }) => {
    count("verified");
    if (mismatched.length > 0)
      device.unexpected.push(
        new Violation("checksums", `${mismatched.join()} of ${checked} scopes of ${device.name} mismatched.`),
      );
  }, device.noteError);
  return device.name;
};

export const signOut: StepAction = async (random, device, scene) => {
  const pending = random.pick(["flush", "keep", "discard"] as const);
  const wipe = pending !== "keep" && random.chance(0.5);
  const what = `${pending}${wipe ? " and wipe" : ""}`;
  // Listing the queue closes what strangers left open.
  const queue = pending === "discard" ? await device.client.pending.list().catch(() => []) : [];
  device.noteClosed();
  for (const { id } of queue) device.memory.noteGivenUp(id);
  const done = device.signOut({ pending, wipe });
  if (pending === "flush") {
    // It waits for the network; the run does not.
    done.then(
      () => {
        scene.count(`signed out: ${what}`);
        device.client.start();
      },
      (error: unknown) => {
        if (!isSyncError(error)) device.noteError(error);
      },
    );
    return `${device.name} begins to ${what}`;
  }
  try {
    await done;
  } catch (error) {
    if (!isSyncError(error)) device.noteError(error);
    return `${device.name} ${what}: ${String(error)}`;
  }
  scene.count(`signed out: ${what}`);
  // The same subject comes back.
  if (random.chance(0.7)) device.client.start();
  return `${device.name} ${what}`;
};

/** How many devices a run may have; a copied file is one more. */
const maxDevices = 5;

export const copyDevice: StepAction = async (_random, device, scene) => {
  const image = device.image();
  if (image === undefined || scene.devices.length >= maxDevices) return "nothing";
  await scene.addCopy(device, image);
  scene.count("copied devices");
  return device.name;
};

export const backUpDevice: StepAction = (_random, device, { deviceImages }) => {
  const image = device.image();
  if (image === undefined) return "nothing";
  deviceImages.push({ device, image });
  if (deviceImages.length > 3) deviceImages.shift();
  return device.name;
};

export const restoreDevice: StepAction = async (random, device, { deviceImages, mishaps, count }) => {
  const own = deviceImages.filter(({ device: of, image }) => of === device && image.version === device.version);
  if (own.length === 0) return "nothing";
  mishaps.copies++;
  count("restored devices");
  await device.restore(random.pick(own).image);
  return device.name;
};
