/**
 * What the app on a device remembers, for the oracles: what it wrote, what it was shown and when, what it was told of.
 *
 * @module
 */

import type { Outcome } from "../../client/client.ts";
import { transactionId } from "../../client/outcomes.ts";
import type { LocalTransaction } from "./local-transaction.ts";
import type { Row, RowChange, State } from "./state.ts";

/** One report to the app about one transaction. */
export interface Told {
  readonly status: Outcome["status"];
  /** Whether the report said that there may have been another one. */
  readonly again: boolean;
}

export interface Memory {
  /** By stamp. */
  readonly written: ReadonlyMap<number, LocalTransaction>;
  /** Stamps of transactions that the app discarded while they were pending, or tried to. */
  readonly givenUp: ReadonlySet<number>;
  /** Ids of outcomes that the app has dealt with. */
  readonly resolved: Set<string>;
  /** How often its process died: what it was telling then, it tells again. */
  readonly crashes: number;
  noteCrash(): void;
  toldOf(id: string): readonly Told[];
  /** Whether a transaction of this number was reported as lost. */
  isLost(number: number): boolean;
  noteWritten(stamp: number, number: number, step: number, changes: readonly RowChange[]): void;
  noteGivenUp(id: string): void;
  noteTold(outcome: Outcome, lost: readonly [from: number, to: number] | undefined): void;
  noteShown(visible: State, step: number): void;
  /** Everything local was deleted. */
  forget(): void;
  image(): MemoryImage;
  restore(image: MemoryImage): void;
}

/** The memory that goes with a device's file. */
export interface MemoryImage {
  readonly written: ReadonlyMap<number, LocalTransaction>;
  readonly givenUp: ReadonlySet<number>;
  readonly resolved: ReadonlySet<string>;
  readonly told: ReadonlyMap<string, readonly Told[]>;
  readonly lost: readonly (readonly [number, number])[];
  readonly shown: ReadonlyMap<string, number>;
  readonly crashes: number;
}

/** Everything that was ever written in a run, by whichever device, by stamp. */
export type Library = Map<number, LocalTransaction>;

export function createMemory(device: string, subject: string, library: Library, image?: MemoryImage): Memory {
  const written = new Map<number, LocalTransaction>();
  const givenUp = new Set<number>();
  const resolved = new Set<string>();
  const told = new Map<string, readonly Told[]>();
  let crashes = 0;
  let lost: (readonly [number, number])[] = [];
  let shown = new Map<string, number>();
  /** Rows whose values are all in `shown`. */
  let noted = new WeakSet<Row>();

  const restore = (from: MemoryImage): void => {
    for (const [mine, theirs] of [
      [written, from.written],
      [told, from.told],
    ] as const) {
      mine.clear();
      for (const [key, value] of theirs) (mine as Map<unknown, unknown>).set(key, value);
    }
    givenUp.clear();
    for (const stamp of from.givenUp) givenUp.add(stamp);
    resolved.clear();
    for (const id of from.resolved) resolved.add(id);
    lost = [...from.lost];
    shown = new Map(from.shown);
    crashes = Math.max(crashes, from.crashes);
    noted = new WeakSet();
  };
  if (image) restore(image);

  return {
    written,
    givenUp,
    resolved,
    get crashes() {
      return crashes;
    },
    noteCrash: () => void crashes++,
    toldOf: (id) => told.get(id) ?? [],
    isLost: (number) => lost.some(([from, to]) => from <= number && number <= to),
    noteWritten(stamp, number, step, changes) {
      const values = shown;
      const transaction: LocalTransaction = {
        stamp,
        number,
        step,
        changes,
        device,
        subject,
        seenAt: (id, column, value) => values.get(`${id}|${column}|${value}`),
      };
      written.set(stamp, transaction);
      library.set(stamp, transaction);
    },
    noteGivenUp(id) {
      for (const stamp of written.keys()) if (transactionId(stamp) === id) givenUp.add(stamp);
    },
    noteTold({ id, status, again }, numbers) {
      told.set(id, [...(told.get(id) ?? []), { status, again: again === true }]);
      if (numbers !== undefined) lost.push(numbers);
    },
    noteShown(visible, step) {
      for (const [id, row] of visible) {
        if (noted.has(row)) continue;
        noted.add(row);
        for (const [column, value] of Object.entries(row.cells)) {
          if (typeof value !== "string") continue;
          const name = `${id}|${column}|${value}`;
          if (!shown.has(name)) shown.set(name, step);
        }
      }
    },
    forget() {
      written.clear();
    },
    image: () => ({
      written: new Map(written),
      givenUp: new Set(givenUp),
      resolved: new Set(resolved),
      told: new Map(told),
      lost: [...lost],
      shown: new Map(shown),
      crashes,
    }),
    restore,
  };
}
