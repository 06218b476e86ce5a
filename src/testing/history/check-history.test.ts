import { describe, expect, test } from "vitest";
import { checkHistory } from "./check-history.ts";
import type { Effect, HistoryEvent, ToldConflict } from "./events.ts";
import { sumRows } from "./row-sums.ts";
import {
  historyProperties,
  type AuditRow,
  type HistoryProperty,
  type HistoryViolation,
  type RecordedRun,
  type Row,
} from "./recorded-run.ts";

/** Each change is an entry of the server's log, so that the log ends where the list does. */
type DraftChange = Omit<AuditRow, "head">;

/** A run that tests take apart: everything in it may be replaced. */
interface Draft {
  audit: DraftChange[];
  server: { name: string; events: HistoryEvent[]; rows: Record<string, Row[]>; faults: string[] };
  device: {
    name: string;
    events: HistoryEvent[];
    rows: Record<string, Row[]>;
    faults: string[];
    scopes: string[];
    leftovers: Record<string, number>;
  };
}

const account = (id: string, balance: number, by: string): Row => ({ id, room: "a", balance, by });
const register = (by: string): Row => ({ id: "r", room: "a", by });
/** What a device has in room `a` before anybody has written anything. */
const atStart = {
  ops: [],
  accounts: [account("x", 10, "seed"), account("y", 10, "seed")],
  registers: [register("seed")],
  boards: [],
  cards: [],
};
const op = (id: string, author: string, n: number): Row => ({ id, author, n });
const change = (table: string, old: Row | null, now: Row | null): DraftChange => ({
  table,
  kind: old === null ? "insert" : now === null ? "delete" : "update",
  key: String((old ?? now)?.["id"]),
  old,
  new: now,
});
const transfer = (tx: string, x: number, seenX: string, y: number, seenY: string) => [
  { kind: "update", table: "accounts", key: "x", values: { balance: x, by: tx }, seen: seenX, delta: -1 } as const,
  { kind: "update", table: "accounts", key: "y", values: { balance: y, by: tx }, seen: seenY, delta: 1 } as const,
];

/**
 * The server seeds two accounts and a register. The device transfers (`d-1`), sets the register (`d-2`), is rejected
 * (`d-3`), is set aside after the server's `s-1` (`d-4`), rolls back (`d-5`), is killed in the middle of `d-6`, which
 * turns out to be committed, and of `d-7`, which is not.
 */
