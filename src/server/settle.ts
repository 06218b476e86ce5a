/**
 * Settles conflicts by the table's resolver (rule P6), and says what is to be done with the row and what the device is
 * told about it.
 *
 * @module
 */

import type { Core } from "../plugin/core.ts";
import { lastWriteHlc } from "../plugin/oplog.ts";
import type { SyncDatabase } from "../plugin/sync-database.ts";
import type { SyncColumn } from "../plugin/table.ts";
import { type Conflict, NEED_ROW, type Resolution, type Resolver, resolve, serverWins } from "../protocol/conflict.ts";
import { isHashed } from "../protocol/hash.ts";
import type { Key, Value } from "../protocol/ids.ts";
import type { ConflictKind, ConflictReport } from "../protocol/outcome.ts";
import { equalValues } from "../protocol/value.ts";
import { type AppRow, findValueFault, toAppRow, toAppValue, toStorageValue } from "./column-values.ts";
import type { LiveRow } from "./judge.ts";
import type { KnownTable } from "./known-schema.ts";
import type { Net } from "./net.ts";
import type { Refusal } from "./operations.ts";
import { meets } from "./scopes.ts";

/** What becomes of a row on which there was a conflict. */
export type Plan =
  | { readonly kind: "keep" }
  | { readonly kind: "delete" }
  | { readonly kind: "write"; readonly values: ReadonlyMap<SyncColumn, Value> };

/** A conflict that a resolver has settled. */
export interface Settled {
  readonly kind: "settled";
  readonly plan: Plan;
  readonly report: ConflictReport;
}

/** `need`: the resolver cannot do without the whole row as the user saw it. */
export type Settlement = Settled | { readonly kind: "need" } | { readonly kind: "refused"; readonly refusal: Refusal };

/** Who asks, and with what rights. */
export interface SettleContext {
  readonly database: SyncDatabase;
  readonly subject: string;
  readonly readable: ReadonlySet<string>;
  /** The transaction's time, bounded by the server's clock. */
  readonly clientTime: number;
  /** Told of what a resolver threw; the device only learns that it did. */
  readonly onError: (error: unknown) => void;
}

/** The conflict: what kind, in which columns, and the rows. */
export interface ConflictOf {
  readonly kind: ConflictKind;
  readonly columns: readonly SyncColumn[];
  /** The row as it is; undefined when there is none. */
  readonly live: LiveRow | undefined;
  /** For unique clashes: the row that holds the value. */
  readonly holder?: { readonly key: Key; readonly live: LiveRow };
}

/** Whether the table has a resolver for unique clashes. */
export function settlesUnique(net: Net): boolean {
  return resolverOf(net).unique !== undefined;
}

/** Runs the resolver on one conflict. */
export function* settle(context: SettleContext, net: Net, conflict: ConflictOf): Core<Settlement> {
  const resolver = resolverOf(net);
  const times = yield* readTimes(context.database, resolver, net, conflict);
  const client = clientValues(net, conflict);
  let resolution: Resolution<AppRow> | typeof NEED_ROW;
  let plan: Plan;
  try {
    resolution = resolve(resolver, describe(context, net, conflict, client, times));
    if (resolution === NEED_ROW) {
      if (net.seenRow === undefined && net.kind !== "insert") return { kind: "need" };
      throw new TypeError(`The resolver \`${resolver.name}\` asks for a row that was sent.`);
    }
    plan = planOf(resolution, net, conflict, client);
  } catch (error) {
    context.onError(error);
    const message = `The resolver \`${resolver.name}\` of table \`${net.table.key}\` failed.`;
    return { kind: "refused", refusal: { code: "RESOLVER_FAILED", message, index: net.lastIndex } };
  }
  const fault = findPlanFault(plan);
  if (fault !== undefined) {
    const message = `Table \`${net.table.key}\`: ${fault}, in the row that the resolver \`${resolver.name}\` decided on.`;
    return { kind: "refused", refusal: { code: "INVALID_VALUE", message, index: net.lastIndex } };
  }
  // A row of which nothing is the device's is the server's.
  const winner = resolution === "client" ? "client" : plan.kind === "keep" ? "server" : "merged";
  return { kind: "settled", plan, report: reportConflict(context.readable, net, conflict, winner) };
}

/** What a device is told about a conflict: both versions, the server's only if the subject may read that row. */
export function reportConflict(
  readable: ReadonlySet<string>,
  net: Net,
  conflict: ConflictOf,
  winner: ConflictReport["winner"],
): ConflictReport {
  const { kind, columns } = conflict;
  const server = serverVersion(readable, net.known, otherSide(conflict));
  return {
    table: net.table.key,
    key: net.key,
    kind,
    columns: columns.map((column) => column.key),
    winner,
    client:
      net.kind === "delete" ? null : Object.fromEntries([...net.values].map(([column, value]) => [column.key, value])),
    ...(server === undefined ? {} : { server }),
  };
}

/** A row as a device may see it: null when there is none, undefined when the subject may not read it. */
export function serverVersion(
  readable: ReadonlySet<string>,
  known: KnownTable,
  live: LiveRow | undefined,
): Readonly<Record<string, Value>> | null | undefined {
  if (live === undefined) return null;
  if (!meets(live.scopes, readable)) return undefined;
  return Object.fromEntries(known.columns.map((column) => [column.key, live.values[column.index] ?? null]));
}

/** Rule P11: a row may have been changed a million times, so only what is compared is looked for. */
function* readTimes(
  database: SyncDatabase,
  { needs }: Resolver<AppRow>,
  net: Net,
  conflict: ConflictOf,
): Core<ReadonlyMap<string, number>> {
  if (!needs.times) return noTimes;
  const { columns, kind, holder } = conflict;
  // A function of the app, which is the one that needs `base`, may look at any.
  const isAny = needs.base || columns.length === 0 || kind === "unique";
  return yield* lastWriteHlc(database, net.table, holder?.key ?? net.key, isAny ? net.table.columns : columns);
}

