/**
 * What to do when a device and the server changed the same thing. A conflict is one row on which a device's transaction
 * disagrees with what is there, judged by value (rule P4); a resolver is a pure, synchronous function of it (rule P6).
 * Resolvers are plain objects, so that the server can read what they need before it runs one.
 *
 * A conflict is of the row. `"server"` keeps the row as it is and sets the device's whole change of it aside; `"client"`
 * makes the device's change on top of the row as it is; a row is taken as it stands. {@link mergeFields} and
 * {@link lastWriteWins} decide column by column: a column that only one side changed merges by itself.
 *
 * @module
 */

import type { ConflictKind } from "./outcome.ts";

/** Who asks; the same for every conflict of a push. */
export interface ConflictContext {
  /** The subject whose device it is. */
  readonly subject: string;
}

/** A row on which a device and the server disagree. Rows are typed as Drizzle selects them. */
export interface Conflict<TRow> {
  /**
   * What the device did: `update` (also of a row that is gone), `delete` (of a row that changed since), `insert` (of a
   * key that is taken). `unique`: its row claims a value that `server`, another row, holds.
   */
  readonly kind: ConflictKind;
  /** The table's key in the schema. */
  readonly table: string;
  /** Columns that both sides changed; empty where the whole row is in conflict. */
  readonly columns: readonly (keyof TRow & string)[];
  /** Columns that the device wrote. */
  readonly changed: readonly (keyof TRow & string)[];
  /**
   * What the user saw before, as far as it is known: the changed columns whose values were sent, or the whole row.
   * Absent for an insert.
   */
  readonly base?: Readonly<Partial<TRow>>;
  /** The row as the device wants it: its change on top of `server`, or of what the user saw; null for a delete. */
  readonly client: Readonly<TRow> | null;
  /** The row that is there; null when it is gone. */
  readonly server: Readonly<TRow> | null;
  /** Whether the whole row as the user saw it was sent. Until then `base`, and `client` of a row that is gone, are partial. */
  readonly isWhole: boolean;
  /** When the device wrote, bounded by the server's clock; see `hlc.ts`. */
  readonly clientTime: number;
  /**
   * When each column was last written on the server; where the log does not reach back so far, the time from which on it
   * does; missing: before there was a log. For a row that is gone, the time of its delete, under any name.
   */
  readonly serverTimes: ReadonlyMap<string, number>;
  readonly context: ConflictContext;
}

/** The answer of {@link resolve} that asks the device for whole rows (rule P6). Recognized by identity. */
export const NEED_ROW: { readonly need: "row" } = Object.freeze({ need: "row" });

/** What a resolver decides: one side, or a row. */
export type Resolution<TRow> = "server" | "client" | Readonly<TRow>;

/** What a function of the app may answer: a {@link Resolution}, or null where `client` or `server` is null, for that side. */
export type Decision<TRow> = Resolution<TRow> | null;

/**
 * The row type of a resolver that is made without a table to infer it from; such a one fits every table.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- the border to Drizzle's row types, which `unknown` would not fit.
export type AnyRow = any;

/** What a resolver cannot do without. */
export interface ResolverNeeds {
  /** Values as the user saw them, also the long ones, which travel as hashes at first. */
  readonly base: boolean;
  /** `serverTimes`: the table gets an index of its log (rule P11). */
  readonly times: boolean;
}

/** Decides conflicts of one table. Made by the functions of this module. */
export interface Resolver<TRow> {
  /** For messages and reports. */
  readonly name: string;
  /** What it, or a resolver within it, needs. */
  readonly needs: ResolverNeeds;
  /** Pure and synchronous. It may throw: the transaction is then rejected with `RESOLVER_FAILED`. */
  resolve(conflict: Conflict<TRow>): Decision<TRow> | typeof NEED_ROW;
  /** Decides unique clashes; without it they are rejected (rule P4). */
  readonly unique?: Resolver<TRow>;
}

