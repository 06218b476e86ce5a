/**
 * Random worlds for judging: wishes of a device and of others, the resolvers, and the two promises as a check of its own. For
 * tests of judging.
 *
 * @module
 */

import fc from "fast-check";
import { expect } from "vitest";
import {
  clientWins,
  composite,
  custom,
  lastWriteWins,
  mergeFields,
  type Resolver,
  serverWins,
} from "../protocol/conflict.ts";
import { decodeCbor } from "../protocol/cbor.ts";
import type { Value } from "../protocol/ids.ts";
import type { Outcome } from "../protocol/outcome.ts";
import type { HandDevice, HandOperation, HandTransaction } from "./hand-device.ts";
import { columns, isClashing, type Column, type Policy, type Row, type Rows, type Step } from "./judge-oracle.ts";
import { newTodo, openServer, type ServerFixture, type todos } from "./server-fixture.ts";

type Todo = typeof todos.$inferSelect;

/** What the oracle's policies are. */
const resolvers: Readonly<Record<Policy, Resolver<Todo>>> = {
  server: serverWins(),
  client: clientWins(),
  lww: lastWriteWins(),
  fields: mergeFields<Todo>({ notes: serverWins(), rank: lastWriteWins() }, clientWins()),
  kinds: composite<Todo>({ update: clientWins() }),
  custom: custom<Todo>(({ server, client }) =>
    server === null || client === null ? "server" : { ...server, title: "custom" },
  ),
};

/** What somebody would do to a row. */
export interface Wish {
  readonly kind: "insert" | "update" | "delete";
  readonly id: number;
  readonly column: Column;
  readonly value: number;
}
const wish: fc.Arbitrary<Wish> = fc.record({
  kind: fc.constantFrom("insert" as const, "update" as const, "update" as const, "update" as const, "delete" as const),
  id: fc.nat(2),
  column: fc.constantFrom(...columns),
  value: fc.nat(2),
});
/** What happens between two pulls. */
export interface Round {
  readonly early: readonly Wish[];
  readonly txs: readonly { readonly wishes: readonly Wish[]; readonly late: number }[];
  readonly late: readonly Wish[];
  readonly pulls: boolean;
}
export const round: fc.Arbitrary<Round> = fc.record({
  early: fc.array(wish, { maxLength: 2 }),
  txs: fc.array(fc.record({ wishes: fc.array(wish, { minLength: 1, maxLength: 4 }), late: fc.nat(3) }), {
    minLength: 1,
    maxLength: 3,
  }),
  late: fc.array(wish, { maxLength: 5 }),
  pulls: fc.boolean(),
});

// The long one travels as its hash.
const texts = ["a", "b", `c${"c".repeat(60)}`];
const valueOf = (column: Column, value: number): Value =>
  column === "rank" ? value : column === "slug" && value === 0 ? null : (texts[value] ?? null);

/** The row that a wish makes of one; undefined when it makes none, or nothing of it. */
export function wished(rows: Rows, id: string, { kind, column, value }: Wish): Step | undefined {
  const before = rows.get(id);
  if (kind === "insert") {
    const slug = valueOf("slug", value);
    const after: Row = { title: texts[value] ?? "", notes: null, slug, rank: value };
    return before ? undefined : { id, before, after };
  }
  if (!before) return undefined;
  if (kind === "delete") return { id, before, after: undefined };
  const after = { ...before, [column]: valueOf(column, value) };
  return after[column] === before[column] ? undefined : { id, before, after };
}

/** A server for all cases: what differs between them is the resolver behind the table's own. */
export async function openJudge(sql: readonly string[] = []): Promise<{
  readonly server: ServerFixture;
  /** The server's clock, one second later. */
  tick(): number;
  /** A device of a world without rows. */
  begin(policy: Policy): Promise<HandDevice>;
}> {
  let now = 1_700_000_000_000;
  let policy: Policy = "lww";
  const conflict: Resolver<Todo> = {
    name: "current",
    get needs() {
      return resolvers[policy].needs;
    },
    resolve: (each) => resolvers[policy].resolve(each),
  };
  const server = await openServer({
    conflict,
    now: () => now,
    sql: [`INSERT INTO lists VALUES ('a', 'A', NULL)`, ...sql],
  });
  server.grants.set("ann", { read: ["list:a"], write: ["list:a"] });
  return {
    server,
    tick: () => (now += 1000),
    async begin(wanted) {
      policy = wanted;
      await server.run(`DELETE FROM todos`);
      const device = server.device("ann");
      await device.handshake();
      await device.pull();
      return device;
    },
  };
}

/** Carries out wishes on the rows that a device shows; what its own database would refuse is left out. */
export function play(
  view: Rows,
  wishes: readonly Wish[],
  idOf: (wish: Wish) => string,
): { readonly steps: readonly Step[]; readonly view: Rows } {
  const steps: Step[] = [];
  let rows = view;
  for (const one of wishes) {
    const step = wished(rows, idOf(one), one);
    const next = step && withStep(rows, step);
    if (!step || !next || isClashing(next)) continue;
    rows = next;
    steps.push(step);
  }
  return { steps, view: rows };
}