function draft(): Draft {
  const rows: Record<string, Row[]> = {
    ops: [
      op("d-1", "d", 1),
      op("d-2", "d", 2),
      op("d-4", "d", 4),
      op("d-6", "d", 6),
      op("s-1", "server", 1),
      op("seed", "server", 0),
    ],
    accounts: [account("x", 8, "d-6"), account("y", 12, "d-6")],
    registers: [register("s-1")],
    boards: [],
    cards: [],
  };
  return {
    audit: [
      change("ops", null, op("seed", "server", 0)),
      change("accounts", null, account("x", 10, "seed")),
      change("accounts", null, account("y", 10, "seed")),
      change("registers", null, register("seed")),
      change("ops", null, op("d-1", "d", 1)),
      change("accounts", account("x", 10, "seed"), account("x", 9, "d-1")),
      change("accounts", account("y", 10, "seed"), account("y", 11, "d-1")),
      change("ops", null, op("d-2", "d", 2)),
      change("registers", register("seed"), register("d-2")),
      change("ops", null, op("s-1", "server", 1)),
      change("registers", register("d-2"), register("s-1")),
      change("ops", null, op("d-4", "d", 4)),
      change("ops", null, op("d-6", "d", 6)),
      change("accounts", account("x", 9, "d-1"), account("x", 8, "d-6")),
      change("accounts", account("y", 11, "d-1"), account("y", 12, "d-6")),
    ],
    server: {
      name: "server",
      faults: [],
      rows,
      events: [
        { kind: "start" },
        {
          kind: "begin",
          tx: "s-1",
          n: 1,
          effects: [{ kind: "update", table: "registers", key: "r", values: { by: "s-1" }, seen: "d-2" }],
        },
        { kind: "committed", tx: "s-1" },
        { kind: "begin", tx: "s-2", n: 2, effects: [] },
        { kind: "aborted", tx: "s-2" },
      ],
    },
    device: {
      name: "d",
      faults: [],
      scopes: ["room:a", "author:d"],
      leftovers: { _sync_log: 0 },
      rows: {
        ...Object.fromEntries(Object.entries(rows).map(([table, list]) => [table, [...list]])),
        ops: rows["ops"]?.filter((row) => row["author"] === "d") ?? [],
      },
      events: [
        { kind: "start" },
        { kind: "cursor", seq: 4 },
        {
          kind: "read",
          seq: 4,
          pending: [],
          whole: { scopes: ["room:a"], sums: sumRows(atStart) },
          rows: [
            ["accounts", "x", "seed"],
            ["accounts", "y", "seed"],
            ["registers", "r", "seed"],
          ],
        },
        { kind: "begin", tx: "d-1", n: 1, effects: transfer("d-1", 9, "seed", 11, "seed") },
        { kind: "committed", tx: "d-1" },
        { kind: "settled", tx: "d-1", status: "applied" },
        {
          kind: "begin",
          tx: "d-2",
          n: 2,
          effects: [{ kind: "update", table: "registers", key: "r", values: { by: "d-2" }, seen: "seed" }],
        },
        { kind: "committed", tx: "d-2" },
        { kind: "cursor", seq: 9 },
        {
          kind: "read",
          seq: 9,
          pending: ["d-3"],
          rows: [
            ["accounts", "x", "d-1"],
            ["accounts", "y", "d-3"],
            ["registers", "r", "d-2"],
          ],
        },
        {
          kind: "begin",
          tx: "d-3",
          n: 3,
          effects: [{ kind: "insert", table: "cards", key: "c", values: { id: "c" } }],
        },
        { kind: "committed", tx: "d-3" },
        { kind: "told", tx: "d-3", status: "rejected" },
        {
          kind: "begin",
          tx: "d-4",
          n: 4,
          effects: [{ kind: "update", table: "registers", key: "r", values: { by: "d-4" }, seen: "d-2" }],
        },
        { kind: "committed", tx: "d-4" },
        { kind: "begin", tx: "d-5", n: 5, effects: [] },
        { kind: "aborted", tx: "d-5" },
        { kind: "begin", tx: "d-6", n: 6, effects: transfer("d-6", 8, "d-1", 12, "d-1") },
        { kind: "start" },
        {
          kind: "found",
          tx: "d-6",
          isVisible: true,
          operations: [
            { kind: "insert", table: "ops", key: "d-6" },
            { kind: "update", table: "accounts", key: "x" },
            { kind: "update", table: "accounts", key: "y" },
          ],
        },
        { kind: "told", tx: "d-4", status: "merged" },
        { kind: "begin", tx: "d-7", n: 7, effects: [] },
        { kind: "start" },
        { kind: "found", tx: "d-7", isVisible: false, operations: null },
        { kind: "cursor", seq: 15 },
        {
          kind: "end",
          pending: 0,
          outcomes: [
            { tx: "d-3", status: "rejected", conflicts: [] },
            { tx: "d-4", status: "merged", conflicts: [{ table: "registers", key: "r", winner: "server" }] },
          ],
        },
      ],
    },
  };
}

function judge(spoil: (run: Draft) => void) {
  const run = draft();
  spoil(run);
  const recorded: RecordedRun = {
    seed: "seed",
    sumOfRoom: 20,
    audit: run.audit.map((change, head) => ({ ...change, head })),
    server: run.server,
    devices: [run.device],
  };
  return checkHistory(recorded);
}
const found = (spoil: (run: Draft) => void): readonly HistoryViolation["property"][] => [
  ...new Set(judge(spoil).map(({ property }) => property)),
];

const at = <T>(list: T[], is: (item: T) => boolean): number => {
  const index = list.findIndex(is);
  if (index < 0) throw new Error("The draft has no such item.");
  return index;
};
const drop = <T>(list: T[], is: (item: T) => boolean): T[] => list.splice(at(list, is), 1);
const replace = <T>(list: T[], is: (item: T) => boolean, make: (item: T) => T): void => {
  const index = at(list, is);
  list[index] = make(list[index] as T);
};
const endOf = (run: Draft) => run.device.events.at(-1) as HistoryEvent & { kind: "end" };
const withEnd = (run: Draft, change: Partial<HistoryEvent & { kind: "end" }>): void => {
  run.device.events[run.device.events.length - 1] = { ...endOf(run), ...change };
};
const eventOf = (kind: HistoryEvent["kind"], tx: string) => (event: HistoryEvent) =>
  event.kind === kind && "tx" in event && event.tx === tx;
const setEffects = (run: Draft, tx: string, change: (effects: readonly Effect[]) => readonly Effect[]): void =>
  replace(run.device.events, eventOf("begin", tx), (event) =>
    event.kind === "begin" ? { ...event, effects: change(event.effects) } : event,
  );
