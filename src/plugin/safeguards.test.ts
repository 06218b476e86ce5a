/**
 * Mutation tests of the generated triggers: for each safeguard, writes that are captured rightly with it and wrongly without.
 *
 * @module
 */

import { expect, test } from "vitest";
import { integer, sqliteTable, text } from "drizzle-orm/sqlite-core";
import { capture, captureOf, ddl, type Captured, type schema } from "../testing/capture-fixture.ts";
import { deviceComplaints, entriesAfter, headOf, serverComplaints } from "../testing/capture-oracle.ts";
import { dump, firstRows } from "../testing/capture-writes.ts";
import { defineSync } from "./define-sync.ts";
import { muted } from "./mute.ts";
import { run } from "./core.ts";
import { safeguards, type Safeguard } from "./sqlite/safeguards.ts";

/** Writes, each list a transaction that is checked by itself. */
type Writes = {
  readonly role: "server" | "device";
  readonly units: readonly (readonly string[])[];
  readonly foreignKeys?: false;
};

/** Complaints that a safeguard's own scenario finds. */
type Scenario = Writes | ((without: readonly Safeguard[]) => readonly string[]);

const scenarios: { readonly [K in Safeguard]: Scenario } = {
  mute: (without) => {
    using it = capture({ role: "device", without, ddl: ddl + firstRows });
    const head = headOf(it);
    it.connection.transaction("write", () => it.run(muted(run("UPDATE lists SET title = 'muted'"))));
    return entriesAfter(it, head).map((entry) => `logged ${entry.row}`);
  },
  binary: { role: "server", units: [["UPDATE lists SET title = 'ABC' WHERE id = 'l1'"]] },
  "key-move": { role: "device", units: [["UPDATE replies SET id = 'r9' WHERE id = 'r0'"]] },
  "rowid-move": { role: "server", units: [["UPDATE nodes SET rowid = 7 WHERE id = 1"]] },
  "mask-share": (without) => {
    const columns = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`v${i}`, integer(`v${i}`)]));
    const wide = sqliteTable("wide", { id: text("id").primaryKey(), ...columns });
    const names = Object.keys(columns);
    const definition = defineSync({ wide }, { wide: { scope: "everyone" } });
    using it = captureOf(definition, {
      without,
      ddl: `CREATE TABLE wide(id TEXT PRIMARY KEY NOT NULL, ${names.join(", ")}); INSERT INTO wide(id) VALUES('w')`,
    });
    const head = headOf(it);
    it.raw.exec("UPDATE wide SET v69 = 1");
    it.raw.exec("UPDATE wide SET v5 = 1");
    const [last, fifth] = entriesAfter(it, head);
    return last?.columns.includes("v69") === true && fifth?.columns.join() === "v5" ? [] : ["a column is missing"];
  },
  "evict-unique": { role: "server", units: [["REPLACE INTO lists VALUES('l3', 'u1', 'x', 'S')"]] },
  "evict-key": { role: "server", units: [["REPLACE INTO lists VALUES('l1', 'u2', 'abc', NULL)"]] },
  "evict-update": { role: "server", units: [["UPDATE OR REPLACE lists SET slug = 's' WHERE id = 'l2'"]] },
  "evict-purge": {
    role: "device",
    units: [
      [
        "DELETE FROM todos",
        "INSERT OR IGNORE INTO lists VALUES('l3', NULL, NULL, 's')",
        "DELETE FROM lists WHERE id = 'l1'",
      ],
      ["INSERT INTO lists VALUES('l1', 'u2', 'new', NULL)"],
    ],
  },
  "evict-fresh": {
    role: "device",
    units: [
      ["INSERT OR IGNORE INTO lists VALUES('l3', NULL, NULL, 's')"],
      ["UPDATE lists SET title = 'other' WHERE id = 'l1'"],
      ["REPLACE INTO lists VALUES('l3', NULL, NULL, 's')"],
    ],
  },
  "evict-move": {
    role: "device",
    units: [
      [
        "INSERT INTO lists VALUES('lx', NULL, 'old', 'z')",
        "INSERT OR IGNORE INTO lists VALUES('l3', NULL, NULL, 'z')",
        "UPDATE lists SET title = 'new' WHERE id = 'lx'",
      ],
      ["UPDATE lists SET id = 'ly' WHERE id = 'lx'"],
    ],
  },
  "eviction-scopes": {
    role: "server",
    units: [["REPLACE INTO todos(id, list_id, title, place) VALUES('t0', 'l2', 'abc', 'p')"]],
  },
  "evict-children": {
    role: "server",
    foreignKeys: false,
    units: [["REPLACE INTO todos(id, list_id, title, place) VALUES('t0', 'l2', 'abc', 'p')"]],
  },
  newest: (without) => {
    using it = capture({ role: "device", without, ddl: ddl + firstRows });
    it.db.$client.exec(
      "CREATE TRIGGER app_reap AFTER INSERT ON nodes WHEN NEW.label = 'die' BEGIN DELETE FROM nodes WHERE id = NEW.id; END",
    );
    return perform(it, deviceComplaints, ["INSERT INTO nodes VALUES(9, NULL, 'die')"]);
  },
  "moved-insert": {
    role: "server",
    foreignKeys: false,
    units: [
      ["INSERT INTO comments VALUES('c9', 't9', 'early')"],
      ["INSERT INTO todos(id, list_id) VALUES('t9', 'l1')"],
    ],
  },
  "moved-update": { role: "server", units: [["UPDATE todos SET list_id = 'l2' WHERE id = 't0'"]] },
  "moved-key-before": { role: "server", units: [["UPDATE todos SET id = 't5', list_id = 'l2' WHERE id = 't0'"]] },
  "moved-key-after": {
    role: "server",
    foreignKeys: false,
    units: [["INSERT INTO comments VALUES('c9', 't5', 'orphan')"], ["UPDATE todos SET id = 't5' WHERE id = 't0'"]],
  },
  "moved-delete": { role: "server", units: [["DELETE FROM todos WHERE id = 't0'"]] },
  "moved-deep": { role: "server", units: [["UPDATE todos SET list_id = 'l2' WHERE id = 't0'"]] },
  "scope-class": (without) =>
    unexpectedScopes(without, "INSERT INTO members VALUES('l1', 1.5, 'x')", "insert members(l1,1.5) →"),
  "scope-line-feed": (without) => [
    ...unexpectedScopes(
      without,
      "INSERT INTO lists VALUES('l9', 'me' || char(10) || 'everyone', NULL, NULL)",
      "insert lists(l9) →list:l9",
    ),
    // A row's only scope is checked by whoever reads the log.
    ...unexpectedScopes(
      without,
      "INSERT INTO todos(id, list_id) VALUES('t9', 'l1' || char(10) || 'list:l2')",
      "insert todos(t9) →",
    ),
  ],
  "scope-escape": (without) =>
    unexpectedScopes(
      without,
      "INSERT INTO members VALUES('a:1%', 2, 'x')",
      "insert members(a:1%,2) →member:a%3A1%25:2",
    ),
  "key-lock": (without) => {
    using it = capture({ role: "device", without, ddl: ddl + firstRows });
    try {
      it.raw.exec("UPDATE lists SET id = 'l9' WHERE id = 'l1'");
    } catch (error) {
      return /cannot change on a device/.test(String(error)) ? [] : [String(error)];
    }
    return ["the key changed"];
  },
};

