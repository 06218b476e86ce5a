/**
 * How a ratio is taken: two variants, run by turns in processes of their own, each in the same order equally often;
 * the ratio of their medians, and how far the ratios of the single turns lie apart.
 */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

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

/** Starts a program of this folder in a process of its own. It answers with messages. */
export function startProcess(file: string, args: readonly string[]): ChildProcess {
  return fork(new URL(file, import.meta.url), args, {
    execArgv: ["--import", fileURLToPath(new URL("../.ci/typescript.mjs", import.meta.url))],
  });
}

/** The next message of a process. Fails when it ends without one. */
export function nextMessage<T>(process: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null): void => reject(new Error(`A benchmark process ended with exit code ${code}.`));
    process.once("exit", ended);
    process.once("message", (message) => {
      process.off("exit", ended);
      resolve(message as T);
    });
  });
}

/** Runs a program to its end and returns its one message. */
export async function runProcess<T>(file: string, args: readonly string[]): Promise<T> {
  const process = startProcess(file, args);
  const message = await nextMessage<T>(process);
  if (process.exitCode === null) await new Promise((resolve) => process.once("exit", resolve));
  return message;
}

/** Sends a message to whoever started this process. */
export function report(message: object): void {
  if (!process.send) throw new Error("This program is started by the benchmark.");
  process.send(message);
}
