/**
 * What a device's database notes when the app runs there with another schema than last time (rule V3): the tables under
 * their hash, and a marker behind what was left open, which was written over the columns of then.
 *
 * @module
 */

import { hashSchema } from "../../protocol/hash.ts";
import { hlcNow } from "../../protocol/hlc.ts";
import type { Value } from "../../protocol/ids.ts";
import { first, type Core } from "../core.ts";
import { knownTables } from "../known-tables.ts";
import { EVICT, LOG, MARKER, META, STAMP_SQL, metaKeys } from "../names.ts";
import type { SyncTable } from "../table.ts";
import { SCHEMA_KEY, writtenText } from "../written-schema.ts";
import type { Work } from "./install.ts";

/** Works out what there is to write. `isUpgrade`: the database was a device's before. */
export function* schemaWork(
  tables: readonly SyncTable[],
  meta: ReadonlyMap<string, Value>,
  { isUpgrade, now }: { readonly isUpgrade: boolean; readonly now: number },
): Core<readonly Work[]> {
  const work: Work[] = [];
  const schema = hashSchema(knownTables(tables));
  const last = meta.get(metaKeys.schema);
  if (last !== schema) {
    if (isUpgrade && typeof last === "string") work.push(...(yield* closingWork(last, meta, now)));
    work.push(noteWork(metaKeys.schema, schema));
  }
  if (!meta.has(SCHEMA_KEY + schema)) work.push(noteWork(SCHEMA_KEY + schema, writtenText(tables)));
  return work;
}

/** The marker that closes open entries under the schema they were written with. */
function* closingWork(schema: string, meta: ReadonlyMap<string, Value>, now: number): Core<readonly Work[]> {
  const last = yield* first(`SELECT t FROM ${LOG} ORDER BY seq DESC LIMIT 1`);
  if (last === undefined || last[0] === MARKER) return [];
  const marker = yield* first(`SELECT k0, mask FROM ${LOG} WHERE t = ${MARKER} ORDER BY seq DESC LIMIT 1`);
  const dropped = JSON.parse(String(meta.get(metaKeys.dropped) ?? "[0]")) as readonly number[];
  const number = Number(marker?.[0] ?? dropped[0] ?? 0) + 1;
  const hlc = hlcNow(Number(marker?.[1] ?? 0), now + Number(meta.get(metaKeys.clock) ?? 0));
  return [
    {
      sql: `INSERT INTO ${LOG}(stamp, t, kind, mask, k0, c0) VALUES (${STAMP_SQL}, ${MARKER}, 0, ?, ?, ?)`,
      params: [hlc, number, schema],
    },
    { sql: `DELETE FROM ${EVICT}`, params: [] },
  ];
}

function noteWork(key: string, value: string): Work {
  const sql = `INSERT INTO ${META}(k, v) VALUES (?, ?) ON CONFLICT(k) DO UPDATE SET v = excluded.v`;
  return { sql, params: [key, value] };
}
