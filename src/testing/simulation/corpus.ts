/**
 * Histories that once showed a mistake, of the library or planted in it, made small. They run before anything else. Plans are
 * kept, not seeds: what a seed stands for shifts with every change of the generator.
 *
 * @module
 */

import { planted } from "./corpus-planted.ts";
import type { KeptPlan, Plan } from "./plan.ts";

const kept: readonly KeptPlan[] = [
  {
    shows: "A3: foreign keys are checked at the end of a replayed transaction",
    seed: 20018,
    circumstances: {
      policy: "fields",
      devices: 2,
      pageRows: 3,
      pushTransactions: 2,
      live: "pages",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0,
      skews: [-210623, 45669],
      keepSentMs: 0,
      verifyRate: 0.3,
    },
    steps: [
      ["device-write", 777892965],
      ["device-write", 1470876763],
      ["give-up", 120465979],
    ],
  },
  {
    shows: "A3: a withheld transaction leaves nothing behind",
    seed: 20018,
    circumstances: {
      policy: "fields",
      devices: 2,
      pageRows: 3,
      pushTransactions: 2,
      live: "pages",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0,
      skews: [-210623, 45669],
      keepSentMs: 0,
      verifyRate: 0.3,
    },
    steps: [
      ["device-write", 777892965],
      ["device-write", 1470876763],
      ["give-up", 120465979],
    ],
  },
  {
    shows: "A2: what lastTx covers leaves the queue, with its outcome",
    seed: 20005,
    circumstances: {
      policy: "fields",
      devices: 2,
      pageRows: 1,
      pushTransactions: 100,
      live: "none",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0,
      skews: [-246362, -268226],
      keepSentMs: 60000,
      verifyRate: 0.3,
    },
    steps: [
      ["start", 191305299],
      ["server-write", 158758409],
      ["device-write", 763062500],
    ],
  },
  {
    shows: "A2: rows of scopes that were left are dropped",
    seed: 20009,
    circumstances: {
      policy: "server",
      devices: 2,
      pageRows: 1000,
      pushTransactions: 1,
      live: "pages",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0,
      skews: [0, 0],
      keepSentMs: 604800000,
      verifyRate: 0,
    },
    steps: [
      ["server-write", 631499036],
      ["sync", 1806375149],
      ["rights", 888072111],
    ],
  },
  {
    shows: "P4: a delete of a row that changed unseen is a conflict",
    seed: 20009,
    circumstances: {
      policy: "server",
      devices: 2,
      pageRows: 1000,
      pushTransactions: 1,
      live: "pages",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0,
      skews: [0, 0],
      keepSentMs: 604800000,
      verifyRate: 0,
    },
    steps: [
      ["fault", 1835789269],
      ["sync", 1490445699],
      ["server-write", 1814358677],
      ["device-write", 1597183685],
      ["device-write", 2080046733],
      ["sync", 593183710],
      ["release", 929471658],
      ["server-write", 729483778],
      ["server-write", 1254564728],
      ["device-write", 773226381],
    ],
  },
  {
    shows: "promise 2: an outcome is stored as its transaction leaves the queue",
    seed: 20000,
    circumstances: {
      policy: "last",
      devices: 2,
      pageRows: 1000,
      pushTransactions: 2,
      live: "pokes",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0.3,
      skews: [0, 0],
      keepSentMs: 604800000,
      verifyRate: 0,
    },
    steps: [["device-write", 1165935947]],
  },
  {
    shows: "U1: a lost right restarts a round",
    seed: 20069,
    circumstances: {
      policy: "fields",
      devices: 2,
      pageRows: 3,
      pushTransactions: 100,
      live: "pokes",
      bytes: false,
      onDemand: [],
      old: [],
      slow: 0.6,
      skews: [0, 0],
      keepSentMs: 604800000,
      verifyRate: 0,
    },
    steps: [
      ["start", 876512651],
      ["release", 1336484560],
      ["rights", 1144687479],
    ],
  },
  {
    shows: "P3: a transaction that is discarded while its push is under way does not make another one run twice",
    seed: 918,
    circumstances: {
      policy: "mixed",
      devices: 2,
      pageRows: 1,
      pushTransactions: 100,
      live: "none",
      bytes: true,
      onDemand: [1],
      old: [],
      slow: 0.6,
      skews: [-105520, 0],
      keepSentMs: 60000,
      verifyRate: 0.3,
    },
    steps: [
      ["device-write", 637047857],
      ["device-write", 176989668],
      ["sync", 1364789200],
      ["give-up", 1544965717],
    ],
  },
  {
    shows: "promise 2: what another process wrote and the app then discards leaves the queue by itself",
    seed: 2001327,
    circumstances: {
      policy: "server",
      devices: 2,
      pageRows: 6,
      pushTransactions: 2,
      live: "pages",
      bytes: true,
      onDemand: [],
      old: [],
      slow: 0.6,
      skews: [0, 0],
      keepSentMs: 604800000,
      verifyRate: 0.3,
    },
    steps: [
      ["start", 678253073],
      ["release", 384407761],
      ["server-write", 776308243],
      ["device-write", 1818008619],
      ["give-up", 201895521],
    ],
  },
];

/** The plans, each with what it once showed. */
export const corpus: readonly { readonly shows: string; readonly plan: Plan }[] = [...kept, ...planted].map(
  ({ shows, seed, circumstances, steps }) => ({
    shows,
    plan: {
      seed,
      circumstances,
      steps: steps.map(([kind, stepSeed, device]) => ({
        kind,
        seed: stepSeed,
        ...(device === undefined ? {} : { device }),
      })),
    },
  }),
);

/** A plan as it is written down above. */
export function planText({ seed, circumstances, steps }: Plan): string {
  return JSON.stringify({
    seed,
    circumstances,
    steps: steps.map(({ kind, seed: stepSeed, device }) =>
      device === undefined ? [kind, stepSeed] : [kind, stepSeed, device],
    ),
  });
}
