/**
 * What the server must make of a device's transaction, worked out from nothing but the rules P2, P4 and P11, over plain maps:
 * one table, no foreign keys. It shares no code with the server, and sees whole rows where the server sees before-values and
 * hashes. For tests of judging.
 *
 * @module
 */

import type { Value } from "../protocol/ids.ts";

export const columns = ["title", "notes", "slug", "rank"] as const;
export type Column = (typeof columns)[number];
export type Row = Readonly<Record<Column, Value>>;
export type Rows = ReadonlyMap<string, Row>;
/** When each column of a row was last written; of a deleted row, when that was. */
export type Times = ReadonlyMap<string, Readonly<Record<Column, number>>>;

/** One operation: what a row was before and after it, as its writer saw it. */
export interface Step {
  readonly id: string;
  readonly before: Row | undefined;
  readonly after: Row | undefined;
}

/** The resolvers that the oracle knows. */
export type Policy = "server" | "client" | "lww" | "fields" | "kinds" | "custom";
export const policies: readonly Policy[] = ["server", "client", "lww", "fields", "kinds", "custom"];

export interface World {
  readonly rows: Rows;
  readonly times: Times;
}

export interface Judged {
  readonly world: World;
  readonly status: "applied" | "merged" | "rejected";
  /** Rows in conflict, and who won. */
  readonly winners: ReadonlyMap<string, "server" | "client" | "merged">;
}

type Kind = "insert" | "update" | "delete";

interface NetChange {
  readonly id: string;
  readonly kind: Kind;
  readonly before: Row | undefined;
  readonly after: Row | undefined;
  readonly isReplaced: boolean;
  readonly changed: readonly Column[];
  readonly last: number;
}

/** Writes one row, with the times that the log would tell. */
export function write(world: World, id: string, row: Row | undefined, time: number): World {
  const rows = new Map(world.rows);
  const times = new Map(world.times);
  const old = rows.get(id);
  if (row === undefined && old === undefined) return world;
  if (row === undefined) rows.delete(id);
  else rows.set(id, row);
  const known = times.get(id);
  times.set(
    id,
    pick((column) => (row && old && known && row[column] === old[column] ? known[column] : time)),
  );
  return { rows, times };
}

/** Whether two rows hold the same unique value. */
export function isClashing(rows: Rows): boolean {
  const slugs = [...rows.values()].map((row) => row.slug).filter((slug) => slug !== null);
  return new Set(slugs).size < slugs.length;
}

/** Judges and applies a transaction. */
export function judge(world: World, steps: readonly Step[], policy: Policy, time: number): Judged {
  const nets = fold(steps);
  const winners = new Map<string, "server" | "client" | "merged">();
  const decided = new Map<string, Row | undefined>();
  for (const net of nets.values()) {
    const live = world.rows.get(net.id);
    const clash = clashOf(net, live);
    if (clash === undefined) continue;
    const row = decide(policy, net, live, clash, world.times.get(net.id), time);
    decided.set(net.id, row);
    winners.set(net.id, winnerOf(net, live, row, policy));
  }
  // Statement by statement, because a unique value may be held for a moment only.
  let next = world;
  const rejected: Judged = { world, status: "rejected", winners: new Map() };
  for (const [at, step] of steps.entries()) {
    const net = nets.get(step.id);
    if (net === undefined) continue;
    const live = world.rows.get(step.id);
    const now = next.rows.get(step.id);
    let row: Row | undefined;
    if (decided.has(step.id)) {
      if (at !== net.last) continue;
      row = decided.get(step.id);
    } else if (live === undefined ? net.kind !== "insert" : net.kind === "insert") continue;
    else if (step.before && step.after) row = now && { ...now, ...written(step, net, live) };
    else row = step.after;
    next = write(next, step.id, row, time);
    if (isClashing(next.rows)) return rejected;
  }
  return { world: next, status: winners.size === 0 ? "applied" : "merged", winners };
}

