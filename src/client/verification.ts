/**
 * Which scopes the next pull asks the server to sum, and what came of it. Two things ask: the app (`verify`), and chance
 * (`verifyRate`). It goes by the ordinary pull, so that the state machine stays as it is; a few scopes at a time, so that no
 * single answer reads a whole database.
 *
 * A mismatch is healed by a reset. The fresh snapshot's last page is compared as well: where it differs from the server's rows
 * too, the two sides store the same values differently, no reset can help, and chance asks no more.
 *
 * @module
 */

import { SyncError } from "../protocol/errors.ts";
import { heldScopes, type Checkpoint } from "./checkpoint.ts";
import { STRAY } from "./checksums.ts";

/** What {@link SyncEngine.verify} found. */
export interface VerifyResult {
  /** How many scopes were compared. */
  readonly checked: number;
  /**
   * The scopes whose rows were not the server's; they have been fetched anew. An empty text stands for rows that were in no
   * scope that the device holds.
   */
  readonly mismatched: readonly string[];
}

/** What an applied page said about the scopes that were asked about. */
export interface Verdict {
  readonly checked: readonly string[];
  readonly mismatched: readonly string[];
  /** Whether the page belongs to a fresh snapshot: then a mismatch cannot be healed by another one. */
  readonly isFresh: boolean;
}

/** The verification of one engine. */
export interface Verification {
  /** The scopes that a pull from this checkpoint asks about; undefined for none. */
  ask(checkpoint: Checkpoint): readonly string[] | undefined;
  take(verdict: Verdict): void;
  /**
   * Verifies those of `scopes` that are held, or all. `pull` makes the device pull until it is in step, and gives the checkpoint
   * then; it is called until all of them were asked about.
   */
  verify(scopes: readonly string[] | undefined, pull: () => Promise<Checkpoint | undefined>): Promise<VerifyResult>;
}

/** Scopes asked about at a time. */
const MAX_ASKED = 100;

/** How often in a row a pull may tell no checksum that was asked for. */
const MAX_VAIN = 3;

/** Creates the verification of one engine. `rate`: the share of rounds that ask by chance. */
export function createVerification(rate: number, random: () => number): Verification {
  const runs = new Set<Run>();
  /** Drawn for the round in progress. */
  let drawn: readonly string[] = [];
  /** Compared again with the fresh snapshot. */
  let doubted: readonly string[] = [];
  let isHopeless = false;

  const draw = (held: readonly string[]): readonly string[] => {
    if (isHopeless || rate <= 0 || held.length === 0 || random() >= rate) return [];
    const start = Math.floor(random() * held.length);
    return held.length <= MAX_ASKED ? held : [...held.slice(start), ...held.slice(0, start)].slice(0, MAX_ASKED);
  };
  return {
    ask(checkpoint) {
      if (checkpoint.base !== "whole") return undefined;
      const held = heldScopes(checkpoint);
      if (checkpoint.round === undefined && checkpoint.cursor !== undefined) drawn = draw(held);
      const asked = new Set([...doubted, ...drawn]);
      for (const run of runs) for (const scope of held) if (run.wants(scope)) asked.add(scope);
      return asked.size === 0 ? undefined : [...asked].slice(0, MAX_ASKED);
    },
    take({ checked, mismatched, isFresh }) {
      for (const run of runs) run.note(checked, mismatched);
      drawn = [];
      doubted = isFresh ? [] : mismatched.filter((scope) => scope !== STRAY);
      isHopeless ||= isFresh && mismatched.length > 0;
    },
    async verify(scopes, pull) {
      const run = createRun(scopes);
      runs.add(run);
      try {
        for (let vain = 0; vain <= MAX_VAIN; vain++) {
          const { checked } = run.result;
          const checkpoint = await pull();
          if (run.isDone(checkpoint)) return run.result;
          if (run.result.checked > checked) vain = 0;
        }
        throw untoldChecksums();
      } finally {
        runs.delete(run);
      }
    },
  };
}

/** One call of `verify`. */
interface Run {
  /** Whether every scope of it that is held has been compared. */
  isDone(checkpoint: Checkpoint | undefined): boolean;
  readonly result: VerifyResult;
  wants(scope: string): boolean;
  note(checked: readonly string[], mismatched: readonly string[]): void;
}

function createRun(scopes: readonly string[] | undefined): Run {
  const wanted = scopes && new Set(scopes);
  const seen = new Set<string>();
  const differing = new Set<string>();
  const wants = (scope: string): boolean => (!wanted || wanted.has(scope)) && !seen.has(scope);
  return {
    wants,
    note(checked, mismatched) {
      for (const scope of checked) if (wants(scope)) seen.add(scope);
      for (const scope of mismatched) if (scope === STRAY || seen.has(scope)) differing.add(scope);
    },
    isDone: (checkpoint) => checkpoint?.cursor !== undefined && !heldScopes(checkpoint).some(wants),
    get result() {
      return { checked: seen.size, mismatched: [...differing].sort() };
    },
  };
}

/** What is told of a mismatch. The scopes are in its details: they may name an app's things. */
export function mismatchError({ mismatched, isFresh }: Verdict): SyncError<"CHECKSUM_MISMATCH"> {
  const details = { scopes: mismatched };
  return isFresh
    ? new SyncError({
        code: "CHECKSUM_MISMATCH",
        message:
          "Even a fresh snapshot differs from the server's rows: the two sides store the same values differently. Declare the same columns on both, and let no trigger of the device change synced rows.",
        details,
      })
    : new SyncError({
        code: "CHECKSUM_MISMATCH",
        message:
          "Rows on this device were not the server's; a fresh snapshot is taken. Nothing that was written here is lost.",
        details,
      });
}

/** The server answers, but not what it was asked for. */
function untoldChecksums(): SyncError {
  return new SyncError({
    code: "UNAVAILABLE",
    message: "The server does not tell the checksums that it is asked for. Try again.",
  });
}
