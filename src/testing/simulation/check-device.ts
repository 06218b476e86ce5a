/**
 * Oracles over one device: its base is the server's state at its cursor in the scopes it holds, its queue is what the
 * server had not handled there, and its tables show base and queue, neither more nor less (promise 1).
 *
 * @module
 */

import type Database from "better-sqlite3";
import { stepSync } from "../../plugin/core.ts";
import { readTransactions } from "../../plugin/device-log.ts";
import type { SyncDatabase } from "../../plugin/sync-database.ts";
import { addFreshImages, loadImages } from "../../client/base-images.ts";
import { heldScopes, readCheckpoint, type Checkpoint } from "../../client/checkpoint.ts";
import { deviceSchema } from "../../client/device-schema.ts";
import { parseCursor } from "../../protocol/parse.ts";
import type { CrashDatabase } from "../crash-database.ts";
import { observe } from "./observe.ts";
import type { LocalTransaction } from "./local-transaction.ts";
import { facts, isKnown, type TableName, type Version } from "./schema.ts";
import {
  describeDifference,
  inVersion,
  known,
  knownRow,
  readState,
  replay,
  restrict,
  rowId,
  violation,
  type Row,
  type State,
} from "./state.ts";
import type { Witness } from "./witness.ts";
import { Violation } from "./violation.ts";

/** What is asked of a device. */
export interface CheckedDevice {
  readonly name: string;
  readonly database: CrashDatabase;
  readonly sync: SyncDatabase;
  /** The version of its app. */
  readonly version: Version;
  /** The transactions written on it, by stamp. */
  readonly written: ReadonlyMap<number, LocalTransaction>;
  /** Stamps of transactions that the app has given up. */
  readonly givenUp: ReadonlySet<number>;
}

/** What happened to the server or to device files, and excuses what it explains. */
export interface Mishaps {
  /** Restored backups of the server. */
  readonly restores: number;
  /** Restores that lost the device records, too. */
  readonly forgotten: number;
  /** Device files copied to another device, or put back from their backup. */
  readonly copies: number;
}

/** The cursor as it is stored: what tells cheaply that a page was applied. */
export function storedCursor({ raw }: CrashDatabase): unknown {
  let statement = cursorStatements.get(raw);
  if (statement === undefined)
    cursorStatements.set(raw, (statement = raw.prepare("SELECT v FROM _sync_meta WHERE k = 'device.cursor'").pluck()));
  return statement.get();
}
const cursorStatements = new WeakMap<Database.Database, Database.Statement>();

/** Where a device is; undefined before its client first opened it. */
export function checkpointOf(database: CrashDatabase): Checkpoint | undefined {
  const { version } = database;
  let read = checkpoints.get(database);
  if (read?.version !== version) {
    read = { version, checkpoint: stepSync(observe(database), readCheckpoint()) };
    checkpoints.set(database, read);
  }
  return read.checkpoint;
}
const checkpoints = new WeakMap<
  CrashDatabase,
  { readonly version: number; readonly checkpoint: Checkpoint | undefined }
>();

