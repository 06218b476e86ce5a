/**
 * What happens in a run, made from its seed before anything runs: a set of circumstances and a list of steps, each with a
 * seed of its own. A step means something in any state, so that a list with steps left out is a run, too: that is how a
 * failing one is made small.
 *
 * @module
 */

import { createRandom } from "../random.ts";
import { policies, type Policy } from "./schema.ts";
import { arrange, themeFacts, themes, type Theme } from "./themes.ts";

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
  "retry",
  "give-up",
  "reset",
  "verify",
  "reopen",
  "sign-out",
  "clock",
  "upgrade",
  "trim",
  "backup",
  "restore",
  "copy-device",
  "backup-device",
  "restore-device",
  "device-crash",
  "device-crash-inside",
  "server-crash-inside",
  "server-restart",
  "hold-round",
  "late-push",
  "beside",
] as const;
export type StepKind = (typeof stepKinds)[number];

export interface Step {
  readonly kind: StepKind;
  readonly seed: number;
  /** Whose step it is: a device's place, from the end when it is negative; absent where the step's seed picks one. */
  readonly device?: number;
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
  /** Devices, by their index, that begin with the app's first version. */
  readonly old: readonly number[];
  /** The share of calls that wait until they are released: rounds of several pages meet what happens between them. */
  readonly slow: number;
  /** How far the devices' clocks are off, in milliseconds. */
  readonly skews: readonly number[];
  /** How long devices keep what the server has handled, in milliseconds. */
  readonly keepSentMs: number;
  /** The share of pulls that ask for checksums. */
  readonly verifyRate: number;
}

export interface Plan {
  readonly seed: number;
  /** What it is mostly about, for who looks for something; its steps say all that happens. */
  readonly theme?: Theme;
  readonly circumstances: Circumstances;
  readonly steps: readonly Step[];
}

/** A plan as it is written down, and what it showed. */
export interface KeptPlan {
  /** What went wrong in it. */
  readonly shows: string;
  readonly seed: number;
  readonly circumstances: Circumstances;
  readonly steps: readonly (readonly [kind: StepKind, seed: number, device?: number])[];
}

const weights: Readonly<Record<StepKind, number>> = {
  "device-write": 60,
  "server-write": 22,
  sync: 44,
  start: 6,
  pause: 4,
  fault: 18,
  cut: 4,
  late: 6,
  release: 10,
  cable: 4,
  time: 14,
  rights: 10,
  hold: 10,
  discard: 2,
  retry: 6,
  "give-up": 3,
  reset: 2,
  verify: 3,
  reopen: 2,
  "sign-out": 3,
  clock: 3,
  upgrade: 8,
  trim: 6,
  backup: 6,
  restore: 4,
  "copy-device": 4,
  "backup-device": 4,
  "restore-device": 4,
  "device-crash": 4,
  "device-crash-inside": 6,
  "server-crash-inside": 2,
  "server-restart": 2,
  "hold-round": 1,
  "late-push": 1,
  beside: 0,
};

/** Steps that happen in some runs only, and in how many of them: they loosen what the oracles may ask for. */
const features: readonly { readonly share: number; readonly kinds: readonly StepKind[] }[] = [
  { share: 0.1, kinds: ["backup", "restore"] },
  { share: 0.06, kinds: ["copy-device"] },
  { share: 0.06, kinds: ["backup-device", "restore-device"] },
  { share: 0.2, kinds: ["trim"] },
  { share: 0.3, kinds: ["sign-out"] },
  { share: 0.4, kinds: ["clock"] },
];

const oneDay = 86_400_000;

/** The plan of a seed. */
export function makePlan(seed: number): Plan {
  const random = createRandom(seed);
  const theme = random.pick(themes);
  const facts = themeFacts[theme];
  const devices = random.pick([2, 2, 2, 3]);
  const indexes = Array.from({ length: devices }, (_, i) => i);
  const circumstances: Circumstances = {
    policy: random.pick(policies),
    devices,
    pageRows: random.pick([1, 3, 6, 1000, 1000]),
    pushTransactions: random.pick([1, 2, 100]),
    live: random.pick(["pages", "pages", "pages", "pokes", "none"]),
    bytes: random.chance(0.3),
    onDemand: random.chance(0.3) ? random.some(indexes, 0.5) : [],
    old: random.chance(0.15) ? random.some(indexes, 0.6) : [],
    slow: random.pick([0, 0, 0.3, 0.6]),
    skews: indexes.map(() => (random.chance(0.3) ? random.int(600_000) - 300_000 : 0)),
    keepSentMs: random.pick([7 * oneDay, 7 * oneDay, 60_000, 0]),
    verifyRate: random.pick([0, 0, 0.3]),
    ...facts.circumstances?.(random),
  };
  const absent = new Set<StepKind>();
  if (circumstances.onDemand.length === 0) absent.add("hold");
  if (circumstances.old.length === 0) absent.add("upgrade");
  // What a theme names happens in its runs, whatever the lot says.
  for (const { share, kinds } of features)
    if (!random.chance(share)) for (const kind of kinds) if (facts.weights[kind] === undefined) absent.add(kind);
  const lottery = stepKinds
    .filter((kind) => !absent.has(kind))
    .flatMap((kind) => Array.from({ length: facts.weights[kind] ?? weights[kind] }, () => kind));
  // What waits is released sooner or later, or nothing would ever happen.
  if (circumstances.slow > 0) lottery.push(...Array.from({ length: 60 }, () => "release" as const));
  const length = random.pick(facts.lengths);
  const steps: Step[] = [];
  while (steps.length < length) {
    if (facts.arrangements.length > 0 && random.chance(0.08))
      steps.push(...arrange(random, random.pick(facts.arrangements), circumstances.devices));
    else steps.push({ kind: random.pick(lottery), seed: random.int(2 ** 31) });
  }
  return { seed, theme, circumstances, steps };
}
