/**
 * What a log must say, checked against the rows before and after: an independent recomputation, with nothing of the library but
 * its layouts. Each check answers with complaints; none means that all is well.
 *
 * @module
 */

import { isDeepStrictEqual } from "node:util";
import type { Captured } from "./capture-fixture.ts";
import { scopesIn, type Dump } from "./capture-writes.ts";

type Row = Readonly<Record<string, string | number | null>>;

/** An entry of either log. */
export interface LoggedEntry {
  readonly row: string;
  readonly kind: "insert" | "update" | "delete" | "moved";
  readonly columns: readonly string[];
  readonly values: Row;
  readonly olds: Row;
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** The newest seq. */
export function headOf<TSchema extends Record<string, unknown>>({ raw }: Captured<TSchema>): number {
  return Number(raw.prepare("SELECT coalesce(max(seq), 0) FROM _sync_log").pluck().get());
}

/** The entries after a seq. */
export function entriesAfter<TSchema extends Record<string, unknown>>(
  it: Captured<TSchema>,
  seq: number,
): readonly LoggedEntry[] {
  const rows = it.raw.prepare("SELECT * FROM _sync_log WHERE seq > ? AND t <> 0 ORDER BY seq").all(seq) as Record<
    string,
    string | number | null
  >[];
  return rows.map((row): LoggedEntry => {
    const layout = it.sync.layouts.get(Number(row["t"]));
    const kind = (["insert", "update", "delete", "moved"] as const)[Number(row["kind"]) - 1];
    if (layout?.table === undefined || kind === undefined)
      throw new Error("An entry names no table, or is of no kind.");
    const { keyColumns } = layout.table;
    const key = keyColumns.map((_, i) => row[`k${i}`]);
    const changed = kind === "update" ? layout.changed(row["mask"] as number) : layout.all;
    const image = (prefix: string): Row => ({
      ...Object.fromEntries(keyColumns.map((column, i) => [column.name, key[i] ?? null])),
      ...Object.fromEntries(
        layout.rest.flatMap((column, i) =>
          column !== undefined && changed.includes(column) ? [[column.name, row[`${prefix}${i}`] ?? null]] : [],
        ),
      ),
    });
    return {
      row: `${layout.name}(${key.map(String).join(",")})`,
      kind,
      columns: changed.map((column) => column.name),
      values: image("c"),
      olds: image("o"),
      // Of an update within the same scopes they are written once.
      before: split(row["sb"] === 0 ? row["sa"] : row["sb"]),
      after: split(row["sa"]),
    };
  });
}

/** C1, C3, C7: a row that changed, or whose scopes did, has entries from which a pull finds it and sends the right thing (U2). */
export function serverComplaints(before: Dump, after: Dump, entries: readonly LoggedEntry[]): readonly string[] {
  const complaints: string[] = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const was = before.get(name);
    const is = after.get(name);
    const scopesWere = [...scopesIn(before, name)].sort();
    const scopesAre = [...scopesIn(after, name)].sort();
    const told = entries.filter((entry) => entry.row === name);
    const sameScopes = isDeepStrictEqual(scopesWere, scopesAre);
    if (isDeepStrictEqual(was, is) && sameScopes) continue;
    const complain = (what: string): void =>
      void complaints.push(`${name} ${what}: ${JSON.stringify({ was, is, scopesWere, scopesAre, told })}`);
    if (told.length === 0) {
      complain("changed, and the log says nothing");
    } else if (told.every((entry) => entry.kind === "update" && isDeepStrictEqual(entry.before, entry.after))) {
      // The server then sends the changed columns alone, to devices that are in the scopes.
      if (was === undefined || is === undefined || !sameScopes)
        complain("came, went or moved, and the log tells of updates only");
      if (told.some((entry) => !isDeepStrictEqual([...entry.before].sort(), scopesAre)))
        complain("was updated, and the log has other scopes");
      const columns = new Set(told.flatMap((entry) => entry.columns));
      if (Object.keys(is ?? {}).some((column) => was?.[column] !== is?.[column] && !columns.has(column)))
        complain("changed in more columns than the log says");
    } else {
      const touched = new Set(told.flatMap((entry) => [...entry.before, ...entry.after]));
      if ([...scopesWere, ...scopesAre].some((scope) => !touched.has(scope)))
        complain("was or is in a scope that the log does not name");
    }
  }
  return complaints;
}

/** C4: the entries, replayed on what was there, give what is there; undone, the other way round. */
export function deviceComplaints(before: Dump, after: Dump, entries: readonly LoggedEntry[]): readonly string[] {
  return [
    ...differences("replayed", replay(before, entries), after),
    ...differences("undone", undo(after, entries), before),
  ];
}

function replay(rows: Dump, entries: readonly LoggedEntry[]): Dump {
  const result = new Map(rows);
  for (const entry of entries) {
    if (entry.kind === "insert") result.set(entry.row, entry.values);
    else if (entry.kind === "delete") result.delete(entry.row);
    else result.set(entry.row, { ...result.get(entry.row), ...entry.values });
  }
  return result;
}

function undo(rows: Dump, entries: readonly LoggedEntry[]): Dump {
  const result = new Map(rows);
  for (const entry of [...entries].reverse()) {
    if (entry.kind === "insert") result.delete(entry.row);
    else if (entry.kind === "delete") result.set(entry.row, entry.olds);
    else if (result.has(entry.row)) result.set(entry.row, { ...result.get(entry.row), ...entry.olds });
  }
  return result;
}

function differences(what: string, result: Dump, wanted: Dump): readonly string[] {
  return [...new Set([...result.keys(), ...wanted.keys()])]
    .filter((name) => !isDeepStrictEqual(result.get(name), wanted.get(name)))
    .map(
      (name) => `${name} ${what}: ${JSON.stringify(result.get(name))} instead of ${JSON.stringify(wanted.get(name))}`,
    );
}

function split(text: unknown): readonly string[] {
  if (typeof text !== "string" || text === "") return [];
  const [first, ...others] = text.split("\n");
  if (first !== "") return [first ?? "", ...others];
  // Alone and unchecked: a line feed in it makes it void.
  return others.length === 1 ? others : [];
}
