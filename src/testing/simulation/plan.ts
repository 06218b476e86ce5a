/**
 * What happens in a run, made from its seed before anything runs: a set of circumstances and a list of steps, each with a
 * seed of its own. A step means something in any state, so that a list with steps left out is a run, too: that is how a
 * failing one is made small.
 *
 * @module
 */

import { createRandom } from "../random.ts";
import { policies, type Policy } from "./schema.ts";

/** What can happen. */
export const stepKinds = [
  "device-write",
  "server-write",
  "sync",
  "start",
  "pause",
  "fault",
  "cut",
  "late",
  "release",
  "cable",
  "time",
  "rights",
  "hold",
  "discard",
  "reset",
  "device-crash",
  "device-crash-inside",
  "server-crash-inside",
  "server-restart",
] as const;
export type StepKind = (typeof stepKinds)[number];

export interface Step {
  readonly kind: StepKind;
  readonly seed: number;
}

/** What holds for a whole run. */
export interface Circumstances {
  readonly policy: Policy;
  readonly devices: number;
  /** Rows in a page at most; few make rounds of many pages. */
  readonly pageRows: number;
  /** Transactions in a push at most. */
  readonly pushTransactions: number;
  /** What the devices' live stream carries, if they have one. */
  readonly live: "pages" | "pokes" | "none";
  /** Whether messages travel as bytes, through the codecs. */
  readonly bytes: boolean;
  /** Devices, by their index, that sync what they hold alone. */
  readonly onDemand: readonly number[];
  /** Chance that a server's write is raw SQL, and that it bypasses the wrapper. */
  readonly rawShare: number;
  /** How far the devices' clocks are off, in milliseconds. */
  readonly skews: readonly number[];
}

export interface Plan {
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly steps: readonly Step[];
}

const weights: Readonly<Record<StepKind, number>> = {
  "device-write": 30,
  "server-write": 11,
  sync: 22,
  start: 3,
  pause: 2,
  fault: 9,
  cut: 2,
  late: 3,
  release: 5,
  cable: 2,
  time: 7,
  rights: 5,
  hold: 3,
  discard: 1,
  reset: 1,
  "device-crash": 2,
  "device-crash-inside": 3,
  "server-crash-inside": 1,
  "server-restart": 1,
};

/** The plan of a seed. */
export function makePlan(seed: number, length = 90): Plan {
  const random = createRandom(seed);
  const devices = random.pick([2, 2, 3]);
  const indexes = Array.from({ length: devices }, (_, i) => i);
  const circumstances: Circumstances = {
    policy: random.pick(policies),
    devices,
    pageRows: random.pick([1, 2, 3, 5, 1000]),
    pushTransactions: random.pick([1, 2, 100]),
    live: random.pick(["pages", "pages", "pages", "pokes", "none"]),
    bytes: random.chance(0.4),
    onDemand: random.chance(0.4) ? random.some(indexes, 0.5) : [],
    rawShare: random.pick([0, 0.3, 0.7]),
    skews: indexes.map(() => (random.chance(0.3) ? random.int(600_000) - 300_000 : 0)),
  };
  const lottery = stepKinds.flatMap((kind) => Array.from({ length: weights[kind] }, () => kind));
  const steps = Array.from({ length }, (): Step => ({ kind: random.pick(lottery), seed: random.int(2 ** 31) }));
  return { seed, circumstances, steps };
}
