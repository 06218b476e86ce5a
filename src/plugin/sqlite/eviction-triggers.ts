/**
 * What REPLACE does without telling anybody. Unless `recursive_triggers` is on, a row that `INSERT OR REPLACE`, `UPDATE OR
 * REPLACE` or an `ON CONFLICT REPLACE` constraint removes fires no delete trigger, whether it is the row with the same
 * key or another one with the same unique value. By the time that is known, its scopes and values are gone.
 *
 * So a BEFORE trigger notes the rows that are in the way, and an AFTER trigger logs those that went. A statement that
 * was ignored, or turned into an update, leaves its notes behind; the next conflict on the table clears them. They
 * concern rows that are still there: where a row goes in the ordinary way, its note is forgotten ({@link forgetNote}).
 *
 * Not covered: the foreign key of a row whose own update evicts the row that it references (SQLite then runs the key's
 * action and overwrites its result).
 *
 * @module
 */

import { EVICT, LOG, kindNumbers } from "../names.ts";
import type { LiveUnique } from "./live-table.ts";
import { descendantsOf } from "./moved-triggers.ts";
import { identifier } from "./quote.ts";
import { hasChangingScopes } from "./scope-sql.ts";
import {
  and,
  differs,
  keyColumns,
  muteGate,
  sameKey,
  scopesAfter,
  trigger,
  updateOf,
  type Trigger,
  type TriggerTable,
} from "./trigger-parts.ts";

/** The triggers that note and settle evictions; none where an eviction cannot be missed. */
export function evictionTriggers(table: TriggerTable): readonly Trigger[] {
  const { live, without } = table;
  const [key, ...others] = live.uniques;
  const uniques = without.has("evict-unique") ? [] : others;
  const onInsert = [...(isKeyNoted(table) && key !== undefined ? [key] : []), ...uniques];
  const onUpdate = without.has("evict-update") ? [] : [...(key === undefined ? [] : [key]), ...uniques];
  const gate = muteGate(table);
  const settling = and(`EXISTS (SELECT 1 FROM ${EVICT} WHERE t = ${table.number})`, gate);
  const columns = [
    ...new Set(
      onUpdate.flatMap((unique) =>
        [...unique.terms, ...(unique.where === undefined ? [] : [unique.where])].flatMap((part) => part.columns),
      ),
    ),
  ];
  const changed = `(${columns.map((name) => differs(table, { name })).join(" OR ")})`;
  const onUpdateEvent = updateOf(table, columns);
  const isOther = `NOT ${sameKey(table, "x", "OLD")}`;
  return [
    ...(onInsert.length === 0
      ? []
      : [
          trigger(
            table,
            "bi",
            "BEFORE INSERT",
            and(gate, someInTheWay(table, onInsert, "")),
            note(table, onInsert, ""),
          ),
        ]),
    ...(onUpdate.length === 0
      ? []
      : [
          trigger(
            table,
            "bu",
            `BEFORE ${onUpdateEvent}`,
            and(changed, gate, someInTheWay(table, onUpdate, isOther)),
            note(table, onUpdate, isOther),
          ),
        ]),
    ...(onInsert.length === 0 || overwrittenScopes(table) !== undefined
      ? []
      : [trigger(table, "ei", "AFTER INSERT", settling, settleInsert(table))]),
    ...(onUpdate.length === 0
      ? []
      : [trigger(table, "eu", `AFTER ${onUpdateEvent}`, and(changed, settling), settleUpdate(table))]),
  ];
}

/**
 * The noted scopes of a row that `NEW` overwrites, on a server, where that is all there is to settle: no row with another key
 * can be in the way, and nobody inherits. The note may stay: whatever happens to the row next renews it or takes it
 * back.
 */
export function overwrittenScopes(table: TriggerTable): string | undefined {
  const { live, number, role } = table;
  const [key, ...others] = live.uniques;
  const isAll =
    role === "server" &&
    isKeyNoted(table) &&
    others.length === 0 &&
    live.table.children.length === 0 &&
    key?.terms.every(({ collation }) => collation === "BINARY") === true;
  return isAll ? `(SELECT s FROM ${EVICT} WHERE t = ${number} AND ${noteIs(table, "NEW")})` : undefined;
}

// Where scopes cannot change and nobody inherits them, an overwritten row is as good as a new one on a server.
function isKeyNoted({ live, role, without }: TriggerTable): boolean {
  if (without.has("evict-key")) return false;
  return role === "device" || hasChangingScopes(live.table) || live.table.children.length > 0;
}

/** Takes back the note of the row `OLD`, which is deleted in the ordinary way. */
export function forgetNote(table: TriggerTable): readonly string[] {
  return table.without.has("evict-purge")
    ? []
    : [`DELETE FROM ${EVICT} WHERE t = ${table.number} AND ${noteIs(table, "OLD")}`];
}

function someInTheWay(table: TriggerTable, uniques: readonly LiveUnique[], but: string): string {
  const name = identifier(table.live.table.name);
  const isThere = (unique: LiveUnique): string => {
    const [term] = unique.terms;
    // A search of the index and nothing else.
    if (but === "" && unique.terms.length === 1 && unique.where === undefined && term?.column !== undefined)
      return `${term.of("NEW")} COLLATE ${term.collation} IN (SELECT ${identifier(term.column)} FROM ${name})`;
    return `EXISTS (SELECT 1 FROM ${name} AS x WHERE ${and(inTheWay(unique), but)})`;
  };
  return `(${uniques.map(isThere).join(" OR ")})`;
}