/** Rows after a step. */
export function withStep(rows: Rows, { id, after }: Step): Rows {
  const next = new Map(rows);
  if (after) next.set(id, after);
  else next.delete(id);
  return next;
}

/** Pushes transactions, with whole rows where the server asks for them: once each (rule P6). */
export async function pushAll(
  device: HandDevice,
  written: readonly { readonly steps: readonly Step[]; readonly tx: HandTransaction }[],
): Promise<void> {
  const asked = new Set<number>();
  for (let left = written.map(({ tx }) => tx); left.length > 0;) {
    const answer = await device.push(...left);
    if (answer.kind === "ok") break;
    if (answer.kind !== "need") throw new Error(`A push was answered \`${answer.kind}\`.`);
    expect(asked).not.toContain(answer.number);
    asked.add(answer.number);
    left = left
      .filter(({ number }) => number >= answer.number)
      .map((tx) => {
        const found = written.find((one) => one.tx.number === tx.number);
        if (tx.number !== answer.number || !found) return tx;
        return { ...tx, operations: found.steps.map((step) => operation(device, step, true)) };
      });
  }
}

/** What the promises leave open where the database itself changes values. */
export interface PromiseRules {
  /** Whether this device wrote the cell before: then what the database makes of what it shows counts as seen. */
  readonly isOwn?: (id: string, column: Column) => boolean;
  /** What the database makes of a value. */
  readonly made?: (column: Column, value: Value) => Value;
}

/** Promises 2 and 3, from what was there before and after, what the writer saw, and what the outcome tells. */
export function checkPromises(
  before: Rows,
  after: Rows,
  steps: readonly Step[],
  outcome: Outcome | undefined,
  { isOwn = () => false, made = (_column, value) => value }: PromiseRules = {},
): void {
  if (outcome?.status === "rejected") return expect(after).toEqual(before);
  for (const id of new Set(steps.map((step) => step.id))) {
    const own = steps.filter((step) => step.id === id);
    const seen = own[0]?.before;
    const wanted = own.at(-1)?.after;
    const was = before.get(id);
    const is = after.get(id);
    const report = outcome?.conflicts.find(({ key }) => key[0] === id);
    for (const column of columns) {
      const isOverwritten = was !== undefined && was[column] !== is?.[column];
      // Nothing is overwritten that its writer never saw, unless the outcome has it.
      const isMade = isOwn(id, column) && was?.[column] === made(column, seen?.[column] ?? null);
      if (isOverwritten && was[column] !== seen?.[column] && !isMade)
        expect(report?.server?.[column]).toBe(was[column]);
      // Nothing that a user wrote is lost, unless the outcome has it.
      const isWritten = wanted !== undefined && wanted[column] !== seen?.[column];
      if (isWritten && is?.[column] !== made(column, wanted[column]))
        expect(report?.client?.[column]).toBe(wanted[column]);
    }
    if (seen && !wanted && is) expect(report).toMatchObject({ kind: "delete", client: null });
  }
}

/** A step as it is pushed. */
export function operation(device: HandDevice, { id, before, after }: Step, withRow: boolean): HandOperation {
  const whole = { ...newTodo, ...before };
  if (!before) return device.insert("todos", id, { ...newTodo, ...after });
  if (!after) return device.delete("todos", id, whole, withRow);
  const changed = columns.filter((column) => before[column] !== after[column]);
  return device.update(
    "todos",
    id,
    Object.fromEntries(changed.map((column) => [column, [before[column], after[column]] as const])),
    withRow ? whole : undefined,
  );
}

/** A step as somebody else's statement. */
export function statement({ id, before, after }: Step): string {
  const text = (value: Value): string =>
    value === null ? "NULL" : typeof value === "string" ? `'${value}'` : String(value);
  if (!after) return `DELETE FROM todos WHERE id = '${id}'`;
  if (before)
    return `UPDATE todos SET ${columns.map((column) => `${column} = ${text(after[column])}`).join(", ")} WHERE id = '${id}'`;
  return `INSERT INTO todos (id, list_id, ${columns.join(", ")}) VALUES ('${id}', 'a', ${columns.map((column) => text(after[column])).join(", ")})`;
}

/** The server's rows. */
export async function rowsOf(server: ServerFixture): Promise<Rows> {
  const rows = await server.all(`SELECT id, ${columns.join(", ")} FROM todos ORDER BY id`);
  return new Map(
    rows.map(([id, title, notes, slug, rank]) => [String(id), { title, notes, slug, rank } as Row] as const),
  );
}

/** The outcomes that a device has not acknowledged, by number. */
export async function outcomesOf(server: ServerFixture, id: string): Promise<ReadonlyMap<number, Outcome>> {
  const bodies = await server.all(`SELECT body FROM _sync_outcomes WHERE device_id = '${id}'`);
  return new Map(
    bodies.map(([body]) => {
      const outcome = decodeCbor(body as Uint8Array) as Outcome;
      return [outcome.number, outcome] as const;
    }),
  );
}
