/**
 * The end of a run: the faults stop, and everybody must come to agree; then each transaction must have had its outcome.
 *
 * @module
 */

import { heldScopes } from "../../client/checkpoint.ts";
import { transactionId } from "../../client/outcomes.ts";
import { formatCursor, parseCursor } from "../../protocol/ids.ts";
import { checkpointOf } from "./check-device.ts";
import type { DeviceNode } from "./device.ts";
import { settle } from "./platform.ts";
import type { Scene } from "./scene.ts";
import type { ServerNode } from "./server-node.ts";
import { describeDifference, known, readState, restrict } from "./state.ts";
import { Violation } from "./violation.ts";

/** How many rounds of twenty seconds everybody has. */
const patience = 40;

export async function finish(scene: Scene, look: (scene: Scene) => Promise<void>): Promise<void> {
  const { server, devices, clock } = scene;
  for (const device of devices) await device.endFaults();
  server.database.crashAfter(undefined);
  await look(scene);
  for (let round = 0; ; round++) {
    for (const device of devices) {
      device.network.release();
      if (["idle", "signed-out"].includes(device.client.state.status)) device.client.start();
      if (device.client.state.status === "paused") device.client.resume();
    }
    await clock.advance(20_000, settle);
    server.upkeep(0);
    for (const device of devices) device.upkeep();
    await look(scene);
    if (devices.every((device) => isInStep(device, server))) break;
    if (round >= patience)
      throw new Violation("convergence", devices.map((device) => describe(device, server)).join("; "));
  }
  for (const device of devices) await checkEnd(device, scene);
}

/** What a device should hold in the end. */
function targetOf(device: DeviceNode, server: ServerNode): string[] {
  const { read } = server.rights(device.subject);
  const target = [...read].sort();
  return device.onDemand ? target.filter((scope) => device.holds.has(scope)) : target;
}

function isInStep(device: DeviceNode, { witness, ...server }: ServerNode): boolean {
  const checkpoint = checkpointOf(device.database);
  if (device.client.state.status !== "synced" || device.client.state.pending > 0 || checkpoint?.cursor === undefined)
    return false;
  const held = heldScopes(checkpoint);
  const target = targetOf(device, { witness, ...server });
  if (device.onDemand ? !target.every((scope) => held.includes(scope)) : held.join() !== target.join()) return false;
  // Commits outside its scopes send a device nothing: its cursor may be older.
  const at = parseCursor(checkpoint.cursor);
  if (!witness.isCurrent(at)) return false;
  const scopes = new Set(held);
  return (
    describeDifference(
      restrict(witness.stateAt(at), scopes, device.version),
      restrict(witness.state, scopes, device.version),
    ) === ""
  );
}

function describe(device: DeviceNode, server: ServerNode): string {
  const { status, pending, error } = device.client.state;
  const checkpoint = checkpointOf(device.database);
  return `${device.name} is ${status} with ${pending} pending at ${checkpoint?.cursor ?? "nothing"} of ${formatCursor(server.witness.head)}, holds ${checkpoint?.held ?? "nothing"}, should hold ${targetOf(device, server).join(",")}${error ? ` (${error.code}: ${error.message})` : ""}`;
}

/** Promise 2: each transaction was applied, or its outcome is there, once. Mishaps excuse what nobody could know any more. */
async function checkEnd({ name, database, client, memory, version }: DeviceNode, scene: Scene): Promise<void> {
  const { witness } = scene.server;
  const { restores, forgotten, copies } = scene.mishaps;
  const checkpoint = checkpointOf(database);
  const wrong = describeDifference(
    known(readState(database)),
    restrict(witness.state, new Set(checkpoint ? heldScopes(checkpoint) : []), version),
  );
  if (wrong !== "") throw new Violation("convergence", `${name} does not show what the server has: ${wrong}.`);

  const listed = new Map<string, string[]>();
  for (const { id, status } of await client.outcomes.list()) listed.set(id, [...(listed.get(id) ?? []), status]);
  for (const { stamp, number, changes } of memory.written.values()) {
    const id = transactionId(stamp);
    const fail = (what: string): never => {
      throw new Violation("promise 2", `Transaction ${number} of ${name} ${what}.`);
    };
    const fates = witness.fatesOf(stamp);
    const told = memory.toldOf(id);
    const stored = listed.get(id) ?? [];
    if (stored.length > 1) fail(`has ${stored.length} outcomes in the list`);
    // A process may die between telling and noting that it told.
    const tellings = told.length - memory.crashes;
    if (tellings > 1 && (restores === 0 || told.filter(({ again }) => !again).length - memory.crashes > 1))
      fail(`was reported ${told.length} times`);
    if (fates.filter((fate) => fate === "applied" || fate === "merged").length > 1 && copies + forgotten === 0)
      fail(`was executed ${fates.length} times`);
    // Discarded while it was pending: it may have been on its way.
    if (memory.givenUp.has(stamp)) continue;
    if (memory.isLost(number)) {
      if (restores === 0) fail("was reported as lost, but the server never lost anything");
      continue;
    }
    // What was handled before, under another id of the device, goes as an empty one.
    const full = fates.filter((each) => each !== "empty").at(-1);
    const fate = full ?? (fates.length > 0 && changes.length === 0 ? "applied" : fates.at(-1));
    if (fate === undefined && told.length === 0 && !mayVanish(scene))
      fail("left the queue, but the server never handled it");
    const isKnown = fate === undefined || fate === "applied" || fates.includes("applied") || told.length > 0;
    if (!isKnown && !mayVanish(scene)) fail(`was ${fate}, and the app was told nothing`);
    const lastTold = told.at(-1)?.status ?? "";
    if (!memory.resolved.has(id) && stored.join() !== lastTold)
      fail(`was reported as ${lastTold || "nothing"}, and is listed as ${stored.join() || "nothing"}`);
    // What was refused before a restore may be judged again; what was told last is what holds, unless a request came late.
    const isLastWord = restores < 2 && forgotten + copies === 0 && !scene.totals["late requests"];
    if (isLastWord && lastTold === "rejected" && fate === "applied")
      fail("was reported as rejected, but it was applied");
    if (restores + copies > 0 || fate === undefined) continue;
    if (fate === "empty") fail("was sent with nothing in it");
    if (told.some(({ status }) => status !== fate))
      fail(`was ${fate}; the app was told ${told.map(({ status }) => status).join()}`);
    if (!(memory.resolved.has(id) && stored.length === 0) && stored.join() !== (fate === "applied" ? "" : fate))
      fail(`was ${fate}; its outcomes on the device: ${stored.join() || "none"}`);
  }
}

/** What the model lets vanish: more went wrong at once than anybody's memory bridges. */
function mayVanish({ mishaps: { restores, forgotten, copies }, plan }: Scene): boolean {
  return (copies > 0 && restores > 0) || forgotten > 0 || (restores > 1 && plan.circumstances.keepSentMs < 86_400_000);
}
