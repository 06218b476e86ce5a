/**
 * Judging against an independent recomputation: random rows, random writes of others before and after the device's own,
 * random transactions and resolvers. After every push the server's rows are those of the oracle, and promises 2 and 3 are
 * checked by themselves, from what the writer saw and what is in the outcomes.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import { hlcAt } from "../protocol/hlc.ts";
import { checkAsyncProperty } from "../testing/check-property.ts";
import type { HandTransaction } from "../testing/hand-device.ts";
import {
  columns,
  isClashing,
  judge,
  policies,
  write,
  type Judged,
  type Policy,
  type Rows,
  type Step,
  type World,
} from "../testing/judge-oracle.ts";
import {
  checkPromises,
  openJudge,
  operation,
  outcomesOf,
  play,
  pushAll,
  round,
  rowsOf,
  statement,
  wished,
  type Round,
  type Wish,
} from "../testing/judge-world.ts";

type JudgeWorld = Awaited<ReturnType<typeof openJudge>>;
const three: readonly Wish[] = [0, 1, 2].map((id) => ({ kind: "insert", id, column: "title", value: id }));

/** Runs a case; `count` hears of each transaction. */
async function runCase(
  { server, tick, begin }: JudgeWorld,
  policy: Policy,
  rounds: readonly Round[],
  count: (status: Judged["status"]) => void,
): Promise<void> {
  const device = await begin(policy);
  // Rejected inserts are remembered by key, so each case has keys of its own.
  const idOf = ({ id }: Wish): string => `${device.id}-${id}`;
  let world: World = { rows: new Map(), times: new Map() };
  const refused = new Set<string>();
  const foreign = async (wishes: readonly Wish[]): Promise<void> => {
    for (const one of wishes) {
      const step = wished(world.rows, idOf(one), one);
      const time = tick();
      const next = step && write(world, step.id, step.after, hlcAt(time));
      if (!step || !next || isClashing(next.rows)) continue;
      await server.run(statement(step));
      world = next;
    }
  };
  // Rows that the device has seen, so that there is something to disagree on.
  await foreign(three);
  await device.pull();
  let view: Rows = world.rows;
  for (const { early, txs, late, pulls } of rounds) {
    await foreign(early);
    const written: { readonly steps: readonly Step[]; readonly time: number; readonly tx: HandTransaction }[] = [];
    for (const { wishes, late: lateness } of txs) {
      const played = play(view, wishes, idOf);
      ({ view } = played);
      // Half a second off, so that no two are written at the same time; some long before they are sent.
      const time = hlcAt(tick() - 500 - lateness * 3000);
      const operations = played.steps.map((step) => operation(device, step, false));
      if (operations.length > 0)
        written.push({ steps: played.steps, time, tx: { ...device.tx(...operations), hlc: time } });
    }
    await foreign(late);
    await pushAll(device, written);
    expect(server.errors).toEqual([]);
    const outcomes = await outcomesOf(server, device.id);
    for (const { steps, time, tx } of written) {
      const isDependent = steps.some(
        ({ id }) => refused.has(id) && !world.rows.has(id) && netKind(steps, id) === "update",
      );
      const expected: Judged = isDependent
        ? { world, status: "rejected", winners: new Map() }
        : judge(world, steps, policy, time);
      const outcome = outcomes.get(tx.number);
      expect(outcome?.status ?? "applied").toBe(expected.status);
      if (outcome?.status === "merged")
        expect(new Map(outcome.conflicts.map(({ key, winner }) => [key[0], winner]))).toEqual(expected.winners);
      checkPromises(world.rows, expected.world.rows, steps, outcome);
      for (const { id } of steps) {
        if (netKind(steps, id) !== "insert") continue;
        if (expected.status === "rejected") refused.add(id);
        else if (expected.world.rows.has(id) && !world.rows.has(id)) refused.delete(id);
      }
      ({ world } = expected);
      count(expected.status);
    }
    expect(await rowsOf(server)).toEqual(new Map([...world.rows].sort()));
    if (!pulls) continue;
    await device.pull();
    view = world.rows;
  }
}

