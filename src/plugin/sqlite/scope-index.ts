/**
 * Finds entries of the server's log by scope. The writer only appends, so that capture stays cheap; whoever reads indexes the
 * tail in batches ({@link indexTail}), in short transactions, up to a mark.
 *
 * The index holds runs: for a scope, the seqs of one batch that have it, as JSON, under the last of them. Most scopes have
 * many entries in a batch, and a row for each of those would cost more than all the rest of capture. Runs of a scope do
 * not overlap, and one ends where an entry with the scope stands: whoever trims that entry finds the run by it.
 *
 * @module
 */

import type { Value } from "../../protocol/ids.ts";
import { all, each, first, run, type Core, type Rows } from "../core.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { LIMIT_SQL, LOG, SCOPE_INDEX, metaKeys } from "../names.ts";
import { splitScopes } from "../scope-text.ts";
import type { SyncDatabase } from "../sync-database.ts";

/** Creates the index's table. `seqs` is NULL for a run of one. */
export const scopeIndexDdl = `CREATE TABLE ${SCOPE_INDEX}(scope TEXT, last INTEGER, seqs TEXT, PRIMARY KEY(scope, last)) WITHOUT ROWID`;

/** Seqs in one run, at most: a reader who wants some of them parses all. */
const longestRun = 256;

/** The seq up to which the index covers the log. */
export function* readIndexed(): Core<number> {
  return Number((yield* readMeta(metaKeys.indexed)) ?? 0);
}

/** Indexes at most `maxRows` entries of the log's tail by scope; answers how many it covered. In a write transaction. */
export function* indexTail(sync: SyncDatabase, maxRows: number): Core<number> {
  void sync;
  // One of both alone is a look at an end of the table.
  const ends = yield* first(`SELECT (SELECT min(seq) FROM ${LOG} WHERE seq > ?), (SELECT max(seq) FROM ${LOG})`, [
    yield* readIndexed(),
  ]);
  if (ends === undefined || ends[0] === null || maxRows < 1) return 0;
  // A log that was lost goes on far behind its old end.
  const from = Number(ends[0]);
  const upTo = Math.min(Number(ends[1]), from + maxRows - 1);
  // Grouped by one text, SQLite sorts much faster than by two.
  const grouped = (field: string): Core<Rows> =>
    all(
      `SELECT ${field}, json_group_array(seq) FROM ${LOG} WHERE seq >= ? AND seq <= ? AND ${field} > '' GROUP BY ${field}`,
      [from, upTo],
    );
  const runs = runsOf([...(yield* grouped("sa")), ...(yield* grouped("sb"))]);
  yield* each(`INSERT INTO ${SCOPE_INDEX}(scope, last, seqs) VALUES (?, ?, ?)`, runs);
  yield* writeMeta(metaKeys.indexed, upTo);
  return upTo - from + 1;
}

/** Reads entries of any of the scopes with a seq in `(after, upTo]`, in order, through the index alone. */
export function* seekEntries(
  fields: string,
  scopes: ReadonlySet<string>,
  range: { readonly after: number; readonly upTo: number; readonly limit: number },
): Core<Rows> {
  const { after, upTo, limit } = range;
  const wanted = JSON.stringify([...scopes]);
  return yield* all(
    `SELECT ${fields} FROM ${LOG} WHERE seq IN (
       SELECT i.last FROM json_each(?) AS s CROSS JOIN ${SCOPE_INDEX} AS i
        WHERE i.scope = s.value AND i.last > ? AND i.last <= ? AND i.seqs IS NULL
       UNION ALL
       SELECT q.value FROM json_each(?) AS s CROSS JOIN ${SCOPE_INDEX} AS i CROSS JOIN json_each(i.seqs) AS q
        WHERE i.scope = s.value AND i.last > ?
          AND i.last <= coalesce((SELECT min(e.last) FROM ${SCOPE_INDEX} AS e WHERE e.scope = s.value AND e.last >= ?), ?)
          AND q.value > ? AND q.value <= ?
     ) ORDER BY seq ${LIMIT_SQL}`,
    // Numbered parameters are named ones to better-sqlite3.
    [wanted, after, upTo, wanted, after, upTo, upTo, after, upTo, limit],
  );
}

/** Takes the runs that end before a seq out of the index, before the entries there are gone. */
export function* unindex(before: number): Core<void> {
  const named = yield* all(`SELECT DISTINCT sb, sa FROM ${LOG} WHERE seq < ?`, [before]);
  const scopes = new Set(named.flatMap(([sb, sa]) => [...splitScopes(sb), ...splitScopes(sa)]));
  if (scopes.size === 0) return;
  yield* run(`DELETE FROM ${SCOPE_INDEX} WHERE scope IN (SELECT value FROM json_each(?)) AND last < ?`, [
    JSON.stringify([...scopes]),
    before,
  ]);
}

/** The rows of the index for entries grouped by their texts of scopes, sorted, so that pages fill up in order. */
function runsOf(groups: Rows): readonly (readonly Value[])[] {
  const byScope = new Map<string, (readonly number[])[]>();
  for (const [text, list] of groups) {
    const seqs = JSON.parse(String(list)) as readonly number[];
    for (const scope of splitScopes(text)) {
      const found = byScope.get(scope);
      if (found === undefined) byScope.set(scope, [seqs]);
      else found.push(seqs);
    }
  }
  return [...byScope.keys()].sort().flatMap((scope) => {
    const found = byScope.get(scope) ?? [];
    return cut(inOrder(found.length === 1 ? (found[0] ?? []) : [...new Set(found.flat())])).map(
      (part): readonly Value[] => [scope, part.at(-1) ?? 0, part.length > 1 ? JSON.stringify(part) : null],
    );
  });
}

// Mostly they are: SQLite meets them so.
function inOrder(seqs: readonly number[]): readonly number[] {
  return seqs.every((seq, i) => i === 0 || (seqs[i - 1] ?? 0) < seq) ? seqs : [...seqs].sort((a, b) => a - b);
}

function cut(seqs: readonly number[]): readonly (readonly number[])[] {
  if (seqs.length <= longestRun) return [seqs];
  const parts: (readonly number[])[] = [];
  for (let at = 0; at < seqs.length; at += longestRun) parts.push(seqs.slice(at, at + longestRun));
  return parts;
}
