/**
 * One transaction on the server against what its writer wrote: each effect is there or set aside by a conflict that the
 * outcome names, nothing else is, and nothing was overwritten that the writer had not seen.
 *
 * @module
 */

import type { EffectiveTransaction } from "./audit.ts";
import type { Effect, ToldConflict } from "./events.ts";
import { nameOf, writerOf, type AuditRow, type Blame } from "./recorded-run.ts";

/** Boards that a transaction was to delete, and those of them that a conflict kept. */
interface Boards {
  readonly emptied: ReadonlySet<string>;
  readonly kept: ReadonlySet<string>;
}

/**
 * Checks all effects of a transaction that took effect. `isRepeated`: the server was put back, so that the transaction
 * may have been judged more than once; `conflicts` are those of all judgements.
 */
export function checkEffects(
  done: EffectiveTransaction,
  effects: readonly Effect[],
  { conflicts, isRepeated }: { readonly conflicts: readonly ToldConflict[]; readonly isRepeated: boolean },
  blame: Blame,
): void {
  const emptied = effects.filter(({ table, kind }) => table === "boards" && kind === "delete").map(({ key }) => key);
  const won = conflicts.filter(({ table, winner }) => table === "boards" && winner === "server").map(({ key }) => key);
  const boards: Boards = { emptied: new Set(emptied), kept: new Set(emptied.filter((key) => won.includes(key))) };
  for (const effect of effects) {
    const name = nameOf(effect);
    const changes = done.changes.filter((change) => nameOf(change) === name);
    const conflict = conflicts.find((candidate) => nameOf(candidate) === name);
    // Of two reports on two judgements nobody can tell which one the row shows.
    if (conflict !== undefined && isRepeated) continue;
    if (conflict?.winner === "server") {
      if (changes.length > 0) blame("unseen", `${done.tx} changed ${name}, which a conflict had set aside`);
    } else if (effect.kind === "delete") checkDelete(done, effect, changes, conflict, boards, blame);
    else checkWrite(done, effect, changes, conflict, blame);
  }
  const meant = new Set(effects.map(nameOf));
  for (const change of done.changes) {
    if (!meant.has(nameOf(change)) && !isCascaded(change, boards))
      blame("whole", `${done.tx} did more than was written: ${change.kind} of ${nameOf(change)}`);
  }
}

function checkWrite(
  done: EffectiveTransaction,
  effect: Effect,
  changes: readonly AuditRow[],
  conflict: ToldConflict | undefined,
  blame: Blame,
): void {
  const what = `${effect.kind} of ${nameOf(effect)} by ${done.tx}`;
  const write = changes.filter((change) => change.new !== null && writerOf(change.new) === done.tx).at(-1);
  if (!write?.new) {
    blame("whole", `${what} is missing`);
    return;
  }
  for (const [column, value] of Object.entries(effect.values ?? {})) {
    if (effect.delta !== undefined && column === "balance") continue;
    if (column === "by" && conflict?.winner === "merged") continue;
    if (write.new[column] !== value) blame("whole", `${what} did not write \`${column}\``);
  }
  if (effect.delta !== undefined && Number(write.new["balance"]) - Number(write.old?.["balance"]) !== effect.delta)
    blame("exactly-once", `${what} added something else than ${effect.delta}`);
  if (conflict === undefined) checkSeen(effect, changes[0], what, blame);
}

function checkDelete(
  done: EffectiveTransaction,
  effect: Effect,
  changes: readonly AuditRow[],
  conflict: ToldConflict | undefined,
  { emptied, kept }: Boards,
  blame: Blame,
): void {
  const what = `delete of ${nameOf(effect)} by ${done.tx}`;
  const deletion = changes.find((change) => change.kind === "delete");
  if (deletion === undefined) {
    const before = done.before.get(nameOf(effect));
    // A delete of a missing row is nothing (rule P4), and if the parent stays, the child stays (rule P7).
    if (before !== undefined && !kept.has(String(before["board_id"]))) blame("whole", `${what} is missing`);
  } else if (conflict === undefined && !isCascaded(deletion, { emptied })) checkSeen(effect, deletion, what, blame);
}

/** What a cascade does is not judged alone (rule P7): a board takes along cards that its deleter never saw. */
function isCascaded(change: AuditRow, { emptied }: Pick<Boards, "emptied">): boolean {
  return change.table === "cards" && change.kind === "delete" && emptied.has(String(change.old?.["board_id"]));
}

/** Without a conflict the row was as its writer saw it. */
function checkSeen(effect: Effect, first: AuditRow | undefined, what: string, blame: Blame): void {
  const found = first?.old?.["by"];
  if (found !== effect.seen) blame("unseen", `${what} saw ${effect.seen ?? "no row"}, and met ${found ?? "no row"}`);
}
