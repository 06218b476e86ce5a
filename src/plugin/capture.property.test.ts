import Database from "better-sqlite3";
import { sql } from "drizzle-orm";
import fc from "fast-check";
import { expect, test } from "vitest";
import { capture, ddl, temporaryFile, type Captured, type schema } from "../testing/capture-fixture.ts";
import { deviceComplaints, entriesAfter, headOf, serverComplaints } from "../testing/capture-oracle.ts";
import { anyWrite, dump, firstRows, hostileTriggers, type Write, writeSql } from "../testing/capture-writes.ts";
import type { Role } from "./sync-database.ts";

type Unit = { readonly door: number; readonly writes: readonly Write[]; readonly fails: boolean };
const unit: fc.Arbitrary<Unit> = fc.record({
  door: fc.nat({ max: 6 }),
  writes: fc.array(anyWrite, { minLength: 1, maxLength: 4 }),
  fails: fc.boolean(),
});
const units = fc.array(unit, { minLength: 1, maxLength: 12 });
const runs = Number(process.env["RUNS"] ?? 150);
const parameters = {
  numRuns: runs,
  ...(process.env["SEED"] === undefined ? {} : { seed: Number(process.env["SEED"]) }),
};

test("C1, C7: after random writes through every door, the server's log says which rows changed and which scopes they left and entered", () => {
  fc.assert(
    fc.property(units, fc.boolean(), (list, recursive) => {
      withDatabase("server", recursive, list, serverComplaints);
    }),
    parameters,
  );
});

test("C4: after random writes through every door, the device's log replays to the rows there are, and undoes to those there were", () => {
  fc.assert(
    fc.property(units, fc.boolean(), (list, recursive) => {
      withDatabase("device", recursive, list, deviceComplaints);
    }),
    parameters,
  );
});

function withDatabase(
  role: Role,
  recursive: boolean,
  list: readonly Unit[],
  complaintsOf: typeof serverComplaints,
): void {
  using file = temporaryFile();
  using it = capture({ role, path: file.path, ddl: `${ddl}${hostileTriggers}${firstRows}` });
  using other = disposable(new Database(file.path));
  if (recursive) it.raw.pragma("recursive_triggers = ON");
  for (const next of list) {
    const before = dump(it.raw);
    const head = headOf(it);
    perform(it, other.database, next);
    expect(complaintsOf(before, dump(it.raw), entriesAfter(it, head)), describeUnit(next)).toEqual([]);
  }
}

function disposable(database: Database.Database): { readonly database: Database.Database } & Disposable {
  return { database, [Symbol.dispose]: () => void database.close() };
}
/** Writes one unit through a door; failures are the database's business and must leave no trace. */
function perform(it: Captured<typeof schema>, other: Database.Database, { door, writes, fails }: Unit): void {
  const statements = writes.map(writeSql);
  const quiet = (body: () => void): void => {
    try {
      body();
    } catch (error) {
      if (!/constraint|rollback|reference|recursion|boom/i.test(`${String(error)} ${String((error as Error).cause)}`))
        throw error;
    }
  };
  const each = (execute: (text: string) => void) => (): void => {
    for (const text of statements) quiet(() => execute(text));
    if (fails) throw new Error("boom");
  };
  switch (door) {
    case 0:
      for (const text of statements) quiet(() => void it.db.run(sql.raw(text)));
      return;
    case 1:
      quiet(() => it.db.transaction((tx) => each((text) => void tx.run(sql.raw(text)))()));
      return;
    case 2:
      quiet(() =>
        it.db.transaction((tx) => {
          quiet(() => tx.transaction((inner) => each((text) => void inner.run(sql.raw(text)))()));
          tx.run(sql.raw(statements[0] ?? ""));
        }),
      );
      return;
    case 3:
      quiet(() => it.db.$client.transaction(each((text) => void it.db.$client.prepare(text).run()))());
      return;
    case 4:
      for (const text of statements) quiet(() => void it.db.$client.exec(text));
      return;
    case 5:
      // With keys off there are orphans, and children that come before their parents.
      other.pragma("foreign_keys = OFF");
      for (const text of statements) quiet(() => void other.prepare(text).run());
      other.pragma("foreign_keys = ON");
      return;
    default:
      it.db.run(sql`BEGIN`);
      for (const text of statements) quiet(() => void it.db.run(sql.raw(text)));
      if (!it.raw.inTransaction) return;
      quiet(() => void it.db.run(fails ? sql`ROLLBACK` : sql`COMMIT`));
      if (it.raw.inTransaction) it.db.run(sql`ROLLBACK`);
  }
}

function describeUnit({ door, writes, fails }: Unit): string {
  return `door ${door}${fails ? ", fails" : ""}: ${writes.map(writeSql).join("; ")}`;
}
