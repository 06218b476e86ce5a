/**
 * What each kind of step does. A step means something in any state, if only that nothing is done; it answers what it did,
 * for the trace.
 *
 * @module
 */

import { faults } from "../fault-network.ts";
import { createRandom, type Random } from "../random.ts";
import {
  copyDevice,
  discardOutcome,
  giveUp,
  hold,
  retry,
  backUpDevice,
  restoreDevice,
  signOut,
  verify,
} from "./device-steps.ts";
import type { DeviceNode } from "./device.ts";
import { settle } from "./platform.ts";
import type { Step, StepKind } from "./plan.ts";
import type { Scene } from "./scene.ts";
import { changeRights, restoreServer, trim } from "./server-steps.ts";
import { writeOnDevice, writeOnServer } from "./write-steps.ts";

/** A kind of step, done by the device that the step's seed picks. */
export type StepAction = (random: Random, device: DeviceNode, scene: Scene) => string | Promise<string>;

const oneDay = 86_400_000;

/** How far a clock is off after somebody set it. */
const skew = (random: Random): number =>
  random.chance(0.3) ? 0 : Math.round((random.next() * 2 - 1) * random.pick([2000, 600_000, 40 * oneDay]));

const actions: Readonly<Record<StepKind, StepAction>> = {
  "device-write": writeOnDevice,
  "server-write": (random, _device, scene) => writeOnServer(random, scene),
  sync(_random, device) {
    // Whether it succeeds is the network's business.
    device.client.sync().catch(device.noteError);
    return device.name;
  },
  start(_random, device) {
    device.client.start();
    return device.name;
  },
  pause(_random, device) {
    if (device.client.state.status === "paused") device.client.resume();
    else device.client.pause();
    return device.name;
  },
  fault(random, device) {
    const fault = random.pick(faults);
    const of = random.pick([undefined, undefined, "push", "pull"] as const);
    device.network.fail(fault, of);
    return `${fault} for the next ${of ?? "call"} of ${device.name}`;
  },
  cut(random, device) {
    device.network.cutStream(random.chance(0.5) ? random.int(3) : undefined);
    return device.name;
  },
  async late(random, device, { count }) {
    if (device.network.lateCount === 0) return "nothing";
    await device.network.deliverLate(random.int(device.network.lateCount));
    count("late requests");
    return device.name;
  },
  release(random, device, { devices }) {
    const released = random.chance(0.5) ? devices : [device];
    for (const each of released) each.release();
    return released.map(({ name }) => name).join();
  },
  cable(random, device) {
    const down = random.chance(0.6);
    device.network.setDown(down);
    return `${device.name} ${down ? "down" : "up"}`;
  },
  async time(random, _device, { clock, server, devices }) {
    const ms = random.pick([50, 700, 5000, 30_000, 200_000]);
    await clock.advance(ms, settle);
    server.upkeep(random.chance(0.5) ? random.int(20) : 0);
    for (const each of devices) each.upkeep();
    return `${ms} ms`;
  },
  clock(random, device, { server }) {
    const ms = skew(random);
    if (random.chance(0.3)) {
      server.setClock(ms);
      return `the server's is off by ${ms} ms`;
    }
    device.setClock(ms);
    return `that of ${device.name} is off by ${ms} ms`;
  },
  rights: changeRights,
  hold,
  discard: discardOutcome,
  retry,
  "give-up": giveUp,
  async reset(_random, device) {
    await device.client.reset().catch(device.noteError);
    return device.name;
  },
  verify,
  async reopen(random, device) {
    await device.reopenClient();
    if (random.chance(0.5)) device.client.start();
    return device.name;
  },
  "sign-out": signOut,
  async upgrade(_random, device, { count }) {
    if (device.version === 2) return "nothing";
    await device.upgrade();
    count("upgrades");
    return device.name;
  },
  trim: (random, _device, scene) => trim(random, scene),
  backup(_random, _device, { backups, server }) {
    backups.push(server.backup());
    if (backups.length > 3) backups.shift();
    return "";
  },
  restore: (random, _device, scene) => restoreServer(random, scene),
  "copy-device": copyDevice,
  "backup-device": backUpDevice,
  "restore-device": restoreDevice,
  "device-crash"(_random, device) {
    device.database.crash();
    return device.name;
  },
  "device-crash-inside"(random, device) {
    const statements = 1 + random.int(random.pick([40, 200]));
    device.database.crashAfter(statements);
    return `${device.name} after ${statements} statements`;
  },
  "server-crash-inside"(random, _device, { server }) {
    const statements = 1 + random.int(80);
    server.database.crashAfter(statements);
    return `after ${statements} statements`;
  },
  "server-restart"(_random, _device, { server }) {
    server.database.crash();
    return "";
  },
  "hold-round"(random, device) {
    const fault = random.pick(["hold-request", "hold-request", "hold-answer"] as const);
    device.network.fail(fault, "round");
    return `${fault} in a round of ${device.name}`;
  },
  "late-push"(_random, device) {
    device.network.fail("late", "push");
    return device.name;
  },
  beside(_random, device, { count }) {
    device.syncBeside();
    count("syncs of a second client");
    return device.name;
  },
};

/** Does one step. */
export async function perform({ kind, seed, device: place }: Step, scene: Scene): Promise<string> {
  const random = createRandom(seed);
  const picked = random.pick(scene.devices);
  const device = place === undefined ? picked : (scene.devices.at(place) ?? picked);
  return await actions[kind](random, device, scene);
}