function netKind(steps: readonly Step[], id: string): "insert" | "update" | undefined {
  const own = steps.filter((step) => step.id === id);
  if (own.at(-1)?.after === undefined) return undefined;
  return own[0]?.before === undefined ? "insert" : "update";
}

test("P2, P4, P11: what becomes of a transaction is what the rules say, and nobody's value is lost without a word", async () => {
  const world = await openJudge();
  await using _ = world.server;
  const counts = { applied: 0, merged: 0, rejected: 0 };
  await checkAsyncProperty(
    fc.asyncProperty(fc.constantFrom(...policies), fc.array(round, { minLength: 1, maxLength: 3 }), (policy, rounds) =>
      runCase(world, policy, rounds, (status) => counts[status]++),
    ),
    100,
  );
  // The shares are by chance; none at all would mean that the property proves little.
  expect(Math.min(counts.applied, counts.merged)).toBeGreaterThan(50);
});

const shout = (event: string): string =>
  `CREATE TRIGGER shout_${event} AFTER ${event} ON todos WHEN NEW.title IN ('a', 'b') BEGIN UPDATE todos SET title = upper(NEW.title) WHERE id = NEW.id; END`;

test("P5: where the database changes what a device wrote, nobody's value is lost without a word either", async () => {
  const world = await openJudge([shout("INSERT"), shout("UPDATE")]);
  await using _ = world.server;
  let merged = 0;
  await checkAsyncProperty(
    fc.asyncProperty(
      fc.constantFrom(...policies),
      fc.array(round, { minLength: 1, maxLength: 4 }),
      async (policy, rounds) => void (merged += await runBlind(world, policy, rounds)),
    ),
    30,
  );
  expect(merged).toBeGreaterThan(5);
});

/** Checks the promises alone, transaction by transaction, against what the database holds. Answers how many were merged. */
async function runBlind(
  { server, tick, begin }: JudgeWorld,
  policy: Policy,
  rounds: readonly Round[],
): Promise<number> {
  const device = await begin(policy);
  const idOf = ({ id }: Wish): string => `${device.id}-${id}`;
  /** Cells that this device wrote, and nobody's resolver decided. */
  const own = new Set<string>();
  const foreign = async (wishes: readonly Wish[]): Promise<void> => {
    for (const one of wishes) {
      const rows = await rowsOf(server);
      const { steps } = play(rows, [one], idOf);
      tick();
      for (const step of steps) await server.run(statement(step));
    }
  };
  await foreign(three);
  await device.pull();
  let view = await rowsOf(server);
  let merged = 0;
  for (const { early, txs, late, pulls } of rounds) {
    await foreign(early);
    for (const { wishes, late: lateness } of txs) {
      const played = play(view, wishes, idOf);
      ({ view } = played);
      await foreign(late.slice(0, lateness));
      if (played.steps.length === 0) continue;
      const tx = { ...device.tx(...played.steps.map((step) => operation(device, step, false))), hlc: hlcAt(tick()) };
      const before = await rowsOf(server);
      await pushAll(device, [{ steps: played.steps, tx }]);
      const after = await rowsOf(server);
      const outcome = (await outcomesOf(server, device.id)).get(tx.number);
      if (outcome?.status === "merged") merged++;
      checkPromises(before, after, played.steps, outcome, {
        isOwn: (id, column) => own.has(`${id} ${column}`),
        made: (column, value) => (column === "title" && (value === "a" || value === "b") ? value.toUpperCase() : value),
      });
      const reported = new Set(outcome?.status === "merged" ? outcome.conflicts.map(({ key }) => String(key[0])) : []);
      for (const { id, before: was, after: is } of outcome?.status === "rejected" ? [] : played.steps)
        for (const column of columns)
          if (!reported.has(id) && was?.[column] !== is?.[column]) own.add(`${id} ${column}`);
    }
    if (!pulls) continue;
    await device.pull();
    view = await rowsOf(server);
  }
  return merged;
}
