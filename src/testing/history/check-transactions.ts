/**
 * Every transaction from its writer's side: what it wrote, whether that was committed, what it was told, and whether the
 * server agrees.
 *
 * @module
 */

import { readAudit, type Audit } from "./audit.ts";
import { checkEffects } from "./check-effects.ts";
import type { Effect, HistoryEvent, ListedOutcome } from "./events.ts";
import { nameOf, wasRestored, type Blame, type RecordedProcess, type RecordedRun } from "./recorded-run.ts";

/** `doubt`: a kill came between the beginning and the end, and nobody looked afterwards. */
type Fate = "committed" | "not" | "doubt";

interface LocalTransaction {
  readonly n: number;
  readonly effects: readonly Effect[];
  fate: Fate;
}

/** Checks all transactions; gives what the audit says, for those who check what devices showed. */
export function checkTransactions(run: RecordedRun, blame: Blame): Audit {
  const written = new Map<string, ReadonlyMap<string, LocalTransaction>>();
  for (const process of [run.server, ...run.devices]) written.set(process.name, readTransactions(process, blame));
  const effects = new Map([...written.values()].flatMap((own) => [...own].map(([tx, local]) => [tx, local.effects])));
  const audit = readAudit(run, (tx) => effects.get(tx) ?? [], blame);

  checkOrder(run, audit, effects, blame);
  for (const [tx, { fate, effects: meant }] of written.get(run.server.name) ?? []) {
    const done = audit.transactions.get(tx);
    if (fate === "committed" && !done) blame("vanished", `${tx} was committed on the server, and is not there`);
    if (fate === "not" && done) blame("refused", `${tx} was rolled back on the server, and is there`);
    if (done) checkEffects(done, meant, { conflicts: [], isRepeated: false }, blame);
  }
  for (const device of run.devices)
    checkDevice(device, written.get(device.name) ?? new Map(), audit, wasRestored(run), blame);
  return audit;
}

function readTransactions(process: RecordedProcess, blame: Blame): ReadonlyMap<string, LocalTransaction> {
  const transactions = new Map<string, LocalTransaction>();
  const copies = new Map<number, number>();
  const decide = (tx: string, fate: Fate): void => {
    const local = transactions.get(tx);
    if (local) local.fate = fate;
  };
  for (const event of process.events) {
    switch (event.kind) {
      case "begin":
        transactions.set(event.tx, { n: event.n, effects: event.effects, fate: "doubt" });
        break;
      case "backup":
        copies.set(event.copy, transactions.size);
        break;
      case "restored":
        for (const tx of [...transactions.keys()].slice(copies.get(event.copy))) decide(tx, "doubt");
        break;
      case "committed":
        decide(event.tx, "committed");
        break;
      case "aborted":
        decide(event.tx, "not");
        break;
      case "found":
        decide(event.tx, event.operations === null ? "not" : "committed");
        checkFound(event, transactions.get(event.tx)?.effects ?? [], blame);
        break;
    }
  }
  return transactions;
}

/** A transaction in doubt is wholly in the queue or not at all. */
function checkFound(event: HistoryEvent & { kind: "found" }, effects: readonly Effect[], blame: Blame): void {
  const { tx, operations, isVisible } = event;
  if (operations === null) {
    if (isVisible) blame("half-local", `${tx} shows on its device, and is not in the queue`);
    return;
  }
  const queued = new Set(operations.map((operation) => `${operation.kind} of ${nameOf(operation)}`));
  for (const effect of [{ kind: "insert", table: "ops", key: tx } as const, ...effects]) {
    const what = `${effect.kind} of ${nameOf(effect)}`;
    if (!queued.has(what)) blame("half-local", `${tx} is in the queue without its ${what}`);
  }
}

