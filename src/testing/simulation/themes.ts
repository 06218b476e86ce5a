/**
 * Themes: what a run is mostly about. Mistakes need several things to happen close together — a backup is restored right after
 * a push was acknowledged, the log is trimmed between two pages of a round — which steps drawn one by one hardly ever do. A
 * theme draws its own steps more often, and now and then a whole arrangement of them.
 *
 * @module
 */

import type { Random } from "../random.ts";
import type { Circumstances, Step, StepKind } from "./plan.ts";

export const themes = ["plain", "streams", "rounds", "trims", "restores", "copies", "tabs", "schema"] as const;
export type Theme = (typeof themes)[number];

/** Steps in their order; `a` and `b` are two devices, `last` the one that was copied last. */
type Arrangement = readonly (StepKind | `${StepKind} ${"a" | "b" | "last"}`)[];

export interface ThemeFacts {
  /** Steps that happen in other runs never or less often, by their weight. */
  readonly weights: Partial<Record<StepKind, number>>;
  readonly arrangements: readonly Arrangement[];
  /** How many steps a run has, arrangements included; one of them. */
  readonly lengths: readonly number[];
  readonly circumstances?: (random: Random) => Partial<Circumstances>;
}

const fewRows = (random: Random): Partial<Circumstances> => ({ pageRows: random.pick([1, 2, 3]) });
const days = 86_400_000;

/** What is written while the second page of a round is on its way. */
const interrupted = (...meanwhile: Arrangement): Arrangement => [
  "server-write",
  "server-write",
  "reset a",
  "hold-round a",
  "sync a",
  ...meanwhile,
  "release a",
  "sync a",
];

export const themeFacts: Readonly<Record<Theme, ThemeFacts>> = {
  plain: { weights: {}, arrangements: [], lengths: [30, 60] },
  streams: {
    weights: { start: 20, cut: 10, fault: 24, late: 10, clock: 3 },
    arrangements: [
      ["start a", "device-write a", "late-push a", "server-write", "device-write a", "late a", "sync a"],
      ["start a", "cut a", "server-write", "device-write b", "sync b", "time"],
    ],
    lengths: [30, 50],
    circumstances: (random) => ({
      live: random.pick(["pages", "pages", "pokes"]),
      slow: random.pick([0, 0.3]),
    }),
  },
  rounds: {
    weights: { reset: 8, "hold-round": 14, release: 40, rights: 14, "server-write": 30 },
    arrangements: [
      interrupted("server-write", "server-write", "server-write", "server-write"),
      interrupted("rights", "server-write", "server-write"),
      interrupted("device-write b", "sync b", "device-write b", "sync b", "server-write"),
      ["rights a", "rights a", "hold-round a", "sync a", "server-write", "server-write", "server-write", "release a"],
    ],
    lengths: [30, 45],
    circumstances: fewRows,
  },
  trims: {
    weights: { trim: 14, "hold-round": 8, release: 20, reset: 4, "server-write": 30 },
    arrangements: [
      interrupted("server-write", "server-write", "server-write", "trim", "trim"),
      ["sync a", "server-write", "trim", "server-write", "sync a"],
    ],
    lengths: [30, 45],
    circumstances: (random) => ({ pageRows: random.pick([1, 2, 3, 1000]) }),
  },
  restores: {
    weights: { backup: 6, restore: 5, trim: 2, "hold-round": 4, release: 12 },
    arrangements: [
      ["backup", "device-write a", "sync a", "restore", "device-write a", "sync a"],
      ["device-write a", "backup", "sync a", "sync a", "device-write b", "sync b", "restore", "sync a", "sync b"],
      ["backup", "device-write a", "sync a", "server-write", "restore", "server-write", "server-write", "sync a"],
      [
        "backup",
        ...interrupted("restore", "server-write", "server-write", "server-write", "server-write", "server-write"),
      ],
    ],
    lengths: [30, 45],
    circumstances: (random) => ({
      pageRows: random.pick([1, 3, 1000]),
      keepSentMs: random.pick([7 * days, 7 * days, 60_000, 0]),
    }),
  },
  copies: {
    weights: { "copy-device": 4, "backup-device": 6, "restore-device": 5, rights: 14 },
    arrangements: [
      [
        "sync a",
        "copy-device a",
        "sync last",
        "device-write a",
        "sync a",
        "device-write last",
        "device-write last",
        "sync last",
      ],
      [
        "sync a",
        "copy-device a",
        "sync last",
        "device-write a",
        "device-write last",
        "device-write last",
        "sync last",
        "sync a",
      ],
      [
        "sync a",
        "backup-device a",
        "device-write a",
        "sync a",
        "restore-device a",
        "device-write a",
        "device-write a",
        "sync a",
      ],
      [
        "server-write",
        "device-write a",
        "device-write a",
        "backup-device a",
        "sync a",
        "server-write",
        "sync a",
        "sync a",
        "restore-device a",
        "sync a",
      ],
    ],
    lengths: [30, 45],
    circumstances: () => ({ devices: 2 }),
  },
  tabs: {
    weights: { beside: 24, release: 40, reset: 5, "server-write": 30 },
    arrangements: [
      ["reset a", "beside a", "device-write a", "sync a", "reset a", "release a"],
      ["beside a", "device-write a", "sync a", "server-write", "sync a", "release a"],
      ["reset a", "beside a", "server-write", "sync a", "device-write a", "server-write", "sync a", "release a"],
      ["reset a", "hold-round a", "sync a", "beside a", "server-write", "reset a", "sync a", "release a", "release a"],
    ],
    lengths: [30, 45],
    circumstances: (random) => ({ pageRows: random.pick([1, 3, 1000]), devices: 2, bytes: false }),
  },
  schema: {
    weights: { upgrade: 8, "device-crash": 6 },
    arrangements: [
      ["device-write a", "upgrade a", "device-write a", "sync a"],
      ["server-write", "sync a", "server-write", "upgrade a", "server-write", "sync a"],
    ],
    lengths: [30, 45],
    circumstances: (random) => ({ old: random.pick([[0], [1], [0, 1]]) }),
  },
};

/** An arrangement's steps. */
export function arrange(random: Random, arrangement: Arrangement, devices: number): Step[] {
  const a = random.int(devices);
  const places = { a, b: (a + 1) % devices, last: -1 } as const;
  return arrangement.map((each): Step => {
    const [kind, who] = each.split(" ") as [StepKind, ("a" | "b" | "last")?];
    const seed = random.int(2 ** 31);
    return who === undefined ? { kind, seed } : { kind, seed, device: places[who] };
  });
}
