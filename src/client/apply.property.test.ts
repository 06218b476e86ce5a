/**
 * Pages against an independent recomputation: a server of plain maps, random local transactions written through the
 * database, and after every page the base and the visible rows worked out again from nothing but the rules.
 */

import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/better-sqlite3";
import { index, integer, sqliteTable, text, unique } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { transact } from "../plugin/core.ts";
import { defineSync } from "../plugin/define-sync.ts";
import { lastTransaction, readTransactions } from "../plugin/device-log.ts";
import { syncOf } from "../plugin/sync-database.ts";
import { withSync } from "../plugin/with-sync.ts";
import type { ChangeGroup } from "../protocol/change.ts";
import { formatCursor, makeEpoch, type Cursor, type Value } from "../protocol/ids.ts";
import type { Page, RoundState } from "../protocol/pull.ts";
import { checkAsyncProperty } from "../testing/check-property.ts";
import { readBase } from "../testing/read-base.ts";
import { applyPage, basisOf } from "./apply.ts";
import { requireCheckpoint } from "./checkpoint.ts";
import { openDevice } from "./device-state.ts";
import { deviceSchema } from "./device-schema.ts";

const parents = sqliteTable("parents", { id: text().primaryKey(), code: integer().unique(), name: text() });
const children = sqliteTable(
  "children",
  { id: text().primaryKey(), parentId: text("parent_id").notNull().references(() => parents.id, { onDelete: "cascade" }), slot: integer().unique(), x: integer() },
  (table) => [index("children_parent").on(table.parentId)],
);
const leaves = sqliteTable(
  "leaves",
  { id: text().primaryKey(), childId: text("child_id").notNull().references(() => children.id, { onDelete: "cascade" }), y: integer() },
  (table) => [index("leaves_child").on(table.childId)],
);
const notes = sqliteTable(
  "notes",
  { id: text().primaryKey(), parentId: text("parent_id").references(() => parents.id, { onDelete: "set null" }), z: integer() },
  (table) => [unique("notes_place").on(table.parentId, table.z)],
);
const schema = { parents, children, leaves, notes };
const definition = defineSync(schema, { parents: { scope: "everyone" }, children: { scopeFrom: "parentId" }, leaves: { scopeFrom: "childId" }, notes: { scope: "everyone" } });
const ddl = `
CREATE TABLE parents (id TEXT PRIMARY KEY NOT NULL, code INTEGER UNIQUE, name TEXT);
CREATE TABLE children (id TEXT PRIMARY KEY NOT NULL, parent_id TEXT NOT NULL REFERENCES parents (id) ON DELETE CASCADE, slot INTEGER UNIQUE, x INTEGER);
CREATE INDEX children_parent ON children (parent_id);
CREATE TABLE leaves (id TEXT PRIMARY KEY NOT NULL, child_id TEXT NOT NULL REFERENCES children (id) ON DELETE CASCADE, y INTEGER);
CREATE INDEX leaves_child ON leaves (child_id);
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, parent_id TEXT REFERENCES parents (id) ON DELETE SET NULL, z INTEGER, UNIQUE (parent_id, z));
`;

// ---- the oracle: rows as plain objects, by table and id ----

type TableKey = "parents" | "children" | "leaves" | "notes";
type Row = Readonly<Record<string, Value>>;
/** Rows by `table/id`. */
type Rows = Map<string, Row>;
interface Change {
  readonly kind: "insert" | "update" | "delete";
  readonly at: string;
  readonly values: Row;
}

const columnsOf: Readonly<Record<TableKey, readonly string[]>> = {
  parents: ["id", "code", "name"],
  children: ["id", "parentId", "slot", "x"],
  leaves: ["id", "childId", "y"],
  notes: ["id", "parentId", "z"],
};
const uniqueOf: Partial<Record<TableKey, readonly string[]>> = { parents: ["code"], children: ["slot"], notes: ["parentId", "z"] };
const parentOf: Partial<Record<TableKey, { readonly column: string; readonly table: TableKey; readonly action: "cascade" | "set null" }>> = {
  children: { column: "parentId", table: "parents", action: "cascade" },
  leaves: { column: "childId", table: "children", action: "cascade" },
  notes: { column: "parentId", table: "parents", action: "set null" },
};
const tableKeys = Object.keys(columnsOf) as readonly TableKey[];
const tableOf = (at: string): TableKey => at.slice(0, at.indexOf("/")) as TableKey;

