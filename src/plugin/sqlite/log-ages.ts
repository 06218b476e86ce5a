/**
 * How old the entries of the server's log are. Times in the log do not tell: a pushed transaction has its device's, and what
 * strangers wrote has none. So now and then somebody notes where the log ended at what time: all entries up to there are
 * at least as old as the note.
 *
 * @module
 */

import { first, type Core } from "../core.ts";
import { readMeta, writeMeta } from "../meta.ts";
import { LOG, metaKeys } from "../names.ts";
import { readHorizon } from "./oplog-reader.ts";

/** The log ended at `seq` at `at` (milliseconds since 1970). */
interface LogAge {
  readonly at: number;
  readonly seq: number;
}

/** Notes that are kept at most. */
const maxAges = 200;

/** Notes the log's end, unless the last note says as much. In a write transaction. */
export function* noteLogAge(now: number): Core<void> {
  const ages = yield* readAges(now);
  const head = yield* readEnd();
  const horizon = (yield* readHorizon()).seq;
  // A restored log may end before what was noted.
  let kept = ages.filter(({ seq }) => seq >= horizon && seq <= head);
  if (kept.at(-1)?.seq !== head) kept.push({ at: now, seq: head });
  // Fewer notes are less exact: they take entries for younger than they are.
  if (kept.length > maxAges) kept = kept.filter((_, i) => i % 2 === (kept.length - 1) % 2);
  yield* writeMeta(metaKeys.ages, JSON.stringify(kept.map(({ at, seq }) => [at, seq])));
}

/** Whether the log has grown since it was last noted, by so many entries or at least `everyMs` ago. */
export function* isAgeDue(now: number, every: { readonly ms: number; readonly entries: number }): Core<boolean> {
  const last = (yield* readAges(now)).at(-1);
  if (last === undefined) return true;
  const grown = (yield* readEnd()) - last.seq;
  return grown !== 0 && (now - last.at >= every.ms || grown >= every.entries);
}

/** The newest seq that is known to have been written at or before a time; 0 for none. */
export function* readSeqBefore(at: number, now: number): Core<number> {
  return (yield* readAges(now)).reduce((seq, age) => (age.at <= at ? age.seq : seq), 0);
}

/** A time by which the log had reached a seq, in milliseconds since 1970: now, where no note tells of an earlier one. */
export function* readWrittenBy(seq: number, now: number): Core<number> {
  return (yield* readAges(now)).find((age) => age.seq >= seq)?.at ?? now;
}

/** A time after which nothing has been trimmed: how far back the log reaches at least. Undefined before the first note. */
export function* readHorizonAge(now: number): Core<number | undefined> {
  const horizon = yield* readHorizon();
  const age = (yield* readAges(now)).find(({ seq }) => seq >= horizon.seq);
  return age === undefined ? undefined : now - age.at;
}

// A clock that was set back leaves notes that lie ahead: what they speak of was written before now all the same.
function* readAges(now: number): Core<LogAge[]> {
  const text = yield* readMeta(metaKeys.ages);
  if (typeof text !== "string") return [];
  return (JSON.parse(text) as readonly (readonly [number, number])[]).map(([at, seq]) => ({
    at: Math.min(at, now),
    seq,
  }));
}

function* readEnd(): Core<number> {
  return Number((yield* first(`SELECT max(seq) FROM ${LOG}`))?.[0] ?? 0);
}
