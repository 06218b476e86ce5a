/**
 * Generates the capture triggers of one table, as plain SQL that every SQLite since 3.24 runs on every connection (C1, C2).
 *
 * On a server an entry holds the key, a mask of changed columns and the scopes before and after (C3); on a device the new and
 * old values instead (C4). The two differ in columns only, so one generator writes both.
 *
 * SQLite fires the newest trigger of a table first, so {@link triggersFor} returns them in the order in which they are to
 * be created: the last one fires first. What REPLACE does is in `eviction-triggers.ts`, what moves with a parent in
 * `moved-triggers.ts`.
 *
 * Each trigger that fires costs a frame, each table that it looks into a cursor, even where its condition then fails. So there
 * are as few as can be, `UPDATE OF` keeps them out of updates that name nothing of theirs, and what decides most often
 * and most cheaply is asked first.
 *
 * @module
 */

import { EVICT, LAST_MASK_BIT, SAME_SCOPES } from "../names.ts";
import type { SyncTable } from "../table.ts";
import { evictionTriggers, forgetNote, overwrittenScopes } from "./eviction-triggers.ts";
import type { LiveColumn, LiveTable } from "./live-table.ts";
import { movedTriggers } from "./moved-triggers.ts";
import { identifier } from "./quote.ts";
import { scopeColumns } from "./scope-sql.ts";
import {
  and,
  differs,
  entry,
  keyChange,
  keyColumns,
  keyValues,
  muteGate,
  sameKey,
  scopesAfter,
  scopesBefore,
  trigger,
  type Trigger,
  type TriggerContext,
  type TriggerTable,
} from "./trigger-parts.ts";

/** The triggers of a table, in the order of creation. */
export function triggersFor(live: LiveTable, number: number, context: TriggerContext): readonly Trigger[] {
  const table: TriggerTable = {
    live,
    number,
    role: context.role,
    context,
    without: context.without ?? new Set(),
    keyFields: live.columns.slice(0, live.keyLength).map((_, i) => `k${i}`),
    rest: live.columns.slice(live.keyLength),
  };
  const moved = context.role === "server" ? movedTriggers(table) : [];
  return [
    ...moved,
    ...changeTriggers(table),
    ...(context.role === "device" ? keyLock(table) : []),
    ...evictionTriggers(table),
  ];
}

function changeTriggers(table: TriggerTable): readonly Trigger[] {
  const gate = muteGate(table);
  return [
    trigger(table, "i", "AFTER INSERT", gate, [insertEntry(table, overwrittenScopes(table))]),
    // An update that also moves the key repeats here what the next trigger logs whole: harmless in either order.
    trigger(table, "u", "AFTER UPDATE", gate, [updateEntry(table)]),
    ...(table.without.has("key-move")
      ? []
      : [
          trigger(table, "k", `AFTER ${keyChange(table)}`, and(`NOT ${sameKey(table, "OLD", "NEW")}`, gate), [
            deleteEntry(table),
            insertEntry(table),
          ]),
        ]),
    trigger(table, "d", "AFTER DELETE", gate, [...forgetNote(table), deleteEntry(table)]),
  ];
}

/** C8: what others reference keeps its key on a device, where nothing says which of the two keys the server will know. */
function keyLock(table: TriggerTable): readonly Trigger[] {
  const { live, without } = table;
  if (without.has("key-lock")) return [];
  const references = referencing(live.table, table.context);
  if (references.length === 0) return [];
  const columns = [...new Set(references.flatMap(({ target }) => target))];
  const keys = keyColumns(table);
  const locked = keys.filter(({ name }) => columns.some((column) => column.name === name));
  if (locked.length === 0) return [];
  const used = references.map(
    ({ table: child, own, target }) =>
      `EXISTS (SELECT 1 FROM ${identifier(child.name)} AS c WHERE ${own.map((column, i) => `OLD.${identifier(target[i]?.name ?? "")} = c.${identifier(column.name)}`).join(" AND ")})`,
  );
  const message = `drizzle-sync: the key of a row in ${live.table.name} that other rows reference cannot change on a device; insert a new row instead`;
  return [
    trigger(
      table,
      "l",
      `BEFORE ${keyChange(table)}`,
      and(`NOT ${sameKey(table, "OLD", "NEW")}`, muteGate(table), `(${used.join(" OR ")})`),
      [`SELECT RAISE(ABORT, '${message.replaceAll("'", "''")}')`],
    ),
  ];
}

