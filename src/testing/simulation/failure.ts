/**
 * A run that failed: what kind of failure it is, and the shortest history that shows it.
 *
 * @module
 */

import { planText } from "./corpus.ts";
import { minimize } from "./minimize.ts";
import type { Plan } from "./plan.ts";
import { runPlan } from "./run.ts";
import type { Totals } from "./totals.ts";
import { Violation } from "./violation.ts";

/** Runs a plan; answers what happened in it, or what went wrong. */
export async function totalsOrFailure(plan: Plan, trace?: (line: string) => void): Promise<Totals | Error> {
  try {
    return await runPlan(plan, trace);
  } catch (error) {
    return rootOf(error instanceof Error ? error : new Error(String(error)));
  }
}

/** Makes a failing plan small, and tells its history, in the form in which the corpus keeps it, too. */
export async function explain(plan: Plan, failure: Error): Promise<string> {
  const kind = kindOf(failure);
  const small = await minimize(plan, async (candidate) => {
    const found = await totalsOrFailure(candidate);
    return found instanceof Error && kindOf(found) === kind;
  });
  const lines: string[] = [];
  const last = await totalsOrFailure(small, (line) => lines.push(line));
  const text = last instanceof Violation ? last.message : last instanceof Error ? stackOf(last) : failure.message;
  return `${text}\n  ${JSON.stringify(small.circumstances)}\n  ${lines.join("\n  ")}\n  ${planText(small)}\n`;
}

/** Failures of one kind are the same failure, as far as making one small is concerned. */
export function kindOf(error: Error): string {
  return error instanceof Violation
    ? error.oracle
    : `${error.name}: ${error.message.replaceAll(/\d+/g, "#").slice(0, 60)}`;
}

/** What an oracle threw inside the library's own transaction comes back wrapped. */
function rootOf(error: Error): Error {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof Violation) return cause;
  return error;
}

function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\n  caused by ${stackOf(error.cause)}` : own;
}
