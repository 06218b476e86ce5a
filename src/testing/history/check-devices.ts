/**
 * What devices showed, on the way and at the end: states that the server had, never half a transaction, never backwards,
 * and at last the server's rows in their scopes.
 *
 * @module
 */

import type { Audit } from "./audit.ts";
import {
  nameOf,
  wasRestored,
  type AuditRow,
  type Blame,
  type RecordedDevice,
  type RecordedRun,
  type Row,
  type Rows,
} from "./recorded-run.ts";
import { sumRows } from "./row-sums.ts";

/** Checks what the devices showed. */
export function checkDevices(run: RecordedRun, audit: Audit, blame: Blame): void {
  if (!wasRestored(run)) checkWholes(run, audit, blame);
  for (const device of run.devices) {
    // A server that was put back shows earlier states, and the audit of what it had is gone with them.
    if (!wasRestored(run)) {
      checkReads(device, audit, blame);
      checkCursors(device, blame);
    }
    const end = device.events.filter((event) => event.kind === "end").at(-1);
    if (!end) blame("failed", `${device.name} did not come to its end`);
    else if (end.pending > 0) blame("leftover", `${device.name} has ${end.pending} transactions in its queue`);
    for (const [table, count] of Object.entries(device.leftovers))
      if (count > 0) blame("leftover", `${device.name} has ${count} rows in ${table}`);
    checkConverged(device, visibleRows(run.server.rows, device.scopes), blame);
  }
}

/** What was read, but for rows of pending transactions, is the server's state at one position, and never an earlier one. */
function checkReads(device: RecordedDevice, audit: Audit, blame: Blame): void {
  let floor = 0;
  for (const event of device.events) {
    if (event.kind !== "read") continue;
    let from = 0;
    let to = Number.POSITIVE_INFINITY;
    for (const [table, key, by] of event.rows) {
      if (event.pending.includes(by)) continue;
      const versions = audit.versions.get(nameOf({ table, key })) ?? [];
      const at = versions.findIndex((version) => version.by === by);
      const version = versions[at];
      if (!version) {
        blame("snapshot", `${device.name} shows ${table}/${key} as ${by} wrote it, which the server never had`);
        continue;
      }
      from = Math.max(from, version.position);
      to = Math.min(to, versions[at + 1]?.position ?? to);
    }
    if (from >= to)
      blame("snapshot", `${device.name} shows rows that were never there together: ${JSON.stringify(event.rows)}`);
    if (to <= floor)
      blame("backwards", `${device.name} shows an earlier state than before: ${JSON.stringify(event.rows)}`);
    floor = Math.max(floor, from);
    const position = audit.positionAt(event.seq);
    if (from <= to && (position < from || position >= to))
      blame("cursor", `${device.name} stands at ${event.seq}, after ${position}, and shows ${from} to ${to}`);
  }
}

/** All rows that were shown while nothing was pending are the server's, at the very place where the device stood. */
function checkWholes(run: RecordedRun, audit: Audit, blame: Blame): void {
  const reads = run.devices
    .flatMap(({ name, events }) =>
      events.flatMap((event) =>
        event.kind === "read" && event.whole
          ? [{ name, seq: event.seq, whole: event.whole, position: audit.positionAt(event.seq) }]
          : [],
      ),
    )
    .sort((a, b) => a.position - b.position);
  const state = new Map<string, Map<string, Row>>();
  let next = 0;
  let position = -1;
  for (const read of reads) {
    for (; next < run.audit.length; next++) {
      const row = run.audit[next] as AuditRow;
      if (row.table === "ops" && row.kind === "insert") {
        if (position === read.position) break;
        position++;
      }
      const rows = state.get(row.table) ?? new Map<string, Row>();
      state.set(row.table, rows);
      if (row.new === null) rows.delete(row.key);
      else rows.set(row.key, row.new);
    }
    const rows = Object.fromEntries([...state].map(([table, list]) => [table, [...list.values()]]));
    const expected = sumRows(visibleRows(rows, read.whole.scopes));
    for (const [table, sum] of Object.entries(expected)) {
      if (read.whole.sums[table] !== sum)
        blame(
          "cursor",
          `${read.name} stands at ${read.seq}, after ${position}, and its rows of ${table} are not those of then`,
        );
    }
  }
}

function checkCursors(device: RecordedDevice, blame: Blame): void {
  let last = 0;
  for (const event of device.events) {
    if (event.kind !== "cursor") continue;
    if (event.seq < last) blame("backwards", `the cursor of ${device.name} went from ${last} to ${event.seq}`);
    last = event.seq;
  }
}

function checkConverged(device: RecordedDevice, expected: Rows, blame: Blame): void {
  for (const [table, rows] of Object.entries(expected)) {
    const there = new Map((device.rows[table] ?? []).map((row) => [String(row["id"]), JSON.stringify(row)]));
    for (const row of rows) {
      const key = String(row["id"]);
      const own = there.get(key);
      there.delete(key);
      if (own === JSON.stringify(row)) continue;
      blame("converged", `${device.name} ${own === undefined ? "lacks" : "differs in"} ${nameOf({ table, key })}`);
    }
    for (const key of there.keys())
      blame("converged", `${device.name} has ${nameOf({ table, key })}, which is not its own`);
  }
}

/** The rows in a device's scopes, reckoned from plain rows. */
export function visibleRows(rows: Rows, scopes: readonly string[]): Rows {
  const held = new Set(scopes);
  const inRoom = (row: Row): boolean => held.has(`room:${row["room"]}`);
  const boards = (rows["boards"] ?? []).filter(inRoom);
  const shown = new Set(boards.map((board) => board["id"]));
  return {
    ops: (rows["ops"] ?? []).filter((row) => held.has(`author:${row["author"]}`)),
    accounts: (rows["accounts"] ?? []).filter(inRoom),
    registers: (rows["registers"] ?? []).filter(inRoom),
    boards,
    cards: (rows["cards"] ?? []).filter((card) => shown.has(card["board_id"] ?? null)),
  };
}