/** Keeps what the server has; the device's change of that row is set aside. The default. */
export function serverWins<TRow = AnyRow>(): Resolver<TRow> {
  return { name: "serverWins", needs: nothing, resolve: () => "server" };
}

/** Makes the device's change; a row that is gone comes back whole. */
export function clientWins<TRow = AnyRow>(): Resolver<TRow> {
  return { name: "clientWins", needs: nothing, resolve: () => "client" };
}

/**
 * Lets the later write win, column by column; a delete, an update of a row that is gone, or a unique clash competes with
 * the latest write of the row. At the same time the server's wins. Device clocks are bounded by the server's (see `hlc.ts`).
 */
export function lastWriteWins<TRow = AnyRow>(): Resolver<TRow> {
  return {
    name: "lastWriteWins",
    needs: { base: false, times: true },
    resolve: (conflict) => {
      if (isOfWholeRow(conflict)) return conflict.clientTime > latestTime(conflict.serverTimes) ? "client" : "server";
      return mergeColumns(conflict, (column) =>
        conflict.clientTime > (conflict.serverTimes.get(column) ?? longAgo) ? "client" : "server",
      );
    },
  };
}

/**
 * Decides by a function, which must be pure and synchronous. By the time it runs, `base` is there unless the device
 * inserted, and `client` is whole.
 */
export function custom<TRow = AnyRow>(decideBy: (conflict: Conflict<TRow>) => Decision<NoInfer<TRow>>): Resolver<TRow> {
  return {
    name: "custom",
    needs: { base: true, times: true },
    resolve: (conflict) => (isKnown(conflict) ? decideBy(conflict) : NEED_ROW),
  };
}

/** A resolver for some columns of a table. */
export type FieldResolvers<TRow> = { readonly [TColumn in keyof TRow & string]?: Resolver<TRow> };

/**
 * Decides each column that both sides changed by its own resolver, or by `fallback`. Columns that one side changed merge
 * by themselves. Deletes, updates of a row that is gone, and unique clashes are the fallback's.
 *
 * @example
 * conflict: mergeFields({ notes: lastWriteWins() }, clientWins())
 */
export function mergeFields<TRow = AnyRow>(
  fields: FieldResolvers<NoInfer<TRow>>,
  fallback: Resolver<NoInfer<TRow>> = serverWins<TRow>(),
): Resolver<TRow> {
  const resolvers = new Map<string, Resolver<TRow>>();
  for (const [column, resolver] of Object.entries<Resolver<TRow> | undefined>(fields))
    if (resolver !== undefined) resolvers.set(column, resolver);
  return {
    name: "mergeFields",
    needs: joinNeeds([...resolvers.values(), fallback]),
    resolve: (conflict) => {
      if (isOfWholeRow(conflict)) return decide(fallback, conflict);
      return mergeColumns(conflict, (column) =>
        decide(resolvers.get(column) ?? fallback, { ...conflict, columns: [column] }),
      );
    },
  };
}

/** A resolver for each kind of conflict. */
export type KindResolvers<TRow> = { readonly [TKind in ConflictKind]?: Resolver<TRow> };

/**
 * Decides each kind of conflict by its own resolver; server wins for those that are missing. Unique clashes are rejected
 * unless `unique` is given.
 *
 * @example
 * conflict: composite({ update: mergeFields({}), delete: clientWins() })
 */
export function composite<TRow = AnyRow>(kinds: KindResolvers<NoInfer<TRow>>): Resolver<TRow> {
  const { unique, ...others } = kinds;
  return {
    name: "composite",
    needs: joinNeeds(Object.values<Resolver<TRow> | undefined>(kinds)),
    resolve: (conflict) =>
      conflict.kind === "unique" ? "server" : decide(others[conflict.kind] ?? serverWins<TRow>(), conflict),
    ...(unique === undefined ? {} : { unique }),
  };
}