const setFound = (run: Draft, tx: string, change: Partial<HistoryEvent & { kind: "found" }>): void =>
  replace(run.device.events, eventOf("found", tx), (event) =>
    event.kind === "found" ? { ...event, ...change } : event,
  );
const setTold = (run: Draft, tx: string, status: string): void =>
  replace(run.device.events, eventOf("told", tx), (event) => (event.kind === "told" ? { ...event, status } : event));
const read = (seq: number, ...rows: [string, string, string][]): HistoryEvent & { kind: "read" } => ({
  kind: "read",
  seq,
  pending: [],
  rows,
});
const wroteX = (tx: string) => (row: DraftChange) =>
  row.table === "accounts" && row.key === "x" && row.new?.["by"] === tx;

const spoilt: Record<HistoryProperty, Readonly<Record<string, (run: Draft) => void>>> = {
  integrity: {
    "a damaged file": (run) => run.device.faults.push("row 3 missing from index cards_slot_unique"),
    "a row of the server that nobody wrote": (run) =>
      run.server.rows["boards"]?.push({ id: "b", room: "z", name: "", by: "d-1" }),
    "a row of the server that is gone": (run) => run.server.rows["registers"]?.splice(0),
    "a change that the audit lacks": (run) => drop(run.audit, wroteX("d-1")),
  },
  "exactly-once": {
    "a transaction that ran twice": (run) => run.audit.push(change("ops", null, op("d-2", "d", 2))),
    "a transfer that counted twice": (run) => {
      replace(run.audit, wroteX("d-6"), (row) => ({ ...row, new: account("x", 7, "d-6") }));
    },
    "a transaction that nobody wrote": (run) => run.audit.push(change("ops", null, op("d-9", "d", 9))),
    "a row of ops that changed": (run) => run.audit.push(change("ops", op("d-1", "d", 1), null)),
  },
  whole: {
    "half a transaction": (run) => drop(run.audit, wroteX("d-6")),
    "two transactions mixed": (run) => run.audit.push(change("registers", register("s-1"), register("d-2"))),
    "a row before any transaction": (run) => run.audit.unshift(change("registers", null, register("seed"))),
    "a value that was not written": (run) =>
      setEffects(run, "d-2", () => [
        { kind: "update", table: "registers", key: "r", values: { by: "d-2", room: "b" }, seen: "seed" },
      ]),
    "more than was written": (run) => setEffects(run, "d-6", () => transfer("d-6", 8, "d-1", 12, "d-1").slice(0, 1)),
    "a delete that did not happen": (run) =>
      setEffects(run, "d-2", (effects) => [...effects, { kind: "delete", table: "accounts", key: "x", seen: "d-1" }]),
  },
  "half-local": {
    "a transaction in doubt without one of its rows": (run) =>
      setFound(run, "d-6", { operations: [{ kind: "insert", table: "ops", key: "d-6" }] }),
    "rows that show and are not in the queue": (run) => setFound(run, "d-7", { isVisible: true }),
  },
  order: {
    "a device's transactions in another order": (run) => {
      replace(
        run.audit,
        (row) => row.key === "d-1",
        () => change("ops", null, op("d-1", "d", 3)),
      );
    },
  },
  refused: {
    "a rejected transaction that is there": (run) => run.audit.push(change("ops", null, op("d-3", "d", 3))),
    "one that the device rolled back": (run) => run.audit.push(change("ops", null, op("d-5", "d", 5))),
    "one that a kill took back": (run) => run.audit.push(change("ops", null, op("d-7", "d", 7))),
    "one that the server rolled back": (run) => run.audit.push(change("ops", null, op("s-2", "server", 2))),
  },
  vanished: {
    "a committed transaction that is nowhere": (run) => drop(run.audit, (row) => row.key === "d-4"),
    "a commit of the server that is nowhere": (run) => {
      run.audit.splice(
        at(run.audit, (row) => row.key === "s-1"),
        2,
      );
    },
    "a rejection that was lost": (run) => withEnd(run, { outcomes: endOf(run).outcomes.slice(1) }),
  },
  "one-outcome": {
    "two outcomes of one transaction": (run) =>
      withEnd(run, { outcomes: [...endOf(run).outcomes, ...endOf(run).outcomes] }),
    "an outcome of nobody's": (run) =>
      withEnd(run, { outcomes: [...endOf(run).outcomes, { tx: "e-1", status: "rejected", conflicts: [] }] }),
    "an outcome of what was rolled back": (run) =>
      withEnd(run, { outcomes: [...endOf(run).outcomes, { tx: "d-5", status: "rejected", conflicts: [] }] }),
  },
  told: {
    "an outcome that no listener heard of": (run) => drop(run.device.events, eventOf("told", "d-4")),
    "one that was told twice in one life": (run) =>
      run.device.events.splice(
        -1,
        0,
        { kind: "told", tx: "d-4", status: "merged" },
        { kind: "told", tx: "d-4", status: "merged" },
      ),
    "one that was told otherwise": (run) => setTold(run, "d-4", "rejected"),
  },
  settled: {
    "an acknowledgement of what was rejected": (run) =>
      run.device.events.splice(-1, 0, { kind: "settled", tx: "d-3", status: "applied" }),
    "an acknowledgement of what is not there": (run) =>
      run.device.events.splice(-1, 0, { kind: "settled", tx: "d-7", status: "applied" }),
  },
  unseen: {
    "a write over what was not seen": (run) =>
      setEffects(run, "d-2", () => [
        { kind: "update", table: "registers", key: "r", values: { by: "d-2" }, seen: "s-0" },
      ]),
    "a write that a conflict had set aside": (run) => {
      run.audit.splice(
        at(run.audit, (row) => row.key === "d-4") + 1,
        0,
        change("registers", register("s-1"), register("d-4")),
      );
    },
  },
  sum: {
    "money that came from nowhere": (run) =>
      replace(run.audit, wroteX("d-6"), (row) => ({ ...row, new: account("x", 9, "d-6") })),
  },
  snapshot: {
    "half a transaction on a device": (run) =>
      run.device.events.splice(-1, 0, {
        kind: "read",
        seq: 15,
        pending: [],
        rows: [
          ["accounts", "x", "d-6"],
          ["accounts", "y", "d-1"],
        ],
      }),
    "a row that the server never had": (run) => run.device.events.splice(-1, 0, read(15, ["registers", "r", "d-4"])),
  },
  cursor: {
    "rows that are ahead of the cursor": (run) => run.device.events.splice(-1, 0, read(9, ["accounts", "x", "d-6"])),
    "rows that are behind the cursor": (run) => run.device.events.splice(-1, 0, read(15, ["accounts", "x", "d-1"])),
    "a row that is missing at its cursor": (run) =>
      run.device.events.splice(-1, 0, {
        ...read(4),
        whole: { scopes: ["room:a"], sums: sumRows({ ...atStart, registers: [] }) },
      }),
    "a row of a scope that was not held": (run) =>
      run.device.events.splice(-1, 0, { ...read(4), whole: { scopes: ["room:b"], sums: sumRows(atStart) } }),
  },
  backwards: {
    "an earlier state than before": (run) => run.device.events.splice(-1, 0, read(15, ["accounts", "x", "seed"])),
    "a cursor that went back": (run) => run.device.events.splice(-1, 0, { kind: "cursor", seq: 14 }),
  },
  converged: {
    "a row that a device lacks": (run) => run.device.rows["registers"]?.splice(0),
    "a row that differs": (run) => {
      run.device.rows["registers"] = [register("d-4")];
    },
    "a row outside its scopes": (run) => run.device.rows["ops"]?.push(op("s-1", "server", 1)),
  },
  leftover: {
    "a queue that is not empty": (run) => withEnd(run, { pending: 1 }),
    "a stage that was not cleared": (run) => {
      run.device.leftovers["_sync_stage"] = 2;
    },
  },
  failed: {
    "a process that failed": (run) => run.device.events.push({ kind: "failed", message: "INVALID_MESSAGE" }),
    "a device that did not come to its end": (run) => run.device.events.splice(-1),
  },
};