function referencing(target: SyncTable, context: TriggerContext) {
  return target.referencedBy.flatMap(({ table, columns, targetColumns }) =>
    context.liveOf(table) === undefined ? [] : [{ table, own: columns, target: targetColumns }],
  );
}

/** The entry of the row `NEW`, inserted. `before`: the scopes of a row that it may have overwritten. */
function insertEntry(table: TriggerTable, before?: string): string {
  const whole =
    table.role === "device"
      ? fields("c", table, (column) => `NEW.${identifier(column.name)}`)
      : [...(before === undefined ? [] : [["sb", before] as const]), ["sa", scopesAfter(table)] as const];
  return entry(table, "insert", [...keyValues(table, "NEW"), ...whole]);
}

/** The entry of the row `OLD`, deleted. */
function deleteEntry(table: TriggerTable): string {
  const image =
    table.role === "device"
      ? fields("o", table, (column) => `OLD.${identifier(column.name)}`)
      : [["sb", scopesBefore(table)] as const];
  return entry(table, "delete", [...keyValues(table, "OLD"), ...image]);
}

function updateEntry(table: TriggerTable): string {
  const chosen = (row: string) => (column: LiveColumn, i: number) =>
    `CASE WHEN ${bitColumns(table, i)
      .map((other) => differs(table, other))
      .join(" OR ")} THEN ${row}.${identifier(column.name)} END`;
  const image =
    table.role === "device"
      ? [...fields("c", table, chosen("NEW")), ...fields("o", table, chosen("OLD"))]
      : ([
          ["sb", scopesBeforeUpdate(table)],
          ["sa", scopesAfter(table)],
        ] as const);
  return entry(table, "update", [["mask", maskSql(table)], ...keyValues(table, "NEW"), ...image]);
}

// Written out only where they may differ from those after: where a scope column does, or a parent is gone and left a note.
function scopesBeforeUpdate(table: TriggerTable): string {
  const source = table.live.table;
  const changed = [
    ...scopeColumns(source).map((column) => differs(table, column)),
    ...(source.parent === undefined ? [] : [`EXISTS (SELECT 1 FROM ${EVICT})`]),
  ];
  return changed.length === 0
    ? String(SAME_SCOPES)
    : `CASE WHEN ${changed.join(" OR ")} THEN ${scopesBefore(table)} ELSE ${SAME_SCOPES} END`;
}

function fields(
  prefix: "c" | "o",
  table: TriggerTable,
  value: (column: LiveColumn, i: number) => string,
): readonly (readonly [string, string])[] {
  return table.rest.map((column, i) => [`${prefix}${i}`, value(column, i)] as const);
}

function maskSql(table: TriggerTable): string {
  const terms: string[] = [];
  for (let i = 0; i < table.rest.length && i <= lastBit(table); i++) {
    const changed = bitColumns(table, i).map((column) => differs(table, column));
    // Fewer steps of the virtual machine than to shift what a comparison gives.
    terms.push(`CASE WHEN ${changed.join(" OR ")} THEN ${1n << BigInt(i)} ELSE 0 END`);
  }
  return sum(terms);
}

// As a balanced tree: a chain would hold a register for each term, and a frame as large is made for each row.
function sum(terms: readonly string[]): string {
  if (terms.length <= 2) return terms.join(" + ") || "0";
  const middle = Math.ceil(terms.length / 2);
  return `(${sum(terms.slice(0, middle))}) + (${sum(terms.slice(middle))})`;
}

// Bit i stands for the i-th column besides the key; the last bit for all that follow.
function bitColumns(table: TriggerTable, i: number): readonly LiveColumn[] {
  const last = lastBit(table);
  return i < last ? table.rest.slice(i, i + 1) : table.rest.slice(last === Number.POSITIVE_INFINITY ? i : last);
}

function lastBit(table: TriggerTable): number {
  return table.without.has("mask-share") ? Number.POSITIVE_INFINITY : LAST_MASK_BIT;
}