/**
 * Decides a conflict. Answers {@link NEED_ROW} when the resolver cannot do without what was not sent, and throws when it
 * answers something that is no resolution. For kind `unique`, the resolver must have a `unique` one.
 */
export function resolve<TRow>(resolver: Resolver<TRow>, conflict: Conflict<TRow>): Resolution<TRow> | typeof NEED_ROW {
  if (conflict.kind !== "unique") return decide(resolver, conflict);
  return resolver.unique === undefined ? "server" : decide(resolver.unique, conflict);
}

// What the log does not reach any more is older than anything since.
const longAgo = -1;
const nothing: ResolverNeeds = { base: false, times: false };

function decide<TRow>(resolver: Resolver<TRow>, conflict: Conflict<TRow>): Resolution<TRow> | typeof NEED_ROW {
  const decision: unknown = resolver.resolve(conflict);
  const { server, client } = conflict;
  if (decision === NEED_ROW) return NEED_ROW;
  if (decision === "server" || decision === server) return "server";
  // A row that is gone can only come back whole.
  if (decision === "client" || decision === client)
    return server === null && conflict.kind === "update" && !conflict.isWhole ? NEED_ROW : "client";
  if (isRow<TRow>(decision)) return decision;
  if (isThenable(decision)) {
    // What is refused here must not end the process as a rejection that nobody handles.
    void Promise.resolve(decision).catch(() => undefined);
    throw new TypeError(
      `The resolver \`${resolver.name}\` of table \`${conflict.table}\` returned a promise. It must be synchronous.`,
    );
  }
  throw new TypeError(
    `The resolver \`${resolver.name}\` of table \`${conflict.table}\` must return "server", "client" or a row.`,
  );
}

/** Whether everything that a function of the app may look at was sent. */
function isKnown<TRow>(conflict: Conflict<TRow>): boolean {
  if (conflict.kind === "insert" || conflict.kind === "unique" || conflict.isWhole) return true;
  if (conflict.kind === "delete" || conflict.server === null) return false;
  const { base } = conflict;
  return base !== undefined && conflict.changed.every((column) => Object.hasOwn(base, column));
}

function isRow<TRow>(value: unknown): value is Readonly<TRow> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !isThenable(value);
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value && typeof value.then === "function";
}

/** Whether there are no two versions of one row of which columns could be taken. */
function isOfWholeRow<TRow>(conflict: Conflict<TRow>): boolean {
  return (
    conflict.kind === "unique" || conflict.client === null || conflict.server === null || conflict.columns.length === 0
  );
}

/** The server's row with the columns that the client wins; columns that only the client changed are its own anyway. */
function mergeColumns<TRow>(
  conflict: Conflict<TRow>,
  choose: (column: keyof TRow & string) => Resolution<TRow> | typeof NEED_ROW,
): Resolution<TRow> | typeof NEED_ROW {
  const { server, client, columns } = conflict;
  if (server === null || client === null) return "server";
  const merged: TRow = { ...client };
  let isClient = true;
  for (const column of columns) {
    const choice = choose(column);
    if (choice === NEED_ROW) return NEED_ROW;
    if (choice === "client") continue;
    isClient = false;
    merged[column] = choice === "server" ? server[column] : (choice as TRow)[column];
  }
  if (isClient) return "client";
  const isServer = conflict.changed.every((column) => Object.is(merged[column], server[column]));
  return isServer ? "server" : merged;
}

function latestTime(times: ReadonlyMap<string, number>): number {
  let latest = longAgo;
  for (const time of times.values()) if (time > latest) latest = time;
  return latest;
}

function joinNeeds<TRow>(resolvers: readonly (Resolver<TRow> | undefined)[]): ResolverNeeds {
  return {
    base: resolvers.some((resolver) => resolver?.needs.base === true),
    times: resolvers.some((resolver) => resolver?.needs.times === true),
  };
}