function removeRow(rows: Rows, at: string): void {
  rows.delete(at);
  for (const [other, row] of [...rows]) {
    const link = parentOf[tableOf(other)];
    if (!link || `${link.table}/${String(row[link.column])}` !== at) continue;
    if (link.action === "cascade") removeRow(rows, other);
    else rows.set(other, { ...row, [link.column]: null });
  }
}

/** Applies one change as a replay would; false when a unique value is taken. */
function applyChange(rows: Rows, { kind, at, values }: Change): boolean {
  if (kind === "delete") {
    if (rows.has(at)) removeRow(rows, at);
    return true;
  }
  const current = rows.get(at);
  if (kind === "update" && !current) return true;
  const next = { ...current, ...values };
  rows.set(at, next);
  const columns = uniqueOf[tableOf(at)];
  if (!columns || columns.some((column) => next[column] === null)) return true;
  return ![...rows].some(([other, row]) => other !== at && tableOf(other) === tableOf(at) && columns.every((column) => row[column] === next[column]));
}

function keysHold(rows: Rows): boolean {
  return [...rows].every(([at, row]) => {
    const link = parentOf[tableOf(at)];
    return !link || row[link.column] === null || rows.has(`${link.table}/${String(row[link.column])}`);
  });
}

/**
 * Base + pending = visible. A transaction that is withheld must break something when it is replayed change by change; one
 * that is shown must leave a state that holds (a page written beside it may clash with what it wrote only in passing).
 */
function replayAll(base: Rows, pending: readonly { readonly stamp: number; readonly changes: readonly Change[] }[], withheld: ReadonlySet<number>): Rows {
  let visible = new Map(base);
  for (const { stamp, changes } of pending) {
    const next = new Map(visible);
    const isClean = changes.map((change) => applyChange(next, change)).every((isFine) => isFine) && keysHold(next);
    if (!withheld.has(stamp)) visible = next;
    else expect(isClean, "a withheld transaction breaks a constraint").toBe(false);
  }
  expect(keysHold(visible), "foreign keys hold").toBe(true);
  return visible;
}

const tables = (rows: Rows): Record<string, Row[]> =>
  Object.fromEntries(
    tableKeys.map((table) => [
      table,
      [...rows].filter(([at]) => tableOf(at) === table).map(([, row]) => row).sort((a, b) => (String(a["id"]) < String(b["id"]) ? -1 : 1)),
    ]),
  );

// ---- random changes ----

interface Wish {
  readonly table: TableKey;
  readonly id: number;
  readonly kind: "put" | "patch" | "delete" | "swap";
  readonly parent: number;
  readonly unique: number | null;
  readonly value: number;
}
const wishOf = (max: number): fc.Arbitrary<Wish> =>
  fc.record({
    table: fc.constantFrom(...tableKeys),
    id: fc.integer({ min: 0, max }),
    kind: fc.constantFrom("put", "put", "patch", "patch", "delete", "swap"),
    parent: fc.integer({ min: 0, max: Math.min(max, 3) }),
    unique: fc.option(fc.integer({ min: 0, max: 3 })),
    value: fc.integer({ min: 0, max: 999 }),
  });
const wish = wishOf(3);

/** A row as a wish would have it. */
function wishedRow({ table, id, parent, unique, value }: Wish): Row {
  switch (table) {
    case "parents":
      return { id: `${id}`, code: unique, name: `n${value}` };
    case "children":
      return { id: `${id}`, parentId: `${parent}`, slot: unique, x: value };
    case "leaves":
      return { id: `${id}`, childId: `${parent}`, y: value };
    case "notes":
      return { id: `${id}`, parentId: unique === null ? null : `${parent}`, z: value % 4 };
  }
}