test("a sound history passes", () => {
  expect(judge(() => undefined)).toEqual([]);
});

for (const property of historyProperties) {
  describe(`finds what breaks "${property}":`, () => {
    for (const [what, spoil] of Object.entries(spoilt[property])) {
      test(what, () => {
        expect(found(spoil)).toContain(property);
      });
    }
  });
}

test("what is told again after a kill is no violation", () => {
  expect(judge((run) => run.device.events.splice(-1, 0, { kind: "told", tx: "d-4", status: "merged" }))).toEqual([]);
});

test("a delete of a row that is gone is nothing", () => {
  const gone = (run: Draft): void =>
    setEffects(run, "d-2", (effects) => [...effects, { kind: "delete", table: "cards", key: "c", seen: "d-0" }]);
  expect(judge(gone)).toEqual([]);
});

test("a cascade may take cards that the deleter of their board never saw", () => {
  const card: Row = { id: "c", board_id: "b", title: "", slot: null, by: "s-3" };
  const board: Row = { id: "b", room: "a", name: "", by: "s-3" };
  const run = (isBoardMeant: boolean) =>
    judge((made) => {
      made.server.events.push({
        kind: "begin",
        tx: "s-3",
        n: 3,
        effects: [
          { kind: "insert", table: "boards", key: "b", values: board },
          { kind: "insert", table: "cards", key: "c", values: card },
        ],
      });
      made.server.events.push({
        kind: "begin",
        tx: "s-4",
        n: 4,
        effects: isBoardMeant ? [{ kind: "delete", table: "boards", key: "b", seen: "s-3" }] : [],
      });
      made.server.rows["ops"]?.push(op("s-3", "server", 3), op("s-4", "server", 4));
      made.audit.push(
        change("ops", null, op("s-3", "server", 3)),
        change("boards", null, board),
        change("cards", null, card),
        change("ops", null, op("s-4", "server", 4)),
        change("cards", card, null),
        change("boards", board, null),
      );
    }).map(({ property }) => property);
  expect(run(true)).toEqual([]);
  expect(run(false)).toEqual(["whole", "whole"]);
});

