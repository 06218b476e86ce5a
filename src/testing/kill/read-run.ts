/**
 * Reads what a run left behind: logs and databases, as the history checker wants them.
 *
 * @module
 */

import { join } from "node:path";
import Database from "better-sqlite3";
import { visibleRows } from "../history/check-devices.ts";
import { readHistoryLog, type ChangeKind } from "../history/events.ts";
import type { AuditRow, RecordedRun, Row } from "../history/recorded-run.ts";
import { sumRows } from "../history/row-sums.ts";
import { readRows } from "./read-rows.ts";
import { scopesOf, SEED, sumOfRoom } from "./schema.ts";

export const databaseOf = (folder: string, name: string): string => join(folder, `${name}.db`);
export const logOf = (folder: string, name: string): string => join(folder, `${name}.log`);
export const SERVER = "server";

/** Tables of the library that hold nothing once a device is in step. */
const passing = ["_sync_base", "_sync_stage", "_sync_mute", "_sync_evict"];

/** Reads a run's folder. The processes have ended. */
export function readRun(folder: string, devices: readonly string[]): RecordedRun {
  const server = new Database(databaseOf(folder, SERVER));
  const run: RecordedRun = {
    seed: SEED,
    sumOfRoom,
    audit: readAuditRows(server),
    server: {
      name: SERVER,
      events: readHistoryLog(logOf(folder, SERVER)),
      rows: readRows(server),
      faults: findFaults(server),
    },
    devices: devices.map((name) => {
      const database = new Database(databaseOf(folder, name));
      const there = new Set(database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").pluck().all());
      const device = {
        name,
        events: readHistoryLog(logOf(folder, name)),
        scopes: scopesOf(server, name),
        rows: readRows(database),
        faults: findFaults(database),
        leftovers: Object.fromEntries(
          passing
            .filter((table) => there.has(table))
            .map((table) => [table, Number(database.prepare(`SELECT count(*) FROM ${table}`).pluck().get())]),
        ),
      };
      database.close();
      return device;
    }),
  };
  server.close();
  return run;
}

/** Devices that have other rows than the server would show them. */
export function findLagging(folder: string, devices: readonly string[]): readonly string[] {
  const server = new Database(databaseOf(folder, SERVER), { readonly: true });
  const lagging = devices.filter((name) => {
    const device = new Database(databaseOf(folder, name), { readonly: true });
    const own = sumRows(readRows(device));
    const expected = sumRows(visibleRows(readRows(server), scopesOf(server, name)));
    device.close();
    return Object.entries(expected).some(([table, sum]) => own[table] !== sum);
  });
  server.close();
  return lagging;
}

function readAuditRows(database: Database.Database): readonly AuditRow[] {
  const rows = database.prepare("SELECT tbl, kind, k, old, new, head FROM audit ORDER BY seq").raw().all() as [
    string,
    ChangeKind,
    string,
    string | null,
    string | null,
    number,
  ][];
  const image = (text: string | null): Row | null => (text === null ? null : (JSON.parse(text) as Row));
  return rows.map(([table, kind, key, old, now, head]) => ({
    table,
    kind,
    key,
    old: image(old),
    new: image(now),
    head,
  }));
}

function findFaults(database: Database.Database): readonly string[] {
  const found = database.pragma("integrity_check") as { readonly integrity_check: string }[];
  const faults = found.map((row) => row.integrity_check).filter((text) => text !== "ok");
  const orphans = database.pragma("foreign_key_check") as { readonly table: string; readonly parent: string }[];
  return [...faults, ...orphans.map(({ table, parent }) => `a row of ${table} has no parent in ${parent}`)];
}
