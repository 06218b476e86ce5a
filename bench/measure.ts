/**
 * How a ratio is taken: two variants, run by turns in processes of their own, each in the same order equally often;
 * the ratio of their medians, and how far the ratios of the single turns lie apart.
 */
/** One line of a result. */
export interface ResultRow {
  readonly what: string;
  /** Ours divided by the other. */
  readonly ratio: number;
  /** What it must not exceed. */
  readonly bar: number;
  /** The lowest and the highest ratio of a single turn. */
  readonly spread: readonly [number, number];
  readonly against: string;
}

export interface Result {
  readonly name: string;
  readonly rows: readonly ResultRow[];
  readonly figures: Readonly<Record<string, number | string>>;
}

export interface BenchOptions {
  readonly rows: number;
  readonly runs: number;
  readonly seed: number;
}

/** One benchmark. */
export interface Benchmark {
  /** How much is done, and how often. */
  readonly defaults: { readonly rows: number; readonly runs: number };
  /** The same for a short run; absent where little says nothing. */
  readonly short?: { readonly rows: number; readonly runs: number };
  run(options: BenchOptions): Promise<Result>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

/** The line for two equally long lists of times, turn by turn. */
export function compare(
  what: string,
  ours: readonly number[],
  theirs: readonly number[],
  bar: number,
  against: string,
): ResultRow {
  const ratios = ours.map((time, turn) => time / (theirs[turn] ?? Number.NaN));
  return {
    what,
    ratio: round(median(ours) / median(theirs)),
    bar,
    spread: [round(Math.min(...ratios)), round(Math.max(...ratios))],
    against,
  };
}

export const round = (value: number): number => Math.round(value * 1000) / 1000;

/** Runs two variants by turns, the first of them changing. */
export async function interleave<T>(
  runs: number,
  a: () => Promise<T>,
  b: () => Promise<T>,
): Promise<readonly [T[], T[]]> {
  const resultsA: T[] = [];
  const resultsB: T[] = [];
  for (let turn = 0; turn < runs; turn++) {
    if (turn % 2 === 0) {
      resultsA.push(await a());
      resultsB.push(await b());
    } else {
      resultsB.push(await b());
      resultsA.push(await a());
    }
  }
  return [resultsA, resultsB];
}

/** The value below which a share of the values lies. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** The line for one percentile of times that were taken many in a turn. */
export function compareAt(
  what: string,
  ours: readonly (readonly number[])[],
  theirs: readonly (readonly number[])[],
  share: number,
  bar: number,
  against: string,
): ResultRow {
  const at = (turns: readonly (readonly number[])[]): number[] => turns.map((turn) => percentile(turn, share));
  return compare(what, at(ours), at(theirs), bar, against);
}
