/**
 * Pages against an independent recomputation: a server of plain maps, random local transactions written through the
 * database, and after every page the base and the visible rows worked out again from nothing but the rules.
 */

import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import fc from "fast-check";
import { expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { lastTransaction, readTransactions } from "../plugin/device-log.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { formatCursor, makeEpoch, type Cursor, type Value } from "../protocol/ids.ts";
import type { Page, RoundState } from "../protocol/pull.ts";
import { checkAsyncProperty } from "../testing/check-property.ts";
import {
  schema,
  definition,
  ddl,
  type TableKey,
  type Row,
  type Rows,
  type Change,
  columnsOf,
  tableOf,
  replayAll,
  tables,
  type Wish,
  wishOf,
  wish,
  serve,
  statements,
} from "../testing/page-oracle.ts";
import { readBase } from "../testing/read-base.ts";
import { applyPage, basisOf } from "./apply.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { openDevice } from "./device-state.ts";
import { deviceSchema } from "./device-schema.ts";

// ---- pages ----

/** The changes between what a device has and a state, columnar. */
function groupsBetween(from: Rows, to: Rows, only: (at: string) => boolean): readonly ChangeGroup[] {
  const groups = new Map<
    string,
    {
      readonly table: string;
      readonly kind: ChangeGroup["kind"];
      readonly columns: readonly string[];
      readonly values: Value[][];
    }
  >();
  const add = (table: TableKey, kind: ChangeGroup["kind"], columns: readonly string[], row: Row): void => {
    const name = [table, kind, ...columns].join();
    let group = groups.get(name);
    if (!group) groups.set(name, (group = { table, kind, columns, values: columns.map(() => []) }));
    columns.forEach((column, i) => group.values[i]?.push(row[column] ?? null));
  };
  for (const [at, row] of from) if (!to.has(at) && only(at)) add(tableOf(at), "removal", ["id"], row);
  for (const [at, row] of to) {
    if (!only(at)) continue;
    const table = tableOf(at);
    const old = from.get(at);
    const columns = columnsOf[table];
    if (!old) add(table, "row", columns, row);
    else {
      const changed = columns.filter((column) => column !== "id" && old[column] !== row[column]);
      if (changed.length > 0) add(table, "update", ["id", ...changed], row);
    }
  }
  return [...groups.values()];
}

type Step =
  | { readonly do: "write"; readonly wishes: readonly Wish[] }
  | { readonly do: "serve"; readonly wishes: readonly Wish[] }
  /** A round; `parts`: what the server does before each further page. `handled`: the share of the queue it covers. */
  | {
      readonly do: "pull";
      readonly parts: readonly (readonly Wish[])[];
      readonly handled: number;
      readonly fresh: boolean;
    };
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("write" as const), wishes: fc.array(wish, { minLength: 1, maxLength: 4 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("serve" as const), wishes: fc.array(wish, { minLength: 1, maxLength: 6 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("pull" as const),
      parts: fc.array(fc.array(wish, { maxLength: 4 }), { maxLength: 2 }),
      handled: fc.constantFrom(0, 0, 0.5, 1),
      fresh: fc.constantFrom(false, false, false, true),
    }),
  },
);

/** Runs steps and checks after each page. Answers how many pages went the short way; `compares`: each is taken the long way, too. */
async function runSteps(steps: readonly Step[], compares = false): Promise<number> {
  let short = 0;
  const raw = new Database(":memory:", {
    verbose: (text) => {
      if (text === "SAVEPOINT _sync_beside") short++;
      if (text === "ROLLBACK TO _sync_beside") short--;
    },
  });
  raw.exec(ddl);
  const db = withSync(drizzle(raw, { schema }), definition);
  const sync = syncOf(db);
  await sync.install("device");
  await transact(sync.connection, "write", () => openDevice(sync));
  const epoch = makeEpoch();
  const deviceTables = deviceSchema(sync);
  let server: Rows = new Map();
  let base: Rows = new Map();
  let pending: { number: number; stamp: number; changes: Change[] }[] = [];
  let seq = 0;
  let written = 0;
  let cursor: Cursor | undefined;

  const readRows = (from = raw): Rows => {
    const rows: Rows = new Map();
    for (const { key, table, columns } of deviceTables.tables) {
      for (const values of from
        .prepare(`SELECT ${columns.map((column) => column.name).join(", ")} FROM ${table.name}`)
        .raw()
        .all() as Value[][]) {
        rows.set(
          `${key}/${String(values[0])}`,
          Object.fromEntries(columns.map((column, i) => [column.key, values[i] ?? null])),
        );
      }
    }
    return rows;
  };
  const difference = (before: Rows, after: Rows): Change[] => {
    const changes: Change[] = [];
    for (const [at, row] of before) if (!after.has(at)) changes.push({ kind: "delete", at, values: row });
    for (const [at, row] of after) {
      const old = before.get(at);
      if (!old) changes.push({ kind: "insert", at, values: row });
      else {
        const changed = Object.entries(row).filter(([column, value]) => old[column] !== value);
        if (changed.length > 0) changes.push({ kind: "update", at, values: Object.fromEntries(changed) });
      }
    }
    return changes;
  };
  const check = async (): Promise<void> => {
    const checkpoint = await transact(sync.connection, "read", requireCheckpoint);
    expect(await readBase(sync)).toEqual(tables(base));
    expect(tables(readRows())).toEqual(tables(replayAll(base, pending, new Set(checkpoint.withheld))));
    expect(checkpoint.cursor).toBe(cursor);
    expect(raw.prepare("SELECT count(*) FROM _sync_stage").pluck().get()).toBe(0);
    if (pending.length === 0) expect(raw.prepare("SELECT count(*) FROM _sync_base").pluck().get()).toBe(0);
  };

  for (const one of steps) {
    if (one.do === "serve") server = serve(server, one.wishes);
    else if (one.do === "write") {
      const changes: Change[] = [];
      try {
        db.transaction((tx) => {
          for (const text of one.wishes.flatMap(statements)) {
            const before = readRows();
            tx.run(sql.raw(text));
            changes.push(...difference(before, readRows()));
          }
        });
      } catch {
        continue; // Refused by a local constraint: nothing was written.
      }
      const { number, stamp } = (await transact(sync.connection, "read", lastTransaction)) as {
        number: number;
        stamp: number;
      };
      // An update that changes nothing is in the queue as well.
      if (number > written) pending.push({ number, stamp, changes });
      written = number;
    } else {
      const isFresh = one.fresh || cursor === undefined;
      if (one.fresh && cursor !== undefined) {
        // As after a reset: the cursor is gone, the rows stay until the snapshot is whole.
        raw.prepare("DELETE FROM _sync_meta WHERE k = 'device.cursor'").run();
      }
      const target = pending.slice(0, Math.round(pending.length * one.handled)).at(-1);
      let sent: Rows = isFresh ? new Map() : base;
      let n = 0;
      for (const wishes of one.parts) {
        // A part brings some of the rows, as they are now; what happens afterwards comes with a later one.
        const chosen = (at: string): boolean => (at.charCodeAt(at.length - 1) + n) % 2 === 0;
        const changes = groupsBetween(sent, server, chosen);
        const next: Rows = new Map([...sent].filter(([at]) => !chosen(at)));
        for (const [at, row] of server) if (chosen(at)) next.set(at, row);
        sent = next;
        await apply({
          kind: "page",
          epoch,
          ...(isFresh ? {} : { from: cursor as Cursor }),
          scopes: ["everyone"],
          schema: deviceTables.hash,
          changes,
          round: roundAt(n++),
        });
        server = serve(server, wishes);
      }
      const to = formatCursor({ seq: ++seq, stamp: 7 });
      const current = await transact(sync.connection, "read", requireCheckpoint);
      const lastTx = target ? { number: target.number, stamp: target.stamp } : current.handled;
      await apply({
        kind: "page",
        epoch,
        ...(isFresh ? {} : { from: cursor as Cursor }),
        to,
        scopes: ["everyone"],
        schema: deviceTables.hash,
        changes: groupsBetween(sent, server, () => true),
        lastTx,
        ackedTx: current.handled.number,
        outcomes: [],
      });
      cursor = to;
      base = server;
      pending = pending.filter((transaction) => !target || transaction.number > target.number);
      await check();
    }
  }
  const queue = (await transact(sync.connection, "read", function* () {
    const { handled } = yield* requireCheckpoint();
    return yield* readTransactions(sync, { after: handled.number, limit: 1000 });
  })) as readonly { stamp: number }[];
  expect(queue.map(({ stamp }) => stamp)).toEqual(pending.map(({ stamp }) => stamp));
  raw.close();
  return short;

  /** A copy of the database, in which the short way is closed. */
  async function applyToCopy(
    page: Page,
  ): Promise<{ readonly withheld: readonly number[]; readonly base: unknown; readonly rows: unknown }> {
    const copy = new Database(raw.serialize());
    copy.prepare("INSERT OR REPLACE INTO _sync_meta (k, v) VALUES ('device.cascaded', 'true')").run();
    const copied = syncOf(withSync(drizzle(copy, { schema }), definition));
    await copied.install("device");
    await transact(copied.connection, "apply", function* () {
      return yield* applyPage(copied, page, basisOf(yield* requireCheckpoint(), deviceTables.hash), {
        declaration: "0123456789abcdef",
        nowMs: 1,
      });
    });
    const { withheld } = await transact(copied.connection, "read", requireCheckpoint);
    const found = { withheld, base: await readBase(copied), rows: tables(readRows(copy)) };
    copy.close();
    return found;
  }
  async function apply(page: Page): Promise<void> {
    const before = short;
    const long = compares && page.to !== undefined ? await applyToCopy(page) : undefined;
    const result = await transact(sync.connection, "apply", function* () {
      return yield* applyPage(sync, page, basisOf(yield* requireCheckpoint(), deviceTables.hash), {
        declaration: "0123456789abcdef",
        nowMs: 1,
      });
    });
    expect(result.kind).toBe(page.to === undefined ? "staged" : "applied");
    // The long way also withholds what a page's row clashes with only in passing.
    if (long?.withheld.length === 0 && short > before) {
      expect(tables(readRows())).toEqual(long.rows);
      expect(await readBase(sync)).toEqual(long.base);
    }
  }
  function roundAt(next: number): RoundState {
    return {
      phase: "log",
      scopes: ["everyone"],
      added: [],
      held: ["everyone"],
      fresh: false,
      s0: 0,
      head: formatCursor({ seq: 0, stamp: 0 }),
      next,
      baseSchema: deviceTables.hash,
    };
  }
}

test("A2, A3: after every page the base is the server's state, and the tables are base + pending", async () => {
  await checkAsyncProperty(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => void (await runSteps(steps))),
    300,
  );
});