/** What a server does with wishes: each as far as it is allowed. */
function serve(rows: Rows, wishes: readonly Wish[]): Rows {
  let state = rows;
  for (const one of wishes) {
    const at = `${one.table}/${one.id}`;
    const next = new Map(state);
    const row = wishedRow(one);
    const moved = uniqueOf[one.table]?.at(-1);
    let isFine = true;
    if (one.kind === "delete") removeRow(next, at);
    else if (one.kind === "swap" && moved) {
      const other = `${one.table}/${one.parent}`;
      const [a, b] = [next.get(at), next.get(other)];
      if (!a || !b || at === other) continue;
      next.set(at, { ...a, [moved]: b[moved] ?? null });
      next.set(other, { ...b, [moved]: a[moved] ?? null });
      isFine = [at, other].every((each) => applyChange(next, { kind: "update", at: each, values: {} }));
    } else if (one.kind === "patch" && next.has(at)) isFine = applyChange(next, { kind: "update", at, values: { ...row, id: String(one.id) } });
    else isFine = applyChange(next, { kind: "insert", at, values: row });
    if (isFine && keysHold(next)) state = next;
  }
  return state;
}

/** The statements of a wish on the device. */
function statements({ table, id, kind, parent, unique, value }: Wish): readonly string[] {
  const u = unique === null ? "NULL" : String(unique);
  if (kind === "delete") return [`DELETE FROM ${table} WHERE id = '${id}'`];
  switch (table) {
    case "parents":
      if (kind === "put") return [`INSERT INTO parents VALUES ('${id}', ${u}, 'n${value}')`];
      if (kind === "swap") {
        return [
          `UPDATE parents SET code = -1 - code WHERE id IN ('${id}', '${parent}')`,
          `UPDATE parents SET code = (SELECT -1 - p.code FROM parents p WHERE p.id = '${parent}') WHERE id = '${id}'`,
          `UPDATE parents SET code = ${u} WHERE id = '${parent}'`,
        ];
      }
      return [value % 2 ? `UPDATE parents SET name = 'n${value}' WHERE id = '${id}'` : `UPDATE parents SET code = ${u} WHERE id = '${id}'`];
    case "children":
      if (kind === "put") return [`INSERT INTO children VALUES ('${id}', '${parent}', ${u}, ${value})`];
      return [value % 3 === 0 ? `UPDATE children SET parent_id = '${parent}' WHERE id = '${id}'` : value % 3 === 1 ? `UPDATE children SET slot = ${u} WHERE id = '${id}'` : `UPDATE children SET x = ${value} WHERE id = '${id}'`];
    case "leaves":
      if (kind === "put") return [`INSERT INTO leaves VALUES ('${id}', '${parent}', ${value})`];
      return [value % 2 ? `UPDATE leaves SET child_id = '${parent}' WHERE id = '${id}'` : `UPDATE leaves SET y = ${value} WHERE id = '${id}'`];
    case "notes":
      if (kind === "put") return [`INSERT INTO notes VALUES ('${id}', ${unique === null ? "NULL" : `'${parent}'`}, ${value % 4})`];
      return [value % 2 ? `UPDATE notes SET parent_id = '${parent}' WHERE id = '${id}'` : `UPDATE notes SET z = ${value % 4} WHERE id = '${id}'`];
  }
}

// ---- pages ----