/** Checks everything about a device as it is committed now. Answers what it shows. */
export function checkDevice(device: CheckedDevice, witness: Witness, mishaps: Mishaps): State {
  const { name, database, sync, version, written, givenUp } = device;
  const connection = observe(database);
  const visible = known(readState(database));
  const checkpoint = checkpointOf(database);
  // A first sync in progress has written part of the base into the tables.
  if (checkpoint === undefined || checkpoint.base === "partial") return visible;

  const queue = stepSync(connection, readTransactions(sync, { after: checkpoint.handled.number, limit: 10_000 }));
  const images = stepSync(connection, loadImages(deviceSchema(sync)));
  stepSync(connection, addFreshImages(deviceSchema(sync), images, queue));

  const base = new Map(visible);
  for (const { table, key, here, columns, values } of images.values()) {
    const facts_ = facts[table.key as TableName];
    const keyCells = Object.fromEntries(facts_.key.map((column, index) => [column, key[index] ?? null]));
    const id = rowId(table.key as TableName, keyCells);
    if (!here) base.delete(id);
    else
      base.set(
        id,
        knownRow({
          table: table.key as TableName,
          cells: Object.fromEntries(columns.map((column, index) => [column.key, values[index] ?? null])),
        }),
      );
  }

  const at = checkpoint.cursor === undefined ? undefined : parseCursor(checkpoint.cursor);
  const held = new Set(heldScopes(checkpoint));
  // After a reset the device shows what it had until the fresh snapshot is there; where that stood is forgotten.
  const isForgotten = at === undefined && checkpoint.base === "whole";
  // V2: until it has fetched what a migration brought, the base is what the version before knew.
  const baseVersion = checkpoint.baseSchema === deviceSchema(sync).hash ? version : 1;
  const expectedBase = isForgotten
    ? base
    : at === undefined
      ? new Map<string, Row>()
      : restrict(witness.stateAt(at), held, baseVersion);
  const wrongBase = describeDifference(isForgotten ? base : inVersion(base, baseVersion), expectedBase);
  if (wrongBase !== "") {
    throw new Violation(
      "promise 1: base",
      `The base of ${name} at ${checkpoint.cursor ?? "nothing"} in ${checkpoint.held} is not the server's state: ${wrongBase}.`,
    );
  }
  if (at !== undefined && mishaps.forgotten + mishaps.copies === 0 && witness.isCurrent(at)) {
    const [atLeast, atMost] = witness.lastTxAt(checkpoint.deviceId, at);
    const { number } = checkpoint.handled;
    // Refusals leave no entry: a restored server may have lost one that the device knows of at the same place.
    // And what the app gave up as it signed out counts as handled here before the server hears of it.
    if (number < atLeast || (number > atMost && mishaps.restores === 0 && givenUp.size === 0)) {
      throw new Violation(
        "U3",
        `${name} at ${at.seq} has dropped its transactions up to ${number}; the server had handled ${atMost} there.`,
      );
    }
  }

  let expected: State = base;
  const withheld = new Set(checkpoint.withheld);
  for (const transaction of queue) {
    // Given up by the app, or refused before the server lost it: there is nothing to show.
    if (transaction.entries.length === 0 && (givenUp.has(transaction.id) || transaction.isVoid)) continue;
    const local = written.get(transaction.id);
    if (local === undefined)
      throw new Violation("promise 2", `The queue of ${name} holds transaction ${transaction.id}, which nobody wrote.`);
    if (withheld.has(transaction.id)) checkWithheld(name, expected, local);
    else expected = replay(expected, local.changes);
  }
  const wrongRows = describeDifference(visible, filled(expected, version));
  if (wrongRows !== "") {
    const numbers = queue.map(({ number }) => number).join(", ");
    throw new Violation(
      "promise 1: visible",
      `${name} does not show its base and its pending transactions (${numbers}): ${wrongRows}.`,
    );
  }
  const broken = violation(visible);
  if (broken !== undefined) throw new Violation("A3", `The tables of ${name} break a ${broken} constraint.`);
  return visible;
}

/** V2: a column that a migration brought has its default until it is fetched, which is null here. */
function filled(state: State, version: Version): State {
  const rows = new Map<string, Row>();
  for (const [id, row] of state) {
    const { table, cells } = row;
    const missing = Object.keys(facts[table].columns).filter(
      (column) => !(column in cells) && !facts[table].excluded.includes(column) && isKnown(version, table, column),
    );
    rows.set(
      id,
      missing.length === 0
        ? row
        : { table, cells: { ...cells, ...Object.fromEntries(missing.map((column) => [column, null])) } },
    );
  }
  return rows;
}

/** Rule A3: only a transaction that breaks a constraint is withheld. */
function checkWithheld(name: string, state: State, local: LocalTransaction): void {
  let current = state;
  for (const change of local.changes) {
    current = replay(current, [change]);
    if (violation(current, new Set()) !== undefined) return;
  }
  const touched = new Set(local.changes.map((change) => change.id));
  if (violation(current, touched) !== undefined) return;
  for (const change of local.changes) {
    const row = current.get(change.id);
    const ref = row?.table === "todos" ? row.cells["ref"] : null;
    if ("ref" in change.cells && ref !== null && ref !== undefined && !current.has(`todos/${String(ref)}`)) return;
  }
  throw new Violation("A3", `${name} withholds transaction ${local.stamp}, which breaks no constraint.`);
}
