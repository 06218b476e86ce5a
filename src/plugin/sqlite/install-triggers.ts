/**
 * Compares the triggers and log indexes that should be there with `sqlite_master`, and says which statements make them so.
 *
 * @module
 */

import type { LayoutRow } from "../layouts.ts";
import { LOG, PREFIX } from "../names.ts";
import type { Role } from "../sync-database.ts";
import type { SyncTable } from "../table.ts";
import type { LiveTable } from "./live-table.ts";
import { identifier } from "./quote.ts";
import type { Trigger, TriggerContext } from "./trigger-parts.ts";
import { triggersFor } from "./triggers.ts";

/** A row of `sqlite_master`. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly on: string;
  readonly sql: string;
  readonly rowid: number;
}

/** Which triggers are left alone, and which count as missing. */
export interface TriggerRules {
  /** All was in order just now, so nothing has gone by a table that has triggers. */
  readonly isSeen: boolean;
  /** Another version of the app has started since: where it has triggers of all our kinds, they stay. */
  readonly isDeferring: boolean;
  /** In the order of their numbers. */
  readonly layouts: readonly LayoutRow[];
  /** Whether a layout is first written down now. */
  readonly isNew: (layout: number) => boolean;
  /** Whether the triggers of a table are ours to drop. */
  readonly isOurs: (table: string) => boolean;
}

/** Statements for the triggers, and the tables that changes may have gone by. */
export function triggerWork(
  objects: readonly SchemaObject[],
  live: readonly LiveTable[],
  numbers: ReadonlyMap<SyncTable, number>,
  context: TriggerContext,
  rules: TriggerRules,
): { readonly missing: readonly LiveTable[]; readonly statements: readonly string[]; readonly isExact: boolean } {
  const triggers = objects.filter((object) => object.type === "trigger");
  const ours = triggers.filter((trigger) => trigger.name.startsWith(PREFIX));
  const statements: string[] = [];
  const missing: LiveTable[] = [];
  const kept = new Set<string>();
  let isExact = true;
  const presentOn = (table: LiveTable): readonly SchemaObject[] =>
    ours.filter((trigger) => isSameName(trigger.on, table.table.name));
  const layoutsOf = (table: LiveTable): readonly LayoutRow[] =>
    rules.layouts.filter((row) => row.name === table.table.name);
  // The columns have changed and nobody has written triggers for them yet; or back, to what they were before.
  const isReshaped = (table: LiveTable): boolean => {
    const number = numbers.get(table.table) ?? 0;
    return rules.isNew(number) || layoutsOf(table).at(-1)?.number !== number;
  };
  const layoutThere = (table: LiveTable): LayoutRow | undefined => {
    const number = layoutNumber(presentOn(table));
    return layoutsOf(table).find((row) => row.number === number);
  };
  const asTheyWere: TriggerContext = {
    ...context,
    numberOf: (table) => {
      const found = context.liveOf(table);
      return found === undefined ? undefined : layoutThere(found)?.number;
    },
  };
  // Whether they are what we would have written before columns were added: readers know that an update of such a layout
  // does not tell of all columns.
  const hasToldEnough = (table: LiveTable, present: readonly SchemaObject[]): boolean => {
    const layout = layoutThere(table);
    if (layout === undefined || layout.keyLength !== table.keyLength) return false;
    const columns = layout.columns.map((name) => ({ name }));
    return isSame(present, triggersFor({ ...table, columns }, layout.number, asTheyWere));
  };
  for (const table of live) {
    const wanted = triggersFor(table, numbers.get(table.table) ?? 0, context);
    const present = presentOn(table);
    const theirs = triggers.filter(
      (trigger) => isSameName(trigger.on, table.table.name) && !trigger.name.startsWith(PREFIX),
    );
    const oldest = Math.min(...present.map((trigger) => trigger.rowid));
    const isNewest = context.without?.has("newest") === true || theirs.every((trigger) => trigger.rowid < oldest);
    // In order, too: the last one created fires first.
    const isRight = isNewest && isSame(present, wanted);
    const hasAll = wanted.every((trigger) => present.some((other) => other.name === trigger.name));
    if (!isRight) isExact = false;
    if (isRight || (rules.isDeferring && isNewest && hasAll && !isReshaped(table))) {
      for (const trigger of present) kept.add(trigger.name);
      continue;
    }
    statements.push(...wanted.map((trigger) => trigger.sql));
    if (present.length === 0 || !(rules.isSeen || hasToldEnough(table, present))) missing.push(table);
  }
  const dropped = ours
    .filter((trigger) => !kept.has(trigger.name) && rules.isOurs(trigger.on))
    .map((trigger) => `DROP TRIGGER ${identifier(trigger.name)}`);
  return { missing, statements: [...dropped, ...statements], isExact };
}

function isSame(present: readonly SchemaObject[], wanted: readonly Trigger[]): boolean {
  return (
    present.length === wanted.length &&
    wanted.every((trigger, i) => present[i]?.name === trigger.name && present[i]?.sql === trigger.sql)
  );
}

/** The layout that triggers write; it is the first value in each of their entries. */
function layoutNumber(present: readonly SchemaObject[]): number | undefined {
  for (const { sql } of present) {
    const [, number] = written.exec(sql) ?? [];
    if (number !== undefined) return Number(number);
  }
  return undefined;
}

const written = new RegExp(`INTO ${LOG}\\(t, [^)]*\\) VALUES \\((\\d+), `);

/** SQLite's names ignore the case of ASCII letters. */
export function isSameName(left: string, right: string): boolean {
  return left.toLowerCase() === right.toLowerCase();
}

/** Statements for P11: last-write-wins asks when a row's columns were last written, so its tables have an index of the log. */
export function timesIndexWork(
  objects: readonly SchemaObject[],
  live: ReadonlyMap<SyncTable, LiveTable>,
  rows: readonly LayoutRow[],
  role: Role,
): readonly string[] {
  const statements: string[] = [];
  const wanted = new Map<string, string>();
  for (const { table, keyLength } of live.values()) {
    if (role === "device" || !needsTimes(table.conflict)) continue;
    const numbers = rows.filter((row) => row.name === table.name).map((row) => row.number);
    const name = `${PREFIX}times_${table.name}`;
    const keys = Array.from({ length: keyLength }, (_, i) => `k${i}`).join(", ");
    wanted.set(name, `CREATE INDEX ${identifier(name)} ON ${LOG}(${keys}, seq) WHERE t IN (${numbers.join(", ")})`);
  }
  for (const object of objects) {
    if (object.type !== "index" || !object.name.startsWith(`${PREFIX}times_`)) continue;
    if (wanted.get(object.name) === object.sql) wanted.delete(object.name);
    else statements.push(`DROP INDEX IF EXISTS ${identifier(object.name)}`);
  }
  return [...statements, ...wanted.values()];
}

function needsTimes(conflict: unknown): boolean {
  return (conflict as { readonly needs?: { readonly times?: boolean } } | undefined)?.needs?.times === true;
}
