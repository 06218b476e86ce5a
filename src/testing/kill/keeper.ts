/**
 * One program of the kill test, kept running by its supervisor.
 *
 * @module
 */

import { fork, type ChildProcess } from "node:child_process";
import type { Mark, Notice, Order, ProcessConfig } from "./process.ts";
import type { DeathOrder } from "./sudden-death.ts";

/** How long a process may take to come to the statement at which it is to die, in milliseconds. */
const DEATH_MS = 1000;

/** Keeps one program running: starts it, kills it, starts it again. */
export interface Keeper {
  readonly name: string;
  /** Whether it has reached its `ready` mark. */
  readonly isReady: boolean;
  /** Starts it; with an order, to die by itself. */
  start(death?: DeathOrder): void;
  /** Kills it and waits until it is gone. */
  kill(): Promise<void>;
  /** Has it die at a statement or commit; kills it when it does not come there. */
  killAt(order: DeathOrder): Promise<void>;
  /** Waits until it has died as it was ordered at its start; kills it when it does not come there. */
  killed(): Promise<void>;
  /** Resolves at the mark of that kind that comes as the `count`th from now on; also when the time is over. */
  at(mark: Mark, withinMs: number, count?: number): Promise<void>;
  /** Gives an order; resolves when it is carried out, rejects when the process ends before. */
  order(order: Order): Promise<void>;
  /** Ends it, however. */
  end(): Promise<void>;
}

/** Creates the keeper of a program, which is not started yet. */
export function createKeeper(program: string, config: Omit<ProcessConfig, "life" | "death">): Keeper {
  let child: ChildProcess | undefined;
  let life = 0;
  let isReady = false;
  let isExpected = false;
  let failure: Error | undefined;
  const listeners = new Set<(notice: Notice) => void>();
  const gone = new Set<() => void>();

  const kill = async (): Promise<void> => {
    const dying = child;
    if (!dying || dying.exitCode !== null || dying.signalCode !== null) return;
    isExpected = true;
    const exit = new Promise((resolve) => dying.once("exit", resolve));
    dying.kill("SIGKILL");
    await exit;
  };
  const killed = async (withinMs: number): Promise<void> => {
    const dying = child;
    if (!dying || dying.exitCode !== null || dying.signalCode !== null) return;
    let timer: NodeJS.Timeout | undefined;
    const exit = new Promise((resolve) => dying.once("exit", resolve));
    await Promise.race([exit, new Promise((resolve) => (timer = setTimeout(resolve, withinMs)))]);
    clearTimeout(timer);
    await kill();
  };
  return {
    name: config.name,
    get isReady() {
      return isReady;
    },
    start(death) {
      isReady = false;
      isExpected = death !== undefined;
      child = fork(program, [JSON.stringify({ ...config, life: life++, death })], {
        execArgv: ["--enable-source-maps"],
      });
      child.on("message", (notice: Notice) => {
        if ("mark" in notice && notice.mark === "ready") isReady = true;
        for (const listener of listeners) listener(notice);
      });
      child.once("exit", (code, signal) => {
        if (!isExpected && code !== 0) failure = new Error(`${config.name} ended by itself: ${code ?? signal}`);
        for (const listener of gone) listener();
      });
    },
    kill,
    async killAt(order) {
      if (!child?.connected || child.exitCode !== null) return await kill();
      isExpected = true;
      child.send(order);
      await killed(DEATH_MS);
    },
    // It has to load its modules first.
    killed: () => killed(2 * DEATH_MS),
    at: (mark, withinMs, count = 1) =>
      new Promise((resolve) => {
        let left = count;
        const finish = (): void => {
          clearTimeout(timer);
          listeners.delete(listener);
          resolve();
        };
        const listener = (notice: Notice): void => {
          if ("mark" in notice && notice.mark === mark && --left <= 0) finish();
        };
        const timer = setTimeout(finish, withinMs);
        listeners.add(listener);
      }),
    order: (order) =>
      new Promise((resolve, reject) => {
        const fail = (): void => reject(failure ?? new Error(`${config.name} ended before it could ${order}`));
        if (failure) return fail();
        const listener = (notice: Notice): void => {
          if (!("done" in notice) || notice.done !== order) return;
          listeners.delete(listener);
          gone.delete(fail);
          isExpected = true;
          resolve();
        };
        listeners.add(listener);
        gone.add(fail);
        child?.send(order);
      }),
    end: kill,
  };
}