test("P7: cards stay with a board whose delete was set aside", () => {
  const card: Row = { id: "c", board_id: "b", title: "", slot: null, by: "s-3" };
  const board: Row = { id: "b", room: "z", name: "", by: "s-3" };
  const run = (conflicts: ToldConflict[]) =>
    judge((made) => {
      const effects: readonly Effect[] = [
        { kind: "insert", table: "boards", key: "b", values: board },
        { kind: "insert", table: "cards", key: "c", values: card },
      ];
      made.server.events.push({ kind: "begin", tx: "s-3", n: 3, effects });
      made.server.rows["ops"]?.push(op("s-3", "server", 3));
      made.server.rows["boards"]?.push(board);
      made.server.rows["cards"]?.push(card);
      const at4 = at(made.audit, (row) => row.key === "d-4");
      made.audit.splice(
        at4,
        0,
        change("ops", null, op("s-3", "server", 3)),
        change("boards", null, board),
        change("cards", null, card),
      );
      setEffects(made, "d-4", (before) => [
        ...before,
        { kind: "delete", table: "boards", key: "b", seen: "s-2" },
        { kind: "delete", table: "cards", key: "c", seen: "s-3" },
      ]);
      const [first, second] = endOf(made).outcomes;
      if (first && second)
        withEnd(made, { outcomes: [first, { ...second, conflicts: [...second.conflicts, ...conflicts] }] });
    }).map(({ property }) => property);
  expect(run([{ table: "boards", key: "b", winner: "server" }])).toEqual([]);
  expect(run([])).toEqual(["whole", "whole"]);
});

describe("I3: after the server was put back as a copy had it,", () => {
  /** The copy was taken before `s-1`, which is gone with the audit of it; the device has written its part again. */
  function restored(run: Draft): void {
    const begun = at(run.server.events, eventOf("begin", "s-1"));
    run.server.events.splice(begun, 0, { kind: "backup", copy: 1 });
    run.server.events.push({ kind: "restored", copy: 1 });
    run.audit.splice(
      at(run.audit, (row) => row.key === "s-1"),
      2,
    );
    run.audit.splice(
      at(run.audit, (row) => row.key === "d-4") + 1,
      0,
      change("registers", register("d-2"), register("d-4")),
    );
    for (const rows of [run.server.rows, run.device.rows]) {
      rows["registers"] = [register("d-4")];
      rows["ops"] = rows["ops"]?.filter((row) => row["id"] !== "s-1") ?? [];
    }
  }

  test("what the server had written since is in doubt, and earlier reports may differ from what is there", () => {
    expect(judge(restored)).toEqual([]);
  });

  test("a device's committed transaction must still be somewhere", () => {
    const run = (made: Draft): void => {
      restored(made);
      const begun = at(made.audit, (row) => row.key === "d-6");
      made.audit.splice(begun, 3);
      for (const rows of [made.server.rows, made.device.rows]) {
        rows["ops"] = rows["ops"]?.filter((row) => row["id"] !== "d-6") ?? [];
        rows["accounts"] = [account("x", 9, "d-1"), account("y", 11, "d-1")];
      }
    };
    expect(found(run)).toEqual(["vanished"]);
  });

  test("a report may come again, marked as such, and not otherwise", () => {
    const repeat = (again: boolean) => (made: Draft) => {
      restored(made);
      const repeated = { tx: "d-3", status: "rejected", conflicts: [], ...(again ? { again } : {}) };
      withEnd(made, { outcomes: [...endOf(made).outcomes, repeated] });
    };
    expect(found(repeat(true))).toEqual([]);
    expect(found(repeat(false))).toEqual(["one-outcome"]);
  });
});
