import { describe, expect, test } from "vitest";
import { knownTables } from "../plugin/known-tables.ts";
import { readHead } from "../plugin/oplog.ts";
import { hashSchema } from "../protocol/hash.ts";
import type { KnownTables } from "../protocol/handshake.ts";
import { formatCursor, type Position } from "../protocol/ids.ts";
import type { RoundState } from "../protocol/pull.ts";
import { capture, lists, type Captured, type schema } from "../testing/capture-fixture.ts";
import { forgottenSchema, matchSchema, type KnownSchema } from "./known-schema.ts";
import { beginRound, resumeRound, roundState, type Walk } from "./round.ts";

/** A log of three entries, and a round that stands in the middle of it. */
interface World extends Disposable {
  readonly it: Captured<typeof schema>;
  readonly head: Position;
  readonly known: KnownSchema;
  readonly state: RoundState;
  resume(change?: Partial<RoundState>, check?: Partial<Parameters<typeof resumeRound>[1]>): Walk | undefined;
}

function open(): World {
  const it = capture();
  for (const id of ["a", "b", "c"]) it.db.insert(lists).values({ id }).run();
  const head = it.run(readHead());
  const tables = knownTables(it.sync.tables);
  const known = matchSchema(it.sync, hashSchema(tables), tables);
  const rights = { read: new Set(["list:a", "list:b"]), write: new Set<string>() };
  const state: RoundState = {
    phase: "log",
    scopes: ["list:a", "list:b"],
    added: ["list:b"],
    held: ["list:a"],
    fresh: false,
    s0: head.seq - 1,
    head: formatCursor(head),
    next: head.seq - 2,
    baseSchema: known.hash,
  };
  return {
    it,
    head,
    known,
    state,
    resume: (change = {}, check = {}) =>
      it.run(
        resumeRound({ ...state, ...change }, { rights, head, schema: known, base: known, hasCursor: true, ...check }),
      ),
    [Symbol.dispose]: () => it[Symbol.dispose](),
  };
}

const walk = {
  phase: "log",
  scopes: ["list:a", "list:b"],
  added: ["list:b"],
  held: ["list:a"],
  isFresh: false,
} as const;

