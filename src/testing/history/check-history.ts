/**
 * The history checker: judges a recorded run of real processes, by their logs and the databases they left. Pure; it
 * shares nothing with the library.
 *
 * - `integrity`: SQLite finds every file sound and every foreign key in place, and the server's rows follow from the changes.
 * - `exactly-once`: no transaction took effect twice, or in part twice, and none that nobody wrote.
 * - `whole`: a transaction took effect with all that it wrote, unmixed with others, and with nothing else.
 * - `half-local`: after a kill a device has a transaction wholly in its queue, or nothing of it.
 * - `order`: each writer's transactions took effect in its own order.
 * - `refused`: nothing that was rejected or rolled back is on the server.
 * - `vanished`: every committed transaction is on the server, or has a rejection.
 * - `one-outcome`, `told`, `settled`: one outcome each, listed once, told to the listener, the same to whoever waited.
 * - `unseen`: nothing was overwritten that its writer had not seen, except by a resolver that the outcome names.
 * - `sum`: transfers keep the sum of each room, after every single transaction.
 * - `snapshot`, `backwards`: what devices showed was a state of the server, and never an earlier one than before.
 * - `cursor`: it was exactly the server's state at the place in the log that the device said it had come to.
 * - `converged`, `leftover`: at the end each device has the server's rows in its scopes, and nothing waiting.
 * - `failed`: no process failed by itself.
 *
 * `live`, that devices get in step by themselves, only who watches the processes can say.
 *
 * When the server was put back as a copy had it (rule I3), what it had written by itself since then may be gone, reports may
 * come again, and what devices showed on the way is not judged: the server shows earlier states itself.
 *
 * @module
 */

import { checkDevices } from "./check-devices.ts";
import { checkTransactions } from "./check-transactions.ts";
import type { Blame, HistoryViolation, RecordedRun } from "./recorded-run.ts";

/** All that is wrong with a run; nothing, if it is sound. */
export function checkHistory(run: RecordedRun): readonly HistoryViolation[] {
  const violations: HistoryViolation[] = [];
  const blame: Blame = (property, message) => void violations.push({ property, message });
  for (const process of [run.server, ...run.devices]) {
    for (const fault of process.faults) blame("integrity", `${process.name}: ${fault}`);
    for (const event of process.events)
      if (event.kind === "failed") blame("failed", `${process.name}: ${event.message}`);
  }
  checkDevices(run, checkTransactions(run, blame), blame);
  return violations;
}