for (const [safeguard, scenario] of Object.entries(scenarios) as [Safeguard, Scenario][]) {
  test(`${safeguard}: ${safeguards[safeguard]}`, () => {
    expect(complaintsOf(scenario, [])).toEqual([]);
    expect(complaintsOf(scenario, [safeguard])).not.toEqual([]);
  });
}

function complaintsOf(scenario: Scenario, without: readonly Safeguard[]): readonly string[] {
  if (typeof scenario === "function") return scenario(without);
  using it = capture({ role: scenario.role, without, ddl: ddl + firstRows });
  if (scenario.foreignKeys === false) it.raw.pragma("foreign_keys = OFF");
  const check = scenario.role === "server" ? serverComplaints : deviceComplaints;
  return scenario.units.flatMap((unit) => perform(it, check, unit));
}

function perform(
  it: Captured<typeof schema>,
  check: typeof serverComplaints,
  unit: readonly string[],
): readonly string[] {
  const before = dump(it.raw);
  const head = headOf(it);
  for (const text of unit) it.raw.exec(text);
  return check(before, dump(it.raw), entriesAfter(it, head));
}

function unexpectedScopes(without: readonly Safeguard[], text: string, wanted: string): readonly string[] {
  using it = capture({ without, ddl: ddl + firstRows });
  it.raw.pragma("foreign_keys = OFF");
  it.log();
  it.raw.exec(text);
  const told = it.log();
  return told.includes(wanted) ? [] : told;
}