/** The changes between what a device has and a state, columnar. */
function groupsBetween(from: Rows, to: Rows, only: (at: string) => boolean): readonly ChangeGroup[] {
  const groups = new Map<string, { readonly table: string; readonly kind: ChangeGroup["kind"]; readonly columns: readonly string[]; readonly values: Value[][] }>();
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
  | { readonly do: "pull"; readonly parts: readonly (readonly Wish[])[]; readonly handled: number; readonly fresh: boolean };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("write" as const), wishes: fc.array(wish, { minLength: 1, maxLength: 4 }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("serve" as const), wishes: fc.array(wish, { minLength: 1, maxLength: 6 }) }) },
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
  transact(sync.connection, "write", () => openDevice(sync));
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
      for (const values of from.prepare(`SELECT ${columns.map((column) => column.name).join(", ")} FROM ${table.name}`).raw().all() as Value[][]) {
        rows.set(`${key}/${String(values[0])}`, Object.fromEntries(columns.map((column, i) => [column.key, values[i] ?? null])));
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
      const { number, stamp } = (await transact(sync.connection, "read", lastTransaction)) as { number: number; stamp: number };
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
        await apply({ kind: "page", epoch, ...(isFresh ? {} : { from: cursor as Cursor }), scopes: ["everyone"], schema: deviceTables.hash, changes, round: roundAt(n++) });
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
  async function applyToCopy(page: Page): Promise<{ readonly withheld: readonly number[]; readonly base: unknown; readonly rows: unknown }> {
    const copy = new Database(raw.serialize());
    copy.prepare("INSERT OR REPLACE INTO _sync_meta (k, v) VALUES ('device.cascaded', 'true')").run();
    const copied = syncOf(withSync(drizzle(copy, { schema }), definition));
    await copied.install("device");
    await transact(copied.connection, "apply", function* () {
      return yield* applyPage(copied, page, basisOf(yield* requireCheckpoint(), deviceTables.hash), { declaration: "0123456789abcdef", nowMs: 1 });
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
      return yield* applyPage(sync, page, basisOf(yield* requireCheckpoint(), deviceTables.hash), { declaration: "0123456789abcdef", nowMs: 1 });
    });
    expect(result.kind).toBe(page.to === undefined ? "staged" : "applied");
    // The long way also withholds what a page's row clashes with only in passing.
    if (long?.withheld.length === 0 && short > before) {
      expect(tables(readRows())).toEqual(long.rows);
      expect(await readBase(sync)).toEqual(long.base);
    }
  }
  function roundAt(next: number): RoundState {
    return { phase: "log", scopes: ["everyone"], added: [], held: ["everyone"], fresh: false, s0: 0, head: formatCursor({ seq: 0, stamp: 0 }), next, baseSchema: deviceTables.hash };
  }
}

test("A2, A3: after every page the base is the server's state, and the tables are base + pending", async () => {
  await checkAsyncProperty(fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => void (await runSteps(steps))), 300);
});

test("A2: a page that names no pending row is written beside them, with the same result", async () => {
  const few = wishOf(8);
  const begin: fc.Arbitrary<Step> = fc.record({ do: fc.constant("serve" as const), wishes: fc.array(few, { minLength: 12, maxLength: 30 }) });
  const write: fc.Arbitrary<Step> = fc.record({ do: fc.constant("write" as const), wishes: fc.array(few, { minLength: 1, maxLength: 2 }) });
  const serveFew: fc.Arbitrary<Step> = fc.record({ do: fc.constant("serve" as const), wishes: fc.array(few, { minLength: 1, maxLength: 2 }) });
  const pull = fc.constant<Step>({ do: "pull", parts: [], handled: 0, fresh: false });
  await checkAsyncProperty(
    fc.asyncProperty(
      fc.tuple(begin, pull, write, serveFew, pull, write, serveFew, pull, serveFew, pull).map((steps): readonly Step[] => steps),
      async (steps) => void (await runSteps(steps)),
    ),
    300,
  );
});

test("A2: transactions that leave the queue beside others leave the same behind as a replay of the others", async () => {
  const some = wishOf(6);
  const begin: fc.Arbitrary<Step> = fc.record({ do: fc.constant("serve" as const), wishes: fc.array(some, { minLength: 8, maxLength: 24 }) });
  const write: fc.Arbitrary<Step> = fc.record({ do: fc.constant("write" as const), wishes: fc.array(some, { minLength: 1, maxLength: 2 }) });
  const serveSome: fc.Arbitrary<Step> = fc.record({ do: fc.constant("serve" as const), wishes: fc.array(some, { maxLength: 2 }) });
  const pull: fc.Arbitrary<Step> = fc.record({ do: fc.constant("pull" as const), parts: fc.constant([]), handled: fc.constantFrom(0, 0.3, 0.5, 0.5, 1), fresh: fc.constant(false) });
  let short = 0;
  await checkAsyncProperty(
    fc.asyncProperty(
      fc.tuple(begin, pull, fc.array(fc.tuple(write, write, write, serveSome, pull, serveSome, pull), { minLength: 1, maxLength: 2 })),
      async ([first, second, rest]) => {
        short += await runSteps([first, second, ...rest.flat()], true);
      },
    ),
    100,
  );
  expect(short, "pages that went the short way").toBeGreaterThan(100);
});