// Of a partial index, the row in the way is one that it holds; its condition also lets SQLite find the row by the index.
function inTheWay({ terms, where }: LiveUnique): string {
  return and(
    ...terms.map((term) => `${term.of("x")} = ${term.of("NEW")} COLLATE ${term.collation}`),
    where === undefined ? "" : `(${where.of("x")})`,
  );
}

function note(table: TriggerTable, uniques: readonly LiveUnique[], but: string): readonly string[] {
  const { live, number, keyFields, rest, role, without } = table;
  const image: readonly (readonly [string, string])[] =
    role === "device"
      ? rest.map((column, i) => [`c${i}`, `x.${identifier(column.name)}`] as const)
      : [["s", `coalesce(${scopesAfter(table, "x")}, '')`]];
  const into = ["t", ...keyFields, ...image.map(([field]) => field)].join(", ");
  const from = [
    String(number),
    ...keyColumns(table).map((column) => `x.${identifier(column.name)}`),
    ...image.map(([, value]) => value),
  ].join(", ");
  const isNoted = `EXISTS (SELECT 1 FROM ${EVICT} AS e WHERE e.t = ${number} AND ${keyColumns(table)
    .map((column, i) => `e.k${i} IS x.${identifier(column.name)} COLLATE BINARY`)
    .join(" AND ")})`;
  return [
    ...(without.has("evict-fresh") ? [] : [`DELETE FROM ${EVICT} WHERE t = ${number}`]),
    ...uniques.map(
      (unique, i) =>
        `INSERT INTO ${EVICT}(${into}) SELECT ${from} FROM ${identifier(live.table.name)} AS x WHERE ${and(inTheWay(unique), but, i === 0 ? "" : `NOT ${isNoted}`)}`,
    ),
  ];
}

// After an insert that succeeded, a noted row with the new row's key was overwritten; another one is gone if it is not there.
function settleInsert(table: TriggerTable): readonly string[] {
  const went = `(${noteIs(table, "NEW")} OR ${isGone(table)})`;
  return [...logEvicted(table, went), `DELETE FROM ${EVICT} WHERE t = ${table.number} AND ${went}`];
}

// The row that was updated is not evicted, wherever its key went; a noted row whose key it took is.
function settleUpdate(table: TriggerTable): readonly string[] {
  const isOwn = table.without.has("evict-move") ? "0" : noteIs(table, "OLD");
  const went = `NOT ${isOwn} AND ((${noteIs(table, "NEW")} AND NOT ${sameKey(table, "NEW", "OLD")}) OR ${isGone(table)})`;
  return [
    ...logEvicted(table, went),
    `DELETE FROM ${EVICT} WHERE t = ${table.number} AND ((${went}) OR (${isOwn} AND NOT ${sameKey(table, "NEW", "OLD")}))`,
  ];
}

function logEvicted(table: TriggerTable, went: string): readonly string[] {
  const { number, keyFields, rest, role } = table;
  const image = role === "device" ? rest.map((_, i) => [`o${i}`, `c${i}`] as const) : [["sb", "s"] as const];
  const into = ["t", "kind", ...keyFields, ...image.map(([field]) => field)].join(", ");
  const from = [String(number), String(kindNumbers.delete), ...keyFields, ...image.map(([, value]) => value)].join(
    ", ",
  );
  const deleted = `INSERT INTO ${LOG}(${into}) SELECT ${from} FROM ${EVICT} WHERE t = ${number} AND ${went}`;
  if (role === "device" || table.without.has("evict-children")) return [deleted];
  // Children that the eviction did not cascade to (no action, keys switched off) lost their parent's scopes with it.
  const moved = descendantsOf(table, `${EVICT}.k0`, EVICT).map(
    ({ number: child, keys, from: source }) =>
      `INSERT INTO ${LOG}(t, kind, mask, ${keys.map((_, i) => `k${i}`).join(", ")}, sb) ` +
      `SELECT ${child}, ${kindNumbers.moved}, 0, ${keys.join(", ")}, ${EVICT}.s FROM ${source} AND ${EVICT}.t = ${number} AND ${went}`,
  );
  return [deleted, ...moved];
}

function noteIs(table: TriggerTable, row: string): string {
  return `(${keyColumns(table)
    .map((column, i) => `${EVICT}.k${i} IS ${row}.${identifier(column.name)} COLLATE BINARY`)
    .join(" AND ")})`;
}

// The equality serves the index; the second comparison is exact where the column's collation is not.
function isGone(table: TriggerTable): string {
  const name = identifier(table.live.table.name);
  return `NOT EXISTS (SELECT 1 FROM ${name} AS x WHERE ${keyColumns(table)
    .map(
      (column, i) =>
        `x.${identifier(column.name)} = ${EVICT}.k${i} AND x.${identifier(column.name)} IS ${EVICT}.k${i} COLLATE BINARY`,
    )
    .join(" AND ")})`;
}