const noTimes: ReadonlyMap<string, number> = new Map();
const defaultResolver: Resolver<AppRow> = serverWins<AppRow>();

function resolverOf(net: Net): Resolver<AppRow> {
  // The definition types it by the table's rows; here any row is meant.
  return (net.table.conflict as Resolver<AppRow> | undefined) ?? defaultResolver;
}

/** What the device wants the row to be, by column; undefined for a delete. */
function clientValues(net: Net, conflict: ConflictOf): ReadonlyMap<SyncColumn, Value> | undefined {
  if (net.kind === "delete") return undefined;
  const values = new Map<SyncColumn, Value>();
  if (conflict.live === undefined) {
    // Of a read-only column the device's word is worth nothing; `assign` may give it a value.
    for (const [column, value] of seenPairs(net)) values.set(column, value);
  } else {
    // On top of the row that is there; an insert over it updates no read-only column.
    for (const column of net.table.columns)
      if (!column.isKey) values.set(column, conflict.live.values[column.index] ?? null);
    for (const [column, value] of net.values) if (!column.readonly) values.set(column, value);
    return values;
  }
  for (const [column, value] of net.values) values.set(column, value);
  return values;
}

function describe(
  context: SettleContext,
  net: Net,
  conflict: ConflictOf,
  client: ReadonlyMap<SyncColumn, Value> | undefined,
  times: ReadonlyMap<string, number>,
): Conflict<AppRow> {
  const { kind } = conflict;
  const key = toAppRow(net.table.keyColumns, net.key);
  const other = otherSide(conflict);
  const server = other === undefined ? null : toAppRow(net.table.columns, other.values);
  const wanted = client === undefined ? null : { ...key, ...toAppRow([...client.keys()], [...client.values()]) };
  const base = net.kind === "insert" ? undefined : { ...seenValues(net), ...key };
  return {
    kind,
    table: net.table.key,
    columns: conflictColumns(net, conflict, client),
    changed: [...net.values.keys()].map((column) => column.key),
    ...(base === undefined ? {} : { base }),
    client: wanted,
    server,
    isWhole: net.seenRow !== undefined,
    clientTime: context.clientTime,
    serverTimes: times,
    context: { subject: context.subject },
  };
}

/** The row as the user saw it, if it came, without read-only columns. */
function seenPairs({ known, seenRow }: Net): readonly (readonly [SyncColumn, Value])[] {
  if (seenRow === undefined) return [];
  return known.others.flatMap((column, i) => (column.readonly ? [] : [[column, seenRow[i] ?? null] as const]));
}

/** What the user saw, as far as it was sent as it is. */
function seenValues(net: Net): AppRow {
  if (net.seenRow !== undefined) {
    const seen = seenPairs(net);
    return toAppRow(
      seen.map(([column]) => column),
      seen.map(([, value]) => value),
    );
  }
  const row: Record<string, unknown> = {};
  for (const [column, seen] of net.seen) if (!isHashed(seen)) row[column.key] = toAppValue(column, seen);
  return row;
}

function conflictColumns(
  net: Net,
  conflict: ConflictOf,
  client: ReadonlyMap<SyncColumn, Value> | undefined,
): readonly string[] {
  const live = otherSide(conflict);
  if (conflict.columns.length > 0) return conflict.columns.map((column) => column.key);
  if (live === undefined || client === undefined) return [];
  const differs = net.known.others.filter(
    (column) => !equalValues(client.get(column) ?? null, live.values[column.index] ?? null, column.form),
  );
  return differs.map((column) => column.key);
}

function planOf(
  resolution: Resolution<AppRow>,
  net: Net,
  conflict: ConflictOf,
  client: ReadonlyMap<SyncColumn, Value> | undefined,
): Plan {
  if (resolution === "server") return { kind: "keep" };
  if (resolution === "client") {
    if (client === undefined) return { kind: "delete" };
    return { kind: "write", values: conflict.live === undefined ? client : changedValues(client, conflict.live) };
  }
  const values = new Map<SyncColumn, Value>();
  for (const [name, value] of Object.entries(resolution)) {
    const column = net.table.columnByKey.get(name);
    if (column === undefined)
      throw new TypeError(
        `A resolver of table \`${net.table.key}\` returned a row with \`${name}\`, which is no column.`,
      );
    // The row is this one, whatever key the resolver's row has.
    if (!column.isKey && value !== undefined) values.set(column, toStorageValue(column, value));
  }
  if (conflict.live === undefined) return { kind: "write", values };
  const changed = changedValues(values, conflict.live);
  return changed.size === 0 ? { kind: "keep" } : { kind: "write", values: changed };
}

/** A resolver's row, and one that comes back as its user saw it, are checked like one that a device wrote (rule P6). */
function findPlanFault(plan: Plan): string | undefined {
  if (plan.kind !== "write") return undefined;
  for (const [column, value] of plan.values) {
    const fault = findValueFault(column, value);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** The row that the device's is compared with: its own, or the one that holds its unique value. */
function otherSide(conflict: ConflictOf): LiveRow | undefined {
  return conflict.holder === undefined ? conflict.live : conflict.holder.live;
}

function changedValues(values: ReadonlyMap<SyncColumn, Value>, live: LiveRow): ReadonlyMap<SyncColumn, Value> {
  return new Map(
    [...values].filter(([column, value]) => !equalValues(live.values[column.index] ?? null, value, column.form)),
  );
}