/** What an update writes: not what its transaction takes back, where somebody else wrote meanwhile. */
function written({ before, after }: Step, net: NetChange, live: Row | undefined): Partial<Row> {
  const values: Partial<Record<Column, Value>> = {};
  for (const column of columns) {
    if (before?.[column] === after?.[column]) continue;
    const isTakenBack = !net.isReplaced && net.kind === "update" && !net.changed.includes(column);
    if (isTakenBack && live?.[column] !== net.before?.[column]) continue;
    values[column] = after?.[column] ?? null;
  }
  return values;
}

function fold(steps: readonly Step[]): ReadonlyMap<string, NetChange> {
  const nets = new Map<string, NetChange>();
  for (const id of new Set(steps.map((step) => step.id))) {
    const own = steps.filter((step) => step.id === id);
    const before = own[0]?.before;
    const after = own.at(-1)?.after;
    const kind = before ? (after ? "update" : "delete") : after ? "insert" : undefined;
    if (kind === undefined) continue;
    const isReplaced = before !== undefined && own.some((step) => step.after === undefined);
    nets.set(id, {
      id,
      kind,
      before,
      after,
      isReplaced,
      changed: columns.filter((column) => isReplaced || kind !== "update" || before?.[column] !== after?.[column]),
      last: steps.map((step) => step.id).lastIndexOf(id),
    });
  }
  return nets;
}

/** The columns in conflict; empty for the whole row; undefined for no conflict. */
function clashOf(net: NetChange, live: Row | undefined): readonly Column[] | undefined {
  const { kind, before, after } = net;
  const isAll = (row: Row | undefined): boolean => columns.every((column) => live?.[column] === row?.[column]);
  if (kind === "insert") return live === undefined || isAll(after) ? undefined : [];
  if (kind === "delete") return live === undefined || isAll(before) ? undefined : [];
  if (live === undefined) return net.changed.length === 0 ? undefined : [];
  if (net.isReplaced) return isAll(before) || isAll(after) ? undefined : [];
  const clashing = net.changed.filter(
    (column) => live[column] !== before?.[column] && live[column] !== after?.[column],
  );
  return clashing.length === 0 ? undefined : clashing;
}

function decide(
  policy: Policy,
  net: NetChange,
  live: Row | undefined,
  clash: readonly Column[],
  times: Readonly<Record<Column, number>> | undefined,
  time: number,
): Row | undefined {
  const client = net.after && live && net.kind === "update" ? { ...live, ...only(net.after, net.changed) } : net.after;
  const latest = Math.max(...columns.map((column) => times?.[column] ?? 0));
  const later = (column: Column): boolean => time > (times?.[column] ?? 0);
  const differing = live && client ? columns.filter((column) => live[column] !== client[column]) : [];
  const contested = clash.length > 0 ? clash : differing;
  const byColumn = (isClient: (column: Column) => boolean): Row =>
    pick((column) => (contested.includes(column) && !isClient(column) ? live : client)?.[column] ?? null);
  const isWhole = !live || !client;
  switch (policy) {
    case "server":
      return live;
    case "client":
      return client;
    case "lww":
      return isWhole ? (time > latest ? client : live) : byColumn(later);
    case "fields":
      return isWhole
        ? client
        : byColumn((column) => (column === "notes" ? false : column === "rank" ? later(column) : true));
    case "kinds":
      return net.kind === "update" ? client : live;
    case "custom":
      return isWhole ? live : { ...live, title: "custom" };
  }
}

function winnerOf(
  net: NetChange,
  live: Row | undefined,
  row: Row | undefined,
  policy: Policy,
): "server" | "client" | "merged" {
  const isLive = columns.every((column) => live?.[column] === row?.[column]);
  if (policy === "custom" && live && net.after) return isLive ? "server" : "merged";
  if (isLive) return "server";
  const isClient = net.changed.every((column) => row?.[column] === net.after?.[column]);
  return isClient ? "client" : "merged";
}

function only(row: Row, names: readonly Column[]): Partial<Row> {
  return Object.fromEntries(names.map((name) => [name, row[name]]));
}

function pick<T>(value: (column: Column) => T): Readonly<Record<Column, T>> {
  return { title: value("title"), notes: value("notes"), slug: value("slug"), rank: value("rank") };
}