/** What is there was written by somebody, and in that order. */
function checkOrder(run: RecordedRun, audit: Audit, effects: ReadonlyMap<string, unknown>, blame: Blame): void {
  const last = new Map<string, number>();
  for (const { tx, author, n } of audit.transactions.values()) {
    if (tx === run.seed) continue;
    if (!effects.has(tx)) blame("exactly-once", `${tx} is on the server, and nobody wrote it`);
    if (n <= (last.get(author) ?? 0)) blame("order", `${tx} took effect after a later one of ${author}`);
    last.set(author, n);
  }
}

function checkDevice(
  device: RecordedProcess,
  written: ReadonlyMap<string, LocalTransaction>,
  audit: Audit,
  isRepeated: boolean,
  blame: Blame,
): void {
  const outcomes = new Map<string, readonly ListedOutcome[]>();
  for (const event of device.events) {
    if (event.kind !== "end") continue;
    for (const outcome of event.outcomes) {
      const { tx, again } = outcome;
      const others = outcomes.get(tx) ?? [];
      if (others.length > 0 && !(isRepeated && again)) blame("one-outcome", `${tx} is listed with two outcomes`);
      if (!written.has(tx)) blame("one-outcome", `${tx} has an outcome, and ${device.name} never wrote it`);
      outcomes.set(tx, [...others, outcome]);
    }
  }
  for (const [tx, { fate, effects }] of written) {
    const done = audit.transactions.get(tx);
    const told = outcomes.get(tx) ?? [];
    const status = told.at(-1)?.status;
    if (fate === "not") {
      if (done) blame("refused", `${tx} was rolled back on its device, and is on the server`);
      if (status) blame("one-outcome", `${tx} was rolled back on its device, and has an outcome`);
      continue;
    }
    const conflicts = told.flatMap((outcome) => outcome.conflicts);
    if (status === "rejected") {
      if (done) blame("refused", `${tx} was rejected, and is on the server`);
    } else if (done) checkEffects(done, effects, { conflicts, isRepeated }, blame);
    else if (fate === "committed" && status !== "lost")
      blame("vanished", `${tx} is neither on the server nor among the outcomes`);
  }
  checkTold(device, outcomes, isRepeated, blame);
  if (!isRepeated) checkSettled(device, outcomes, audit, blame);
}

type Outcomes = ReadonlyMap<string, readonly ListedOutcome[]>;

/**
 * What a listener was told is what is listed; it hears of it twice only if a kill came between. After a restore of the
 * server a later report takes the place of an earlier one, and the last is what counts.
 */
function checkTold(device: RecordedProcess, outcomes: Outcomes, isRepeated: boolean, blame: Blame): void {
  const last = new Map<string, string>();
  let sinceStart = new Set<string>();
  for (const event of device.events) {
    if (event.kind === "start") sinceStart = new Set();
    if (event.kind !== "told") continue;
    const { tx, status } = event;
    if (!isRepeated && sinceStart.has(tx)) blame("told", `${device.name} was told of ${tx} twice`);
    if (!isRepeated && last.has(tx) && last.get(tx) !== status)
      blame("told", `${device.name} was told that ${tx} is ${last.get(tx)}, and then that it is ${status}`);
    sinceStart.add(tx);
    last.set(tx, status);
  }
  for (const [tx, status] of last) {
    if (outcomes.get(tx)?.at(-1)?.status !== status)
      blame("told", `${device.name} was told that ${tx} is ${status}, which is not listed`);
  }
  for (const tx of outcomes.keys()) if (!last.has(tx)) blame("told", `${device.name} was never told of ${tx}`);
}

/** What was acknowledged is so. */
function checkSettled(device: RecordedProcess, outcomes: Outcomes, audit: Audit, blame: Blame): void {
  for (const event of device.events) {
    if (event.kind !== "settled") continue;
    const status = outcomes.get(event.tx)?.at(-1)?.status ?? "applied";
    if (event.status !== status || (status === "applied" && !audit.transactions.has(event.tx)))
      blame("settled", `${event.tx} was acknowledged as ${event.status}, and is ${status}`);
  }
}