test("A2: a page that names no pending row is written beside them, with the same result", async () => {
  const few = wishOf(8);
  const begin: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("serve" as const),
    wishes: fc.array(few, { minLength: 12, maxLength: 30 }),
  });
  const write: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("write" as const),
    wishes: fc.array(few, { minLength: 1, maxLength: 2 }),
  });
  const serveFew: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("serve" as const),
    wishes: fc.array(few, { minLength: 1, maxLength: 2 }),
  });
  const pull = fc.constant<Step>({ do: "pull", parts: [], handled: 0, fresh: false });
  await checkAsyncProperty(
    fc.asyncProperty(
      fc
        .tuple(begin, pull, write, serveFew, pull, write, serveFew, pull, serveFew, pull)
        .map((steps): readonly Step[] => steps),
      async (steps) => void (await runSteps(steps)),
    ),
    300,
  );
});

test("A2: transactions that leave the queue beside others leave the same behind as a replay of the others", async () => {
  const some = wishOf(6);
  const begin: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("serve" as const),
    wishes: fc.array(some, { minLength: 8, maxLength: 24 }),
  });
  const write: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("write" as const),
    wishes: fc.array(some, { minLength: 1, maxLength: 2 }),
  });
  const serveSome: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("serve" as const),
    wishes: fc.array(some, { maxLength: 2 }),
  });
  const pull: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("pull" as const),
    parts: fc.constant([]),
    handled: fc.constantFrom(0, 0.3, 0.5, 0.5, 1),
    fresh: fc.constant(false),
  });
  let short = 0;
  await checkAsyncProperty(
    fc.asyncProperty(
      fc.tuple(
        begin,
        pull,
        fc.array(fc.tuple(write, write, write, serveSome, pull, serveSome, pull), { minLength: 1, maxLength: 2 }),
      ),
      async ([first, second, rest]) => {
        short += await runSteps([first, second, ...rest.flat()], true);
      },
    ),
    100,
  );
  // The share is by chance; none at all would mean that the property proves nothing.
  expect(short, "pages that went the short way").toBeGreaterThan(20);
});