describe("R3: a round goes on from its state", () => {
  test("where that fits the log, the rights and the schema", () => {
    using world = open();
    const { head, known } = world;
    expect(world.resume()).toEqual({ ...walk, s0: head.seq - 1, next: head.seq - 2, base: known });
    for (const phase of ["log0", "snapshot"] as const) expect(world.resume({ phase })).toMatchObject({ phase });
    expect(world.resume({ next: head.seq, s0: head.seq })).toMatchObject({ next: head.seq, s0: head.seq });
    expect(world.resume({}, { base: forgottenSchema })?.base).toBe(forgottenSchema);
  });

  test("with its scopes as sets: sorted, once, and none that is not in the target", () => {
    using world = open();
    const messy = {
      scopes: ["list:b", "list:a", "list:b"],
      added: ["list:b", "nobody's", "list:b"],
      held: ["list:c", "list:b", "list:a", "list:a"],
    };
    expect(world.resume(messy)).toMatchObject({
      scopes: ["list:a", "list:b"],
      added: ["list:b"],
      held: ["list:a", "list:b"],
    });
  });

  test("in a snapshot at its table and key, and in a log at neither", () => {
    using world = open();
    const at = { phase: "snapshot", table: "members", after: ["a", 1] } as const;
    expect(world.resume(at)).toMatchObject({ table: "members", after: ["a", 1] });
    expect(world.resume({ phase: "snapshot", table: "members" })).not.toHaveProperty("after");
    for (const phase of ["log", "log0"] as const) expect(world.resume({ ...at, phase })).not.toHaveProperty("table");
    expect(world.resume({ phase: "snapshot" })).not.toHaveProperty("table");
  });

  test("U1: and restarts when a right was lost, also one of which nothing was sent yet", () => {
    using world = open();
    for (const left of [["list:a"], ["list:b"], []])
      expect(world.resume({}, { rights: { read: new Set(left), write: new Set() } })).toBeUndefined();
    expect(world.resume({ scopes: ["list:a", "list:b", "list:c"] })).toBeUndefined();
  });

  test("I2: and restarts when the log does not vouch for the head of its last page", () => {
    using world = open();
    const { seq, stamp } = world.head;
    expect(world.resume({ head: formatCursor({ seq, stamp: stamp + 1 }) })).toBeUndefined();
    expect(world.resume({ head: formatCursor({ seq: seq + 1, stamp }) })).toBeUndefined();
  });

  test("and restarts when it goes on from a cursor that the request does not have; a fresh one needs none", () => {
    using world = open();
    expect(world.resume({}, { hasCursor: false })).toBeUndefined();
    expect(world.resume({ fresh: true }, { hasCursor: false })).toMatchObject({ isFresh: true });
  });

  test("and restarts when the declaration has changed, or triggers were missing, since its last page", () => {
    using world = open();
    const declare = (since: number): void => {
      world.it.raw.prepare("INSERT OR REPLACE INTO _sync_meta(k, v) VALUES ('declared_since', ?)").run(String(since));
    };
    declare(world.head.seq);
    expect(world.resume()).toBeDefined();
    declare(world.head.seq + 1);
    expect(world.resume()).toBeUndefined();
  });

  test("and restarts when its pages were computed over other columns", () => {
    using world = open();
    expect(world.resume({ shared: "another" })).toBeUndefined();
    expect(world.resume({ shared: world.known.sharedHash })).toBeDefined();
    const narrowed: KnownSchema = { ...world.known, sharedHash: "narrowed" };
    expect(world.resume({}, { schema: narrowed })).toBeUndefined();
    expect(world.resume({ shared: "narrowed" }, { schema: narrowed })).toBeDefined();
  });

  test("and restarts where its position is below the horizon, or beyond the head", () => {
    using world = open();
    const { seq, stamp } = world.head;
    const vouched = world.it.raw
      .prepare("SELECT stamp FROM _sync_log WHERE seq = ?")
      .pluck()
      .get(seq - 1);
    world.it.raw
      .prepare("UPDATE _sync_meta SET v = json_array(?, ?) WHERE k = 'horizon'")
      .run(seq - 1, Number(vouched));
    expect(world.resume({ next: seq - 2 })).toBeUndefined();
    expect(world.resume({ next: seq - 1 })).toBeDefined();
    // In a snapshot it is the log after it that must be there.
    expect(world.resume({ phase: "snapshot", next: 0, s0: seq - 1 })).toBeDefined();
    expect(world.resume({ phase: "snapshot", next: seq, s0: seq - 2 })).toBeUndefined();
    expect(world.resume({ next: seq + 1 })).toBeUndefined();
    expect(world.resume({ next: seq, s0: seq + 1 })).toBeUndefined();
    // A head that this snapshot of the log has not reached.
    expect(world.resume({ next: seq }, { head: { seq: seq - 1, stamp } })).toBeUndefined();
  });

  test("and restarts at a table that is not sent, or a key that is none of its", () => {
    using world = open();
    expect(world.resume({ phase: "snapshot", table: "nowhere" })).toBeUndefined();
    expect(world.resume({ phase: "snapshot", table: "members", after: ["a"] })).toBeUndefined();
    expect(world.resume({ phase: "snapshot", table: "lists", after: ["a", 1] })).toBeUndefined();
  });

  test("which is what a page was sent with", () => {
    using world = open();
    const { head, known } = world;
    for (const change of [
      {},
      { phase: "snapshot", table: "members", after: ["a", 1] },
      { phase: "snapshot", table: "lists" },
    ] as const) {
      const resumed = world.resume(change);
      if (resumed === undefined) throw new Error("The state is in order.");
      expect(roundState(resumed, known, head)).toStrictEqual({ ...world.state, ...change });
    }
    const narrowed: KnownSchema = { ...known, sharedHash: "narrowed" };
    const resumed = world.resume();
    if (resumed === undefined) throw new Error("The state is in order.");
    expect(roundState(resumed, narrowed, head)).toStrictEqual({ ...world.state, shared: "narrowed" });
  });
});

describe("R2: a round begins", () => {
  const target = ["list:a", "list:b"];
  const cursor: Position = { seq: 3, stamp: 7 };
  const head: Position = { seq: 9, stamp: 8 };

  test("with a snapshot of everything on a first sync", () => {
    using world = open();
    const { known } = world;
    const begun = beginRound(target, ["list:a"], { cursor: undefined, head, schema: known, base: forgottenSchema });
    expect(begun).toEqual({
      phase: "snapshot",
      scopes: target,
      added: target,
      held: [],
      isFresh: true,
      s0: 9,
      next: 9,
      base: known,
    });
  });

  test("with the log alone where nothing is gained", () => {
    using world = open();
    const { known } = world;
    const same = { scopes: target, added: [], held: target, isFresh: false, s0: 9, next: 3 };
    expect(beginRound(target, target, { cursor, head, schema: known, base: known })).toEqual({
      ...same,
      phase: "log",
      base: known,
    });
    // Another schema that had all of it.
    const renamed: KnownSchema = { ...known, hash: "older" };
    expect(beginRound(target, target, { cursor, head, schema: known, base: renamed })).toMatchObject({ phase: "log" });
  });

  test("with the log up to its beginning where scopes, tables or columns are gained", () => {
    using world = open();
    const { it, known } = world;
    expect(beginRound(target, ["list:a"], { cursor, head, schema: known, base: known })).toMatchObject({
      phase: "log0",
      added: ["list:b"],
      held: ["list:a"],
      s0: 9,
      next: 3,
    });
    const { nodes: _nodes, ...fewerTables } = knownTables(it.sync.tables) as KnownTables & { readonly nodes: unknown };
    const fewerColumns = { ...knownTables(it.sync.tables), lists: ["id", "owner"] };
    for (const declared of [fewerTables, fewerColumns]) {
      const base = matchSchema(it.sync, "older", declared);
      expect(beginRound(target, target, { cursor, head, schema: known, base })).toMatchObject({
        phase: "log0",
        added: [],
        base,
      });
    }
  });
});
