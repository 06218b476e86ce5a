/**
 * Who waits for the machine to come to rest: for a whole cycle, or for a pull alone. They are answered after each of its
 * steps, and turned away when it stops where it cannot go on by itself.
 *
 * @module
 */

import type { SyncError } from "../protocol/errors.ts";
import { unreachableNow } from "./engine-errors.ts";
import type { MachineEvent, SyncStatus } from "./machine.ts";
import type { Runner } from "./runner.ts";
import { createWaiting } from "./waiting.ts";

/** The waiting callers of one engine. */
export interface Cycles {
  /** Waits until the device is in step and the server has everything. */
  whole(signal?: AbortSignal): Promise<true>;
  /** Waits until the device is in step, whatever became of its queue. */
  pulled(signal?: AbortSignal): Promise<true>;
  /** The machine has made a step, or somebody has begun to wait. */
  answer(event?: MachineEvent): void;
  reject(error: SyncError): void;
}

/** Creates them for the machine of a runner. */
export function createCycles(runner: () => Pick<Runner, "machine" | "lastError">): Cycles {
  const whole = createWaiting<undefined, true>();
  const pulled = createWaiting<undefined, true>();
  return {
    whole: (signal) => whole.wait(undefined, signal),
    pulled: (signal) => pulled.wait(undefined, signal),
    answer(event) {
      if (whole.size === 0 && pulled.size === 0) return;
      const { machine, lastError } = runner();
      const { status, queue } = machine;
      // `idle` is where a single cycle ends, and where a cycle that was cut short ends, too.
      const isInStep = status === "synced" || (status === "idle" && event?.type === "pulled");
      if (isInStep) pulled.resolve(() => true);
      if (isInStep && queue === "empty") whole.resolve(() => true);
      if (isGoing(status)) return;
      const reason = (status === "paused" ? undefined : lastError) ?? unreachableNow(status);
      whole.reject(reason);
      pulled.reject(reason);
    },
    reject(error) {
      whole.reject(error);
      pulled.reject(error);
    },
  };
}

/** Whether requests follow one another, so that rest is ahead. */
function isGoing(status: SyncStatus): boolean {
  return status === "connecting" || status === "bootstrapping" || status === "pulling" || status === "pushing";
}
