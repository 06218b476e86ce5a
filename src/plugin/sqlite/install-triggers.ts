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
import type { TriggerContext } from "./trigger-parts.ts";
import { triggersFor } from "./triggers.ts";

/** A row of `sqlite_master`. */
export interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly on: string;
  readonly sql: string;
  readonly rowid: number;
}

/** Statements for the triggers, and the tables that lacked some of theirs. */
export function triggerWork(
  objects: readonly SchemaObject[],
  live: readonly LiveTable[],
  numbers: ReadonlyMap<SyncTable, number>,
  context: TriggerContext,
): { readonly missing: readonly LiveTable[]; readonly statements: readonly string[] } {
  const triggers = objects.filter((object) => object.type === "trigger");
  const ours = triggers.filter((trigger) => trigger.name.startsWith(PREFIX));
  const statements: string[] = [];
  const missing: LiveTable[] = [];
  const kept = new Set<string>();
  for (const table of live) {
    const wanted = triggersFor(table, numbers.get(table.table) ?? 0, context);
    const present = ours.filter((trigger) => isSameName(trigger.on, table.table.name));
    const theirs = triggers.filter(
      (trigger) => isSameName(trigger.on, table.table.name) && !trigger.name.startsWith(PREFIX),
    );
    const oldest = Math.min(...present.map((trigger) => trigger.rowid));
    const isNewest = context.without?.has("newest") === true || theirs.every((trigger) => trigger.rowid < oldest);
    // In order, too: the last one created fires first.
    const isRight =
      isNewest &&
      present.length === wanted.length &&
      wanted.every((trigger, i) => present[i]?.name === trigger.name && present[i]?.sql === trigger.sql);
    if (wanted.some((trigger) => !present.some((other) => other.name === trigger.name))) missing.push(table);
    if (isRight) for (const trigger of wanted) kept.add(trigger.name);
    else statements.push(...wanted.map((trigger) => trigger.sql));
  }
  const dropped = ours
    .filter((trigger) => !kept.has(trigger.name))
    .map((trigger) => `DROP TRIGGER ${identifier(trigger.name)}`);
  return { missing, statements: [...dropped, ...statements] };
}

// SQLite's names ignore the case of ASCII letters.
function isSameName(left: string, right: string): boolean {
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
